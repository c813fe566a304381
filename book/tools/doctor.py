"""Is this machine ready for the course? ``python -m gencourse.doctor`` says so in one screen."""

import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from . import archives, finished
from .errors import ArgumentError
from .runtime import device, profile

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
OTHERS = ("/Applications/Firefox.app", "/Applications/Safari.app", "C:/Program Files/Mozilla Firefox/firefox.exe")


def find_chromium():
    """The path of a browser of the Chromium family, or None: the tests and the paper edition need one."""
    installed = (path for path in USUAL if Path(path).is_file())
    return next(filter(None, map(shutil.which, CHROMIUMS)), None) or next(installed, None)


class Finding(NamedTuple):
    """One line of the report: whether it is ``well``, ``what`` was looked at, ``found``, and what to do if not."""

    well: bool
    what: str
    found: str
    remedy: str = ""


def _python():
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding((3, 11) <= sys.version_info[:2] <= (3, 13), "Python", version, "Install Python 3.11, 3.12 or 3.13.")


def _torch():
    known = f"{torch.__version__}, torchvision {_version('torchvision')}"
    new_enough = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 11)
    return Finding(new_enough, "torch", known, "Install torch 2.11 or newer: pip install -r requirements.lock")


def _jupyter():
    missing = [name for name in ("jupyterlab", "jupyterlab-myst", "ipywidgets") if not _version(name)]
    found = f"JupyterLab {_version('jupyterlab')}, theorem boxes {_version('jupyterlab-myst')}"
    return Finding(
        not missing,
        "JupyterLab",
        f"{', '.join(missing)} missing" if missing else found,
        "Run make lab once, or: pip install -r requirements.lock",
    )


def _version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _device():
    where = device()
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"{psutil.cpu_count()} cores"
    return Finding(True, "device", f"{where.type} ({name}), {torch.get_num_threads()} threads")


def _profile():
    try:
        chosen = profile()
    except ArgumentError as error:
        return Finding(False, "profile", str(error), "Unset GENCOURSE_PROFILE.")
    well = chosen != "gpu" or device().type != "cpu"
    return Finding(well, "profile", f"{chosen}{'' if well else ', and there is no GPU'}", "Unset GENCOURSE_PROFILE.")


def _memory(least=3e9):
    free = psutil.virtual_memory().available
    return Finding(
        free >= least,
        "memory",
        f"{free / 1e9:.1f} GB free; the course wants {least / 1e9:.0f}",
        "Close other programs and other notebooks (Kernel, Shut Down All Kernels).",
    )


def _folders():
    """Where data and trained networks are kept; of those not made yet, the folder in which they will be."""
    for folder in (archives.root(), finished.own_folder()):
        yield next((place for place in (folder, *folder.parents) if place.exists()), Path.cwd())


def _disk(least=1e9):
    free = min(shutil.disk_usage(folder).free for folder in _folders())
    return Finding(
        free >= least,
        "disk",
        f"{free / 1e9:.1f} GB free; data and kept networks want {least / 1e9:.0f}",
        "Make room, or let GENCOURSE_DATA and GENCOURSE_MODELS name folders on another disk.",
    )


def _writable():
    try:
        for folder in _folders():
            with tempfile.TemporaryFile(dir=folder):
                pass
    except OSError as error:
        return Finding(
            False,
            "folders",
            f"cannot be written: {error.strerror}",
            "Data and networks are then fetched and trained anew each time. Let GENCOURSE_DATA and GENCOURSE_MODELS "
            "name folders that you may write to.",
        )
    return Finding(True, "folders", "for data and networks can be written")


def _data():
    missing = [name for name in archives.SETS if not archives.found(name)]
    found = "MNIST and FashionMNIST are here, checksums right"
    return Finding(
        not missing,
        "data",
        f"not here yet: {', '.join(missing)}" if missing else found,
        "They come with the first run that has a network (or: python -c 'import gencourse as gc; "
        "gc.data.mnist(); gc.data.fashion_mnist()'). Without, the digits of scikit-learn stand in.",
    )


def _weights():
    sums = finished.COURSE / "SHA256SUMS"
    names = [line.split(maxsplit=1)[1] for line in sums.read_text().splitlines()] if sums.exists() else []
    missing = [name for name in names if not (finished.COURSE / name).exists()]
    well = bool(names) and not missing
    return Finding(
        well,
        "weights",
        f"{len(names) - len(missing)} finished trainings for lectures" if names else "none",
        "Only lectures need them: git checkout notebooks/weights",
    )


def _browser():
    there = find_chromium() or shutil.which("firefox") or any(Path(path).exists() for path in OTHERS)
    return Finding(
        bool(there),
        "browser",
        "found" if there else "none found",
        "Install Chromium, Chrome, Firefox or Safari; make pdf and the tests need Chromium.",
    )


def examine():
    """Look at everything that the course needs.

    Returns:
        A list of :class:`Finding`. No finding holds a path.

    >>> [finding.what for finding in examine()][:3]
    ['Python', 'torch', 'JupyterLab']
    """
    looks = _python, _torch, _jupyter, _device, _profile, _memory, _disk, _writable, _data, _weights, _browser
    return [look() for look in looks]


def report(findings) -> str:
    """The findings as a screen of text, with what to do under each failing line."""
    lines = []
    for finding in findings:
        lines.append(f"{'ok ' if finding.well else 'NO '} {finding.what:<11} {finding.found}")
        if not finding.well:
            lines.append(f"    {'':<11} -> {finding.remedy}")
    bad = sum(not finding.well for finding in findings)
    lines.append("Ready." if not bad else f"{bad} of {len(findings)} lines need you: see the arrows.")
    return "\n".join(lines)


if __name__ == "__main__":
    found = examine()
    print(report(found))
    sys.exit(0 if all(finding.well for finding in found) else 1)
