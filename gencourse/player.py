"""Moving pictures that need no kernel: ``animate`` and ``explore``, drawn beforehand, played by their HTML.

The frames are WebP images inside the output itself, and nothing is fetched.
"""

import base64
import hashlib
import html
import io
import itertools
import json
import math
import numbers
import os
import zlib
from pathlib import Path

from PIL import Image

from .errors import require
from .picture import RATIO, Picture, picture

MOST_ANIMATED, MOST_EXPLORED = 120, 200
# Tried in this order until the frames fit: pixels for each CSS pixel; colours without loss, or quality with
# it. A plot has few colours: a palette keeps its text crisp and is smaller than a lossy file.
SETTINGS = (
    (2, "colours", 256), (2, "colours", 64), (1.5, "colours", 96), (1.5, "quality", 50), (1, "colours", 64),
    (1, "quality", 40),
)  # fmt: skip
HERE = Path(__file__).parent


class Player:
    """Frames and the controls that choose among them, as one piece of HTML; shown when last in a cell.

    Attributes:
        frames: the WebP files, in the order of the controls (the last control runs fastest).
        dims: one ``{"name", "labels", "kind"}`` for each control.
        alt: the alternative text.
    """

    def __init__(self, pictures, dims, start, alt, fps, kilobytes):
        self.frames, self.size = _encode(pictures, kilobytes), pictures.size
        self.dims, self.start, self.alt, self.fps = dims, start, alt, fps

    def index(self, at):
        """The frame that shows the controls at the positions ``at``."""
        place = 0
        for dim, k in zip(self.dims, at, strict=True):
            place = place * len(dim["labels"]) + k
        return place

    def html(self):
        """The whole player; the same frames give the same text, so re-running a cell changes nothing."""
        first, encoded = self.index(self.start), [base64.b64encode(f).decode() for f in self.frames]
        still, encoded[first] = encoded[first], ""
        name = "gc-player-" + hashlib.sha256(b"".join(self.frames) + self.alt.encode()).hexdigest()[:12]
        spec = {"alt": self.alt, "fps": self.fps, "start": self.start, "dims": self.dims, "frames": encoded}
        text = json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")
        style, script = ((HERE / f"player.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        script = script.replace("__ID__", name).replace("__SPEC__", text)
        todo = "play the animation" if self.fps else "move the sliders"
        return (
            f'<div class="gc-player" id="{name}">\n'
            f"<style>\n{style}</style>\n"
            f'<img src="data:image/webp;base64,{still}" alt="{html.escape(self.alt)}" width="{self.size[0]}" '
            f'style="max-width:100%;height:auto">\n'
            f'<p class="gc-note"><em>Run this cell to {todo}.</em></p>\n</div>\n'
            f"<script>\n{script}</script>"
        )

    def __repr__(self):
        kind = "Animation" if self.fps else "Interactive picture"
        return f"{kind} ({len(self.frames)} frames): {self.alt}"

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": repr(self)}


class _Frames:
    """Drawn frames, all of one size; kept compressed, since 200 of them would fill the memory otherwise."""

    def __init__(self):
        self.packed, self.pixels = [], None

    def add(self, drawn, alt):
        image = _picture(drawn, alt).image
        self.pixels = self.pixels or image.size
        require(
            image.size == self.pixels, "draw", f"a picture of {image.size} pixels",
            f"a function that draws every frame at one size, here {self.pixels}",
        )  # fmt: skip
        self.packed.append(zlib.compress(image.tobytes(), 1))

    @property
    def size(self):
        return tuple(round(side / RATIO) for side in self.pixels)

    def image(self, i, ratio):
        image = Image.frombytes("RGB", self.pixels, zlib.decompress(self.packed[i]))
        if ratio == RATIO:
            return image
        return image.resize([round(side * ratio) for side in self.size], Image.Resampling.LANCZOS)


def _picture(drawn, alt):
    require(
        isinstance(drawn, Picture) or hasattr(drawn, "savefig"), "draw", drawn,
        "a function that returns a Picture or a matplotlib Figure",
    )  # fmt: skip
    return drawn if isinstance(drawn, Picture) else picture(drawn, alt)


def _webp(image, kind, amount):
    buffer = io.BytesIO()
    if kind == "colours":
        image = image.quantize(amount, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        image.convert("RGB").save(buffer, "WEBP", lossless=True, quality=40, method=2)
    else:
        image.save(buffer, "WEBP", quality=amount, method=3)
    return buffer.getvalue()


def _encode(frames, kilobytes):
    """Every frame as WebP, at the first setting at which all of them come to ``kilobytes`` or less."""
    count = len(frames.packed)
    probe = sorted({0, count // 3, 2 * count // 3, count - 1})
    for ratio, kind, amount in SETTINGS:
        mean = sum(len(_webp(frames.image(i, ratio), kind, amount)) for i in probe) / len(probe)
        if mean * count <= kilobytes * 1000:
            break
    return [_webp(frames.image(i, ratio), kind, amount) for i in range(count)]


def _need_alt(alt):
    require(isinstance(alt, str) and alt.strip(), "alt", alt, "text that says what the pictures show")
    return " ".join(alt.split())


def animate(draw, frames, *, alt, fps=8, labels=None, kilobytes=600):
    """An animation with a play button and a slider, paused on the last frame; it needs no kernel once drawn.

    Args:
        draw: ``draw(frame)`` returns a ``Picture`` or a matplotlib figure, of the same size every time; fix
            the limits of the axes, so that only what changes moves.
        frames: 2 to 120 things to draw, such as ``history.snapshots``.
        alt: what a reader who cannot see it is told: what moves, and to what end.
        fps: frames each second, 1 to 30.
        labels: a text (or number) for each frame, shown beside the slider; default "1/40", "2/40"...
        kilobytes: the size aimed at for all frames together; sharpness gives way to it.

    Returns:
        a ``Player``, shown when it is the last value of a cell.

    Raises:
        ArgumentError: for a bad argument, and when ``draw`` returns no picture or pictures of several sizes.

    >>> from gencourse.plot import figure, picture
    >>> def draw(t):
    ...     fig, ax = figure(3, 2)
    ...     dot = ax.plot(t, t, "o")
    ...     ax.set(xlim=(0, 2), ylim=(0, 2))
    ...     return picture(fig, f"A dot at {t}.")
    >>> animate(draw, [0, 1, 2], alt="A dot climbs the diagonal.")
    Animation (3 frames): A dot climbs the diagonal.
    """
    frames, alt = list(frames), _need_alt(alt)
    require(callable(draw), "draw", draw, "a function of one frame that returns a Picture or a figure")
    count = f"{len(frames)} frames"
    require(2 <= len(frames) <= MOST_ANIMATED, "frames", count, f"2 to {MOST_ANIMATED} frames")
    require(isinstance(fps, numbers.Real) and 1 <= fps <= 30, "fps", fps, "frames each second, 1 to 30")
    labels = [f"{i + 1}/{len(frames)}" for i in range(len(frames))] if labels is None else list(labels)
    require(len(labels) == len(frames), "labels", labels, f"one label for each of the {len(frames)} frames")
    require(isinstance(kilobytes, numbers.Real) and kilobytes > 0, "kilobytes", kilobytes, "positive")
    drawn = _Frames()
    for frame in frames:
        drawn.add(draw(frame), alt)
    dims = [{"name": "frame", "labels": [_label(x) for x in labels], "kind": "range"}]
    return Player(drawn, dims, [len(frames) - 1], alt, fps, kilobytes)


def _label(value):
    """
    >>> _label(0.30000000000000004), _label(True), _label("uniform"), _label(1500)
    ('0.3', 'yes', 'uniform', '1500')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _positions(values, start):
    """The values as plain lists, and the position at which each control starts."""
    require(len(values) > 0, "values", values, "one or more named sequences, such as theta=[0, 1, 2]")
    lists = {}
    for name, given in values.items():
        given = given.tolist() if hasattr(given, "tolist") else given
        one_by_one = isinstance(given, (list, tuple, range)) and len(given) > 0
        plain = one_by_one and all(isinstance(v, (numbers.Real, str)) for v in given)
        different = plain and len({_label(v) for v in given}) == len(given)
        require(different, name, given, "a sequence of numbers or texts, different as shown (to 4 figures)")
        lists[name] = list(given)
    start = dict(start or {})
    for name, value in start.items():
        require(name in lists, "start", start, f"a value for one of {', '.join(lists)}")
        near = [_same(value, v) for v in lists[name]]
        require(any(near), "start", start, f"one of the values that {name} takes, {lists[name]}")
        start[name] = near.index(True)
    return lists, [start.get(name, (len(v) - 1) // 2) for name, v in lists.items()]


def _same(a, b):
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12)


def explore(draw, *, alt, start=None, kilobytes=1000, **values):
    """A picture with a slider for each value: drawn live where a kernel runs, from stored frames elsewhere.

    With a kernel, ipywidgets call ``draw`` as the sliders move. With ``GENCOURSE_FRAMES=1`` in the
    environment (set while the book's outputs are made) every combination is drawn beforehand and the output
    is plain HTML.

    Args:
        draw: ``draw(**values)`` returns a ``Picture`` or a matplotlib figure, of the same size every time.
        alt: what a reader who cannot see it is told: what the sliders change, and what is then seen.
        start: ``{name: value}`` where the sliders start; the middle where not given.
        kilobytes: the size aimed at for all stored frames together.
        **values: for each argument of ``draw`` a finite sequence: numbers get a slider, texts a list. All
            combinations together at most 200.

    Returns:
        an ``ipywidgets.VBox`` (live) or a ``Player`` (stored), shown when it is the last value of a cell.

    Raises:
        ArgumentError: for a bad argument. What ``draw`` raises at the start is passed on; later it is shown.

    >>> from gencourse.plot import densities
    >>> import torch
    >>> x = torch.linspace(-4, 4, 100)
    >>> def draw(mu):
    ...     return densities(x, {"p": torch.exp(-(x - mu) ** 2 / 2)}, alt=f"A bump at {mu}.")
    >>> slider, shown = explore(draw, alt="A bump that follows the slider.", mu=[-1, 0, 1]).children
    >>> slider.value = 1
    >>> "A bump at 1." in shown.value
    True
    """
    alt = _need_alt(alt)
    require(callable(draw), "draw", draw, "a function of the values that returns a Picture or a figure")
    require(isinstance(kilobytes, numbers.Real) and kilobytes > 0, "kilobytes", kilobytes, "positive")
    lists, at = _positions(values, start)
    count = math.prod(len(v) for v in lists.values())
    most = f"at most {MOST_EXPLORED} combinations"
    require(count <= MOST_EXPLORED, "values", f"{count} combinations", most)
    if os.environ.get("GENCOURSE_FRAMES") != "1":
        return _live(draw, alt, lists, at)
    drawn = _Frames()
    for chosen in itertools.product(*lists.values()):
        drawn.add(draw(**dict(zip(lists, chosen, strict=True))), alt)
    dims = [{"name": n, "labels": [_label(v) for v in vs], "kind": _kind(vs)} for n, vs in lists.items()]
    return Player(drawn, dims, at, alt, 0, kilobytes)


def _kind(values):
    are_numbers = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in values)
    return "range" if are_numbers else "select"


def _live(draw, alt, lists, at):
    """The controls of ``explore`` as widgets that draw in the kernel."""
    import ipywidgets as widgets  # only here: the frames need no widgets

    controls, shown = {}, widgets.HTML()
    for (name, values), k in zip(lists.items(), at, strict=True):
        make = widgets.SelectionSlider if _kind(values) == "range" else widgets.Dropdown
        style = {"description_width": "initial"}
        options = [(_label(v), v) for v in values]
        controls[name] = make(options=options, index=k, description=name, style=style)

    def update(change=None):
        try:
            shown.value = _picture(draw(**{name: c.value for name, c in controls.items()}), alt).html()
        except Exception as error:
            if change is None:  # at the start the cell itself must fail, as any cell does
                raise
            told = html.escape(f"{type(error).__name__}: {error}")
            shown.value = f'<pre role="alert" style="color:#b00020;white-space:pre-wrap">{told}</pre>'

    update()
    for control in controls.values():
        control.observe(update, "value")
    return widgets.VBox([*controls.values(), shown])
