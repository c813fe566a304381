"""Checkpoints that resume bit-exactly and are never read when torn. Used by ``fit(checkpoint=...)``."""

import contextlib
import hashlib
import io
import os
import pickle
import random

import numpy as np
import torch

from .errors import CheckpointError

SECONDS_BETWEEN = 30.0
_MAGIC = b"gencourse checkpoint 1\n"


def can_keep(part) -> bool:
    """Whether a checkpoint can hold this object: it has ``state_dict``, or is a torch.Generator."""
    return isinstance(part, torch.Generator) or hasattr(part, "load_state_dict")


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
    """
    kept = {
        name: part.get_state() if isinstance(part, torch.Generator) else part.state_dict()
        for name, part in parts.items()
    }
    progress = {"columns": dict(history), **vars(history)}
    buffer = io.BytesIO()
    torch.save({"parts": kept, "random": _random_state(), "history": progress}, buffer)
    body = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with open(fresh, "wb") as file:
            file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path.name} could not be written ({error.strerror}). The one saved before, if any, "
            "is intact. Free some space, or give checkpoint= a folder that you may write to."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def _read(path):
    content = path.read_bytes()
    digest, body = content[len(_MAGIC) : len(_MAGIC) + 32], content[len(_MAGIC) + 32 :]
    if not content.startswith(_MAGIC) or hashlib.sha256(body).digest() != digest:
        raise CheckpointError(
            f"The checkpoint {path.name} is damaged or is no checkpoint of this course, so nothing was read from "
            "it. Delete it to start afresh, or name another file."
        )
    try:
        return torch.load(io.BytesIO(body), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"The checkpoint {path.name} holds objects that are not safe to load: with checkpoint=, snapshots and "
            f"state must be tensors, numbers, text, or lists and dictionaries of them ({error})."
        ) from error


def resume(path, parts, history):
    """Put everything back as :func:`save` found it; do nothing if there is no file yet.

    Raises:
        CheckpointError: if the file is damaged, or was made for other parts or shapes.
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
    for name, part in parts.items():
        try:
            part.set_state(kept[name]) if isinstance(part, torch.Generator) else part.load_state_dict(kept[name])
        except (RuntimeError, ValueError, KeyError) as error:
            raise CheckpointError(
                f"The checkpoint {path.name} does not fit {name!r}: {error}. It was made for another "
                "network or optimizer; name another file or delete it."
            ) from error
    _restore_random_state(content["random"])
    progress = content["history"]
    history.update(progress.pop("columns"))
    vars(history).update(progress)
