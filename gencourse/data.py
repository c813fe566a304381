"""Data: handwritten digits and clothes, and batches of anything. Toy sets stand in toys.py."""

import html
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from .archives import archives, fetch, found, read_idx, root
from .errors import DataError, is_whole, require, require_seed
from .runtime import in_kernel
from .texts import Text
from .texts import load as load_text
from .toys import TOY_SETS, grid_of_gaussians, mixture_1d, ring_of_gaussians, toy

__all__ = [
    "TOY_SETS",
    "Images",
    "Text",
    "batches",
    "binarize",
    "digits",
    "draws",
    "fashion_mnist",
    "found",
    "grid_of_gaussians",
    "mixture_1d",
    "mnist",
    "ring_of_gaussians",
    "root",
    "text",
    "toy",
]


class Images(NamedTuple):
    """Images ``x`` (N, 1, 28, 28) float32 in [-1, 1], classes ``y`` (N,) int64, and the ``name`` of the set."""

    x: torch.Tensor
    y: torch.Tensor
    name: str


def _check(split, device):
    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    _check_device(device)


def _check_device(device):
    try:
        torch.empty(0, device=device)
    except (TypeError, RuntimeError, AssertionError) as error:  # the last: a torch that was built without CUDA
        reason = str(error).splitlines()[0]
        require(False, "device", device, f"None or a device of this machine, e.g. gc.device() ({reason})")


def _load(name, split, device):
    _check(split, device)
    try:
        x, y = (torch.from_numpy(read_idx(fetch(name, *archive))) for archive in archives(name, split))
    except DataError as error:
        _banner(name, "the 1,797 small digits that ship with scikit-learn stand in", error)
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
        ArgumentError: for another split, or a device that is not there.

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

    _check(split, device)
    bundle = load_digits()
    part = slice(0, 1500) if split == "train" else slice(1500, None)
    x = torch.from_numpy(bundle.images[part]).float().unsqueeze(1) / 8 - 1  # 0..16 -> [-1, 1]
    x = torch.nn.functional.interpolate(x, size=(20, 20), mode="bilinear", align_corners=False)
    x = torch.nn.functional.pad(x, (4, 4, 4, 4), value=-1.0)
    return Images(x.to(device), torch.from_numpy(bundle.target[part]).long().to(device), "digits")


def text(name="shakespeare", device=None) -> Text:
    """Text, cut into 90 % for training and 10 % for testing.

    Args:
        name: "shakespeare" (1.1 million characters of plays), "names" (32,033 names, one per line, in an order drawn
            once for all), "prose" (the words of this course, offline), or the pathlib.Path of a UTF-8 text of yours.
        device: where to put the tensors; default the CPU.

    Returns:
        The text that you really got: with no network and no copy at hand, "prose", and a banner says so.

    Raises:
        ArgumentError: for another name.
        DataError: if your file is not there, is no text, or is too short.

    Source: Karpathy (2015), https://github.com/karpathy/char-rnn, and https://github.com/karpathy/makemore.

    >>> text("prose").name
    'prose'
    """
    _check_device(device)
    try:
        return load_text(name, device)
    except DataError as error:
        if isinstance(name, Path):
            raise
        _banner(name, "the prose of this course stands in", error)
        return load_text("prose", device)


def _banner(name, instead, error):
    """Tell the reader, in a way that cannot be missed, that another data set stands in."""
    message = (
        f"{name} could not be loaded, so {instead}. Everything runs, samples are coarser, and numbers differ from the "
        f"text. Why: {error}"
    )
    if not in_kernel():
        warnings.warn(message, stacklevel=4)
        return
    from IPython.display import HTML, display

    style = "border:3px solid #d55e00;padding:.6em 1em;font-size:110%"
    display(HTML(f'<div role="alert" style="{style}"><b>Substitute data.</b> {html.escape(message)}</div>'))


def binarize(x, seed=None) -> torch.Tensor:
    """Black-and-white images drawn from grey ones: a pixel x in [-1, 1] becomes 1 with probability (x + 1) / 2.

    Args:
        x: images in [-1, 1] of any shape (N, ...), floating point.
        seed: an integer for static binarization: one draw, the same for ever and on every machine, whose
            likelihoods can be compared. None for dynamic binarization: drawn anew at each call, from torch's global
            generator, so that a training set never repeats.

    Returns:
        float32 of the same shape, on the same device, with values 0 and 1.

    Raises:
        ArgumentError: if ``x`` is not floating point or leaves [-1, 1] by more than 0.001, or for a bad seed.

    Source: Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks", for the practice.

    >>> binarize(torch.tensor([[-1.0, 1.0, 1.0]])).tolist()
    [[0.0, 1.0, 1.0]]
    >>> binarize(torch.zeros(1, 6), seed=0).tolist()
    [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    ok = isinstance(x, torch.Tensor) and x.ndim > 0 and x.is_floating_point()
    shown = f"{x.dtype} of shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else x
    require(ok, "x", shown, "images: a floating-point tensor of shape (N, ...)")
    if not (x.abs() <= 1 + 1e-3).all():  # refuses NaN too
        require(False, "x", f"values from {x.min():.4g} to {x.max():.4g}", "in [-1, 1], as all images of the course")
    if seed is None:
        return (torch.rand_like(x, dtype=torch.float32) < (x.float() + 1) / 2).float()
    require_seed(seed)
    # NumPy promises that the stream of RandomState never changes; torch and NumPy's newer generators promise nothing
    stream = np.random.RandomState(int(seed))
    result = torch.empty(x.shape, dtype=torch.float32)
    for images, drawn in zip(x.detach().split(1000), result.split(1000)):  # float64 of all at once would be large
        p = ((images.cpu().double() + 1) * 127.5).round() / 255  # of the byte: float32 rounds differently elsewhere
        drawn.copy_(torch.from_numpy(stream.random_sample(images.shape)) < p)
    return result.to(x.device)


class batches:
    """Endless shuffled minibatches, indexed where the data lies (no copies, no workers).

    Every epoch is a new random order; the last, incomplete batch of an epoch is dropped.

    Args:
        x: a tensor (N, ...), or a tuple of tensors that share N; yields (B, ...) or a tuple of them.
        batch_size: B, between 1 and N.
        seed: of the order; the global random state is left alone.

    Raises:
        ArgumentError: if ``x`` is no tensor or tuple of equally long tensors, or ``batch_size`` or
            ``seed`` is out of range.

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
        devices = [str(v.device) for v in parts]
        require(len(set(devices)) == 1, "x", devices, "tensors on one device")
        ok = is_whole(batch_size) and 0 < batch_size <= sizes[0]
        require(ok, "batch_size", batch_size, f"an integer between 1 and the number of samples, {sizes[0]}")
        require_seed(seed)
        self.parts, self.single, self.batch_size = parts, not isinstance(x, tuple), batch_size
        self.generator = torch.Generator().manual_seed(int(seed))
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
        picked = tuple(v.index_select(0, chosen) for v in self.parts)  # on the CPU twice as fast as v[chosen]
        return picked[0] if self.single else picked

    def state_dict(self):
        """What a checkpoint needs to go on with the very next batch."""
        return {"epoch_state": self.epoch_state, "position": self.position, "n": len(self.order)}

    def load_state_dict(self, state):
        """Go on where :meth:`state_dict` was taken.

        Raises:
            ArgumentError: if that was over another number of samples: their order would mean nothing here.
        """
        require(state["n"] == len(self.order), "n", state["n"], f"the number of samples, {len(self.order)}")
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
        ok = hasattr(source, "sample") or callable(source)
        require(ok, "source", source, "a distribution, or a function of the batch size")
        require(is_whole(batch_size) and batch_size > 0, "batch_size", batch_size, "a positive integer")
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
