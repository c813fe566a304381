"""What a figure of the course is: its colours, its style, and a ``Picture`` with its alternative text.

Nothing here touches pyplot's global state, so no figure leaks from one cell into the next or is shown twice.
"""

import base64
import html
import io
import numbers
import re
import sys

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageChops, ImageStat

from .errors import require

DPI = 192  # two device pixels for each of the 96 CSS pixels of an inch
RATIO = 2

# Okabe and Ito (2008): told apart with every common form of colour blindness. One meaning, one colour.
PALETTE = {
    "data": "#0072B2",
    "model": "#D55E00",
    "discriminator": "#009E73",
    "latent": "#CC79A7",
    "other": "#E69F00",
    "sky": "#56B4E9",
    "neutral": "#666666",
    "ink": "#222222",
}
CYCLE = [PALETTE[name] for name in ("data", "model", "discriminator", "latent", "other", "sky", "neutral")]
ALIASES = {
    "real": "data", "p_data": "data", "true": "data", "target": "data", "p": "data",
    "generator": "model", "fake": "model", "generated": "model", "p_g": "model", "g": "model", "q": "model",
    "samples": "model", "fitted": "model",
    "d": "discriminator", "critic": "discriminator", "classifier": "discriminator",
    "z": "latent", "prior": "latent", "noise": "latent",
}  # fmt: skip
STYLE = {
    "font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10,
    "legend.fontsize": 10, "figure.titlesize": 13, "figure.facecolor": "white", "axes.facecolor": "white",
    "axes.edgecolor": "#888888", "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True,
    "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "lines.linewidth": 2.0,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE), "image.cmap": "gray", "legend.framealpha": 0.85,
    "savefig.bbox": "standard", "savefig.facecolor": "white", "text.usetex": False,
    "font.family": ["DejaVu Sans"],
}  # fmt: skip


def array(argument, value, allowed="numbers"):
    """A tensor on any device, a list or a number, as a non-empty numpy array of floats.

    >>> array("x", [1, 2])
    array([1., 2.])
    """
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.float() if value.is_floating_point() and value.element_size() < 4 else value
    try:
        numbers = np.asarray(value).astype(float)
    except (TypeError, ValueError):
        numbers = None
    require(numbers is not None and numbers.size > 0, argument, value, allowed)
    return numbers


def color(name):
    """The colour that ``name`` has in every figure of the course, as a hexadecimal string.

    Args:
        name: one of ``PALETTE`` ("data", "model", "discriminator", "latent", "other", "sky", "neutral",
            "ink") or a synonym, such as "real", "fake", "generator", "critic", "prior".

    Raises:
        ArgumentError: if the name has no colour.

    >>> color("data"), color("fake") == color("model")
    ('#0072B2', True)
    """
    known = PALETTE.get(ALIASES.get(str(name).lower(), str(name).lower()))
    require(known is not None, "name", name, f"one of {', '.join(PALETTE)} or a synonym of one")
    return known


def colors_for(names, given=None):
    """A colour for each name: the given one, else the course's by its meaning, else one not yet used.

    >>> colors_for(["g_loss", "p_data"]) == {"g_loss": color("model"), "p_data": color("data")}
    True
    """
    chosen = dict(given or {})
    for name in names:
        words = re.findall(r"p_data|p_g|[a-z]+", str(name).lower())
        meaning = next((w for w in words if w in PALETTE or w in ALIASES), None)
        if name not in chosen and meaning and color(meaning) not in chosen.values():
            chosen[name] = color(meaning)
    for name in names:
        free = [c for c in CYCLE if c not in chosen.values()] or CYCLE
        chosen.setdefault(name, free[0] if len(free) < len(CYCLE) else CYCLE[len(chosen) % len(CYCLE)])
    return {name: chosen[name] for name in names}


def figure(width=7.0, height=3.2, rows=1, cols=1, **kw):
    """A figure in the course's style and its axes, to draw on and to end with ``picture(fig, alt)``.

    Args:
        width, height: in inches; a column of the book holds about 7.5.
        rows, cols: panels; the axes come as with ``pyplot.subplots`` (one, a row of them, or a grid).
        **kw: for ``Figure.subplots``: ``sharex``, ``sharey``, ``width_ratios``, ``subplot_kw``...

    Raises:
        ArgumentError: if a size is not positive and at most 30, or there are no panels.

    >>> fig, (left, right) = figure(7, 3, cols=2, sharey=True)
    >>> lines = left.plot([0, 1], [0, 1], color=color("model"))
    >>> picture(fig, "Left: a rising line. Right: nothing.").size
    (672, 288)
    """
    for name, value in (("width", width), ("height", height)):
        ok = isinstance(value, numbers.Real) and 0 < value <= 30
        require(ok, name, value, "inches, above 0 and at most 30")
    for name, value in (("rows", rows), ("cols", cols)):
        require(isinstance(value, int) and value >= 1, name, value, "a whole number, at least 1")
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
        fig.get_layout_engine().set(w_pad=0.06, h_pad=0.06)
        axes = fig.subplots(rows, cols, **kw)
    return fig, axes


class Picture:
    """A finished picture with its alternative text; shown when it is the last value of a cell.

    Attributes:
        image: ``PIL.Image``, two pixels for each pixel of the page (``.image.save("name.png")`` writes it).
        alt: what a reader who cannot see it is told.
        size: width and height on the page, in CSS pixels.
    """

    def __init__(self, image, alt):
        require(isinstance(alt, str) and alt.strip(), "alt", alt, "text that says what the picture shows")
        self.image, self.alt = image, " ".join(alt.split())
        self.size = (round(image.width / RATIO), round(image.height / RATIO))

    def html(self):
        """The picture as an ``<img>`` that fits narrow screens, with nothing outside it needed."""
        buffer = io.BytesIO()
        _few_colours(self.image).save(buffer, "PNG", optimize=True)
        return (
            f'<img src="data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}" '
            f'alt="{html.escape(self.alt)}" width="{self.size[0]}" style="max-width:100%;height:auto">'
        )

    def __repr__(self):
        return f"Picture: {self.alt}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": repr(self)}


def _few_colours(image):
    """The image in 256 colours, a third of the size, where the eye cannot tell; itself where it could."""
    few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    change = ImageStat.Stat(ImageChops.difference(image, few.convert("RGB")))
    return few if max(change.mean) < 0.3 else image


def picture(fig, alt):
    """The matplotlib figure as a ``Picture``, which a cell shows with its alternative text.

    Args:
        fig: a matplotlib ``Figure``; a figure made with pyplot is closed, so that it is not shown twice.
        alt: one or two sentences that say what the picture shows.

    Raises:
        ArgumentError: if ``fig`` is not a figure or ``alt`` is empty.

    >>> fig, ax = figure(4, 2)
    >>> picture(fig, "An empty pair of axes.")
    Picture: An empty pair of axes.
    """
    require(isinstance(fig, Figure), "fig", fig, "a matplotlib Figure, such as the first value of figure()")
    require(isinstance(alt, str) and alt.strip(), "alt", alt, "text that says what the picture shows")
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        fig.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close(fig)
    return Picture(Image.open(buffer).convert("RGB"), alt)


def finish(fig, ax, alt, title=None, **names):
    """The last touches of a plotting function: the names that were given, the title, and the ``Picture``."""
    with matplotlib.rc_context(STYLE):
        ax.set(**{key: value for key, value in names.items() if value is not None})
        if title:
            fig.suptitle(title)
    return picture(fig, alt)


def legend(ax, still=False):
    """A legend in the course's style; ``still`` keeps it in one corner, so that it does not jump in a film.

    Five names or more stand to the right of the panel, where they cover nothing.
    """
    beside = len(ax.get_legend_handles_labels()[1]) >= 5
    corner = "center left" if beside else "upper right" if still else "best"
    with matplotlib.rc_context(STYLE):
        ax.legend(loc=corner, bbox_to_anchor=(1.0, 0.5) if beside else None)


def need_series(argument, series):
    """Refuse what is no ``{name: values}``; give back what is."""
    ok = isinstance(series, dict) and len(series) > 0
    require(ok, argument, series, "a dict of one or more {name: values}")
    return series


def limits(lim):
    """``lim`` as (low, high); a number means (-lim, lim).

    >>> limits(3), limits((0, 1))
    ((-3.0, 3.0), (0.0, 1.0))
    """
    pair = (-lim, lim) if isinstance(lim, numbers.Real) else lim
    ok = isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(v, numbers.Real) for v in pair)
    require(ok and pair[0] < pair[1], "lim", lim, "a positive number, or a pair (low, high) with low < high")
    return float(pair[0]), float(pair[1])


def on_points(argument, function, points):
    """What ``function`` gives at ``points``, given as float32 tensors on the CPU, without gradients."""
    with torch.no_grad():
        return array(argument, function(torch.as_tensor(points, dtype=torch.float32)))
