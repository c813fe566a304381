"""Every static figure of the course in one call each, with its alternative text; ``figure`` for those of your own.

Each takes ``alt`` (required: what the picture shows) and ``title``, and returns a ``Picture``. Series are given
as ``{name: numbers}``, tensors on any device or numpy; a name such as "data" or "model" has its colour everywhere.
"""

import math
import numbers

import matplotlib
import numpy as np

from .errors import require
from .picture import DPI, PALETTE, RATIO, STYLE, Picture, Table, array, color, colors_for, figure, number, picture
from .player import animate, explore

__all__ = [
    "image_grid", "tile", "curves", "densities", "histograms", "scatter", "bars", "table",
    "figure", "picture", "color", "PALETTE", "Picture", "Table", "animate", "explore",
]  # fmt: skip


def _series(argument, series):
    require(isinstance(series, dict) and len(series) > 0, argument, series, "a dict of one or more {name: values}")
    return series


def _limits(lim):
    """``lim`` as (low, high): a number means (-lim, lim)."""
    pair = (-lim, lim) if isinstance(lim, numbers.Real) else lim
    ok = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(v, numbers.Real) for v in pair)
    require(ok and pair[0] < pair[1], "lim", lim, "a positive number, or a pair (low, high) with low < high")
    return float(pair[0]), float(pair[1])


def _finish(fig, ax, alt, title=None, legend=False, **names):
    with matplotlib.rc_context(STYLE):
        ax.set(**{key: text for key, text in names.items() if text is not None})
        if legend:
            ax.legend()
        if title:
            fig.suptitle(title)
    return picture(fig, alt)


def _images(images):
    """(N, H, W), (N, 1, H, W) or (N, 3, H, W) in [-1, 1] as (N, H, W, 3) in [0, 1]."""
    allowed = "images of shape (N, H, W), (N, 1, H, W) or (N, 3, H, W), with pixels in [-1, 1]"
    x = array("images", images, allowed)
    x = x[:, None] if x.ndim == 3 else x
    require(x.ndim == 4 and x.shape[1] in (1, 3), "images", f"a tensor of shape {np.shape(images)}", allowed)
    require(np.isfinite(x).all(), "images", "a tensor with NaN or infinity", allowed)
    return np.broadcast_to(x.clip(-1, 1).transpose(0, 2, 3, 1), (len(x), *x.shape[2:], 3)) / 2 + 0.5


def _cols(cols, count):
    require(cols is None or (isinstance(cols, int) and cols >= 1), "cols", cols, "a whole number, at least 1, or None")
    return min(cols or math.ceil(math.sqrt(count)), count)


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
        require(texts is None or len(texts) == count, name, texts, f"{count} texts (the grid is {rows} x {cols})")
    zoom = max(1, round(min(560 * RATIO / max(sheet.shape[:2]), 6 * 28 / max(cell) * RATIO / 2) * scale))
    high, wide = (side * zoom for side in sheet.shape[:2])
    longest = max((len(line) for text in labels or [] for line in str(text).split("\n")), default=0)
    left, top = (16 * longest + 24 if labels else 0), (70 if title else 0) + (50 if heads else 0)
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


def _smoothed(y, window):
    """The mean over ``window`` neighbours, fewer at the ends; NaN and infinity are left out.

    >>> _smoothed(np.array([0.0, 3.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.5]
    """
    good = np.isfinite(y)
    kernel = np.ones(window)
    total, count = (np.convolve(v, kernel)[(window - 1) // 2 :][: len(y)] for v in (np.where(good, y, 0), good))
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def curves(history, keys=None, *, alt, title=None, smooth=None, log=False, hlines=None, xlabel="step", ylabel=None):
    """Training curves: each value pale, their running mean strong.

    Args:
        history: what ``fit`` returned, or ``{name: values}`` with one value for each step.
        keys: which to draw, in order; a list of lists makes a panel of each. Default: all in one.
        smooth: steps in the running mean; 1 for none; default a fortieth of the run.
        log: whether the vertical axis is logarithmic.
        hlines: ``{name: height}`` of dashed lines to compare with.
        xlabel, ylabel: names of the axes.

    Raises:
        ArgumentError: if a key is not in the history, a curve is no row of numbers, or ``smooth`` is not allowed.

    >>> curves({"loss": [3.0, 2.0, 1.5]}, alt="The loss falls from 3 to 1.5.", hlines={"best": 1.0})
    Picture: The loss falls from 3 to 1.5.
    """
    _series("history", history)
    whole = smooth is None or (isinstance(smooth, int) and smooth >= 1)
    require(whole, "smooth", smooth, "a whole number of steps, at least 1, or None")
    keys = list(history) if keys is None else [keys] if isinstance(keys, str) else list(keys)
    panels = keys if keys and all(isinstance(k, (list, tuple)) for k in keys) else [keys]
    for key in (key for panel in panels for key in panel):
        require(key in history, "keys", key, f"in the history, which has {', '.join(map(str, history))}")
    fig, axes = figure(7, 3, cols=len(panels), squeeze=False)
    given = getattr(history, "steps", None)
    for ax, panel in zip(axes[0], panels, strict=True):
        shade = colors_for([*panel, *(hlines or {})])
        for key in panel:
            y = array(str(key), history[key]).ravel()
            x = np.asarray(given) if np.shape(given) == y.shape else np.arange(1, len(y) + 1)
            window = min(smooth or max(1, len(y) // 40), len(y))
            if window > 1:
                ax.plot(x, y, color=shade[key], alpha=0.25, linewidth=0.8)
            ax.plot(x, _smoothed(y, window), color=shade[key], label=str(key))
        for name, height in (hlines or {}).items():
            ax.axhline(float(height), color=PALETTE["ink"], linestyle="--", linewidth=1.2, label=name)
        _scale(ax, log, xlabel, ylabel)
    return _finish(fig, axes[0, 0], alt, title)


def _scale(ax, log, xlabel, ylabel):
    ax.set(xlabel=xlabel, ylabel=ylabel or "", yscale="log" if log else "linear")
    with matplotlib.rc_context(STYLE):
        ax.legend()


def densities(x, series, *, alt, title=None, fill=True, ylim=None, xlabel="x", ylabel="density", colors=None):
    """Densities, or any functions of one variable, over one axis.

    Args:
        x: (N,) where they are known.
        series: ``{name: p}`` with p (N,), or a function of x that returns (N,).
        fill: whether the area below is tinted: True, False, or the names for which it is.
        ylim: (low, high) of the vertical axis; fix it in animations.
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if a density does not have the shape of ``x``.

    >>> x = np.linspace(-3, 3, 50)
    >>> densities(x, {"data": np.exp(-x**2 / 2), "model": lambda x: 0 * x + 0.1}, alt="A bump and a constant.")
    Picture: A bump and a constant.
    """
    at = array("x", x)
    require(at.ndim == 1, "x", f"a tensor of shape {at.shape}", "of shape (N,)")
    fig, ax = figure(7, 3)
    filled = list(series) if fill is True else fill or []
    for name, shade in colors_for(_series("series", series), colors).items():
        p = array(name, series[name](x) if callable(series[name]) else series[name])
        require(p.shape == at.shape, name, f"a tensor of shape {p.shape}", f"of the shape of x, {at.shape}")
        ax.plot(at, p, color=shade, label=name)
        if name in filled:
            ax.fill_between(at, p, color=shade, alpha=0.15, linewidth=0)
    ax.set_xlim(at.min(), at.max())
    return _finish(fig, ax, alt, title, legend=True, xlabel=xlabel, ylabel=ylabel, ylim=ylim)


def histograms(
    series, lim=None, *, alt, title=None, bins=80, curves=None, ylim=None, xlabel="x", ylabel="density", colors=None
):
    """Histograms as densities: each bar is the share of *all* samples in it, over its width, also beyond ``lim``.

    Args:
        series: ``{name: samples}``, samples of any shape, taken as one long row.
        lim: the part of the axis shown: a number for (-lim, lim), or (low, high); default: all samples.
        bins: how many bars.
        curves: ``{name: density}`` drawn over them: a function of x, or a pair (x, p).
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if a number or a series is not allowed.

    >>> histograms({"z": np.random.default_rng(0).normal(size=100)}, lim=4, alt="A bump around 0.", bins=20)
    Picture: A bump around 0.
    """
    require(isinstance(bins, int) and 1 <= bins <= 2000, "bins", bins, "a whole number, 1 to 2000")
    samples = {name: array(name, values).ravel() for name, values in _series("series", series).items()}
    finite = np.concatenate([s[np.isfinite(s)] for s in samples.values()])
    require(finite.size > 0 or lim is not None, "series", series, "samples that are not all NaN or infinite")
    low, high = _limits(lim) if lim is not None else (finite.min(), finite.max() + (np.ptp(finite) == 0))
    edges, x = np.linspace(low, high, bins + 1), np.linspace(low, high, 801)
    shades = colors_for([*samples, *(curves or {})], colors)
    fig, ax = figure(7, 3)
    for name, s in samples.items():
        share = np.histogram(s, edges)[0] / len(s) / (edges[1] - edges[0])
        ax.stairs(share, edges, fill=True, color=shades[name], alpha=0.35, label=name)
        ax.stairs(share, edges, color=shades[name], linewidth=1)
    for name, curve in (curves or {}).items():
        at, p = (x, _on_grid(curve, x)) if callable(curve) else (array(name, v) for v in curve)
        ax.plot(at, p, color=shades[name], label=name)
    return _finish(fig, ax, alt, title, legend=True, xlabel=xlabel, ylabel=ylabel, ylim=ylim, xlim=(low, high))


def _on_grid(function, points):
    """The values of a function of tensors (or of numpy, if it has no use for tensors) at ``points``."""
    import torch

    with torch.no_grad():
        return array("curves", function(torch.as_tensor(points, dtype=torch.float32)))
