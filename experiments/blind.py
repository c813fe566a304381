"""The blind test: a reader says of one digit after another whether it is real."""

from pathlib import Path

from gencourse.errors import require
from gencourse.plot.player import interactive

from .results import pack

SCRIPT = Path(__file__).with_name("blind.js")


def _hex(name, images):
    right = images.shape[1:] == (1, 28, 28) and len(images) > 0
    require(right, name, f"shape {tuple(images.shape)}", "images (N, 1, 28, 28), N > 0")
    return [pack(image) for image in images.split(1)]


class BlindTest:
    """The test as one piece of HTML with a script; shown when last in a cell."""

    def __init__(self, real, fakes, classifier_error):
        self.spec = {
            "side": 28,
            "names": list(fakes),
            "real": _hex("real", real),
            "fake": [_hex(f"fakes[{name!r}]", images) for name, images in fakes.items()],
            "classifier": [classifier_error[name] for name in fakes],
        }

    def html(self):
        """The whole test; the same images give the same text."""
        return interactive("gc-blind", self.spec, SCRIPT.read_text(encoding="utf-8"), "", "take the test")

    _repr_html_ = html

    def __repr__(self):
        return f"Blind test: {len(self.spec['names'])} entrants against {len(self.spec['real'])} real digits."


def blind_test(real, fakes, classifier_error):
    """A test for the reader: digits one at a time, half of them real; whose are taken for real, and how often?

    The browser draws the order, and counts: nothing is stored and nothing is sent.

    Args:
        real: digits of the data, (N, 1, 28, 28); shown black and white, white where above 0.
        fakes: name of an entrant -> its samples, (M, 1, 28, 28).
        classifier_error: name -> error of a classifier on the same task, in [0, 1], shown beside the reader's.

    Returns:
        BlindTest.

    Raises:
        ValueError: for images of another shape.

    >>> import torch
    >>> digits = torch.ones(2, 1, 28, 28)
    >>> blind_test(digits, {"all black": -digits}, {"all black": 0.0})
    Blind test: 1 entrants against 2 real digits.
    """
    return BlindTest(real, fakes, classifier_error)
