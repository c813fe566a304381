"""What a training made, as tensors and a description that JSON can hold, in little room. Used by finished.py.

Large matrices of weights take 8 bits a number with a scale for each row, images 256 levels and compression, other
numbers 16 bits.
"""

import copy
import zlib

import numpy as np
import torch
from torch import nn

from .errors import require
from .runtime import device
from .train import History

LARGE = 5_000  # numbers in a matrix that is kept in 8 bits
MOST_SNAPSHOT_BYTES = 1_500_000


class Writer:
    """Collects ``tensors`` for a file; ``networks`` are those that training changes, ``frames`` the snapshots kept."""

    def __init__(self, networks, frames):
        self.tensors, self.networks, self.frames = {}, networks, frames

    def store(self, v):
        key = f"made/{len(self.tensors)}"
        self.tensors[key] = v
        return key

    def weights(self, prefix, state):
        """Store the weights of a network under ``prefix``."""
        for k, v in state.items():
            v = v.detach().cpu()
            if v.is_floating_point() and v.ndim >= 2 and v.numel() >= LARGE:
                scale = v.float().abs().amax(tuple(range(1, v.ndim)), keepdim=True).clamp_min(1e-12) / 127
                self.tensors[f"{prefix}/{k}|scale"] = scale.contiguous()
                self.tensors[f"{prefix}/{k}"] = (v / scale).round().to(torch.int8).contiguous()
            else:
                self.tensors[f"{prefix}/{k}"] = _half(v)

    def encode(self, v):
        """``v`` as what JSON can hold; its tensors go into the file."""
        if isinstance(v, np.generic):
            v = v.item()
        if v is None or isinstance(v, bool | int | float | str):
            return v
        if isinstance(v, torch.Tensor):
            return self._tensor(v)
        if isinstance(v, History):
            return self._history(v)
        if isinstance(v, dict):
            return {"dict": [[self.encode(part) for part in pair] for pair in v.items()]}
        if isinstance(v, list | tuple):
            return {"list" if isinstance(v, list) else "tuple": [self.encode(part) for part in v]}
        alike = (key for key, net in self.networks.items() if isinstance(v, nn.Module) and repr(v) == repr(net))
        kind = next(alike, None)
        require(kind, "train()", type(v).__name__, "numbers, texts, tensors, copies of the networks, or lists of these")
        prefix = self.store(torch.zeros(()))
        self.weights(prefix, v.state_dict())
        return {"network": prefix, "like": kind}

    def _tensor(self, v):
        found = {"here": v.device.type == "cpu", "dtype": str(v.dtype)[6:]}
        v = v.detach().cpu()
        if v.is_floating_point() and v.numel() and v.ndim >= 3 and v.shape[-2:] == (28, 28):
            low, high = v.min().item(), v.max().item()
            levels = ((v - low) / max(high - low, 1e-12) * 255).round().to(torch.uint8).contiguous()
            found |= {"low": low, "high": high, "shape": list(v.shape)}
            return found | {"tensor": self.store(pack(levels))}
        return found | {"tensor": self.store(_half(v))}

    def _history(self, history):
        count, size = len(history.snapshots), max(1, _bytes(history.snapshots[:1]))
        most = max(2, min(self.frames, MOST_SNAPSHOT_BYTES // size))
        chosen = sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if count > most else range(count)
        curves = {key: self.store(_half(torch.tensor(values))) for key, values in history.items()}
        return {
            "history": curves,
            "snapshots": [self.encode(history.snapshots[i]) for i in chosen],
            "snapshot_steps": [history.snapshot_steps[i] for i in chosen],
            "seconds": history.seconds,
            "steps": history.steps,
        }


class Reader:
    """Gives back what a :class:`Writer` collected; ``networks`` are of the same kinds as the writer's."""

    def __init__(self, tensors, networks):
        self.tensors, self.networks = tensors, networks

    def restore(self, net, prefix):
        """Put the weights stored under ``prefix`` into a network, and return it."""
        with torch.no_grad():
            for k, v in net.state_dict().items():
                if (at := f"{prefix}/{k}") in self.tensors:
                    stored = self.tensors[at]
                    scale = self.tensors.get(f"{at}|scale")
                    v.copy_(stored if scale is None else stored * scale)
        return net

    def decode(self, v):
        """The value that ``v`` describes."""
        if not isinstance(v, dict):
            return v
        if "tensor" in v:
            return self._tensor(v)
        if "dict" in v:
            return dict(tuple(self.decode(part) for part in pair) for pair in v["dict"])
        if "network" in v:
            return self.restore(copy.deepcopy(self.networks[v["like"]]), v["network"])
        if "history" in v:
            return self._history(v)
        make = {"list": list, "tuple": tuple}
        kind, parts = next(iter(v.items()))
        return make[kind](self.decode(part) for part in parts)

    def _tensor(self, v):
        found = self.tensors[v["tensor"]]
        if "shape" in v:
            levels = unpack(found).view(v["shape"])
            found = v["low"] + levels.float() / 255 * (v["high"] - v["low"])
        found = found.to(getattr(torch, v["dtype"]))
        return found if v["here"] else found.to(device())

    def _history(self, v):
        history = History()
        history.update({key: self.tensors[where].float().tolist() for key, where in v["history"].items()})
        history.snapshots = [self.decode(part) for part in v["snapshots"]]
        history.snapshot_steps, history.seconds, history.steps = v["snapshot_steps"], v["seconds"], v["steps"]
        return history


def pack(v):
    """Bytes as fewer bytes."""
    return torch.frombuffer(bytearray(zlib.compress(v.numpy().tobytes(), 9)), dtype=torch.uint8)


def unpack(v):
    """What :func:`pack` was given, as one row of bytes."""
    return torch.frombuffer(bytearray(zlib.decompress(v.numpy().tobytes())), dtype=torch.uint8)


def _half(v):
    fits = v.is_floating_point() and (v.numel() == 0 or v.abs().max() < 6e4)
    return (v.half() if fits else v).contiguous().clone()


def _bytes(v):
    """About how many bytes a value takes in the file, before compression."""
    if isinstance(v, nn.Module):
        return sum(w.numel() for w in v.state_dict().values())
    if isinstance(v, dict | list | tuple):
        return sum(map(_bytes, v.values() if isinstance(v, dict) else v))
    if isinstance(v, torch.Tensor):
        return v.numel() * (1 if v.ndim >= 3 and v.shape[-2:] == (28, 28) else 2)
    return 0
