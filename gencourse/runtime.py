"""Where and how large to run: device, seeds, profile, budgets."""

import os
import platform
import random
from importlib.metadata import version

import numpy as np
import torch

from .errors import ArgumentError, require_seed

PROFILES = ("smoke", "laptop", "gpu")


def device() -> torch.device:
    """The best device at hand: CUDA, then Apple's MPS, then the CPU.

    >>> device().type in {"cuda", "mps", "cpu"}
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

    Raises:
        ArgumentError: if ``seed`` is not such an integer.

    >>> rng = seed_everything(0); a = torch.randn(3)
    >>> rng = seed_everything(0); bool((a == torch.randn(3)).all())
    True
    """
    require_seed(seed)
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (scikit-learn and friends still read the global state)
    torch.manual_seed(seed)
    return torch.Generator().manual_seed(seed)


def profile() -> str:
    """How much to compute: ``$GENCOURSE_PROFILE``, else "gpu" where there is CUDA, else "laptop".

    "smoke" is for tests (seconds), "laptop" for a machine without a GPU (minutes), "gpu" for the full thing.

    Raises:
        ArgumentError: if the variable holds anything else.
    """
    chosen = os.environ.get("GENCOURSE_PROFILE", "").strip()
    if not chosen:
        return "gpu" if torch.cuda.is_available() else "laptop"
    if chosen not in PROFILES:
        raise ArgumentError(
            f"environment variable GENCOURSE_PROFILE={chosen!r}: must be one of {', '.join(PROFILES)}, or unset"
        )
    return chosen


def budget(*, smoke, laptop, gpu):
    """The value that belongs to the current profile, e.g. a number of training steps.

    >>> budget(smoke=20, laptop=1500, gpu=20_000) in (20, 1500, 20_000)
    True
    """
    return {"smoke": smoke, "laptop": laptop, "gpu": gpu}[profile()]


def runs_lecture() -> bool:
    """Whether :func:`gencourse.load_or_train` loads instead of training: where ``$GENCOURSE_LECTURE`` is 1.

    Raises:
        ArgumentError: if the variable holds anything but 1, 0 or nothing.

    >>> runs_lecture() in (True, False)
    True
    """
    chosen = os.environ.get("GENCOURSE_LECTURE", "").strip()
    if chosen not in ("", "0", "1"):
        raise ArgumentError(f"environment variable GENCOURSE_LECTURE={chosen!r}: must be 1, 0 or unset")
    return chosen == "1"


def in_kernel() -> bool:
    """Whether this runs in a Jupyter kernel, where pictures, widgets and HTML reach the reader.

    >>> in_kernel() in (True, False)
    True
    """
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return getattr(get_ipython(), "kernel", None) is not None


class Environment(dict):
    """A dictionary that shows itself as two aligned columns."""

    def __repr__(self):
        width = max(map(len, self))
        return "\n".join(f"{key:<{width}}  {value}" for key, value in self.items())


def environment() -> Environment:
    """What the course runs on: versions, device, profile, and whether the image data is at hand.

    Returns:
        A dictionary name -> text that prints as a table. It holds no path.

    >>> sorted(environment())[:3]
    ['MNIST', 'device', 'gencourse']
    """
    from .data import found

    where = device()
    name = torch.cuda.get_device_name() if where.type == "cuda" else f"threads: {torch.get_num_threads()}"
    return Environment(
        {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": version("torchvision"),
            "gencourse": version("gencourse"),
            "device": f"{where.type} ({name})",
            "profile": profile(),
            "training": "finished weights are loaded where there are any" if runs_lecture() else "for real",
            "MNIST": "found, checksums right" if found("MNIST") else "not here yet: downloaded on first use",
        }
    )
