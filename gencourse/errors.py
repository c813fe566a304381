"""The course's exceptions: every message says what happened, why, and what to do next."""

import math
from numbers import Integral, Real


class GencourseError(Exception):
    """Base of everything that gencourse raises on purpose."""


class ArgumentError(GencourseError, ValueError):
    """A bad argument, refused at the call: the message names the argument, its value and what is allowed."""


class DataError(GencourseError):
    """A data set could not be had in a usable state."""


class TrainingDiverged(GencourseError):
    """A loss became NaN or infinite; carries ``step``, ``name``, ``value`` and the ``history`` so far."""

    def __init__(self, message, *, step, name, value, history):
        super().__init__(message)
        self.step, self.name, self.value, self.history = step, name, value, history


class CheckpointError(GencourseError):
    """A checkpoint cannot be written or read, or belongs to something else; a failed write carries the ``history``."""

    def __init__(self, message, *, history=None):
        super().__init__(message)
        self.history = history


def require(ok, argument, value, allowed):
    """Refuse a bad argument with a message that names it.

    Args:
        ok: whether the argument is acceptable.
        argument: its name in the caller's signature.
        value: what was given.
        allowed: what may be given, in words that complete "must be ...".

    Raises:
        ArgumentError: if ``ok`` is false.

    >>> require(0.1 > 0, "lr", 0.1, "positive")
    >>> require(-1 > 0, "lr", -1, "positive")
    Traceback (most recent call last):
        ...
    gencourse.errors.ArgumentError: lr=-1: must be positive
    """
    if not ok:
        shown = repr(value)
        raise ArgumentError(f"{argument}={shown if len(shown) <= 80 else shown[:77] + '...'}: must be {allowed}")


def shown(value):
    """What a message shows of an argument that may be large: the shape of a tensor, anything else as it is.

    >>> import torch
    >>> shown(torch.zeros(2, 3)), shown("zeros")
    ((2, 3), 'zeros')
    """
    import torch

    return tuple(value.shape) if isinstance(value, torch.Tensor) else value


def is_whole(value) -> bool:
    """Whether this is an integer, Python's or NumPy's, and no truth value.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_real(value) -> bool:
    """Whether this is a finite real number, and no truth value.

    >>> is_real(3), is_real(0.5), is_real(float("nan")), is_real("3")
    (True, True, False, False)
    """
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def require_seed(seed):
    """Refuse anything but an integer in [0, 2**32), the range that NumPy and torch share."""
    require(is_whole(seed) and 0 <= seed < 2**32, "seed", seed, "an integer in [0, 2**32)")
