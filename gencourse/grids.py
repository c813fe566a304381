"""Grids of images, as one array (``tile``) or as a finished picture (``image_grid``)."""

import math
import numbers

import matplotlib
import numpy as np
from matplotlib.textpath import TextPath

from .errors import require
from .picture import DPI, RATIO, STYLE, array, picture


def _images(images):
    """(N, H, W), (N, 1, H, W) or (N, 3, H, W) in [-1, 1] as (N, H, W, 3) in [0, 1]."""
    allowed = "images of shape (N, H, W), (N, 1, H, W) or (N, 3, H, W), with pixels in [-1, 1]"
    x = array("images", images, allowed)
    x = x[:, None] if x.ndim == 3 else x
    require(x.ndim == 4 and x.shape[1] in (1, 3), "images", f"a tensor of shape {np.shape(images)}", allowed)
    require(np.isfinite(x).all(), "images", "a tensor with NaN or infinity", allowed)
    return np.broadcast_to(x.clip(-1, 1).transpose(0, 2, 3, 1), (len(x), *x.shape[2:], 3)) / 2 + 0.5


def _cols(cols, count):
    ok = cols is None or (isinstance(cols, int) and cols >= 1)
    require(ok, "cols", cols, "a whole number, at least 1, or None")
    return min(cols or math.ceil(math.sqrt(count)), count)


def _width(texts):
    """How many pixels the widest line of some texts takes."""
    with matplotlib.rc_context(STYLE):
        lines = [line for text in texts for line in str(text).split("\n") if line.strip()]
        return max((math.ceil(TextPath((0, 0), line).get_extents().x1 * DPI / 72) for line in lines), default=0)


def tile(images, cols=None, gap=1):
    """Images side by side in one array, to put into a panel of your own with ``ax.imshow(tile(x))``.

    Args:
        images: (N, H, W), (N, 1, H, W) or (N, 3, H, W), pixels in [-1, 1] (beyond is clipped).
        cols: images in a row; default about square.
        gap: white pixels between them.

    Returns:
        (rows * (H + gap) - gap, cols * (W + gap) - gap, 3), in [0, 1].

    Raises:
        ArgumentError: if these are no images, or a number is not allowed.

    >>> tile(-np.ones((6, 1, 28, 28)), cols=3).shape
    (57, 86, 3)
    """
    x = _images(images)
    n, height, width, _ = x.shape
    cols = _cols(cols, n)
    require(isinstance(gap, int) and 0 <= gap <= 20, "gap", gap, "a whole number of pixels, 0 to 20")
    rows = math.ceil(n / cols)
    sheet = np.ones((rows * (height + gap) - gap, cols * (width + gap) - gap, 3))
    for i in range(n):
        top, left = i // cols * (height + gap), i % cols * (width + gap)
        sheet[top : top + height, left : left + width] = x[i]
    return sheet


def image_grid(images, cols=None, *, alt, title=None, labels=None, heads=None, scale=1.0):
    """Images as one grid, each pixel an exact square.

    Args:
        images: (N, H, W), (N, 1, H, W) or (N, 3, H, W), pixels in [-1, 1] (beyond is clipped).
        cols: images in a row; default about square.
        labels: a text for each row, at its left. heads: a text for each column, above it.
        scale: 1 is about 560 CSS pixels across at most; 0.5 is half of that.

    Raises:
        ArgumentError: if these are no images, or a number or the count of labels is not allowed.

    >>> image_grid(np.zeros((4, 1, 28, 28)), alt="Four grey squares.")
    Picture: Four grey squares.
    """
    cols, gap = _cols(cols, len(_images(images))), 1
    sheet = tile(images, cols, gap)
    cell = _images(images).shape[1:3]
    rows = (sheet.shape[0] + gap) // (cell[0] + gap)
    require(isinstance(scale, numbers.Real) and 0 < scale <= 4, "scale", scale, "above 0 and at most 4")
    for name, texts, count in (("labels", labels, rows), ("heads", heads, cols)):
        ok = texts is None or (hasattr(texts, "__len__") and len(texts) == count)
        require(ok, name, texts, f"{count} texts (the grid is {rows} x {cols})")
    zoom = max(1, round(min(560 * RATIO / max(sheet.shape[:2]), 6 * 28 / max(cell) * RATIO / 2) * scale))
    high, wide = (side * zoom for side in sheet.shape[:2])
    left, top = (_width(labels) + 24 if labels else 0), (70 if title else 0) + (50 if heads else 0)
    with matplotlib.rc_context(STYLE):
        fig = matplotlib.figure.Figure(figsize=((left + wide) / DPI, (top + high) / DPI), dpi=DPI)
        ax = fig.add_axes((left / (left + wide), 0, wide / (left + wide), high / (top + high)))
        ax.imshow(sheet, interpolation="none", aspect="auto")
        ax.set_axis_off()
        for r, text in enumerate(labels or []):
            y = 1 - (r * (cell[0] + gap) + cell[0] / 2) * zoom / high
            ax.annotate(str(text), (0, y), (-5, 0), "axes fraction", "offset points", ha="right", va="center")
        for c, text in enumerate(heads or []):
            x = (c * (cell[1] + gap) + cell[1] / 2) * zoom / wide
            ax.annotate(str(text), (x, 1), (0, 4), "axes fraction", "offset points", ha="center", va="bottom")
        if title:
            fig.text(0.5, 1 - 12 / (top + high), title, ha="center", va="top", size=12)
    return picture(fig, alt)
