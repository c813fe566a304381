"""The course's exceptions, and the checks of arguments."""


class GencourseError(Exception):
    """Base class of gencourse's own exceptions."""


class DataError(GencourseError):
    """A data set, a checkpoint or a file of weights is missing, damaged, or belongs to something else."""


class TrainingDiverged(GencourseError):
    """A loss became NaN or infinite; carries ``step``, ``name``, ``value`` and the ``history`` so far."""

    def __init__(self, message, *, step, name, value, history):
        super().__init__(message)
        self.step, self.name, self.value, self.history = step, name, value, history


class TrainingStopped(KeyboardInterrupt):
    """The reader stopped a training (stop button, Ctrl-C); carries the ``history`` so far.

    Like every interrupt it ends what is queued: a training that was stopped gets into no table.
    """

    def __init__(self, message, history):
        super().__init__(message)
        self.history = history


def require(ok, argument, value, allowed):
    """Refuse an argument that would give a wrong number in silence.

    Args:
        ok: whether the argument is acceptable.
        argument: its name in the caller's signature.
        value: what was given.
        allowed: what may be given, in words that complete "must be ...".

    Raises:
        ValueError: if ``ok`` is false.

    >>> require(0.1 > 0, "lr", 0.1, "positive")
    >>> require(-1 > 0, "lr", -1, "positive")
    Traceback (most recent call last):
        ...
    ValueError: lr=-1: must be positive
    """
    if not ok:
        shown = repr(value)
        raise ValueError(f"{argument}={shown if len(shown) <= 80 else shown[:77] + '...'}: must be {allowed}")


def require_same_shape(name, value, first, like):
    """Refuse a tensor of another shape than ``like``, the argument called ``first``: it might be broadcast.

    Raises:
        ValueError: if the shapes differ.
    """
    require(value.shape == like.shape, f"{name}.shape", tuple(value.shape), f"{tuple(like.shape)}, that of {first}")
