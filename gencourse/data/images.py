"""Images: MNIST, FashionMNIST, the digits of scikit-learn that stand in for them without a network, and emoji."""

import contextlib
import functools
import gzip
import hashlib
import html
import json
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from ..errors import DataError, require
from ..runtime import in_kernel
from .download import download, root, temporary

HERE = Path(__file__).parent
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CONTENT = {  # md5 of the files themselves: an archive may have been packed again
    "MNIST": dict(zip(FILES, (
        "6bbc9ace898e44ae57da46a324031adb", "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea", "27ae3e4e09519cfbb04c329615203637",
    ))),
    "FashionMNIST": dict(zip(FILES, (
        "f4a8712d7a061bf5bd6d2ca38dc4d50a", "9018921c3c673c538a1fc5bad174d6f9",
        "8181f5470baa50b63fa0f6fddb340f0a", "15d484375f8d13e6eb1aabb0c3f46965",
    ))),
}  # fmt: skip
stands_for = {name: name for name in CONTENT}  # what you got for each set; digits once they have stood in


class Images(NamedTuple):
    """Images ``x`` (N, C, H, W) float32 in [-1, 1], classes ``y`` (N,) int64, and the ``name`` of the set."""

    x: torch.Tensor
    y: torch.Tensor
    name: str


def found(name: str) -> bool:
    """Whether all four files of "MNIST" or "FashionMNIST" lie in :func:`root`, packed or not, as they should be."""
    return all(_at_hand(name, file, [root()]) for file in CONTENT[name])


def _at_hand(name, file, folders):
    """The content of an idx file in one of these folders, as an archive or unpacked; None if there is no right one."""
    for folder in folders:
        for path in (folder / name / "raw" / f"{file}.gz", folder / name / "raw" / file):
            with contextlib.suppress(OSError, EOFError, zlib.error):  # not there, not readable, or damaged
                content = gzip.decompress(path.read_bytes()) if path.suffix else path.read_bytes()
                if hashlib.md5(content).hexdigest() == CONTENT[name][file]:
                    return content
    return None


def _content(name, file):
    """The content of an idx file: at hand, or downloaded; the list of archives is torchvision's own."""
    content = _at_hand(name, file, [root(), temporary()])
    if content is None:
        from torchvision import datasets  # slow to import

        data_set, archive = getattr(datasets, name), f"{file}.gz"
        addresses = [mirror + archive for mirror in data_set.mirrors]
        path = download(f"{name}/raw/{archive}", dict(data_set.resources)[archive], addresses)
        content = gzip.decompress(path.read_bytes())
    return content


@functools.cache
def _why_not(name, folder):
    """Why a set cannot be had, once a session for both of its splits; "" if it can."""
    try:
        for file in CONTENT[name]:
            _content(name, file)
    except DataError as error:
        return f"{error} An unpacked one will do too."
    return ""


def _load(name, split, device):
    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    if reason := _why_not(name, root()):
        stands_for[name] = "digits"
        announce_substitute(name, "the 1,797 small digits that ship with scikit-learn stand in until the kernel is "
                            "started again", reason)  # fmt: skip
        return digits(split, device)
    files = list(CONTENT[name])
    x, y = (_read_idx(_content(name, file)) for file in (files[:2] if split == "train" else files[2:]))
    x = x.unsqueeze(1).float().div_(127.5).sub_(1)  # bytes 0..255 -> [-1, 1]
    return Images(x.to(device), y.long().to(device), name)


def _read_idx(raw):
    """The array in an idx file: byte 3 holds the rank, then come big-endian sizes, then bytes."""
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape).copy())


def mnist(split="train", device=None) -> Images:
    """MNIST: 60,000 (train) or 10,000 (test) handwritten digits, all in memory, on ``device``.

    With no network and no copy at hand, :func:`digits` stands in, and a banner says so.

    Args:
        split: "train" or "test".
        device: where to put the tensors; default the CPU.

    Returns:
        x (N, 1, 28, 28) float32 in [-1, 1], y (N,) int64 in 0..9, and the name of the set that you really got.

    Raises:
        ValueError: for another split.

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

    8x8 originals, enlarged to 20x20 and padded to 28x28, as MNIST's digits are. As :func:`mnist`.

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


def emoji(split="train", device=None) -> Images:
    """1,906 emoji in colour, 64x64 on white, in nine categories; they ship with the course: no network needed.

    Every tenth one is a test picture. As :func:`mnist`, but x is (N, 3, 64, 64), red, green and blue in [-1, 1], and y
    is in 0..8: activities, animals, flags, food, objects, people, smileys, symbols, travel.

    Source: Twemoji, copyright Twitter, Inc. and other contributors, https://github.com/jdecked/twemoji, licence CC BY
    4.0, https://creativecommons.org/licenses/by/4.0/; composited on white, without the variants of skin tone.

    >>> emoji("test").x.shape
    torch.Size([191, 3, 64, 64])
    """
    from PIL import Image

    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    known = json.loads((HERE / "twemoji64.json").read_text("utf-8"))
    y, columns, side = torch.tensor(known["category"]), known["columns"], known["size"]
    with Image.open(HERE / "twemoji64.webp") as sheet:  # rows of pictures, the last one not full
        pixels = torch.from_numpy(np.asarray(sheet.convert("RGB"), dtype=np.float32) / 127.5 - 1)
    x = pixels.view(-1, side, columns, side, 3).permute(0, 2, 4, 1, 3).flatten(0, 1)[: len(y)]
    chosen = (torch.arange(len(y)) % 10 == 0) == (split == "test")
    return Images(x[chosen].to(device), y[chosen].to(device), "emoji")


def announce_substitute(name, instead, error):
    """Tell the reader, in a way that cannot be missed, that another data set stands in."""
    message = f"{name} could not be loaded, so {instead}: numbers differ from the text. The reason: {error}"
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
        seed: an integer for static binarization: drawn once, the same on every machine, whose likelihoods can be
            compared. None for dynamic binarization: drawn again at each call, from torch's global generator, so that
            a training set never repeats.

    Returns:
        float32 of the same shape, on the same device, with values 0 and 1.

    Raises:
        ValueError: if ``x`` leaves [-1, 1] by more than 0.001.

    Source: Salakhutdinov & Murray (2008), "On the quantitative analysis of deep belief networks", for the practice.

    >>> binarize(torch.tensor([[-1.0, 1.0, 1.0]])).tolist()
    [[0.0, 1.0, 1.0]]
    >>> binarize(torch.zeros(1, 6), seed=0).tolist()
    [[0.0, 0.0, 0.0, 0.0, 1.0, 0.0]]
    """
    if x.device.type == "cpu" and not (x.abs() <= 1 + 1e-3).all():  # refuses NaN too
        require(False, "x", f"values from {x.min():.4g} to {x.max():.4g}", "in [-1, 1], as all images of the course")
    if seed is None:
        return (torch.rand_like(x, dtype=torch.float32) < (x.float() + 1) / 2).float()
    # NumPy promises that the stream of RandomState never changes; torch and NumPy's newer generators promise nothing
    stream = np.random.RandomState(seed)
    result = torch.empty(x.shape, dtype=torch.float32)
    for images, drawn in zip(x.detach().split(1000), result.split(1000)):  # float64 of all at once would be large
        p = ((images.cpu().double() + 1) * 127.5).round() / 255  # of the byte: float32 rounds differently elsewhere
        drawn.copy_(torch.from_numpy(stream.random_sample(images.shape)) < p)
    return result.to(x.device)
