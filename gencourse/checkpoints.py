"""Checkpoints that resume bit-exactly and are never read when torn. Used by ``fit(checkpoint=...)``."""

import contextlib
import copy
import hashlib
import io
import os
import random

import numpy as np
import torch

from .errors import CheckpointError

SECONDS_BETWEEN = 30.0
_MAGIC = b"gencourse checkpoint 1\n"


def can_keep(part) -> bool:
    """Whether a checkpoint can hold this object: it has ``state_dict``, or is a torch.Generator."""
    return isinstance(part, torch.Generator) or (hasattr(part, "state_dict") and hasattr(part, "load_state_dict"))


def _get(part):
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _put(part, state):
    part.set_state(state) if isinstance(part, torch.Generator) else part.load_state_dict(state)


def _random_state():
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (the global state is what must be resumed)
    return {
        "python": random.getstate(),
        "numpy": {
            "key": numpy_state["state"]["key"].tolist(),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore_random_state(state):
    random.setstate(state["python"])
    n = state["numpy"]
    key = np.array(n["key"], dtype=np.uint32)
    np.random.set_state(("MT19937", key, n["pos"], n["has_gauss"], n["gauss"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


def save(path, parts, history):
    """Write the state of all ``parts``, the random state and the history, all or nothing.

    The bytes go to a file beside ``path``, are forced to the disk, and only then take its name: a process killed at
    any moment leaves the old file or the new one. A digest in front tells a torn file from a whole one.

    Raises:
        CheckpointError: if the disk refuses, or the content could not be loaded again.
    """
    body = _body(path, parts, history)
    fresh = path.with_name(f"{path.name}.new")  # always this name: what a killed process leaves is overwritten
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(fresh, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path.name} could not be written ({error.strerror or error}). The one saved before, if "
            "any, is intact. Free some space, or give checkpoint= a folder that you may write to. The history so far "
            "is in the exception's .history.",
            history=history,
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def _body(path, parts, history):
    kept = {name: _get(part) for name, part in parts.items()}
    buffer = io.BytesIO()
    try:
        torch.save(
            {
                "parts": kept,
                "random": _random_state(),
                "history": {"columns": dict(history), **vars(history)},
            },
            buffer,
        )
        buffer.seek(0)
        torch.load(buffer, weights_only=True, map_location="cpu")  # else the surprise would come when it is needed
    except Exception as error:  # whatever pickle and the objects themselves raise
        raise CheckpointError(
            f"The checkpoint {path.name} was not written, because it could not be loaded again: with checkpoint=, "
            "snapshots and state may hold only tensors, numbers, text, and lists and dictionaries of them "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__})."
        ) from error
    return buffer.getvalue()


def _read(path):
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path.name} cannot be read ({error.strerror or error}). Give checkpoint= a file that you "
            "may read and write."
        ) from error
    digest, body = content[len(_MAGIC) : len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
    if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise CheckpointError(
            f"The checkpoint {path.name} is damaged or is no checkpoint of this course, so nothing was read from "
            "it. Delete it to start afresh, or name another file."
        )
    return torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")


def resume(path, parts, history):
    """Put everything back as :func:`save` found it; do nothing if there is no file yet.

    Raises:
        CheckpointError: if the file is damaged, or was made for other parts or shapes; ``parts`` are then as before.
    """
    if not path.exists():
        return
    content = _read(path)
    kept = content["parts"]
    if set(kept) != set(parts):
        raise CheckpointError(
            f"The checkpoint {path.name} holds {sorted(kept)}, but state= and batches give {sorted(parts)}. "
            "Name another file, or pass the same state as when it was saved."
        )
    before = {name: copy.deepcopy(_get(part)) for name, part in parts.items()}
    for name, part in parts.items():
        try:
            _put(part, kept[name])
        except Exception as error:  # each kind of part complains in its own way
            for changed, state in before.items():
                _put(parts[changed], state)
            raise CheckpointError(
                f"The checkpoint {path.name} does not fit {name!r}: {error}. It was made for another "
                "network or optimizer; name another file or delete it."
            ) from error
    _restore_random_state(content["random"])
    progress = content["history"]
    history.update(progress.pop("columns"))
    vars(history).update(progress)
