"""Every static figure of the course in one call each, with its alternative text; ``figure`` for those of your own.

Each takes ``alt`` (required: what the picture shows) and ``title``, and returns a ``Picture``. Series are given
as ``{name: numbers}``, tensors on any device or numpy; a name such as "data" or "model" has its colour everywhere.
"""

import numbers

import matplotlib
import numpy as np

from .errors import require
from .grids import image_grid, tile
from .picture import PALETTE, STYLE, Picture, array, color, colors_for, figure, picture
from .player import animate, explore
from .table import Table, number, table

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
        history: what ``fit`` returned, or ``{name: values}`` with one value for each step, or (steps, values).
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
    for ax, panel in zip(axes[0], panels, strict=True):
        shade = colors_for([*panel, *(hlines or {})])
        for key in panel:
            x, y = _steps(key, history[key])
            window = min(smooth or max(1, len(y) // 40), len(y))
            if window > 1:
                ax.plot(x, y, color=shade[key], alpha=0.25, linewidth=0.8)
            ax.plot(x, _smoothed(y, window), color=shade[key], label=str(key))
        for name, height in (hlines or {}).items():
            ax.axhline(float(height), color=PALETTE["ink"], linestyle="--", linewidth=1.2, label=name)
        _scale(ax, log, xlabel, ylabel)
    return _finish(fig, axes[0, 0], alt, title)


def _steps(key, values):
    """A curve as (steps, values); without steps of its own it has one value for each."""
    given, values = values if isinstance(values, tuple) and len(values) == 2 else (None, values)
    y = array(str(key), values).ravel()
    x = np.arange(1, len(y) + 1) if given is None else array(str(key), given).ravel()
    require(len(x) == len(y), str(key), f"{len(x)} steps and {len(y)} values", "as many steps as values")
    return x, y


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


def _field(field, lim):
    """(xx, yy, values) of a field given so, or of a function of points (M, 2) on the square ``lim``."""
    if not callable(field):
        ok = isinstance(field, (tuple, list)) and len(field) == 3
        require(ok, "field", field, "a function of points (M, 2), or (xx, yy, values)")
        xx, yy, values = (array("field", part) for part in field)
        require(values.ndim == 2, "field", f"values of shape {values.shape}", "(xx, yy, values) with values (H, W)")
        return xx, yy, values
    side = np.linspace(*lim, 121)
    xx, yy = np.meshgrid(side, side)
    values = _on_grid(field, np.stack([xx.ravel(), yy.ravel()], 1))
    require(values.size == xx.size, "field", f"a function that returned {values.shape}", f"one that returns ({xx.size},)")
    return xx, yy, values.reshape(xx.shape)


def _panels(series):
    """``{title: {name: points}}`` as it is, ``{name: points}`` as its one panel."""
    nested = all(isinstance(v, dict) for v in series.values())
    return series if nested and series else {None: series}


def scatter(
    series, lim=None, *, alt, title=None, field=None, field_name=None, levels=12, size=None, width=None, colors=None
):
    """Points in the plane, over a field if wanted; one panel, or several side by side.

    Args:
        series: ``{name: (N, 2)}``, or ``{panel: {name: (N, 2)}}`` for several panels.
        lim: a number for (-lim, lim) on both axes, or (low, high); default: all points.
        field: a function of points (M, 2, float32, on the CPU) that returns (M,), or (xx, yy, values) with
            values (H, W); drawn in shades behind the points.
        field_name: what the colour bar says. levels: how many shades, or their limits.
        size: area of a dot, in square points; default by their number.
        width: of the whole figure in inches.
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if points are not (N, 2), or the field is none.

    >>> scatter({"data": np.eye(2)}, lim=2, field=lambda xy: xy[:, 0], alt="Two points over a slope.")
    Picture: Two points over a slope.
    """
    panels = {p: {n: _points(n, v) for n, v in s.items()} for p, s in _panels(_series("series", series)).items()}
    every = np.concatenate([points for panel in panels.values() for points in panel.values()])
    every = every[np.isfinite(every).all(1)]
    require(len(every) > 0 or lim is not None, "series", series, "points that are not all NaN or infinite")
    reach = _limits(lim) if lim is not None else (every.min() - 0.05 * np.ptp(every), every.max() + 0.05 * np.ptp(every))
    width = width or (5.2 if len(panels) == 1 else min(3.6 * len(panels), 11))
    shades = colors_for(dict.fromkeys(name for panel in panels.values() for name in panel), colors)
    fig, axes = figure(width, 0.3 + 0.93 * width / len(panels), cols=len(panels), squeeze=False)
    behind = None if field is None else _field(field, reach)
    for ax, (heading, panel) in zip(axes[0], panels.items(), strict=True):
        if behind is not None:
            shown = ax.contourf(*behind, levels=levels, cmap="cividis", alpha=0.6)
        for name, points in panel.items():
            area = size or min(30, max(2, 6000 / len(points)))
            ax.scatter(*points.T, s=area, color=shades[name], alpha=0.7, linewidths=0, label=name)
        ax.set(xlim=reach, ylim=reach, aspect="equal", title=heading or "")
        _legend(ax)
    if behind is not None:
        fig.colorbar(shown, ax=list(axes[0]), label=field_name or "", shrink=0.85)
    return _finish(fig, axes[0, 0], alt, title)


def _points(name, values):
    points = array(name, values)
    require(points.ndim == 2 and points.shape[1] == 2, name, f"a tensor of shape {points.shape}", "points of shape (N, 2)")
    return points


def _legend(ax):
    with matplotlib.rc_context(STYLE):
        for handle in ax.legend(loc="upper right").legend_handles:
            handle.set_alpha(1)
            handle.set_sizes([30])


def bars(values, *, alt, title=None, ylabel=None, log=False, hlines=None, digits=3, colors=None):
    """One bar for each name, its value written above it.

    Args:
        values: ``{name: value}`` or ``{name: (mean, sd)}``; the spread becomes a whisker.
        log: whether the axis is logarithmic. digits: significant figures of what is written.
        hlines: ``{name: height}`` of dashed lines to compare with.
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if a value is neither a number nor a pair of numbers.

    >>> bars({"model": 0.5, "other": (0.7, 0.1)}, alt="The other bar is higher.", ylabel="share")
    Picture: The other bar is higher.
    """
    pairs = {name: array(name, value, "a number, or a pair (mean, sd)").ravel() for name, value in _series("values", values).items()}
    for name, pair in pairs.items():
        require(len(pair) <= 2, name, values[name], "a number, or a pair (mean, sd)")
    shades = colors_for(pairs, colors)
    fig, ax = figure(max(3.2, min(1.0 + 1.1 * len(pairs), 9)), 3)
    for i, (name, pair) in enumerate(pairs.items()):
        spread = pair[1] if len(pair) == 2 else None
        ax.bar(i, pair[0], yerr=spread, color=shades[name], width=0.65, capsize=4, ecolor=PALETTE["ink"])
        ax.annotate(number(float(pair[0]), digits), (i, pair[0] + (spread or 0)), (0, 3 if pair[0] >= 0 else -3),
                    textcoords="offset points", ha="center", va="bottom" if pair[0] >= 0 else "top")  # fmt: skip
    for name, height in (hlines or {}).items():
        ax.axhline(float(height), color=PALETTE["ink"], linestyle="--", linewidth=1.2, label=name)
    ax.set_xticks(range(len(pairs)), [str(name) for name in pairs])
    ax.grid(False, axis="x")
    ax.set_yscale("log" if log else "linear")
    ax.margins(y=0.15)
    return _finish(fig, ax, alt, title, legend=bool(hlines), ylabel=ylabel)
