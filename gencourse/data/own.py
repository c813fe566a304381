"""Pictures of your own: a folder, an array of NumPy, or a table of pixels."""

import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch.nn.functional import interpolate

from ..errors import DataError, require
from .images import Images

KINDS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)  # the weights of ITU-R BT.601, which Pillow uses too


def folder(path, split="train", *, size=28, channels=3, device=None) -> Images:
    """Pictures of your own, all in memory; every tenth one is a test picture.

    Args:
        path: a folder of pictures of any size and mode (PNG, JPEG, WebP and others), each of its subfolders a class;
            or an array .npy or .npz, (N, H, W), (N, H, W, C) or (N, C, H, W), of bytes or of numbers in [0, 1] or
            [-1, 1], in .npz with the classes beside it; or a table .csv with one picture a line, its class in front of
            its pixels or left out, as on Kaggle.
        split: "train" or "test".
        size: pixels of a side; the middle square of each picture is resized to it.
        channels: 1 for grey, 3 for colour. What is transparent becomes white.
        device: where to put the tensors; default the CPU.

    Returns:
        x (N, channels, size, size) float32 in [-1, 1], y (N,) int64, 0 where there are no classes, and the path's name.

    Raises:
        ValueError: for another split, or other channels.
        DataError: if nothing is there, or a file cannot be read; it names the file.
    """
    path = Path(path).expanduser()
    require(split in ("train", "test"), "split", split, "'train' or 'test'")
    require(channels in (1, 3), "channels", channels, "1 or 3")
    read = _pictures if path.is_dir() else {".npy": _array, ".npz": _array, ".csv": _table}.get(path.suffix.lower())
    if read is None or not path.exists():
        raise DataError(f"{path} is no folder, and no file .npy, .npz or .csv that is there. (A relative path begins "
                        "in the folder of the notebook.)")  # fmt: skip
    x, y = read(path, int(size), channels)
    chosen = (torch.arange(len(x)) % 10 == 0) == (split == "test")
    return Images(x[chosen].to(device), y[chosen].to(device), path.stem)


def _pictures(path, size, channels):
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in KINDS)
    if not files:
        raise DataError(f"There are no pictures in {path} (looked for {', '.join(KINDS)}).")
    kinds = [file.relative_to(path).parts[0] if file.parent != path else "" for file in files]
    number = {kind: i for i, kind in enumerate(sorted(set(kinds)))}
    x = torch.stack([torch.from_numpy(_picture(file, size, channels)) for file in files])
    return x.movedim(3, 1), torch.tensor([number[kind] for kind in kinds])


def _picture(file, size, channels):
    """(size, size, channels) float32 in [-1, 1]"""
    try:
        with Image.open(file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):  # 16 bits
                image = Image.fromarray((np.asarray(image) // 256).clip(0, 255).astype(np.uint8))
            image = image.convert("RGBA")
    except Exception as error:  # whatever Pillow's readers raise
        raise DataError(f"{file} cannot be read as a picture ({error}). Remove it, or save it again.") from error
    white = Image.new("RGBA", image.size, "white")
    square = ImageOps.fit(Image.alpha_composite(white, image), (size, size)).convert("L" if channels == 1 else "RGB")
    return np.asarray(square, dtype=np.float32).reshape(size, size, channels) / 127.5 - 1


def _array(path, size, channels):
    try:
        found = np.load(path, allow_pickle=False)
        arrays = [found] if isinstance(found, np.ndarray) else [found[name] for name in found.files]
    except Exception as error:  # whatever NumPy's readers raise
        raise DataError(f"{path} cannot be read as arrays of NumPy ({error}).") from error
    x = next((v for v in arrays if v.ndim in (3, 4)), np.zeros(0))
    y = next((v for v in arrays if v.ndim == 1 and len(v) == len(x) and v.dtype.kind in "iu"), None)
    y = np.zeros(len(x), dtype=np.int64) if y is None else y
    return _fitted(path, x, size, channels), torch.tensor(y).long()


def _table(path, size, channels):
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline()
        head = any(c.isalpha() for c in first)
        rows = np.loadtxt(path, np.float32, delimiter=",", skiprows=int(head), ndmin=2, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a table of numbers ({error}).") from error
    side = math.isqrt(rows.shape[1])
    labelled = rows.shape[1] == side**2 + 1
    if side < 2 or rows.shape[1] - labelled != side**2:
        raise DataError(f"{path} has {rows.shape[1]} columns; square pictures have 784, or 785 with a class in front.")
    y = torch.tensor(rows[:, 0] if labelled else 0 * rows[:, 0]).long()
    return _fitted(path, rows[:, int(labelled) :].reshape(-1, side, side), size, channels), y


def _fitted(path, x, size, channels):
    """An array of pictures as (N, channels, size, size) in [-1, 1]."""
    bytewise = x.dtype.kind in "iub"
    x = torch.as_tensor(np.ascontiguousarray(x), dtype=torch.float32)
    x = x[:, None] if x.ndim == 3 else x.movedim(3, 1) if x.ndim == 4 and x.shape[3] in (1, 3, 4) else x
    low, high = (x.min().item(), x.max().item()) if x.numel() else (math.nan, math.nan)
    known = -1 <= low and high <= (255 if low >= 0 else 1)
    if x.ndim != 4 or x.shape[1] not in (1, 3, 4) or not known:
        raise DataError(f"{path} holds no pictures: shape {tuple(x.shape)}, values from {low:g} to {high:g}. Give "
                        "bytes, or numbers in [0, 1] or [-1, 1]: (N, H, W), (N, H, W, C) or (N, C, H, W).")  # fmt: skip
    x = x / 127.5 - 1 if bytewise or high > 1 else x if low < 0 else 2 * x - 1
    x = x[:, :3]
    x = (x * GREY).sum(1, keepdim=True) if channels == 1 and x.shape[1] == 3 else x.expand(-1, channels, -1, -1)
    height, width = x.shape[2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    x = x[:, :, top : top + side, left : left + side]
    x = interpolate(x, (size, size), mode="bilinear", antialias=True) if side != size else x
    return x.clamp(-1, 1).contiguous()
