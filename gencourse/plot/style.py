"""How figures look: one palette, one style, and ``show``, which gives a figure its alternative text."""

import base64
import html
import io
import re

import matplotlib
import matplotlib.pyplot as plt
import torch
from PIL import Image, ImageChops, ImageStat

from ..errors import require

RATIO = 2  # device pixels for each CSS pixel
DPI = 96 * RATIO

# Okabe and Ito (2008): told apart with every common form of colour blindness. One meaning, one colour.
PALETTE = {
    "data": "#0072B2", "model": "#D55E00", "discriminator": "#009E73", "latent": "#CC79A7",
    "other": "#E69F00", "sky": "#56B4E9", "neutral": "#666666", "ink": "#222222",
}  # fmt: skip
CYCLE = [PALETTE[name] for name in PALETTE if name != "ink"]
SYNONYMS = {
    "real": "data", "p_data": "data", "true": "data", "target": "data", "p": "data",
    "generator": "model", "fake": "model", "generated": "model", "p_g": "model", "g": "model", "q": "model",
    "samples": "model", "fitted": "model", "d": "discriminator", "critic": "discriminator",
    "classifier": "discriminator", "z": "latent", "prior": "latent", "noise": "latent",
}  # fmt: skip
# For plt.style.use(gc.plot.STYLE), once in each notebook.
STYLE = {
    "font.size": 11, "axes.titlesize": 12, "axes.labelsize": 11, "xtick.labelsize": 10, "ytick.labelsize": 10,
    "legend.fontsize": 10, "legend.framealpha": 0.85, "figure.titlesize": 13, "figure.dpi": 96, "savefig.dpi": DPI,
    "figure.facecolor": "white", "axes.facecolor": "white", "axes.edgecolor": "#888888", "savefig.facecolor": "white",
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.grid": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "lines.linewidth": 2.0, "image.cmap": "gray",
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE), "savefig.bbox": "standard",
    "figure.constrained_layout.use": True, **{f"figure.constrained_layout.{k}_pad": 0.06 for k in ("w", "h")},
}  # fmt: skip


def array(values):
    """A tensor on any device, a list or a range as a float64 numpy array.

    >>> array(range(3))
    array([0., 1., 2.])
    """
    return torch.as_tensor(values).detach().cpu().double().numpy()


def color(name):
    """The colour that ``name`` has in every figure of the course, as a hexadecimal string.

    Args:
        name: one of ``PALETTE`` ("data", "model", "discriminator", "latent", "other", "sky", "neutral",
            "ink") or a synonym, such as "real", "fake", "generator", "critic", "prior".

    Raises:
        KeyError: if the name has no colour.

    >>> color("data"), color("fake") == color("model")
    ('#0072B2', True)
    """
    return PALETTE[SYNONYMS.get(name.lower(), name.lower())]


def colors_for(names):
    """A colour for each name: the course's by its meaning, else one that is not yet used.

    >>> colors_for(["g_loss", "p_data"]) == {"g_loss": color("model"), "p_data": color("data")}
    True
    """
    chosen = {}
    for name in names:
        words = re.findall(r"p_data|p_g|[a-z]+", str(name).lower())
        meaning = next((word for word in words if word in PALETTE or word in SYNONYMS), None)
        if meaning and color(meaning) not in chosen.values():
            chosen[name] = color(meaning)
    for name in names:
        free = [c for c in CYCLE if c not in chosen.values()]
        chosen.setdefault(name, free[0] if free else CYCLE[len(chosen) % len(CYCLE)])
    return chosen


def require_alt(alt):
    """The alternative text on one line; an empty one is refused."""
    require(isinstance(alt, str) and alt.strip(), "alt", alt, "text that says what the picture shows")
    return " ".join(alt.split())


def bundle(shown, image):
    """What IPython keeps of a picture: HTML for pages; and for LaTeX, which reads none, a small PNG of 64 colours."""
    buffer = io.BytesIO()
    image.resize(shown.size).quantize(64).save(buffer, "PNG", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode()
    return {"text/plain": repr(shown), "text/html": shown.html(), "image/png": png}


class Picture:
    """A finished picture with its alternative text; shown when it is the last value of a cell.

    Attributes:
        image: ``PIL.Image``, two pixels for each CSS pixel (``.image.save("name.png")`` writes it).
        alt: what a reader who cannot see it is told.
        size: width and height on the page, in CSS pixels.
    """

    def __init__(self, png, alt):
        self._png, self.alt = png, require_alt(alt)  # packed: IPython keeps what each cell has shown
        self.size = tuple(round(side / RATIO) for side in self.image.size)

    @property
    def image(self):
        return Image.open(io.BytesIO(self._png)).convert("RGB")

    def html(self):
        """The picture as one ``<img>``, which fits narrow screens and needs no other file."""
        image, buffer = self.image, io.BytesIO()
        few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        change = ImageStat.Stat(ImageChops.difference(image, few.convert("RGB")))
        # 256 colours take a third of the space; where the eye could tell, all are kept
        (few.convert("RGB") if max(change.mean) < 0.3 else image).save(buffer, "WEBP", lossless=True, quality=100)
        return (
            f'<img src="data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}" '
            f'alt="{html.escape(self.alt)}" width="{self.size[0]}" style="max-width:100%;height:auto">'
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        return bundle(self, self.image)

    def __repr__(self):
        return f"Picture: {self.alt}"


def show(fig, *, alt):
    """The matplotlib figure as a ``Picture``, which a cell shows with its alternative text.

    A figure of width w inches is 96 w CSS pixels wide. It is closed, so that it is not shown twice.

    Args:
        fig: a matplotlib ``Figure``, from ``plt.subplots`` or elsewhere.
        alt: one or two sentences that say what the picture shows.

    Raises:
        ValueError: if ``alt`` is empty.

    >>> fig, ax = plt.subplots(figsize=(4, 2))
    >>> picture = show(fig, alt="An empty pair of axes.")
    >>> picture, picture.size
    (Picture: An empty pair of axes., (384, 192))
    """
    alt, buffer = require_alt(alt), io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, pil_kwargs={"compress_level": 1})
    plt.close(fig)
    return Picture(buffer.getvalue(), alt)
