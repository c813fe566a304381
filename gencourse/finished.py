"""Finished weights: what a training cell made is kept under a name, and a lecture loads it instead of training."""

import copy
import hashlib
import json
import os
import re
import zlib
from pathlib import Path

import torch
from torch import nn

from . import shelf
from .archives import cache
from .errors import DataError, is_whole, require
from .runtime import device, profile, runs_lecture
from .train import History

COURSE = Path(__file__).resolve().parent.parent / "notebooks" / "weights"  # of the laptop profile
MOST_SNAPSHOT_BYTES = 1_500_000
LARGE = 5_000  # numbers in a matrix that is kept in 8 bits
_NAME = re.compile(r"\d\d_[a-z_]+/\S.*")


def load_or_train(name, train, frames=9, **networks):
    """Call ``train`` and keep what it made under ``name``; in a lecture, load what was kept instead.

    It loads only where ``$GENCOURSE_LECTURE`` is 1 (``make lecture``), first from the finished weights that come with
    the course (profile "laptop"), then from what an earlier run of yours kept. With nothing to load it trains.

    Args:
        name: notebook and run, e.g. "03_dcgan/digits".
        train: function without arguments; it changes the ``networks`` and returns a History, or anything made of
            dictionaries, lists, tuples, tensors, numbers, texts, Histories and copies of the ``networks``.
        frames: how many snapshots of a History are kept, at most; fewer if they are large; at least 2.
        **networks: the networks that ``train`` changes, under any names.

    Returns:
        What ``train`` returned. To take little room, large matrices of weights are rounded to 8 bits with a scale for
        each row, other numbers to 16 bits, and images to 256 levels: what is loaded is close to what was trained, not
        equal. torch's random state is then as it was after the training.

    Raises:
        ArgumentError: if ``name`` or ``networks`` are not of this kind.
        DataError: if the file is damaged, or was made by other code.

    >>> net = nn.Linear(1, 1)
    >>> load_or_train("00_start_here/doctest", lambda: [1.5, None], net=net)
    [1.5, None]
    """
    require(isinstance(name, str) and _NAME.fullmatch(name), "name", name, "notebook and run, e.g. '03_dcgan/digits'")
    require(callable(train), "train", train, "a function without arguments")
    require(is_whole(frames) and frames >= 2, "frames", frames, "an integer, at least 2")
    for key, net in networks.items():
        require(isinstance(net, nn.Module), key, type(net).__name__, "a network")
    if runs_lecture():
        for path in (_course_file(name), own_file(name)):
            if path.exists():
                return _load(path, networks)
    before = {key: copy.deepcopy(net.state_dict()) for key, net in networks.items()}
    made = train()
    if not (isinstance(made, History) and made.interrupted):
        _keep(name, made, networks, before, frames)
    return made


def own_file(name):
    """Where a run of your own is kept: below ``$GENCOURSE_MODELS``, else in the user's cache folder, by profile."""
    chosen = os.environ.get("GENCOURSE_MODELS")
    folder = Path(chosen).expanduser() if chosen else cache() / "models" / profile()
    return folder / _file(name)


def _file(name):
    notebook, run = name.split("/", 1)
    return f"{notebook}/{re.sub(r'[^A-Za-z0-9.]+', '-', run).strip('-')}.safetensors"


def _course_file(name):
    """The file that comes with the course, its checksum verified; a path that does not exist for other profiles."""
    path = COURSE / _file(name)
    if profile() != "laptop":
        return COURSE / "none"
    if path.exists():
        sums = dict(reversed(line.split(maxsplit=1)) for line in (COURSE / "SHA256SUMS").read_text().splitlines())
        if sums.get(_file(name)) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise DataError(
                f"weights/{_file(name)} is not the file that belongs to the course: its checksum differs from that in "
                "weights/SHA256SUMS. Restore it (git checkout notebooks/weights), or delete it: the cell then trains."
            )
    return path


def _keep(name, made, networks, before, frames):
    tensors = {"random state": torch.get_rng_state()}
    for key, net in networks.items():  # what training did not change, such as masks, is in the network already
        changed = {k: v for k, v in net.state_dict().items() if not v.equal(before[key][k])}
        tensors |= _packed(key, changed)
    like = {key: {k: v.shape for k, v in net.state_dict().items()} for key, net in networks.items()}
    card = {
        "name": name,
        "profile": profile(),
        "device": device().type,
        "seconds": round(made.seconds, 1) if isinstance(made, History) else None,
        "steps": made.steps if isinstance(made, History) else None,
        "parameters": {key: sum(p.numel() for p in net.parameters()) for key, net in networks.items()},
        "shapes": {key: _digest(shapes) for key, shapes in like.items()},
        "protocol": f"see notebook {name.split('/')[0]}; weights rounded to 8 bits",
        "made": _encode(made, tensors, like, frames),
        "images": _pack_images(tensors),
    }
    shelf.write(own_file(name), tensors, card)


def _digest(shapes):
    return hashlib.sha256(json.dumps({k: list(s) for k, s in shapes.items()}).encode()).hexdigest()[:16]


def _load(path, networks):
    tensors, card = shelf.read(path)
    shapes = {key: _digest({k: v.shape for k, v in net.state_dict().items()}) for key, net in networks.items()}
    if card.get("shapes") != shapes:
        raise DataError(f"{path.name} was made for other networks than these. Train anew: unset GENCOURSE_LECTURE.")
    _unpack_images(tensors, card["images"])
    made = _decode(card["made"], tensors, networks)
    for key, net in networks.items():
        _restore(net, tensors, key)
    torch.set_rng_state(tensors["random state"])
    return made


def _restore(net, tensors, prefix):
    state = net.state_dict()
    with torch.no_grad():
        for k in state:
            if (at := f"{prefix}/{k}") in tensors:
                v = _large(tensors[at])
                state[k].copy_(v * tensors[f"{at}|scale"] if f"{at}|scale" in tensors else v)
    return net


def _packed(prefix, state):
    """The weights of a network for the disk: name -> tensor."""
    found = {}
    for k, v in state.items():
        if v.is_floating_point() and v.ndim >= 2 and v.numel() >= LARGE:
            v = v.detach().cpu().float()
            scale = v.abs().amax(tuple(range(1, v.ndim)), keepdim=True).clamp_min(1e-12) / 127
            found[f"{prefix}/{k}"], found[f"{prefix}/{k}|scale"] = (v / scale).round().to(torch.int8), scale
        else:
            found[f"{prefix}/{k}"] = _small(v)
    return found


def _small(v):
    """A tensor for the disk: images in [-1, 1] as bytes (packed when written), other floats in 16 bits."""
    v = v.detach().cpu().contiguous()
    if v.is_floating_point() and v.numel() and v.ndim >= 3 and v.shape[-2:] == (28, 28) and v.abs().max() <= 1:
        return ((v + 1) * 127.5).round().to(torch.uint8)
    return v.half() if v.is_floating_point() and (v.numel() == 0 or v.abs().max() < 6e4) else v.clone()


def _large(v):
    if _is_image(v):
        return v.float() / 127.5 - 1
    return v.float() if v.dtype == torch.half else v


def _is_image(v):
    return v.dtype == torch.uint8 and v.ndim >= 3 and v.shape[-2:] == (28, 28)


def _pack_images(tensors):
    """Tensors with each stack of images as one row of compressed bytes, and the shapes that they had."""
    shapes = {k: list(v.shape) for k, v in tensors.items() if _is_image(v)}
    for k in shapes:
        packed = zlib.compress(tensors[k].numpy().tobytes(), 9)
        tensors[k] = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
    return shapes


def _unpack_images(tensors, shapes):
    for k, shape in shapes.items():
        raw = bytearray(zlib.decompress(tensors[k].numpy().tobytes()))
        tensors[k] = torch.frombuffer(raw, dtype=torch.uint8).view(shape)


def _store(v, tensors):
    key = f"made/{len(tensors)}"
    tensors[key] = v
    return key


def _encode(v, tensors, like, frames):
    """``v`` as what JSON can hold; its tensors go into ``tensors``."""
    if v is None or isinstance(v, bool | int | float | str):
        return v
    if isinstance(v, torch.Tensor):
        return {"tensor": _store(_small(v), tensors), "here": v.device.type == "cpu", "dtype": str(v.dtype)[6:]}
    if isinstance(v, History):
        return _encode_history(v, tensors, like, frames)
    if isinstance(v, dict):
        return {"dict": [[_encode(part, tensors, like, frames) for part in pair] for pair in v.items()]}
    if isinstance(v, list | tuple):
        return {"list" if isinstance(v, list) else "tuple": [_encode(part, tensors, like, frames) for part in v]}
    shapes = {k: w.shape for k, w in v.state_dict().items()} if isinstance(v, nn.Module) else None
    kind = next((key for key in like if shapes is not None and like[key] == shapes), None)
    require(kind, "train()", type(v).__name__, "numbers, texts, tensors, copies of the networks, and lists of these")
    prefix = _store(torch.zeros(()), tensors)
    tensors |= _packed(prefix, v.state_dict())
    return {"network": prefix, "like": kind}


def _encode_history(history, tensors, like, frames):
    size = max([sum(_bytes(part) for part in _parts(s)) for s in history.snapshots[:1]] or [1])
    most = max(2, min(frames, MOST_SNAPSHOT_BYTES // max(1, size)))
    count = len(history.snapshots)
    chosen = sorted({round(i * (count - 1) / (most - 1)) for i in range(most)}) if count > most else range(count)
    curves = {key: _store(torch.tensor(values, dtype=torch.float32), tensors) for key, values in history.items()}
    return {
        "history": curves,
        "snapshots": [_encode(history.snapshots[i], tensors, like, frames) for i in chosen],
        "snapshot_steps": [history.snapshot_steps[i] for i in chosen],
        "seconds": history.seconds,
        "steps": history.steps,
    }


def _parts(v):
    if isinstance(v, nn.Module):
        return list(v.state_dict().values())
    if isinstance(v, dict | list | tuple):
        return [part for inner in (v.values() if isinstance(v, dict) else v) for part in _parts(inner)]
    return [v] if isinstance(v, torch.Tensor) else []


def _bytes(v):
    return _small(v).numel() * _small(v).element_size()


def _decode(v, tensors, networks):
    if not isinstance(v, dict):
        return v
    if "tensor" in v:
        found = _large(tensors[v["tensor"]]).to(getattr(torch, v["dtype"]))
        return found if v["here"] else found.to(device())
    if "dict" in v:
        return dict(tuple(_decode(part, tensors, networks) for part in pair) for pair in v["dict"])
    if "network" in v:
        return _restore(copy.deepcopy(networks[v["like"]]), tensors, v["network"])
    if "history" in v:
        history = History()
        history.update({key: tensors[where].tolist() for key, where in v["history"].items()})
        history.snapshots = [_decode(part, tensors, networks) for part in v["snapshots"]]
        history.snapshot_steps, history.seconds, history.steps = v["snapshot_steps"], v["seconds"], v["steps"]
        return history
    (kind, parts), make = next(iter(v.items())), {"list": list, "tuple": tuple}
    return make[kind](_decode(part, tensors, networks) for part in parts)
