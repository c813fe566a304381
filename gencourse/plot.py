"""Every figure of the course in one call each, with its alternative text; ``figure`` for those of your own.

Each takes ``alt`` (required: what the picture shows) and ``title``, and returns a ``Picture``. Series are
given as ``{name: numbers}``, tensors on any device or numpy; "data", "model" and their like always have
the same colour.
"""

import itertools

import numpy as np

from .blind import blind
from .errors import require
from .flow import flow
from .grids import image_grid, tile
from .picture import (
    PALETTE,
    Picture,
    array,
    color,
    colors_for,
    figure,
    finish,
    legend,
    limits,
    need_series,
    on_points,
    picture,
)
from .plane import scatter
from .player import animate, explore
from .table import Table, number, table

__all__ = [
    "image_grid", "tile", "curves", "densities", "histograms", "scatter", "bars", "table",
    "flow", "figure", "picture", "color", "PALETTE", "Picture", "Table", "animate", "explore", "blind",
]  # fmt: skip


def _smoothed(y, window):
    """The mean over ``window`` neighbours, fewer at the ends; NaN and infinity are left out.

    >>> _smoothed(np.array([0.0, 3.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.5]
    """
    good = np.isfinite(y)
    kernel = np.ones(window)
    both = np.where(good, y, 0), good
    total, count = (np.convolve(v, kernel)[(window - 1) // 2 :][: len(y)] for v in both)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _levels(ax, hlines):
    for (name, height), style in zip(hlines.items(), itertools.cycle(("--", ":", "-.")), strict=False):
        ax.axhline(float(height), color=PALETTE["ink"], linestyle=style, linewidth=1.2, label=name)


def curves(
    history, keys=None, *, alt, title=None, smooth=None, log=False, hlines=None, xlabel="step", ylabel=None
):
    """Training curves: each value pale, their running mean strong.

    Args:
        history: what ``fit`` returned, or ``{name: values}`` with a value for each step or (steps, values).
        keys: which to draw, in order; a list of lists makes a panel of each. Default: all in one.
        smooth: steps in the running mean; 1 for none; default a fortieth of the run.
        log: whether the vertical axis is logarithmic.
        hlines: ``{name: height}`` of lines to compare with: the first dashed, the second dotted, the third both.
        xlabel, ylabel: names of the axes.

    Raises:
        ArgumentError: if a key is not in the history, a curve is no row of numbers, or ``smooth`` no number.

    >>> curves({"loss": [3.0, 2.0, 1.5]}, alt="The loss falls from 3 to 1.5.", hlines={"best": 1.0})
    Picture: The loss falls from 3 to 1.5.
    """
    need_series("history", history)
    whole = smooth is None or (isinstance(smooth, int) and smooth >= 1)
    require(whole, "smooth", smooth, "a whole number of steps, at least 1, or None")
    keys = list(history) if keys is None else [keys] if isinstance(keys, str) else list(keys)
    panels = keys if keys and all(isinstance(k, (list, tuple)) for k in keys) else [keys]
    for key in (key for panel in panels for key in panel):
        require(key in history, "keys", key, f"in the history, which has {', '.join(map(str, history))}")
    fig, axes = figure(7, 3, cols=len(panels), squeeze=False)
    for ax, panel in zip(axes[0], panels, strict=True):
        shade = colors_for([*panel, *(hlines or {})])
        for key in panel:
            x, y = _steps(key, history[key])
            window = min(smooth or max(1, len(y) // 40), len(y))
            if window > 1:
                ax.plot(x, y, color=shade[key], alpha=0.25, linewidth=0.8)
            ax.plot(x, _smoothed(y, window), color=shade[key], label=str(key))
        _levels(ax, hlines or {})
        ax.set(xlabel=xlabel, ylabel=ylabel or "", yscale="log" if log else "linear")
        ax.margins(x=0.01)
        legend(ax)
    return finish(fig, axes[0, 0], alt, title)


def _steps(key, values):
    """A curve as (steps, values); without steps of its own it has one value for each."""
    given, values = values if isinstance(values, tuple) and len(values) == 2 else (None, values)
    y = array(str(key), values).ravel()
    x = np.arange(1, len(y) + 1) if given is None else array(str(key), given).ravel()
    require(len(x) == len(y), str(key), f"{len(x)} steps and {len(y)} values", "as many steps as values")
    return x, y


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
    >>> densities(x, {"data": np.exp(-x**2 / 2), "model": lambda x: 0 * x + 0.1}, alt="A bump and a line.")
    Picture: A bump and a line.
    """
    at = array("x", x)
    require(at.ndim == 1, "x", f"a tensor of shape {at.shape}", "of shape (N,)")
    fig, ax = figure(7, 3)
    filled = list(series) if fill is True else fill or []
    for name, shade in colors_for(need_series("series", series), colors).items():
        p = array(name, series[name](x) if callable(series[name]) else series[name])
        require(p.shape == at.shape, name, f"a tensor of shape {p.shape}", f"of the shape of x, {at.shape}")
        ax.plot(at, p, color=shade, label=name)
        if name in filled:
            ax.fill_between(at, p, color=shade, alpha=0.15, linewidth=0)
    ax.set_xlim(at.min(), at.max())
    legend(ax, still=ylim is not None)
    return finish(fig, ax, alt, title, xlabel=xlabel, ylabel=ylabel, ylim=ylim)


def histograms(
    series, lim=None, *, alt, title=None, bins=80, curves=None, ylim=None, xlabel="x", ylabel="density", colors=None
):
    """Histograms as densities: the share of *all* samples (also beyond ``lim``) in a bar, over its width.

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
    samples = {name: array(name, values).ravel() for name, values in need_series("series", series).items()}
    finite = np.concatenate([s[np.isfinite(s)] for s in samples.values()])
    require(finite.size > 0 or lim is not None, "series", series, "samples that are not all NaN or infinite")
    low, high = limits(lim) if lim is not None else (finite.min(), finite.max() + (np.ptp(finite) == 0))
    edges, x = np.linspace(low, high, bins + 1), np.linspace(low, high, 801)
    shades = colors_for([*samples, *(curves or {})], colors)
    fig, ax = figure(7, 3)
    for name, s in samples.items():
        share = np.histogram(s, edges)[0] / len(s) / (edges[1] - edges[0])
        ax.stairs(share, edges, fill=True, color=shades[name], alpha=0.35, label=name)
        ax.stairs(share, edges, color=shades[name], linewidth=1)
    for name, curve in (curves or {}).items():
        at, p = (x, on_points(name, curve, x)) if callable(curve) else (array(name, v) for v in curve)
        ax.plot(at, p, color=shades[name], label=name)
    legend(ax, still=ylim is not None)
    return finish(fig, ax, alt, title, xlabel=xlabel, ylabel=ylabel, ylim=ylim, xlim=(low, high))


def bars(values, *, alt, title=None, ylabel=None, log=False, hlines=None, digits=3, colors=None):
    """One bar for each name, its value written above it.

    Args:
        values: ``{name: value}`` or ``{name: (mean, sd)}``; the spread becomes a whisker.
        log: whether the axis is logarithmic. digits: significant figures of what is written.
        hlines: ``{name: height}`` of lines to compare with: the first dashed, the second dotted, the third both.
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if a value is neither a number nor a pair of numbers.

    >>> bars({"model": 0.5, "other": (0.7, 0.1)}, alt="The other bar is higher.", ylabel="share")
    Picture: The other bar is higher.
    """
    pairs = {}
    for name, value in need_series("values", values).items():
        pairs[name] = array(name, value, "a number, or a pair (mean, sd)").ravel()
        require(len(pairs[name]) <= 2, name, value, "a number, or a pair (mean, sd)")
    shades = colors_for(pairs, colors)
    fig, ax = figure(max(3.2, min(1.0 + 1.1 * len(pairs), 9)), 3)
    for i, (name, pair) in enumerate(pairs.items()):
        spread = pair[1] if len(pair) == 2 else None
        ax.bar(i, pair[0], yerr=spread, color=shades[name], width=0.65, capsize=4, ecolor=PALETTE["ink"])
        up = pair[0] >= 0
        end, away = pair[0] + (spread or 0) * (1 if up else -1), (0, 3 if up else -3)
        ax.annotate(
            number(float(pair[0]), digits), (i, end), away, textcoords="offset points", ha="center",
            va="bottom" if up else "top",
        )  # fmt: skip
    _levels(ax, hlines or {})
    ax.set_xticks(range(len(pairs)), [str(name) for name in pairs])
    ax.grid(False, axis="x")
    ax.set_yscale("log" if log else "linear")
    ax.margins(y=0.15)
    if hlines:
        legend(ax)
    return finish(fig, ax, alt, title, ylabel=ylabel)
