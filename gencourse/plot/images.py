"""Grids of images."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.textpath import TextPath

from ..errors import require
from .style import DPI, RATIO, array, show

GAP = 1  # white pixels between two images


def _sheet(images, cols):
    """(N, H, W), (N, 1, H, W) or (N, 3, H, W) in [-1, 1] as one array (height, width, 3) in [0, 1]."""
    x = array(images)
    x = x[:, None] if x.ndim == 3 else x
    right = x.ndim == 4 and x.shape[1] in (1, 3) and len(x) > 0
    require(right, "images", f"shape {x.shape}", "(N, H, W), (N, 1, H, W) or (N, 3, H, W), N > 0")
    require(not np.isnan(x).any(), "images", "NaN", "pixels in [-1, 1]")
    n, _, height, width = x.shape
    rows = math.ceil(n / cols)
    x = np.broadcast_to(x.clip(-1, 1).transpose(0, 2, 3, 1) / 2 + 0.5, (n, height, width, 3))
    x = np.pad(x, ((0, rows * cols - n), (0, GAP), (0, GAP), (0, 0)), constant_values=1)
    x = x.reshape(rows, cols, height + GAP, width + GAP, 3).swapaxes(1, 2)
    return x.reshape(rows * (height + GAP), cols * (width + GAP), 3)[:-GAP, :-GAP]


def _width(texts):
    """How many pixels the widest line of some texts takes."""
    lines = [line for text in texts for line in str(text).split("\n") if line.strip()]
    return max((math.ceil(TextPath((0, 0), line).get_extents().x1 * DPI / 72) for line in lines), default=0)


def image_grid(images, cols=None, *, alt, title=None, labels=None, heads=None, scale=1.0):
    """Images as one grid, each pixel an exact square.

    Args:
        images: (N, H, W), (N, 1, H, W) or (N, 3, H, W), pixels in [-1, 1] (beyond is clipped).
        cols: images in a row; default about square.
        labels: a text for each row, at its left. heads: a text for each column, above it.
        scale: 1 is about 560 CSS pixels across at most; 0.5 is half of that.

    Returns:
        Picture.

    Raises:
        ValueError: if these are no images, if labels or heads do not fit the grid, or if ``alt`` is empty.

    >>> image_grid(-np.ones((6, 1, 28, 28)), cols=3, alt="Six black squares.", scale=0.5).size
    (129, 86)
    """
    cols = min(cols or math.ceil(math.sqrt(len(images))), len(images))
    sheet, rows = _sheet(images, cols), math.ceil(len(images) / cols)
    for name, texts, count in (("labels", labels, rows), ("heads", heads, cols)):
        require(texts is None or len(texts) == count, name, texts, f"{count} texts (the grid is {rows} x {cols})")
    cell = images.shape[-2:]
    zoom = max(1, round(min(560 * RATIO / max(sheet.shape[:2]), 6 * 28 / max(cell) * RATIO / 2) * scale))
    height, width = (side * zoom for side in sheet.shape[:2])
    left, top = (_width(labels) + 24 if labels else 0), (70 if title else 0) + (50 if heads else 0)
    fig = Figure(figsize=((left + width) / DPI, (top + height) / DPI), layout="none")
    ax = fig.add_axes((left / (left + width), 0, width / (left + width), height / (top + height)))
    ax.imshow(sheet, interpolation="none", aspect="auto")
    ax.set_axis_off()
    for r, text in enumerate(labels or []):
        y = 1 - (r * (cell[0] + GAP) + cell[0] / 2) * zoom / height
        ax.annotate(str(text), (0, y), (-5, 0), "axes fraction", "offset points", ha="right", va="center")
    for c, text in enumerate(heads or []):
        x = (c * (cell[1] + GAP) + cell[1] / 2) * zoom / width
        ax.annotate(str(text), (x, 1), (0, 4), "axes fraction", "offset points", ha="center", va="bottom")
    if title:
        fig.text(0.5, 1 - 12 / (top + height), title, ha="center", va="top", size=12)
    return show(fig, alt=alt)
