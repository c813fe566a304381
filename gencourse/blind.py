"""The blind test: a reader says of one digit after another whether it is real (``gc.plot.blind``)."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from .errors import is_real, require, shown

HERE = Path(__file__).parent


def _hex(name, images):
    ok = isinstance(images, torch.Tensor) and images.ndim == 4 and images.shape[1:] == (1, 28, 28) and len(images) > 0
    require(ok, name, shown(images), "images (N, 1, 28, 28), N > 0")
    packed = np.packbits((images > 0).flatten(1).cpu().numpy(), axis=1, bitorder="little")
    return [row.tobytes().hex() for row in packed]


class Blind:
    """The test as one piece of HTML with a script, which needs nothing from outside; shown when last in a cell."""

    def __init__(self, real, fakes, judge):
        self.spec = {"side": 28, "names": list(fakes), "real": real, "fake": list(fakes.values()), "judge": judge}

    def html(self):
        """The whole test; the same images give the same text."""
        text = json.dumps(self.spec, separators=(",", ":")).replace("<", "\\u003c")
        own = "gc-blind-" + hashlib.sha256(text.encode()).hexdigest()[:12]
        style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("player.css", "blind.js"))
        script = script.replace("__ID__", own).replace("__SPEC__", text)
        return (
            f'<div class="gc-player" id="{own}">\n<style>\n{style}</style>\n'
            f'<p class="gc-note"><em>Run this cell to take the test.</em></p>\n</div>\n<script>\n{script}</script>'
        )

    def __repr__(self):
        return f"Blind test: {len(self.spec['names'])} entrants against {len(self.spec['real'])} real digits."

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": repr(self)}


def blind(real, fakes, judge):
    """A test for the reader: digits one at a time, half of them real; whose are taken for real, and how often?

    The browser draws the order, and counts: nothing is stored and nothing is sent.

    Args:
        real: digits of the data, (N, 1, 28, 28); shown black and white, white where above 0.
        fakes: name of an entrant -> its samples, (M, 1, 28, 28).
        judge: name -> error of a classifier on the same task, in [0, 1], shown beside the reader's.

    Returns:
        Blind, shown when last in a cell.

    Raises:
        ArgumentError: for images of another shape, or names that do not fit.

    >>> digits = torch.ones(2, 1, 28, 28)
    >>> blind(digits, {"all black": -digits}, {"all black": 0.0})
    Blind test: 1 entrants against 2 real digits.
    """
    real = _hex("real", real)
    ok = isinstance(fakes, dict) and len(fakes) > 0
    require(ok, "fakes", shown(fakes), "a dictionary: name of an entrant -> images")
    fakes = {name: _hex(f"fakes[{name!r}]", images) for name, images in fakes.items()}
    ok = isinstance(judge, dict) and set(judge) == set(fakes)
    ok = ok and all(is_real(v) and 0 <= v <= 1 for v in judge.values())
    require(ok, "judge", shown(judge), "a number in [0, 1] for each of the names of fakes")
    return Blind(real, fakes, [judge[name] for name in fakes])
