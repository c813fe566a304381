"""Training curves."""

import itertools

import numpy as np
from matplotlib.figure import Figure

from ..errors import require
from .style import PALETTE, array, colors_for, show


def _running_mean(y, window):
    """The mean over ``window`` neighbours, fewer at the ends; NaN and infinity are left out.

    >>> _running_mean(np.array([0.0, 3.0, 6.0]), 3).tolist()
    [1.5, 3.0, 4.5]
    """
    finite = np.isfinite(y)
    first = (window - 1) // 2
    total = np.convolve(np.where(finite, y, 0), np.ones(window))[first : first + len(y)]
    count = np.convolve(finite, np.ones(window))[first : first + len(y)]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _steps(key, values):
    """A curve as (steps, values); without steps of its own it has one value for each."""
    steps, values = values if isinstance(values, tuple) and len(values) == 2 else (None, values)
    y = array(values).ravel()
    x = np.arange(1, len(y) + 1) if steps is None else array(steps).ravel()
    return x, y


def curves(history, keys=None, *, alt, title=None, smooth=None, log=False, hlines=None, xlabel="step", ylabel=None):
    """Training curves: each value pale, their running mean strong.

    Args:
        history: what ``fit`` returned, or ``{name: values}`` with a value for each step or a pair (steps, values).
        keys: which to draw, in order; a list of lists makes a panel of each. Default: all in one.
        smooth: steps in the running mean; 1 for none; default a fortieth of the run.
        log: whether the vertical axis is logarithmic.
        hlines: ``{name: height}`` of lines to compare with: the first dashed, the second dotted, the third both.
        xlabel, ylabel: names of the axes.

    Returns:
        Picture.

    Raises:
        ValueError: if a curve has not as many steps as values, or if ``alt`` is empty.

    >>> curves({"loss": [3.0, 2.0, 1.5]}, alt="The loss falls from 3 to 1.5.", hlines={"best": 1.0})
    Picture: The loss falls from 3 to 1.5.
    """
    require(len(history) > 0, "history", {}, "not empty: it holds no step yet")
    keys = list(history) if keys is None else [keys] if isinstance(keys, str) else keys
    panels = [keys] if isinstance(keys[0], str) else keys
    fig = Figure(figsize=(7, 3), layout="constrained")
    for ax, panel in zip(fig.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for key, shade in colors_for(panel).items():
            x, y = _steps(key, history[key])
            window = min(smooth or max(1, len(y) // 40), len(y))
            if window > 1:
                ax.plot(x, y, color=shade, alpha=0.25, linewidth=0.8)
            ax.plot(x, _running_mean(y, window), color=shade, label=key)
        for (name, height), style in zip((hlines or {}).items(), itertools.cycle(("--", ":", "-."))):
            ax.axhline(float(height), color=PALETTE["ink"], linestyle=style, linewidth=1.2, label=name)
        ax.set(xlabel=xlabel, ylabel=ylabel or "", yscale="log" if log else "linear")
        ax.margins(x=0.01)
        if len(ax.get_legend_handles_labels()[1]) >= 5:  # a long legend beside the panel, where it covers nothing
            ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            ax.legend()
    if title:
        fig.suptitle(title)
    return show(fig, alt=alt)
