"""Is this machine ready for the course? ``make doctor`` says so in one screen; the exit code says so to scripts."""

import shutil
import sys
from importlib import metadata
from pathlib import Path

import psutil
import torch

import gencourse as gc
from gencourse import weights

CHROMIUMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
USUAL = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Microsoft/Edge/Application/msedge.exe",
)
ROOT = Path(__file__).resolve().parents[2]
LEAST_GB = {"memory": 3, "disk": 1}


def find_chromium():
    """The path of a browser of the Chromium family, or None: the tests and the paper edition need one."""
    installed = (path for path in USUAL if Path(path).is_file())
    return next(filter(None, map(shutil.which, CHROMIUMS)), None) or next(installed, None)


def version(name):
    """The version of an installed package, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def python():
    return (3, 11) <= sys.version_info[:2] <= (3, 14), "{}.{}.{}".format(*sys.version_info)


def packages():
    found = {name: version(name) for name in ("torch", "torchvision", "jupyterlab", "jupyterlab-myst", "ipywidgets")}
    return all(found.values()), ", ".join(f"{name} {found[name] or 'MISSING'}" for name in found)


def place():
    """Whether the course that Python finds is the one in this folder: a folder that was moved leaves another behind."""
    found = Path(gc.__file__).resolve().parents[1]
    return found == ROOT, "in this folder" if found == ROOT else f"Python finds another one, in {found}"


def device():
    where = gc.device().type
    name = torch.cuda.get_device_name() if where == "cuda" else f"{psutil.cpu_count()} cores"
    return True, f"{where} ({name}), {torch.get_num_threads()} threads"


def profile():
    try:
        chosen = gc.profile()
    except ValueError as error:
        return False, str(error)
    return chosen != "gpu" or gc.device().type != "cpu", f"{chosen} on {gc.device().type}"


def memory():
    free = psutil.virtual_memory().available / 1e9
    return free >= LEAST_GB["memory"], f"{free:.1f} GB free; the course wants {LEAST_GB['memory']}"


def disk():
    if all(map(gc.data.found, ("MNIST", "FashionMNIST"))):
        return True, f"no more is needed: the data are there, in {gc.data.root()}"
    folder = next(place for place in (gc.data.root(), *gc.data.root().parents) if place.exists())
    free = shutil.disk_usage(folder).free / 1e9
    return free >= LEAST_GB["disk"], f"{free:.1f} GB free for data; the course wants {LEAST_GB['disk']}"


def data():
    missing = [name for name in ("MNIST", "FashionMNIST") if not gc.data.found(name)]
    return not missing, f"not here yet: {', '.join(missing)}" if missing else "MNIST and FashionMNIST, checksums right"


def finished():
    listed = weights.folder() / "SHA256SUMS"
    names = [line.split(maxsplit=1)[1] for line in listed.read_text("utf-8").splitlines()] if listed.exists() else []
    here = sum((weights.folder() / name).exists() for name in names)
    return bool(names) and here == len(names), f"{here} of {len(names)} finished trainings for lectures"


def browser():
    chromium = find_chromium()
    return bool(chromium), f"{Path(chromium).stem} found" if chromium else "no Chromium, Chrome or Edge found"


LOOKS = {
    "Python": (python, "Install Python 3.11, 3.12, 3.13 or 3.14."),
    "packages": (packages, "Run make lab once, or: pip install -r requirements.lock"),
    "course": (place, "Run make lab, or: pip install -e . in this folder."),
    "device": (device, ""),
    "profile": (profile, "Unset GENCOURSE_PROFILE."),
    "memory": (memory, "Close other programs and other notebooks (Kernel, Shut Down All Kernels)."),
    "disk": (disk, "Make room, or let GENCOURSE_DATA name a folder on another disk."),
    "data": (data, "They come with the first run that has a network. Without, the digits of scikit-learn stand in."),
    "weights": (finished, "Only lectures need them: git checkout notebooks/weights"),
    "browser": (browser, "Any browser shows the course; make pdf and the tests need Chromium, Chrome or Edge."),
}


def report():
    """Whether everything is well, and a screen of text with what to do about each failing line."""
    lines, bad = [], 0
    for name, (look, remedy) in LOOKS.items():
        well, found = look()
        bad += not well
        lines += [f"{'ok ' if well else 'NO '} {name:<9} {found}"] + [f"    {'':<9} -> {remedy}"] * (not well)
    return not bad, "\n".join([*lines, f"{bad} of {len(LOOKS)} lines need you: see the arrows." if bad else "Ready."])


if __name__ == "__main__":
    well, text = report()
    print(text)
    sys.exit(not well)
