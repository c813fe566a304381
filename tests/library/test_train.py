"""The loop: history, divergence, interrupts, snapshots, the progress bar; with broken twins of the loop."""

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from itertools import count, islice

import numpy as np
import pytest
import torch
from twins import must_fail

import gencourse as gc
from gencourse import GencourseError, History, TrainingDiverged, TrainingStopped, fit, train


def counting():
    """A step that returns the number of the batch, and the list of batches that it saw."""
    seen = []

    def step(x):
        seen.append(x)
        return {"loss": torch.tensor(float(x)), "rate": 0.5}

    return step, seen


# ---- history ----


def check_history(loop):
    step, seen = counting()
    stream = count()
    history = loop(step, stream, 7)
    assert seen == list(range(7)) and next(stream) == 7  # no batch more than steps
    assert history["loss"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0] and history["rate"] == [0.5] * 7
    assert all(type(v) is float for values in history.values() for v in values)
    assert history.steps == 7 and history.seconds > 0


def check_diverged(loop):
    for bad in (math.nan, math.inf, -math.inf):
        values = iter([1.0, 2.0, bad, 3.0])
        with pytest.raises(TrainingDiverged, match=f"loss became {bad} at step 3.*learning rate") as caught:
            loop(lambda x: {"ok": 0.0, "loss": torch.tensor(next(values))}, count(), 4)  # noqa: B023
        error = caught.value
        assert (error.step, error.name) == (3, "loss") and str(error.value) == str(bad)
        assert error.history["loss"][:2] == [1.0, 2.0] and error.history.steps == 3


def check_interrupt(loop):
    """The step in which the interrupt comes is finished, and is the last; the handler is the old one again."""
    finished, before = [], signal.getsignal(signal.SIGINT)

    def step(x):
        if x == 3:
            signal.raise_signal(signal.SIGINT)
        finished.append(x)
        return {"loss": float(x)}

    try:
        loop(step, count(), 100)
        raise AssertionError("what is queued behind it would go on")
    except TrainingStopped as stopped:
        history = stopped.history
    except KeyboardInterrupt:
        raise AssertionError("the interrupt was not held back") from None
    finally:
        kept = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, before)
    assert finished == history["loss"] == [0, 1, 2, 3]
    assert history.steps == 4 and kept is before


def loop_twin(extra=0, convert=float, finite=math.isfinite, name=None, restore=True, defer=True, tell=True):
    """A small fit, right unless told otherwise."""

    def loop(step, batches, steps):
        history, stop, before = History(), threading.Event(), signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, (lambda *a: stop.set()) if defer else before)
        try:
            for x in islice(batches, steps + extra):
                for key, v in step(x).items():
                    history.setdefault(key, []).append(convert(v))
                history.steps, history.seconds = history.steps + 1, 1.0
                for key, values in history.items():
                    if not finite(float(values[-1])):
                        text = f"{key} became {float(values[-1])} at step {history.steps}; learning rate"
                        error = {"step": history.steps, "name": name or key, "value": float(values[-1])}
                        raise TrainingDiverged(text, **error, history=history)
                if stop.is_set() and tell:
                    raise TrainingStopped("stopped", history)
                if stop.is_set():
                    break
        finally:
            if restore:
                signal.signal(signal.SIGINT, before)
        return history

    return loop


TWINS = {
    "one step too many": (check_history, loop_twin(extra=1)),
    "one step too few": (check_history, loop_twin(extra=-1)),
    "history of tensors": (check_history, loop_twin(convert=torch.as_tensor)),
    "blind to infinity": (check_diverged, loop_twin(finite=lambda v: not math.isnan(v))),
    "blind to NaN": (check_diverged, loop_twin(finite=lambda v: abs(v) != math.inf)),
    "blames another value": (check_diverged, loop_twin(name="ok")),
    "cuts the step in half": (check_interrupt, loop_twin(defer=False)),
    "keeps its handler": (check_interrupt, loop_twin(restore=False)),
    "goes on as if it were finished": (check_interrupt, loop_twin(tell=False)),
}


@pytest.mark.parametrize("check", [check_history, check_diverged, check_interrupt], ids=lambda f: f.__name__)
def test_right(check):
    check(fit)
    check(loop_twin())  # with nothing broken the twin is right


@pytest.mark.parametrize("name", TWINS)
def test_broken_twin(name):
    must_fail(*TWINS[name])


@pytest.mark.parametrize(
    "value",
    [1, 1.0, True, np.float32(1), np.array(1), torch.ones(1, 1), torch.tensor(True), torch.tensor(1)],
    ids=lambda v: f"{type(v).__name__} {getattr(v, 'shape', '')}",
)
def test_scalars_of_every_kind(value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert fit(lambda x: {"v": value}, count(), 3)["v"] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("returned", [None, {}, torch.tensor(1.0), {"loss": torch.ones(5)}])
def test_a_step_without_scalars_is_refused(returned):
    with pytest.raises(ValueError, match=r"step\(x\)"):
        fit(lambda x: returned, count(), 3)


def test_names_may_not_change():
    with pytest.raises(ValueError, match=r"must be the same names at every step: \['a'\]"):
        fit(lambda x: {"a" if x < 2 else "b": 0.0}, count(), 3)


def test_batches_that_run_out():
    with pytest.raises(GencourseError, match=r"batches ended after 3 steps.*gc.batches.*at most 3 steps"):
        fit(lambda x: {"v": x}, [0, 1, 2], 4)
    assert fit(lambda x: {"v": x}, [0, 1, 2], 3)["v"] == [0, 1, 2]


def test_errors_of_the_step_come_through_and_restore_the_handler():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ZeroDivisionError):
        fit(lambda x: {"v": 1 / 0}, count(), 3)
    assert signal.getsignal(signal.SIGINT) is before


# ---- interrupts ----


def test_second_interrupt_acts_at_once():
    before, reached = signal.getsignal(signal.SIGINT), []

    def step(x):
        signal.raise_signal(signal.SIGINT)
        reached.append("first")
        signal.raise_signal(signal.SIGINT)
        reached.append("second")

    with pytest.raises(KeyboardInterrupt):
        fit(step, count(), 5)
    assert reached == ["first"] and signal.getsignal(signal.SIGINT) is before


def test_interrupt_in_the_last_step():
    """All steps are done, and what is queued stops all the same: that is what the button is for."""

    def step(x):
        if x == 2:
            signal.raise_signal(signal.SIGINT)
        return {"v": x}

    with pytest.raises(TrainingStopped) as stopped:
        fit(step, count(), 3)
    assert stopped.value.history.steps == 3


@pytest.mark.parametrize("quiet", [False, True])
def test_a_run_that_is_stopped_stops_the_loop_around_it(quiet, tmp_path):
    """The step is finished and the checkpoint written; then the interrupt goes on its way."""
    finished, before = [], signal.getsignal(signal.SIGINT)

    def step(x):
        if len(finished) == 12:
            signal.raise_signal(signal.SIGINT)
        finished.append(x)
        return {"v": 0.0}

    data, began = gc.batches(torch.arange(4), 2), []

    def three_runs():
        for run in range(3):
            began.append(run)
            fit(step, data, 10, quiet=quiet, checkpoint=tmp_path / str(run), state={"net": torch.nn.Linear(1, 1)})

    with pytest.raises(KeyboardInterrupt, match="after 3 of 10 steps"):
        three_runs()
    assert began == [0, 1] and len(finished) == 13 and signal.getsignal(signal.SIGINT) is before
    assert torch.load(tmp_path / "1", weights_only=True)["progress"]["steps"] == 3


def test_in_a_thread():
    """No signals there: it trains all the same."""
    result = []
    thread = threading.Thread(target=lambda: result.append(fit(lambda x: {"v": x}, count(), 3)))
    thread.start()
    thread.join(20)
    assert result[0]["v"] == [0, 1, 2]


SCRIPT = """
import itertools, json, time
from gencourse import TrainingStopped, fit
def step(x):
    print("step", flush=True)
    time.sleep(0.02)
    return {"v": x}
try:
    fit(step, itertools.count(), 100_000)
except TrainingStopped as stopped:
    print(json.dumps([stopped.history.steps, stopped.history["v"]]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_real_interrupt_of_a_process():
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", SCRIPT], **pipes) as process:
        for _ in range(3):
            assert process.stdout.readline() == "step\n"
        process.send_signal(signal.SIGINT)
        *_, last = process.communicate(timeout=60)[0].splitlines()
    steps, values = json.loads(last)
    assert process.returncode == 0 and steps >= 3 and values == list(range(steps))


# ---- snapshots ----


@pytest.mark.parametrize(
    ("steps", "snapshots", "expected"),
    [(10, 3, [0, 5, 10]), (10, 1, [0]), (10, 11, list(range(11))), (4, 60, [0, 1, 2, 3, 4]), (7, 2, [0, 7])],
)
def test_snapshots(steps, snapshots, expected):
    done = []
    step = lambda x: done.append(x) or {"v": 0.0}
    history = fit(step, count(), steps, snapshot=lambda: len(done), snapshots=snapshots)
    assert history.snapshot_steps == history.snapshots == expected  # taken after just so many steps


def test_no_snapshots_unless_asked():
    history = fit(lambda x: {"v": 0.0}, count(), 3)
    assert history.snapshots == history.snapshot_steps == []


# ---- progress in a terminal ----


def test_progress_in_a_terminal(capsys):
    def step(x):
        threading.Event().wait(0.01)
        return {"loss": 0.125 * x, "D": 0.5}

    fit(step, count(), 40, label="training")
    shown = capsys.readouterr()
    assert shown.out == ""  # the library never prints
    first, *_, last = [line for line in shown.err.split("\r") if "loss" in line]
    assert "training:" in first and "D=0.5" in first and "it/s" in shown.err
    assert "100%" in last and "40/40" in last and "loss=4.88" in last  # the values of the very last step
    assert any("<00:0" in line for line in shown.err.split("\r"))  # time left


def test_progress_says_where_it_stopped(capsys):
    def step(x):
        if x == 2:
            signal.raise_signal(signal.SIGINT)
        return {"v": x}

    with pytest.raises(TrainingStopped, match="after 3 of 50 steps"):
        gc.fit(step, count(), 50)
    assert "3/50" in capsys.readouterr().err.split("\r")[-1]


def test_seconds_include_what_an_accelerator_has_still_to_do(monkeypatch):
    """Steps are sent to it in no time; the clock stops when the last of them is done."""
    flush = train._Recorder.flush

    def slow(recorder):
        if recorder.pending:
            time.sleep(0.2)
        flush(recorder)

    on_accelerator = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(train._Recorder, "on_accelerator", on_accelerator, raising=False)
    monkeypatch.setattr(train._Recorder, "flush", slow)
    history = gc.fit(lambda x: {"loss": torch.zeros(())}, iter(lambda: 0, None), 3, quiet=True)
    assert history.seconds >= 0.2
    assert history["loss"] == [0.0] * 3


# ---- the moving average ----


def check_ema(make):
    """After k updates with constant weights 1 from a start at 0: by hand, with d = min(decay, (n + 1) / (n + 10))."""
    net = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(net.weight)
    average = make(net, 0.5)
    average.update_parameters(net)  # the first one copies
    torch.nn.init.ones_(net.weight)
    by_hand = 0.0
    for n in range(1, 30):
        average.update_parameters(net)
        d = min(0.5, (n + 1) / (n + 10))
        by_hand = d * by_hand + (1 - d)
        assert average.module.weight.item() == pytest.approx(by_hand, abs=1e-6)


def test_ema():
    check_ema(train.ema)
    AveragedModel, get = torch.optim.swa_utils.AveragedModel, torch.optim.swa_utils.get_ema_multi_avg_fn
    must_fail(check_ema, lambda net, decay: AveragedModel(net, multi_avg_fn=get(decay)))
    must_fail(check_ema, lambda net, decay: train.ema(net, 1 - decay / 2))


def test_ema_copies_running_statistics():
    net = torch.nn.BatchNorm1d(2)
    average = train.ema(net)
    for _ in range(3):
        net(torch.randn(8, 2) + 1)
        average.update_parameters(net)
    assert average.module.running_mean.equal(net.running_mean) and net.running_mean.abs().sum() > 0
