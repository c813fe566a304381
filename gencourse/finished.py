"""Finished weights: what a training cell made is kept under a name, and a lecture loads it instead of training."""

import copy
import hashlib
import json
import os
import re
import warnings
from pathlib import Path

import torch
from torch import nn

from . import shelf, train
from .archives import cache
from .errors import DataError, GencourseError, is_whole, require
from .records import Reader, Writer, pack, unpack
from .runtime import device, profile, runs_lecture

COURSE = Path(__file__).resolve().parent.parent / "notebooks" / "weights"
_NAME = re.compile(r"\d\d_[a-z_]+/\S.*")


def load_or_train(name, run, frames=9, **networks):
    """Call ``run`` and keep what it made under ``name``; in a lecture, load what was kept instead.

    It loads only where ``$GENCOURSE_LECTURE`` is 1 (``make lecture``): the finished weights that come with the course,
    else what an earlier run of yours kept, always of the current profile. With nothing to load it warns, and trains.

    Args:
        name: notebook and run, e.g. "03_dcgan/digits".
        run: function without arguments that trains; it changes the ``networks`` and returns a History, or anything
            made of dictionaries, lists, tuples, tensors, numbers, texts, Histories and copies of the ``networks``.
        frames: how many snapshots of a History are kept, at most; fewer if they are large; at least 2.
        **networks: the networks that ``run`` changes, under any names.

    Returns:
        What ``run`` returned. To take little room, large matrices of weights are rounded to 8 bits with a scale for
        each row, other numbers to 16 bits, and images to 256 levels: what is loaded is close to what was trained, not
        equal. torch's random state is then as it was after the training.

    Raises:
        ArgumentError: if ``name`` or ``networks`` are not of this kind.
        DataError: in a lecture, if the only files of that name are damaged, or were made by other code.

    >>> net = nn.Linear(1, 1)
    >>> load_or_train("00_start_here/doctest", lambda: [1.5, None], net=net)
    [1.5, None]
    """
    _check(name, networks)
    require(callable(run), "run", run, "a function without arguments")
    require(is_whole(frames) and frames >= 2, "frames", frames, "an integer, at least 2")
    if runs_lecture():
        if found := _first(name, networks, (_course_file, _own_file)):
            reader, card = found
            made = reader.decode(card["made"])
            torch.set_rng_state(unpack(reader.tensors["random state"]))
            return made
        warnings.warn(f"no finished weights of {name} for profile {profile()}: this trains now", stacklevel=2)
    before, stops = {key: copy.deepcopy(net.state_dict()) for key, net in networks.items()}, train.stops
    made = run()
    if train.stops == stops:  # what was stopped halfway is not finished
        try:
            _keep(name, made, networks, before, frames)
        except (RuntimeError, ValueError, GencourseError) as error:
            warnings.warn(f"{name} is trained, but could not be kept: {error}. Lectures will not find it; "
                          "GENCOURSE_MODELS may name another folder.", stacklevel=2)  # fmt: skip
    return made


def kept(name, **networks):
    """Put into ``networks`` what :func:`load_or_train` kept under ``name``: your own, else that of the course.

    Args:
        name: notebook and run, as for :func:`load_or_train`.
        **networks: networks of the same names and kinds as were trained there.

    Returns:
        The card of that training: name, profile, device, seconds, steps and parameters. None if nothing was kept for
        the current profile.

    Raises:
        ArgumentError: if ``name`` or ``networks`` are not of this kind.
        DataError: if the only files of that name are damaged, or were made by other code.

    >>> kept("00_start_here/never trained") is None
    True
    """
    _check(name, networks)
    found = _first(name, networks, (_own_file, _course_file))
    return found and {key: found[1][key] for key in ("name", "profile", "device", "seconds", "steps", "parameters")}


def own_folder() -> Path:
    """Where runs of your own are kept: ``$GENCOURSE_MODELS``, else in the user's cache folder."""
    chosen = os.environ.get("GENCOURSE_MODELS")
    return Path(chosen).expanduser() if chosen else cache() / "models"


def _own_file(name):
    return own_folder() / _file(name)


def _check(name, networks):
    require(isinstance(name, str) and _NAME.fullmatch(name), "name", name, "notebook and run, e.g. '03_dcgan/digits'")
    for key, net in networks.items():
        require(isinstance(net, nn.Module), key, type(net).__name__, "a network")


def _file(name):
    notebook, run = name.split("/", 1)
    return f"{profile()}/{notebook}/{re.sub(r'[^A-Za-z0-9.]+', '-', run).strip('-')}.safetensors"


def _course_file(name):
    """The file that comes with the course, if it is there; its checksum is verified."""
    path, listed = COURSE / _file(name), COURSE / "SHA256SUMS"
    if path.exists():
        lines = listed.read_text().splitlines() if listed.exists() else []
        sums = dict(reversed(line.split(maxsplit=1)) for line in lines)
        if sums.get(_file(name)) != hashlib.sha256(path.read_bytes()).hexdigest():
            raise DataError(
                f"weights/{_file(name)} is not the file that belongs to the course: its checksum differs from that in "
                "weights/SHA256SUMS. Restore it (git checkout notebooks/weights), or delete it: the cell then trains."
            )
    return path


def _first(name, networks, places):
    """(reader, card) of the first file that fits, its weights put into the networks; None if there is no file."""
    refused = []
    for place in places:
        try:
            if (path := place(name)).exists():
                return _restored(path, networks)
        except DataError as error:
            refused.append(error)
    if refused:
        raise refused[0]
    return None


def _restored(path, networks):
    tensors, card = shelf.read(path)
    if card.get("kinds") != _kinds(networks) or "random state" not in tensors:
        place = "in notebooks/weights" if COURSE in path.parents else "below GENCOURSE_MODELS or in your cache folder"
        raise DataError(
            f"{path.parent.name}/{path.name} was made for other networks than these: their code has changed since. "
            f"Change it back, or delete that file ({place}) and train anew, with GENCOURSE_PROFILE={profile()} and "
            "without GENCOURSE_LECTURE."
        )
    reader = Reader(tensors, networks)
    for key, net in networks.items():
        reader.restore(net, key)
    return reader, card


def _kinds(networks):
    """A digest of the names and shapes of each network's weights."""
    shapes = {key: {k: list(v.shape) for k, v in net.state_dict().items()} for key, net in networks.items()}
    return {key: hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16] for key, known in shapes.items()}


def _keep(name, made, networks, before, frames):
    writer = Writer(networks, frames)
    writer.tensors["random state"] = pack(torch.get_rng_state())
    for key, net in networks.items():  # constant buffers, such as masks, are in every such network already
        trained = {k for k, _ in net.named_parameters()}
        state = net.state_dict()
        writer.weights(key, {k: v for k, v in state.items() if k in trained or not v.equal(before[key][k])})
    history = made if isinstance(made, train.History) else None
    card = {
        "name": name,
        "profile": profile(),
        "device": device().type,
        "seconds": round(history.seconds, 1) if history else None,
        "steps": history.steps if history else None,
        "parameters": {key: sum(p.numel() for p in net.parameters()) for key, net in networks.items()},
        "protocol": f"see notebook {name.split('/')[0]}; large matrices rounded to 8 bits",
        "kinds": _kinds(networks),
        "made": writer.encode(made),
    }
    shelf.write(_own_file(name), writer.tensors, card)
