"""Where and how large to run: device, random seeds, profile."""

import os
import platform
import random
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from .errors import require


def device() -> torch.device:
    """The best device at hand: CUDA, then Apple's MPS, then the CPU.

    >>> torch.zeros(1, device=device()).device.type == device().type
    True
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def seed_everything(seed: int = 0) -> torch.Generator:
    """Seed Python, NumPy and torch (all devices), and return a fresh CPU generator with the same seed.

    Same seed, same CPU, same versions: same numbers. On a GPU some kernels add in varying order, so runs
    agree only to rounding.

    Args:
        seed: an integer in [0, 2**32).

    >>> rng = seed_everything(0); a = torch.randn(3)
    >>> rng = seed_everything(0); bool((a == torch.randn(3)).all())
    True
    """
    seed = int(seed)  # a NumPy integer too
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (scikit-learn and friends still read the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def profile() -> str:
    """How much to compute: ``$GENCOURSE_PROFILE``, else "gpu" where there is CUDA, else "laptop".

    "smoke" is for tests (seconds), "laptop" for a machine without a GPU (minutes), "gpu" for the full thing.

    Raises:
        ValueError: if the variable holds anything else.
    """
    chosen = os.environ.get("GENCOURSE_PROFILE", "").strip() or ("gpu" if torch.cuda.is_available() else "laptop")
    require(chosen in ("smoke", "laptop", "gpu"), "GENCOURSE_PROFILE", chosen, "smoke, laptop, gpu, or unset")
    return chosen


def by_profile(*, smoke, laptop, gpu):
    """The value that belongs to the current profile, e.g. a number of training steps.

    >>> by_profile(smoke=20, laptop=1500, gpu=20_000) == {"smoke": 20, "laptop": 1500, "gpu": 20_000}[profile()]
    True
    """
    return {"smoke": smoke, "laptop": laptop, "gpu": gpu}[profile()]


def lecture() -> bool:
    """Whether training cells load finished weights instead of training: where ``$GENCOURSE_LECTURE`` is 1."""
    return os.environ.get("GENCOURSE_LECTURE") == "1"


def folder_named(variable) -> Path | None:
    """The folder that an environment variable names; None where it is unset or empty.

    Raises:
        ValueError: for a relative path: a notebook, a test and a command would each look in another folder.
    """
    chosen = os.environ.get(variable)
    if not chosen:
        return None
    path = Path(os.path.expanduser(chosen))
    require(path.is_absolute(), variable, chosen, "an absolute path: notebooks and commands start in other folders")
    return path


def in_kernel() -> bool:
    """Whether this runs in a Jupyter kernel, where pictures, widgets and HTML reach the reader."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


def _version(package):
    try:
        return version(package)
    except PackageNotFoundError:  # a plain clone on sys.path
        return "not installed"


def environment() -> dict:
    """What the course runs on, name -> text: versions, device, profile. It holds no path.

    >>> environment()["torch"] == torch.__version__
    True
    """
    name = torch.cuda.get_device_name() if device().type == "cuda" else f"threads: {torch.get_num_threads()}"
    return {
        "python": platform.python_version(), "torch": torch.__version__, "torchvision": _version("torchvision"),
        "gencourse": _version("gencourse"), "device": f"{device().type} ({name})", "profile": profile(),
        "training": "finished weights are loaded where there are any" if lecture() else "for real",
    }  # fmt: skip
