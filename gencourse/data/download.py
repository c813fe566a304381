"""Where data files lie, and how they get there: only intact files are ever read."""

import contextlib
import hashlib
import os
import socket
import tempfile
import warnings
from http.client import HTTPException
from pathlib import Path

from platformdirs import user_cache_path

from ..errors import DataError
from ..runtime import folder_named


def root() -> Path:
    """Where data is looked for and kept: ``$GENCOURSE_DATA``, else the user's cache folder, else a temporary one."""
    folder = folder_named("GENCOURSE_DATA") or user_cache_path("gencourse", appauthor=False)
    if folder.is_absolute():
        return folder
    warnings.warn("This user has no home folder, so data go to a temporary one. Set the environment variable "
                  "GENCOURSE_DATA to a folder that stays.", stacklevel=2)  # fmt: skip
    return temporary()


def temporary() -> Path:
    """Where files go that can be kept nowhere else."""
    return Path(tempfile.gettempdir(), "gencourse")


def intact(path, md5) -> bool:
    """Whether a file is there, may be read, and has this checksum."""
    return os.access(path, os.R_OK) and hashlib.md5(path.read_bytes()).hexdigest() == md5


def download(file, md5, addresses) -> Path:
    """The path of one intact file: the copy at hand, or a fresh download in place of a missing or damaged one.

    Args:
        file: where it belongs below :func:`root`, such as "text/names.txt". Where that folder cannot be written, a
            temporary one takes its place, with a warning.
        md5: its checksum.
        addresses: where it can be had; tried in this order.

    Raises:
        DataError: if no address has given an intact file; it says why.
    """
    from torchvision.datasets.utils import download_url  # slow to import

    folders = root(), temporary()
    for folder in folders:
        if intact(folder / file, md5):
            return folder / file
    problem = "is damaged" if (root() / file).exists() else "is not in the data folder"
    target, reasons, old_timeout = _writable(folders, file), [], socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # urllib would wait forever on a dead network
    try:
        for address in addresses:
            try:  # in a folder of its own, which only an intact file leaves
                with tempfile.TemporaryDirectory(dir=target.parent) as aside:
                    download_url(address, aside, filename=target.name, md5=md5)
                    return Path(aside, target.name).replace(target)
            except (OSError, HTTPException, RuntimeError) as error:  # RuntimeError: torchvision's "corrupted"
                reasons.append(f"{address.split('/')[2]}: {str(error) or type(error).__name__}")
    finally:
        socket.setdefaulttimeout(old_timeout)
    raise DataError(f"{file} {problem}, and no download worked ({'; '.join(reasons)}). Connect to a network, or put "
                    "the file there yourself: below the folder that GENCOURSE_DATA names.")  # fmt: skip


def _writable(folders, file):
    """The file's path below the first folder that can be written."""
    for folder in folders:
        with contextlib.suppress(OSError):
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
        if os.access((folder / file).parent, os.W_OK):
            return folder / file
        warnings.warn("The data folder cannot be written, so downloads go to a temporary folder. Set the environment "
                      "variable GENCOURSE_DATA to a folder that you may write to.", stacklevel=3)  # fmt: skip
    raise DataError("No folder for data can be written. Set GENCOURSE_DATA to one that can.")
