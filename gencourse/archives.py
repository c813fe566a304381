"""Where data files lie, and how they get there: intact files only. Used by data.py and texts.py."""

import gzip
import os
import socket
import tempfile
import warnings
from http.client import HTTPException
from pathlib import Path

import numpy as np
from torchvision.datasets import MNIST, FashionMNIST
from torchvision.datasets.utils import check_integrity, download_url

from .errors import DataError, require

SETS = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}


def root() -> Path:
    """Where data is looked for and kept: ``$GENCOURSE_DATA``, else the user's cache folder."""
    chosen = os.environ.get("GENCOURSE_DATA")
    return Path(chosen).expanduser() if chosen else cache()


def cache() -> Path:
    """The user's cache folder for the course."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gencourse"


def archives(name, split):
    """(file name, md5) of the images and of the labels, from torchvision's own list."""
    start = 0 if split == "train" else 2
    return [(url.rsplit("/", 1)[-1], md5) for url, md5 in SETS[name].resources[start : start + 2]]


def found(name: str) -> bool:
    """Whether all four archives of a set lie in :func:`root` with the right checksums.

    >>> found("MNIST") in (True, False)
    True
    """
    require(name in tuple(SETS), "name", name, f"one of {', '.join(SETS)}")
    folder = root() / name / "raw"
    return all(_intact(folder / file, md5) for split in ("train", "test") for file, md5 in archives(name, split))


def _intact(path, md5):
    try:
        return check_integrity(str(path), md5)
    except OSError:  # there, but not ours to read
        return False


def fetch(name, file, md5):
    """The path of one intact archive of an image set."""
    return fetch_file(f"{name}/raw", file, md5, SETS[name].mirrors)


def fetch_file(folder, file, md5, mirrors):
    """The path of one intact file: the kept copy, or a fresh download that replaces a damaged one.

    Args:
        folder: where it belongs, below :func:`root`.
        file: its name there, and after a mirror's address.
        md5: its checksum.
        mirrors: addresses that end in a slash, or that of the file itself.
    """
    kept = root() / folder
    for place in (kept, *(Path(session.name) / folder for session in _session_folders)):
        if _intact(place / file, md5):
            return place / file
    lacking = "is damaged" if (kept / file).exists() else "is not in the data folder"
    reasons, patience = [], socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # urllib would wait for ever on a dead network
    try:
        for mirror in mirrors:
            try:
                return _download(mirror + file if mirror.endswith("/") else mirror, _writable(folder) / file, md5)
            except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: torchvision's "corrupted"
                reasons.append(f"{mirror.split('/')[2]}: {str(error) or type(error).__name__}")
    finally:
        socket.setdefaulttimeout(patience)
    raise DataError(
        f"{file} of {folder.split('/')[0]} {lacking}, and no download worked ({'; '.join(reasons)}). "
        f"Connect to a network, or put the file into {folder} under GENCOURSE_DATA."
    )


def _download(url, target, md5):
    """Download into a folder of its own, which only a whole and intact file ever leaves."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        download_url(url, folder, filename=target.name, md5=md5)
        return Path(folder, target.name).replace(target)


_session_folders = []


def _writable(folder):
    """The folder below the root, or one that lasts as long as this process where that cannot be written."""
    try:
        kept = root() / folder
        kept.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept):
            return kept
    except OSError as error:
        if not _session_folders:
            _session_folders.append(tempfile.TemporaryDirectory(prefix="gencourse-"))
            warnings.warn(
                f"The data folder cannot be written ({error.strerror}), so downloads are kept for this session only. "
                "Set the environment variable GENCOURSE_DATA to a folder that you may write to.",
                stacklevel=2,
            )
    session = Path(_session_folders[0].name) / folder
    session.mkdir(parents=True, exist_ok=True)
    return session


def read_idx(path):
    """The array in a gzipped idx file: byte 3 holds the rank, then come big-endian sizes, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()
