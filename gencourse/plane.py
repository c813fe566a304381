"""Points in the plane, and functions of the plane behind them."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, is_color_like, to_rgb

from .errors import require
from .picture import array, color, colors_for, figure, finish, limits, need_series, on_points


def scatter(
    series, lim=None, *, alt, title=None, field=None, field_name=None, field_color=None,
    levels=12, size=None, width=None, colors=None
):
    """Points in the plane, over a field if wanted; one panel, or several side by side.

    Args:
        series: ``{name: (N, 2)}``, or ``{panel: {name: (N, 2)}}`` for several panels.
        lim: a number for (-lim, lim) on both axes, or (low, high); default: all points.
        field: a function of points (M, 2), float32 on the CPU, that returns (M,); or (xx, yy, values) with
            values (H, W). Drawn behind the points, white where low.
        field_name: what its colour bar says.
        field_color: its colour where high; default that of "discriminator".
        levels: how many shades, or their limits.
        size: area of a dot in square points; default by their number.
        width: of the whole figure, in inches.
        colors: ``{name: colour}`` where not the course's own.

    Raises:
        ArgumentError: if points are not (N, 2), or the field is none.

    >>> scatter({"data": np.eye(2)}, lim=2, field=lambda xy: xy[:, 0], alt="Two points over a slope.")
    Picture: Two points over a slope.
    """
    panels = _panels(need_series("series", series))
    reach = limits(lim) if lim is not None else _reach(panels)
    field_color = field_color or color("discriminator")
    require(is_color_like(field_color), "field_color", field_color, "a colour, such as color('model')")
    width = width or (5.0 if len(panels) == 1 else min(3.6 * len(panels), 11))
    shades = colors_for(dict.fromkeys(name for panel in panels.values() for name in panel), colors)
    height = (width - (0 if field is None else 0.9)) / len(panels) + 0.4 + 0.35 * (None not in panels)
    fig, axes = figure(width, height + 0.35 * bool(title), cols=len(panels), squeeze=False)
    for ax, (heading, panel) in zip(axes[0], panels.items(), strict=True):
        for name, points in panel.items():
            area = size or min(30, max(2, 6000 / len(points)))
            ax.scatter(*points.T, s=area, color=shades[name], alpha=0.7, linewidths=0, label=name)
        ax.set(xlim=reach, ylim=reach, aspect="equal", title=heading or "")
    if field is not None:
        _draw_field(fig, axes[0], _field(field, reach), levels, field_color, field_name)
    marks = {n: m for ax in axes[0] for m, n in zip(*ax.get_legend_handles_labels(), strict=True)}
    below = fig.legend(marks.values(), marks, loc="outside lower center", ncols=len(marks), frameon=False)
    for handle in below.legend_handles:
        handle.set(alpha=1, sizes=[30])
    return finish(fig, axes[0, 0], alt, title)


def _panels(series):
    """``{panel: {name: points}}``, also when only ``{name: points}`` is given."""
    nested = series if all(isinstance(v, dict) for v in series.values()) else {None: series}
    return {panel: {name: _points(name, v) for name, v in s.items()} for panel, s in nested.items()}


def _points(name, values):
    points, allowed = array(name, values), "points of shape (N, 2)"
    require(points.ndim == 2 and points.shape[1] == 2, name, f"a tensor of shape {points.shape}", allowed)
    return points


def _reach(panels):
    """The square that holds every finite point, with a little room."""
    every = np.concatenate([points for panel in panels.values() for points in panel.values()])
    every = every[np.isfinite(every).all(1)]
    require(len(every) > 0, "series", "points that are all NaN or infinite", "points, some of them finite")
    room = 0.05 * np.ptp(every) or 1.0
    return every.min() - room, every.max() + room


def _field(field, reach):
    """(xx, yy, values) of a field given so, or of a function of points (M, 2) on the square ``reach``."""
    if callable(field):
        side = np.linspace(*reach, 121)
        xx, yy = np.meshgrid(side, side)
        values = on_points("field", field, np.stack([xx.ravel(), yy.ravel()], 1))
        shape = f"a function that returned shape {values.shape}"
        require(values.size == xx.size, "field", shape, f"one that returns ({xx.size},) for ({xx.size}, 2)")
        return xx, yy, values.reshape(xx.shape)
    ok = isinstance(field, (tuple, list)) and len(field) == 3
    require(ok, "field", field, "a function of points (M, 2), or (xx, yy, values)")
    xx, yy, values = (array("field", part) for part in field)
    shape = f"values of shape {values.shape}"
    require(values.ndim == 2, "field", shape, "(xx, yy, values) with values (H, W)")
    return xx, yy, values


def _draw_field(fig, axes, field, levels, shade, name):
    """White where low, half of ``shade`` where high, so that points of every colour stand out."""
    half = 0.45 + 0.55 * np.array(to_rgb(shade))
    cmap = LinearSegmentedColormap.from_list("field", ["white", tuple(half)])
    for ax in axes:
        shown = ax.contourf(*field, levels=levels, cmap=cmap, zorder=0)
        ax.grid(False)
    fig.colorbar(shown, ax=list(axes), label=name or "", fraction=0.05, pad=0.02)
