"""fit never makes an accelerator wait at every step: seen with pretended tensors, and on CUDA where there is one."""

import time
import warnings
from itertools import count

import pytest
import torch

from gencourse import TrainingDiverged, fit

FETCHES = ("tolist", "item", "cpu", "numpy", "__float__", "__bool__")


class Far(torch.Tensor):
    """A tensor that claims to lie on an accelerator, and counts how often a number is fetched from it."""

    fetched = 0
    device = property(lambda self: torch.device("cuda"))


def _counted(name):
    def fetch(self, *args):
        Far.fetched += 1
        return getattr(self.as_subclass(torch.Tensor), name)(*args)

    return fetch


for _name in FETCHES:
    setattr(Far, _name, _counted(_name))


@pytest.fixture(autouse=True)
def _reset(monkeypatch):
    monkeypatch.setattr(Far, "fetched", 0)


def far(value):
    return torch.tensor(float(value)).as_subclass(Far)


def test_the_counter_counts():
    assert float(far(2)) == far(2).item() == far(2).tolist() == 2.0
    assert Far.fetched == 3


def test_values_are_fetched_in_bulk():
    began = time.monotonic()
    history = fit(lambda x: {"loss": far(x)}, count(), 1000)
    assert history["loss"] == list(range(1000))
    allowed = 1 + 1000 // 100 + (time.monotonic() - began) / 0.25  # in bulk, and when the bar shows new values
    assert Far.fetched <= allowed


def test_twin_that_looks_at_every_value():
    """A step that formats its loss, as many do, is seen by the counter."""

    def step(x):
        loss = far(x)
        return {"loss": loss, "half": loss.item() / 2}

    fit(step, count(), 1000)
    assert Far.fetched >= 1000


def test_on_the_cpu_at_every_step():
    done = []
    with pytest.raises(TrainingDiverged):
        fit(lambda x: done.append(x) or {"loss": torch.tensor(float("nan") if x == 5 else 0.0)}, count(), 1000)
    assert len(done) == 6  # stops at that very step


def test_divergence_is_dated_right_though_noticed_late():
    done = []
    with pytest.raises(TrainingDiverged) as caught:
        fit(lambda x: done.append(x) or {"loss": far("inf" if x == 42 else x)}, count(), 1000)
    assert caught.value.step == 43 and caught.value.history["loss"] == [*range(42), float("inf")]
    assert caught.value.history.steps == 43 and len(done) <= 101


def test_tensors_and_numbers_may_take_turns():
    """A penalty that is computed at some steps only is a plain 0 at the others."""
    history = fit(lambda x: {"penalty": far(x) if x % 3 == 0 else 0.0, "rate": 0.1}, count(), 10)
    assert history["penalty"] == [0, 0, 0, 3, 0, 0, 6, 0, 0, 9]


def test_one_tensor_changed_in_place():
    """A running mean kept in one tensor: each step's value is kept, not the last one's."""
    running = far(0)

    def step(x):
        running.add_(1)
        return {"running": running}

    assert fit(step, count(), 5)["running"] == [1, 2, 3, 4, 5]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_on_cuda():
    """torch itself reports every synchronization."""
    x = torch.ones(1000, device="cuda")

    def step(i):
        return {"loss": (x * i).mean(), "D": x.sum()}

    fit(step, count(), 10)
    torch.cuda.set_sync_debug_mode("warn")
    began = time.monotonic()
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            history = fit(step, count(), 2000)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert history["loss"] == [float(i) for i in range(2000)]
    waits = [w for w in caught if "synchroniz" in str(w.message)]
    assert 0 < len(waits) <= 4 * (1 + 2000 // 100 + (time.monotonic() - began) / 0.25)  # two columns, and room
