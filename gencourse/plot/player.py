"""Moving pictures that need no kernel: frames drawn beforehand, inside the output itself, and a player for them."""

import base64
import hashlib
import html
import io
import itertools
import json
import numbers
import os
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import require
from .style import RATIO, Picture, bundle, require_alt, show

# Device pixels for each CSS pixel, and the quality of WebP (None: without loss, in 256 colours, which keeps text
# crisp and is small for plots). The first at which all frames fit is used.
SETTINGS = ((2, None), (1.5, 50), (1, 40))
HERE = Path(__file__).parent


def _webp(image, ratio, quality):
    buffer = io.BytesIO()
    if quality is None:
        few = image.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        few.convert("RGB").save(buffer, "WEBP", lossless=True, quality=40, method=2)
    else:
        size = [round(side / RATIO * ratio) for side in image.size]
        image.resize(size, Image.Resampling.LANCZOS).save(buffer, "WEBP", quality=quality, method=3)
    return buffer.getvalue()


def _encode(pictures, kilobytes):
    """All pictures as WebP at the first setting that fits (else at the last), and their size in CSS pixels."""
    encoded, sizes = [], set()
    for picture in pictures:  # none of them is kept: two hundred would fill the memory
        encoded.append([_webp(picture.image, *setting) for setting in SETTINGS])
        sizes.add(picture.size)
    require(len(sizes) == 1, "draw", f"pictures of the sizes {sorted(sizes)}", "a function that draws one size")
    settings = list(zip(*encoded, strict=True))
    frames = next((f for f in settings if sum(map(len, f)) <= 1000 * kilobytes), settings[-1])
    return list(frames), sizes.pop()


def interactive(kind, spec, script, still, todo):
    """HTML of one interactive output, which needs no other file; the same content gives the same text.

    Args:
        kind: first part of its id.
        spec: what the script gets as ``__SPEC__``, to be written as JSON.
        script: JavaScript, which finds its element as ``__ID__``.
        still: HTML to be seen where no script runs. todo: what running the cell allows, in words.
    """
    text = json.dumps(spec, separators=(",", ":")).replace("<", "\\u003c")
    name = f"{kind}-" + hashlib.sha256((text + still).encode()).hexdigest()[:12]
    style = (HERE / "player.css").read_text(encoding="utf-8")
    return (
        f'<div class="gc-player" id="{name}">\n<style>\n{style}</style>\n{still}'
        f'<p class="gc-note"><em>Run this cell to {todo}.</em></p>\n</div>\n'
        f"<script>\n{script.replace('__ID__', name).replace('__SPEC__', text)}</script>"
    )


class Player:
    """Frames and the controls that choose among them; shown when last in a cell.

    Attributes:
        frames: the WebP files, in the order of the controls (the last control runs fastest).
        dims: one ``{"name", "labels", "kind"}`` for each control.
        start: the position of each control at first.
        alt: the alternative text.
        fps: frames each second; 0 where controls alone choose the frame.
    """

    def __init__(self, pictures, dims, start, alt, fps, kilobytes):
        self.frames, self.size = _encode(pictures, kilobytes)
        self.dims, self.start, self.alt, self.fps = dims, start, alt, fps

    def index(self, at):
        """The frame that shows the controls at the positions ``at``."""
        return int(np.ravel_multi_index(at, [len(dim["labels"]) for dim in self.dims]))

    def html(self):
        """The whole player as one piece of HTML."""
        first, frames = self.index(self.start), [base64.b64encode(f).decode() for f in self.frames]
        still = (
            f'<img src="data:image/webp;base64,{frames[first]}" alt="{html.escape(self.alt)}" '
            f'width="{self.size[0]}" style="max-width:100%;height:auto">\n'
        )
        frames[first] = ""  # it stands in the <img>
        spec = {"alt": self.alt, "fps": self.fps, "start": self.start, "dims": self.dims, "frames": frames}
        script = (HERE / "player.js").read_text(encoding="utf-8")
        return interactive("gc-player", spec, script, still, "play the animation" if self.fps else "move the sliders")

    def _repr_mimebundle_(self, include=None, exclude=None):
        return bundle(self, Image.open(io.BytesIO(self.frames[self.index(self.start)])).convert("RGB"))

    def __repr__(self):
        kind = "Animation" if self.fps else "Interactive picture"
        return f"{kind} ({len(self.frames)} frames): {self.alt}"


def _picture(drawn, alt):
    return drawn if isinstance(drawn, Picture) else show(drawn, alt=alt)


def _label(value):
    """
    >>> _label(0.30000000000000004), _label(True), _label("uniform"), _label(1500)
    ('0.3', 'yes', 'uniform', '1500')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def animate(draw, frames, *, alt, fps=8, labels=None, kilobytes=600):
    """An animation with a play button and a slider, paused on the last frame; it needs no kernel once drawn.

    Args:
        draw: ``draw(frame)`` returns a ``Picture`` or a matplotlib figure, of the same size every time; fix
            the limits of the axes, so that only what changes moves.
        frames: what to draw, such as ``history.snapshots``.
        alt: what a reader who cannot see it is told: what moves, and to what end.
        fps: frames each second.
        labels: a text (or number) for each frame, shown beside the slider; default "1/40", "2/40"...
        kilobytes: the size aimed at for all frames together; sharpness gives way to it.

    Returns:
        Player.

    Raises:
        ValueError: if there are not as many labels as frames, if sizes differ, or if ``alt`` is empty.

    >>> import matplotlib.pyplot as plt
    >>> def draw(t):
    ...     fig, ax = plt.subplots(figsize=(3, 2))
    ...     dot = ax.plot(t, t, "o")
    ...     ax.set(xlim=(0, 2), ylim=(0, 2))
    ...     return show(fig, alt=f"A dot at {t}.")
    >>> animate(draw, [0, 1, 2], alt="A dot climbs the diagonal.")
    Animation (3 frames): A dot climbs the diagonal.
    """
    frames, alt = list(frames), require_alt(alt)
    labels = [f"{i + 1}/{len(frames)}" for i in range(len(frames))] if labels is None else list(labels)
    require(len(labels) == len(frames), "labels", labels, f"one label for each of the {len(frames)} frames")
    pictures = (_picture(draw(frame), alt) for frame in frames)
    dims = [{"name": "frame", "labels": [_label(x) for x in labels], "kind": "range"}]
    return Player(pictures, dims, [len(frames) - 1], alt, fps, kilobytes)


def explore(draw, *, alt, start=None, kilobytes=1000, **values):
    """A picture with a control for each value: drawn live where a kernel runs, from stored frames elsewhere.

    With a kernel, ipywidgets call ``draw`` as the sliders move. With ``GENCOURSE_FRAMES=1`` in the
    environment (set while the book's outputs are made) every combination is drawn beforehand and the output
    is plain HTML.

    Args:
        draw: ``draw(**values)`` returns a ``Picture`` or a matplotlib figure, of the same size every time.
        alt: what a reader who cannot see it is told: what the controls change, and what is then seen.
        start: ``{name: value}`` where the controls start; the middle where not given.
        kilobytes: the size aimed at for all stored frames together.
        **values: for each argument of ``draw`` a sequence: numbers get a slider, texts a list.

    Returns:
        ``ipywidgets.VBox`` (live) or Player (stored), shown when it is the last value of a cell.

    Raises:
        ValueError: if ``start`` is not among the values, or ``alt`` is empty. What ``draw`` raises at the start is
            passed on; later it is shown.

    >>> import matplotlib.pyplot as plt
    >>> def draw(mu):
    ...     fig, ax = plt.subplots(figsize=(3, 2))
    ...     line = ax.axvline(mu)
    ...     return show(fig, alt=f"A line at {mu}.")
    >>> slider, shown = explore(draw, alt="A line that follows the slider.", mu=[-1, 0, 1]).children
    >>> slider.value = 1
    >>> "A line at 1." in shown.value
    True
    """
    alt, start = require_alt(alt), start or {}
    values = {name: v.tolist() if hasattr(v, "tolist") else list(v) for name, v in values.items()}
    dims, at = [], []
    for name in start:
        require(name in values, "start", name, f"one of {', '.join(values)}")
    for name, given in values.items():
        labels = [_label(v) for v in given]
        plain = all(isinstance(v, numbers.Real) and not isinstance(v, bool) for v in given)
        dims.append({"name": name, "labels": labels, "kind": "range" if plain else "select"})
        at.append(labels.index(_label(start[name])) if name in start else (len(given) - 1) // 2)
    if os.environ.get("GENCOURSE_FRAMES") != "1":
        return _live(draw, alt, values, dims, at)
    chosen = (dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values()))
    return Player((_picture(draw(**some), alt) for some in chosen), dims, at, alt, 0, kilobytes)


def _live(draw, alt, values, dims, at):
    """The controls of ``explore`` as widgets that draw in the kernel."""
    import ipywidgets as widgets  # only here: stored frames need no widgets

    controls, shown = {}, widgets.HTML()
    for dim, k in zip(dims, at, strict=True):
        make = widgets.SelectionSlider if dim["kind"] == "range" else widgets.Dropdown
        options = list(zip(dim["labels"], values[dim["name"]], strict=True))
        style = {"description_width": "initial"}
        controls[dim["name"]] = make(options=options, index=k, description=dim["name"], style=style)

    def update(change=None):
        try:
            shown.value = _picture(draw(**{name: c.value for name, c in controls.items()}), alt).html()
        except Exception as error:
            if change is None:  # at the start the cell itself must fail, as any cell does
                raise
            message = html.escape(f"{type(error).__name__}: {error}")
            shown.value = f'<pre role="alert" style="color:#b00020;white-space:pre-wrap">{message}</pre>'

    update()
    for control in controls.values():
        control.observe(update, "value")
    return widgets.VBox([*controls.values(), shown])
