"""The one training loop of the course: ``fit(step, batches, steps)``."""

import contextlib
import math
import signal
import threading
import time
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from . import checkpoints
from .errors import GencourseError, TrainingDiverged, is_whole, require
from .progress import Progress

stops = 0  # how many fits were stopped before their last step, by the stop button or Ctrl-C


class History(dict):
    """name -> list of floats, one per step; with ``steps``, ``seconds``, ``snapshots``, ``snapshot_steps``
    and ``interrupted``."""

    def __init__(self):
        super().__init__()
        self.steps, self.seconds, self.interrupted = 0, 0.0, False
        self.snapshots, self.snapshot_steps = [], []


class _Recorder:
    """Keeps what the steps return on the device, and fetches it in one go, so that a GPU is never made to wait."""

    def __init__(self, history, names=None):
        self.history, self.names, self.pending = history, names, []

    def add(self, scalars, lazily):
        ok = isinstance(scalars, dict) and len(scalars) > 0
        require(ok, "step(x)", scalars, "a dictionary of named scalars, e.g. {'loss': loss}")
        if self.names is None:
            self.names = list(scalars)
        require(list(scalars) == self.names, "step(x)", list(scalars), f"the same names at every step: {self.names}")
        for name, v in scalars.items():
            ok = isinstance(v, torch.Tensor | np.ndarray | Real)
            require(ok, f"step(x)[{name!r}]", v, "a scalar: a number, or a tensor with one element")
            shape = tuple(getattr(v, "shape", ()))
            require(math.prod(shape) == 1, f"step(x)[{name!r}]", f"shape {shape}", "a scalar: average over the batch")
        # clone: a later step may change the tensor in place before it is fetched
        kept = [v.detach().clone() if isinstance(v, torch.Tensor) else np.asarray(v).item() for v in scalars.values()]
        self.pending.append(kept)
        if not lazily or len(self.pending) >= 100:
            self.flush()

    def flush(self):
        """Move what is pending into the history; stop at the first value that is not finite."""
        if not self.pending:
            return
        columns = [_floats(column) for column in zip(*self.pending, strict=True)]
        self.pending = []
        for row in zip(*columns, strict=True):
            for name, v in zip(self.names, row, strict=True):
                self.history.setdefault(name, []).append(v)
            self.history.steps += 1
            for name, v in zip(self.names, row, strict=True):
                if not math.isfinite(v):
                    self._diverged(name, v)

    def _diverged(self, name, v):
        step = self.history.steps
        raise TrainingDiverged(
            f"{name} became {v} at step {step}: from here on every weight would be spoiled, so training stopped. Usual "
            "causes: a learning rate that is too high, a logarithm or a division at 0, data out of range. Lower the "
            "learning rate, or look at the inputs of that loss; the history so far is in the exception's .history.",
            step=step,
            name=name,
            value=v,
            history=self.history,
        )


def _floats(column):
    """The numbers of a column; its tensors, which plain numbers may interrupt, come in one transfer."""
    tensors = [v.reshape(()) for v in column if isinstance(v, torch.Tensor)]
    fetched = iter(torch.stack(tensors).tolist() if len({v.device for v in tensors}) == 1 else map(float, tensors))
    return [float(next(fetched) if isinstance(v, torch.Tensor) else v) for v in column]


@contextlib.contextmanager
def _deferred_interrupt():
    """Turn the first interrupt into a flag, so that no step is ever cut in half; a second one acts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def on_interrupt(signum, frame):
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield flag
    finally:
        signal.signal(signal.SIGINT, before or signal.SIG_DFL)  # None: a handler that Python did not set


def fit(
    step, batches, steps, *, snapshot=None, snapshots=60, checkpoint=None, state=None, label="", quiet=False
) -> History:
    """Call ``step`` on ``steps`` batches, with progress, history, snapshots and checkpoints.

    Args:
        step: function of a batch; updates what it wants and returns named scalars, e.g. ``{"loss": loss}``. They may
            stay on the device: they are fetched in bulk.
        batches: an iterator of batches, e.g. :func:`gencourse.batches`.
        steps: how many steps in all, those of a resumed run included; a positive integer.
        snapshot: function without arguments; what it returns is kept in ``history.snapshots``.
        snapshots: how many to take, evenly spaced, the first before training and the last after it.
        checkpoint: path of a file from which to resume, if it is there, and to which to save every 30 seconds, at the
            end and on interrupt. On the CPU the resumed run is equal to the last bit.
        state: needed with ``checkpoint``: a dictionary of everything that training changes, e.g. ``{"G": G}``.
        label: shown in front of the progress bar.
        quiet: show no progress, for short runs inside a loop that shows its own.

    Returns:
        History: name -> list of floats, one per step. After an interrupt (the stop button, Ctrl-C) it holds the steps
        done so far, and ``history.interrupted`` is true; press twice to stop in the middle of a step.

    Raises:
        TrainingDiverged: if a scalar is NaN or infinite; names the step and the value.
        CheckpointError: if the checkpoint is damaged, belongs to something else, or cannot be written.
        ArgumentError: for bad arguments.

    >>> w = torch.zeros((), requires_grad=True); opt = torch.optim.SGD([w], lr=0.1)
    >>> def step(x):
    ...     loss = ((w - x) ** 2).mean(); opt.zero_grad(); loss.backward(); opt.step()
    ...     return {"loss": loss}
    >>> history = fit(step, iter(lambda: torch.ones(4), None), steps=50)
    >>> history.steps, round(w.item(), 2)
    (50, 1.0)
    """
    _check_arguments(step, batches, steps, snapshot, snapshots, checkpoint, state)
    history, stream = History(), iter(batches)
    if checkpoint is not None:
        parts = {**state, "batches": stream}
        checkpoints.resume(Path(checkpoint), parts, history)
    due = {round(i * steps / max(snapshots - 1, 1)) for i in range(snapshots)} if snapshot else set()
    recorder = _Recorder(history, list(history) or None)
    began, saved = time.monotonic() - history.seconds, time.monotonic()
    with Progress(steps, history, label, quiet) as progress, _deferred_interrupt() as interrupted:
        for done in range(history.steps, steps + 1):
            if done in due and done not in history.snapshot_steps:
                history.snapshots.append(snapshot())
                history.snapshot_steps.append(done)
            if done == steps or interrupted.is_set():
                break
            scalars = step(_next(stream, done))
            history.seconds = time.monotonic() - began
            recorder.add(scalars, lazily=_on_accelerator(scalars) and not progress.due())
            progress.update(done + 1)
            if done + 1 == steps and recorder.pending:  # on an accelerator: the last steps are still under way
                recorder.flush()
                history.seconds = time.monotonic() - began
            if checkpoint is not None and time.monotonic() - saved > checkpoints.SECONDS_BETWEEN:
                recorder.flush()
                checkpoints.save(Path(checkpoint), parts, history)
                saved = time.monotonic()
        recorder.flush()
        history.interrupted = history.steps < steps
        _count_stop(history.interrupted)
        if checkpoint is not None:
            checkpoints.save(Path(checkpoint), parts, history)
    return history


def _count_stop(stopped):
    global stops
    stops += stopped


def _next(stream, done):
    try:
        return next(stream)
    except StopIteration:
        raise GencourseError(
            f"batches ended after {done} steps. Give fit an endless iterator, e.g. gc.batches(x, 64), or ask for "
            f"at most {done} steps."
        ) from None


def _on_accelerator(scalars):
    return isinstance(scalars, dict) and any(
        isinstance(v, torch.Tensor) and v.device.type != "cpu" for v in scalars.values()
    )


def _check_arguments(step, batches, steps, snapshot, snapshots, checkpoint, state):
    require(callable(step), "step", step, "a function of a batch that returns named scalars")
    ok = hasattr(batches, "__iter__") and not isinstance(batches, torch.Tensor | str)
    require(ok, "batches", batches, "an iterator of batches, e.g. gc.batches(x, 64)")
    require(is_whole(steps) and steps > 0, "steps", steps, "a positive integer")
    require(snapshot is None or callable(snapshot), "snapshot", snapshot, "a function without arguments, or None")
    require(is_whole(snapshots) and snapshots > 0, "snapshots", snapshots, "a positive integer")
    require(checkpoint is None or isinstance(checkpoint, str | Path), "checkpoint", checkpoint, "a path, or None")
    if checkpoint is not None:
        ok = isinstance(state, dict) and state and all(checkpoints.can_keep(v) for v in state.values())
        allowed = "a dictionary of all that training changes (models, optimizers, generators)"
        require(ok and "batches" not in state, "state", state, f"{allowed}, none of them named 'batches'")
        allowed = "gc.batches(...) or gc.draws(...), which can resume, because checkpoint= is given"
        require(checkpoints.can_keep(iter(batches)), "batches", type(batches).__name__, allowed)
