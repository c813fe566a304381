"""The one training loop of the course, ``fit(step, batches, steps)``, and the moving average of weights."""

import contextlib
import glob
import math
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import torch
from torch.optim.swa_utils import AveragedModel
from torch.utils._pytree import tree_map_only

from .errors import DataError, GencourseError, TrainingDiverged, TrainingStopped, require
from .progress import Progress

CHECKPOINT_SECONDS = 30.0


class History(dict):
    """name -> list of floats, one per step; with ``steps``, ``seconds``, ``snapshots`` and ``snapshot_steps``."""

    def __init__(self):
        super().__init__()
        self.steps, self.seconds = 0, 0.0
        self.snapshots, self.snapshot_steps = [], []


def fit(
    step, batches, steps, *, snapshot=None, snapshots=60, checkpoint=None, state=None, label="", quiet=False, fast=False
) -> History:
    """Call ``step`` on ``steps`` batches, with progress, history, snapshots and checkpoints.

    Args:
        step: function of a batch; updates what it wants and returns named scalars, e.g. ``{"loss": loss}``. They may
            stay on the device: they are fetched in bulk.
        batches: an iterator of batches, e.g. :func:`gencourse.batches`.
        steps: how many steps in all, those of a resumed run included.
        snapshot: function without arguments; what it returns is kept in ``history.snapshots``, tensors on the CPU.
        snapshots: how many to take, evenly spaced, the first before training and the last after it.
        checkpoint: path of a file from which to resume, if it is there, and to which to save every 30 seconds, at the
            end and on interrupt. A process killed at any moment leaves a whole file; on the CPU the resumed run is
            equal to the last bit. Snapshots must then be tensors, numbers, text, or lists and dictionaries of them.
        state: with ``checkpoint``, a dictionary of everything that training changes and that has a ``state_dict``,
            or is a torch.Generator: networks, optimizers, schedulers, e.g. ``{"G": G, "opt_G": opt_G}``.
        label: shown in front of the progress bar.
        quiet: show no progress, for short runs inside a loop that shows its own.
        fast: on CUDA, compile the step and let its products of matrices be in bfloat16: for thousands of steps of one
            network, without derivatives of derivatives. Elsewhere it changes nothing.

    On CUDA, products of float32 matrices are in TF32 during training: on tensor cores, with 10 bits of each factor
    after the point instead of 23. What is computed after the training has all bits again.

    Returns:
        History: name -> list of floats, one per step.

    Raises:
        TrainingDiverged: if a scalar is NaN or infinite; names the step and the value.
        DataError: if the checkpoint is damaged, belongs to something else, or cannot be written. Networks and
            optimizers may then hold a part of it: create them again.
        GencourseError: if the batches end before ``steps``.
        ValueError: if ``step`` returns no named scalars, or other names than before; with a checkpoint, if ``state`` is
            missing, or a part of it or ``batches`` has no ``state_dict``.
        TrainingStopped: after an interrupt (the stop button, Ctrl-C), when the step is finished and the checkpoint is
            saved, so that cells and runs that are queued do not go on with half a training; it has the ``history`` so
            far. Press twice to stop in the middle of a step.

    >>> w = torch.zeros((), requires_grad=True); opt = torch.optim.SGD([w], lr=0.1)
    >>> def step(x):
    ...     loss = ((w - x) ** 2).mean(); opt.zero_grad(); loss.backward(); opt.step()
    ...     return {"loss": loss}
    >>> history = fit(step, iter(lambda: torch.ones(4), None), steps=50)
    >>> history.steps, round(w.item(), 2)
    (50, 1.0)
    """
    history, stream = History(), iter(batches)
    parts = {**(state or {}), "batches": stream}
    if checkpoint is not None:
        unable = [k for k, v in parts.items() if not (hasattr(v, "state_dict") or isinstance(v, torch.Generator))]
        require(state and not unable, "state", unable, "given, and it and batches of things that have a state_dict")
        _load_checkpoint(Path(checkpoint), parts, history)
    due = {round(i * steps / max(snapshots - 1, 1)) for i in range(snapshots)} if snapshot else set()
    recorder = _Recorder(history)
    if fast and torch.cuda.is_available():
        step = torch.autocast("cuda", torch.bfloat16)(compiled(step))
    started, saved = time.monotonic() - history.seconds, time.monotonic()
    bar = Progress(steps, history, label, quiet=quiet)
    with bar as progress, _deferred_interrupt() as interrupted, _fast_arithmetic():
        for done in range(history.steps, steps + 1):
            if done in due and done not in history.snapshot_steps:
                history.snapshots.append(tree_map_only(torch.Tensor, lambda v: v.cpu(), snapshot()))
                history.snapshot_steps.append(done)
            if done == steps or interrupted.is_set():
                break
            batch = next(stream, None)
            if batch is None:
                raise GencourseError(f"batches ended after {done} steps. Give fit an endless iterator, such as "
                                     f"gc.batches(x, 64), or ask for at most {done} steps.")  # fmt: skip
            recorder.add(step(batch))
            if not recorder.on_accelerator or progress.due() or len(recorder.pending) >= 100 or done + 1 == steps:
                recorder.flush()  # on an accelerator this waits for the steps that are still under way
            history.seconds = time.monotonic() - started
            progress.update()
            if checkpoint is not None and time.monotonic() - saved > CHECKPOINT_SECONDS:
                recorder.flush()
                _save_checkpoint(Path(checkpoint), parts, history)
                saved = time.monotonic()
        recorder.flush()
        if checkpoint is not None:
            _save_checkpoint(Path(checkpoint), parts, history)
    if interrupted.is_set():
        raise TrainingStopped(f"after {history.steps:,} of {steps:,} steps. Networks keep what they have learned, and "
                              "sys.last_value.history what was recorded.", history)  # fmt: skip
    return history


def compiled(step, backend="inductor"):
    """The step by ``torch.compile``, several operations in one kernel; as it is where the compiler fails."""
    checks = torch.distributions.Distribution._validate_args
    fast = torch._dynamo.config.patch(suppress_errors=True)(torch.compile(step, backend=backend))
    torch.distributions.Distribution.set_default_validate_args(checks)  # torch.compile switches it off for all
    return fast


@contextlib.contextmanager
def _fast_arithmetic():
    """Let CUDA multiply float32 matrices in TF32, and a CPU take numbers below 1e-38, which it is slow with, for 0."""
    before = torch.get_float32_matmul_precision()
    if torch.cuda.is_available():
        torch.set_float32_matmul_precision("high")
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_float32_matmul_precision(before)


class _Recorder:
    """Keeps what the steps return on the device, and fetches it in one go, so that a GPU is never made to wait."""

    def __init__(self, history):
        self.history, self.names, self.pending, self.on_accelerator = history, list(history), [], False

    def add(self, scalars):
        require(isinstance(scalars, dict) and scalars, "step(x)", scalars, "named scalars, e.g. {'loss': loss}")
        self.names = self.names or list(scalars)
        require(list(scalars) == self.names, "step(x)", list(scalars), f"the same names at every step: {self.names}")
        row = []
        for name, v in scalars.items():
            v = v.detach() if isinstance(v, torch.Tensor) else torch.tensor(float(v), dtype=torch.float64)
            require(v.numel() == 1, f"step(x)[{name!r}]", f"shape {tuple(v.shape)}", "a scalar: average over the batch")
            row.append(v.reshape(()).clone())  # a later step may change the tensor in place before it is fetched
            self.on_accelerator = self.on_accelerator or v.device.type != "cpu"
        self.pending.append(row)

    def flush(self):
        """Move what is pending into the history; stop at the first value that is not finite."""
        columns = []
        for column in zip(*self.pending, strict=True):  # in one transfer where all lie on one device
            alike = len({(v.device, v.dtype) for v in column}) == 1
            columns.append(torch.stack(column).tolist() if alike else [float(v) for v in column])
        self.pending = []
        for row in zip(*columns, strict=True):
            self.history.steps += 1
            for name, v in zip(self.names, row, strict=True):
                self.history.setdefault(name, []).append(float(v))
            for name, v in zip(self.names, row, strict=True):
                if not math.isfinite(v):
                    message = (f"{name} became {v} at step {self.history.steps}, so training stopped. Usual causes: a "
                               "learning rate that is too high, a logarithm or a division at 0, data out of range. "
                               "The exception's .history holds what was recorded so far.")  # fmt: skip
                    raise TrainingDiverged(
                        message, step=self.history.steps, name=name, value=v, history=self.history)  # fmt: skip


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


def replace_file(path, write):
    """Let ``write`` make a file aside, force it to the disk, and only then give it the name ``path``.

    A process that is killed at any moment leaves the old file or the new one, never a part.

    Raises:
        DataError: if the disk refuses.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.new")  # two kernels may write at once
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f"{glob.escape(path.name)}.*.new"):
            process = left.name.split(".")[-2]
            if process.isdecimal() and not psutil.pid_exists(int(process)):  # it was killed
                left.unlink(missing_ok=True)
        with open(aside, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except (OSError, RuntimeError) as error:  # RuntimeError: torch.save on a full disk
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
        raise DataError(
            f"{path.name} could not be written ({error}). The file saved before, if any, is intact. Free some space, "
            "or name a folder that you may write to."
        ) from error


def _save_checkpoint(path, parts, history):
    numpy_state = np.random.get_state()  # noqa: NPY002 (the global state is what must be resumed)
    random_states = {
        "python": random.getstate(),
        "numpy": (numpy_state[0], numpy_state[1].tolist(), *numpy_state[2:]),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all(),
    }
    kept = {name: p.get_state() if isinstance(p, torch.Generator) else p.state_dict() for name, p in parts.items()}
    content = {"parts": kept, "random": random_states, "columns": dict(history), "progress": vars(history)}
    replace_file(path, lambda file: torch.save(content, file))


def _load_checkpoint(path, parts, history):
    """Put everything back as :func:`_save_checkpoint` found it; do nothing if there is no file yet."""
    if not path.exists():
        return
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
        require(set(content["parts"]) == set(parts), "state", sorted(parts), f"{sorted(content['parts'])}, as saved")
        for name, part in parts.items():
            put = part.set_state if isinstance(part, torch.Generator) else part.load_state_dict
            put(content["parts"][name])
    except Exception as error:  # whatever pickle, zip files and the parts themselves raise
        raise DataError(
            f"The checkpoint {path.name} cannot be resumed from: it is damaged, or was made for other networks or "
            f"optimizers ({error}). Name another file, or delete it to start again."
        ) from error
    states = content["random"]
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    restore_gpu_random_states(states["cuda"])
    history.update(content["columns"])
    vars(history).update(content["progress"])


def restore_gpu_random_states(states):
    """Put back what ``torch.cuda.get_rng_state_all`` returned, if there are as many GPUs as then."""
    if len(states) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states)


class _EMA(AveragedModel):
    def __init__(self, net, decay):
        super().__init__(net)
        self.decay = decay

    @torch.no_grad()
    def update_parameters(self, model):
        n = int(self.n_averaged)  # on the CPU for good: torch's own method copies it to a GPU, and waits
        d = min(self.decay, (n + 1) / (n + 10)) if n else 0.0
        torch._foreach_lerp_(list(self.module.parameters()), list(model.parameters()), 1 - d)
        for average, current in zip(self.module.buffers(), model.buffers(), strict=True):
            average.copy_(current)
        self.n_averaged += 1


def ema(net, decay=0.998) -> AveragedModel:
    """An exponential moving average of a network's weights: theta_bar <- d theta_bar + (1 - d) theta.

    Call ``ema.update_parameters(net)`` after each step, and use ``ema.module``. The first update copies; after n >= 1
    of them d = min(decay, (n + 1) / (n + 10)): a short memory at first, which forgets the untrained weights.

    Args:
        net: the network that is trained; the average starts as a copy of it.
        decay: the largest d, in [0, 1); it averages over about 1 / (1 - decay) steps.

    Source: Polyak & Juditsky (1992), https://doi.org/10.1137/0330046; for diffusion Ho et al. (2020),
    https://arxiv.org/abs/2006.11239.

    >>> net = torch.nn.Linear(1, 1)
    >>> average = ema(net)
    >>> with torch.no_grad():
    ...     for value in (0.0, 10.0):     # the first update copies, the second has n = 1 and d = 2 / 11
    ...         _ = net.weight.fill_(value)
    ...         average.update_parameters(net)
    >>> round(average.module.weight.item(), 4)     # 10 (1 - 2 / 11)
    8.1818
    """

    return _EMA(net, decay)
