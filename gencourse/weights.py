"""Finished weights: a lecture loads what a training cell takes minutes to train; every page can draw from them."""

import hashlib
import io
import lzma
import re
import warnings
from pathlib import Path

import numpy as np
import torch

from .data import images
from .data.download import root
from .errors import DataError, require
from .runtime import folder_named, lecture
from .train import History, replace_file, restore_gpu_random_states

ADDRESS = "https://raw.githubusercontent.com/gencourse/gencourse/main/notebooks/weights/"
FILTERS = [{"id": lzma.FILTER_LZMA2, "lc": 0, "lp": 1, "pb": 1}]  # for numbers of two bytes


def folder() -> Path:
    """Where finished weights lie: ``$GENCOURSE_WEIGHTS``, else the folder of the course's repository.

    Where the library was installed without its repository, as on Colab, they are downloaded to a folder of the data.
    """
    beside = Path(__file__).resolve().parent.parent / "notebooks" / "weights"
    return folder_named("GENCOURSE_WEIGHTS") or (beside if beside.exists() else root() / "weights")


def load_or_train(name, train, snapshots=9, **networks):
    """Call ``train`` and return its result; in a lecture, load finished weights instead.

    It loads only where ``$GENCOURSE_LECTURE`` is 1 (``make lecture``) and there is a file of that name. It saves only
    where ``$GENCOURSE_SAVE_WEIGHTS`` names a folder, as ``make run`` does.

    Args:
        name: notebook and run, e.g. "03_dcgan/digits": lower-case letters, digits and hyphens.
        train: function without arguments that trains. It may change the ``networks``, and returns numbers, text,
            tensors, state dicts, Histories, or lists, tuples and dictionaries of these.
        snapshots: how many snapshots of a History are kept in the file, evenly spaced.
        **networks: the networks that ``train`` changes, under any names.

    Returns:
        What ``train`` returned, with tensors on the CPU where it was loaded. float32 is stored as float16; torch's
        random state is then as it was after the training, so that what is drawn next is what the page shows: on the
        CPU, and on GPUs if the training had as many of them.

    Raises:
        ValueError: for another kind of name.
        DataError: if the file is damaged, was made for other networks, or from another data set than is here.

    >>> load_or_train("00_start_here/doctest", lambda: [1.5, None])
    [1.5, None]
    """
    file = _file(name)
    if lecture():
        if (folder() / file).exists():
            content = _load(file, networks)
            trained_on, here = content["card"].get("data", "MNIST"), images.stands_for["MNIST"]
            if trained_on != here:
                raise DataError(f"{name} was trained on {trained_on}, and {here} is what you have here. Get that data "
                                "set (make doctor says how), or train with make lab.")  # fmt: skip
            torch.set_rng_state(content["random state"])
            restore_gpu_random_states(content.get("random states of GPUs", []))
            return _unpack(content["result"])
        warnings.warn(f"There are no finished weights of {name}: this cell trains now.", stacklevel=2)
    result = train()
    if kept := folder_named("GENCOURSE_SAVE_WEIGHTS"):
        card = {key: getattr(result, key, None) for key in ("steps", "seconds")}
        card.update(name=name, data=images.stands_for["MNIST"])
        save_weights(kept / file, networks, card, snapshots, result=result)
    return result


def save_weights(path, networks, card, snapshots=9, result=None):
    """Write networks, the result of their training and its card to ``path``, a file .pt.xz; float32 as float16."""
    content = {
        "networks": {key: _pack(net.state_dict(), snapshots) for key, net in networks.items()},
        "result": _pack(result, snapshots),
        "random state": torch.get_rng_state(),
        "random states of GPUs": torch.cuda.get_rng_state_all(),
        "card": card,
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    replace_file(path, lambda out: out.write(lzma.compress(buffer.getvalue(), filters=FILTERS)))


def load_weights(name, **networks) -> dict:
    """Load finished weights into networks of the same kinds as were trained.

    Args:
        name: as for :func:`load_or_train`, or "finished/" and a model of ``make marathon``, e.g. "finished/dcgan".
        **networks: under the names that they had there.

    Returns:
        The card of that training: its name, steps, seconds; of the marathon also recipe, hardware, curve and measures.

    Raises:
        DataError: if there is no such file, or it is damaged, or was made for other networks.
    """
    return _load(_file(name), networks)["card"]


def _file(name):
    ok = re.fullmatch(r"(\d\d_[a-z_]+|finished)/[a-z0-9-]+", name)
    require(ok, "name", name, "notebook and run in lower-case letters, digits and hyphens, e.g. '03_dcgan/digits'")
    return f"{name}.pt.xz"


def _load(file, networks):
    path, listed = folder() / file, folder() / "SHA256SUMS"
    if not path.exists() and folder() == root() / "weights":
        _download(file)
    if not path.exists():
        raise DataError(f"There are no finished weights {file}. Get them with: git checkout notebooks/weights")
    lines = listed.read_text("utf-8").splitlines() if listed.exists() else []
    sums = dict(reversed(line.split(maxsplit=1)) for line in lines)
    compressed = path.read_bytes()
    if sums.get(file) != hashlib.sha256(compressed).hexdigest():
        raise DataError(f"The checksum of the weights {file} is wrong. Restore them (git checkout notebooks/weights), "
                        "or delete them to download them again.")  # fmt: skip
    content = torch.load(io.BytesIO(lzma.decompress(compressed)), weights_only=True, map_location="cpu")
    try:
        for key, net in networks.items():
            net.load_state_dict(_unpack(content["networks"][key]))
    except (KeyError, RuntimeError) as error:
        raise DataError(f"The finished weights {file} were made for other networks than these ({error}).") from error
    return content


def _download(file):
    """Fetch one file of finished weights, and the list of checksums against which it is then read."""
    path = folder() / file
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        for name in ("SHA256SUMS", file):
            torch.hub.download_url_to_file(ADDRESS + name, str(folder() / name), progress=False)
    except OSError as error:
        raise DataError(f"The finished weights {file} could not be downloaded ({error}). Connect to a network, or "
                        "train the model.") from error  # fmt: skip


def _pack(v, snapshots):
    """``v`` with float32 as float16, and with every History as a dictionary."""
    if isinstance(v, torch.Tensor):
        v = v.detach().cpu().clone()  # a view would be stored with all that it is a view of
        return v.half() if v.dtype == torch.float32 and not (v.abs() > 6e4).any() else v
    if isinstance(v, History):
        last = len(v.snapshots) - 1
        kept = sorted({round(i * last / max(snapshots - 1, 1)) for i in range(snapshots)}) if last >= 0 else []
        chosen = {"snapshots": [v.snapshots[i] for i in kept], "snapshot_steps": [v.snapshot_steps[i] for i in kept]}
        return {"History": {"columns": dict(v), "attributes": _pack({**vars(v), **chosen}, snapshots)}}
    if isinstance(v, dict):
        return {key: _pack(part, snapshots) for key, part in v.items()}
    if isinstance(v, list | tuple):
        return (list if isinstance(v, list) else tuple)(_pack(part, snapshots) for part in v)
    return v.item() if isinstance(v, np.generic) else v


def _unpack(v):
    if isinstance(v, torch.Tensor):
        return v.float() if v.dtype == torch.float16 else v
    if isinstance(v, dict) and set(v) == {"History"}:
        history = History()
        history.update(v["History"]["columns"])
        vars(history).update(_unpack(v["History"]["attributes"]))
        return history
    if isinstance(v, dict):
        return {key: _unpack(part) for key, part in v.items()}
    if isinstance(v, list | tuple):
        return (list if isinstance(v, list) else tuple)(_unpack(part) for part in v)
    return v
