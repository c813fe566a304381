"""Data: handwritten digits and clothes, and batches of anything. Toy sets stand in toys.py."""

import gzip
import html
import os
import socket
import tempfile
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torchvision.datasets import MNIST, FashionMNIST
from torchvision.datasets.utils import check_integrity, download_url

from .errors import DataError, require
from .toys import TOY_SETS, grid_of_gaussians, mixture_1d, ring_of_gaussians, toy

__all__ = [
    "TOY_SETS",
    "Images",
    "batches",
    "digits",
    "draws",
    "fashion_mnist",
    "found",
    "grid_of_gaussians",
    "mixture_1d",
    "mnist",
    "ring_of_gaussians",
    "root",
    "toy",
]

_SETS = {"MNIST": MNIST, "FashionMNIST": FashionMNIST}


class Images(NamedTuple):
    """Images ``x`` (N, 1, 28, 28) float32 in [-1, 1], classes ``y`` (N,) int64, and the ``name`` of the set."""

    x: torch.Tensor
    y: torch.Tensor
    name: str


def root() -> Path:
    """Where data is looked for and kept: ``$GENCOURSE_DATA``, else the user's cache folder."""
    chosen = os.environ.get("GENCOURSE_DATA")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gencourse"


def _archives(name, split):
    """(file name, md5) of the images and of the labels, from torchvision's own list."""
    start = 0 if split == "train" else 2
    return [(url.rsplit("/", 1)[-1], md5) for url, md5 in _SETS[name].resources[start : start + 2]]


def found(name: str) -> bool:
    """Whether all four archives of a set lie in :func:`root` with the right checksums.

    >>> found("MNIST") in (True, False)
    True
    """
    require(name in _SETS, "name", name, f"one of {', '.join(_SETS)}")
    folder = root() / name / "raw"
    return all(
        check_integrity(str(folder / file), md5) for split in ("train", "test") for file, md5 in _archives(name, split)
    )


def _fetch(name, file, md5):
    """The path of one intact archive: the kept copy, or a fresh download that replaces a damaged one."""
    folder = root() / name / "raw"
    if check_integrity(str(folder / file), md5):
        return folder / file
    mirrors = getattr(_SETS[name], "mirrors", None) or [_SETS[name].resources[0][0].rsplit("/", 1)[0] + "/"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).unlink(missing_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError:  # a read-only cache: keep it for this process
        folder = _session_folder()
        if check_integrity(str(folder / file), md5):
            return folder / file
    reasons, patience = [], socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)  # urllib would wait for ever on a dead network
    try:
        for mirror in mirrors:
            try:
                download_url(mirror + file, str(folder), filename=file, md5=md5)
                return folder / file
            except (OSError, RuntimeError) as error:  # RuntimeError: torchvision's "corrupted"
                (folder / file).unlink(missing_ok=True)
                reasons.append(f"{mirror.split('/')[2]}: {error}")
    finally:
        socket.setdefaulttimeout(patience)
    raise DataError(
        f"{file} of {name} is not in the data folder (or was damaged), and no download worked: "
        f"{'; '.join(reasons)}. Connect to a network, or put the file into {name}/raw under GENCOURSE_DATA."
    )


@lru_cache
def _session_folder():
    return Path(tempfile.mkdtemp(prefix="gencourse-"))


def _read_idx(path):
    """The array in a gzipped idx file: byte 3 holds the rank, then come big-endian sizes, then bytes."""
    raw = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy()


def _load(name, split, device):
    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    try:
        x, y = (torch.from_numpy(_read_idx(_fetch(name, *archive))) for archive in _archives(name, split))
    except DataError as error:
        _banner(name, error)
        return digits(split, device)
    x = x.unsqueeze(1).float().div_(127.5).sub_(1)  # bytes 0..255 -> [-1, 1]
    return Images(x.to(device), y.long().to(device), name)


def mnist(split="train", device=None) -> Images:
    """MNIST: 60,000 (train) or 10,000 (test) handwritten digits, all in memory, on ``device``.

    With no network and no copy at hand, :func:`digits` stands in, and a banner says so.

    Args:
        split: "train" or "test".
        device: where to put the tensors; default the CPU.

    Returns:
        x (N, 1, 28, 28) float32 in [-1, 1], y (N,) int64 in 0..9, and the name of the set that you really got.

    Raises:
        ArgumentError: for another split.

    Source: LeCun et al. (1998), http://yann.lecun.com/exdb/mnist/.
    """
    return _load("MNIST", split, device)


def fashion_mnist(split="train", device=None) -> Images:
    """FashionMNIST: 28x28 pictures of clothes in ten classes. As :func:`mnist`.

    Source: Xiao et al. (2017), https://arxiv.org/abs/1708.07747.
    """
    return _load("FashionMNIST", split, device)


def digits(split="train", device=None) -> Images:
    """The handwritten digits that ship with scikit-learn, 1,500 (train) or 297 (test): no network needed.

    8x8 originals, enlarged to 20x20 and framed to 28x28, as MNIST's digits are framed. As :func:`mnist`.

    >>> digits("test").x.shape
    torch.Size([297, 1, 28, 28])
    """
    from sklearn.datasets import load_digits

    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    bundle = load_digits()
    part = slice(0, 1500) if split == "train" else slice(1500, None)
    x = torch.from_numpy(bundle.images[part]).float().unsqueeze(1) / 8 - 1  # 0..16 -> [-1, 1]
    x = torch.nn.functional.interpolate(x, size=(20, 20), mode="bilinear", align_corners=False)
    x = torch.nn.functional.pad(x, (4, 4, 4, 4), value=-1.0)
    return Images(x.to(device), torch.from_numpy(bundle.target[part]).long().to(device), "digits")


def _banner(name, error):
    """Tell the reader, in a way that cannot be missed, that another data set stands in."""
    text = (
        f"{name} could not be loaded, so the 1,797 small digits that ship with scikit-learn stand in. "
        f"Everything runs, pictures are coarser, and numbers differ from the text. Why: {error}"
    )
    try:
        from IPython import get_ipython
        from IPython.display import HTML, display

        notebook = get_ipython() is not None
    except ImportError:
        notebook = False
    if not notebook:
        warnings.warn(text, stacklevel=4)
        return
    style = "border:3px solid #d55e00;padding:.6em 1em;font-size:110%"
    display(HTML(f'<div role="alert" style="{style}"><b>Substitute data.</b> {html.escape(text)}</div>'))


class batches:
    """Endless shuffled minibatches, indexed where the data lies (no copies, no workers).

    Every epoch is a new random order; the last, incomplete batch of an epoch is dropped.

    Args:
        x: a tensor (N, ...), or a tuple of tensors that share N; yields (B, ...) or a tuple of them.
        batch_size: B, between 1 and N.
        seed: of the order; the global random state is left alone.

    Raises:
        ArgumentError: if ``x`` is no tensor or tuple of equally long tensors, or ``batch_size`` is out of range.

    >>> stream = batches(torch.arange(6), batch_size=3)
    >>> sorted(torch.cat([next(stream), next(stream)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, x, batch_size, seed=0):
        parts = x if isinstance(x, tuple) else (x,)
        ok = len(parts) > 0 and all(isinstance(v, torch.Tensor) and v.ndim > 0 for v in parts)
        require(ok, "x", type(x).__name__, "a tensor (N, ...) or a tuple of such tensors")
        sizes = [len(v) for v in parts]
        require(len(set(sizes)) == 1, "x", sizes, "tensors of one length N")
        ok = isinstance(batch_size, int) and 0 < batch_size <= sizes[0]
        require(ok, "batch_size", batch_size, f"an integer between 1 and the number of samples, {sizes[0]}")
        self.parts, self.single, self.batch_size = parts, not isinstance(x, tuple), batch_size
        self.generator = torch.Generator().manual_seed(seed)
        self._new_epoch()

    def _new_epoch(self):
        self.epoch_state = self.generator.get_state()
        self.order = torch.randperm(len(self.parts[0]), generator=self.generator).to(self.parts[0].device)
        self.position = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.position + self.batch_size > len(self.order):
            self._new_epoch()
        chosen = self.order[self.position : self.position + self.batch_size]
        self.position += self.batch_size
        picked = tuple(v[chosen] for v in self.parts)
        return picked[0] if self.single else picked

    def state_dict(self):
        """What a checkpoint needs to go on with the very next batch."""
        return {"epoch_state": self.epoch_state, "position": self.position}

    def load_state_dict(self, state):
        """Go on where :meth:`state_dict` was taken."""
        self.generator.set_state(state["epoch_state"])
        self._new_epoch()
        self.position = state["position"]


class draws:
    """Endless fresh samples of a distribution: no sample is ever seen twice.

    Args:
        source: a ``torch.distributions`` object, or a function of the batch size.
        batch_size: B, a positive integer.

    Raises:
        ArgumentError: if ``source`` cannot be sampled or ``batch_size`` is not positive.

    >>> next(draws(torch.distributions.Normal(0.0, 1.0), 4)).shape
    torch.Size([4])
    """

    def __init__(self, source, batch_size):
        require(
            hasattr(source, "sample") or callable(source),
            "source",
            source,
            "a distribution, or a function of the batch size",
        )
        require(isinstance(batch_size, int) and batch_size > 0, "batch_size", batch_size, "a positive integer")
        self.source, self.batch_size = source, batch_size

    def __iter__(self):
        return self

    def __next__(self):
        sample = getattr(self.source, "sample", None)
        return sample((self.batch_size,)) if sample else self.source(self.batch_size)

    def state_dict(self):
        """Empty: the randomness is torch's global state, which checkpoints keep anyway."""
        return {}

    def load_state_dict(self, state):
        """Nothing to restore."""
