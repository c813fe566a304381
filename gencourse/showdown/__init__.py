"""The showdown: all families, one data set, one protocol, one data file. Run it with ``make showdown``."""

from .contest import FLOOR, judge
from .drawing import draw
from .fingerprint import code
from .results import curves, rows, samples, stored

__all__ = ["FLOOR", "code", "curves", "draw", "judge", "rows", "samples", "stored"]
