"""What an accelerator is owed: no waits in a step, its random state left alone, everything on the right device.

Seen without one, by pretended tensors and the meta device, which computes nothing; and on CUDA where there is one.
"""

import hashlib
import time
import warnings
from itertools import count

import pytest
import torch
from twins import must_fail

import gencourse as gc
from experiments.classifier import train_digit_classifier
from gencourse import TrainingDiverged, fit, train

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


# ---- what belongs to the device stays as it was, or comes back ----


@pytest.fixture
def states(monkeypatch):
    """Two GPUs whose random states are tensors in a list; whatever would seed them fails the test."""
    kept = [torch.tensor([1], dtype=torch.uint8), torch.tensor([2], dtype=torch.uint8)]

    def seeded(seed):
        raise AssertionError("the GPUs are seeded")

    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(kept))
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [state.clone() for state in kept])
    monkeypatch.setattr(torch.cuda, "set_rng_state_all", lambda new: kept.__setitem__(slice(None), new))
    return kept


def check_seeds_no_gpu(draw):
    draw()


def test_measures_and_toys_leave_the_gpus_random_states_alone(states):
    images = torch.rand(12, 1, 28, 28).to(gc.device())
    check_seeds_no_gpu(lambda: gc.metrics.report(gc.metrics.digit_classifier(), images, images))
    check_seeds_no_gpu(lambda: gc.data.toy("checkerboard", 5))
    check_seeds_no_gpu(lambda: train_digit_classifier(steps=2))
    must_fail(check_seeds_no_gpu, lambda: torch.manual_seed(0))


def check_gpus_come_back(states, save, load):
    save()
    states[:] = [torch.tensor([7], dtype=torch.uint8)] * 2
    load()
    assert [int(state) for state in states] == [1, 2]


def test_a_lecture_gets_the_gpus_random_states_back(states, tmp_path, monkeypatch):
    monkeypatch.setenv("GENCOURSE_SAVE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("GENCOURSE_WEIGHTS", str(tmp_path))

    def load():
        monkeypatch.setenv("GENCOURSE_LECTURE", "1")
        file = tmp_path / "02_gan" / "run.pt.xz"
        (tmp_path / "SHA256SUMS").write_text(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  02_gan/run.pt.xz\n")
        gc.load_or_train("02_gan/run", lambda: pytest.fail("trained"))

    check_gpus_come_back(states, lambda: gc.load_or_train("02_gan/run", lambda: 1.5), load)
    states.pop()  # one GPU less: what was saved belongs to another machine, and is left
    load()
    assert len(states) == 1


def test_a_resumed_run_gets_the_gpus_random_states_back(states, tmp_path):
    def run(steps):
        net = torch.nn.Linear(1, 1)
        data = gc.batches(torch.zeros(8, 1), 4)
        fit(lambda x: {"loss": 0.0}, data, steps, checkpoint=tmp_path / "file", state={"net": net}, quiet=True)

    check_gpus_come_back(states, lambda: run(2), lambda: run(3))


def test_snapshots_lie_on_the_cpu():
    """So those of a resumed run, which were read from a file, lie where the new ones lie."""
    history = fit(lambda x: {"loss": 0.0}, count(), 3, snapshot=lambda: {"a": [far(1), (far(2), 3.0)], "b": "text"})
    for snapshot in history.snapshots:
        assert [type(v) for v in (snapshot["a"][0], snapshot["a"][1][0])] == [torch.Tensor] * 2
        assert snapshot == {"a": [1.0, (2.0, 3.0)], "b": "text"}


def test_numbers_on_a_device_can_be_drawn():
    losses = [far(3), far(2), far(1)]
    assert gc.plot.style.array(losses).tolist() == [3.0, 2.0, 1.0]
    gc.plot.curves({"loss": losses, "pair": (range(3), losses)}, alt="They fall.", hlines={"best": far(1)})
    assert "2.00 ± 0.00" in repr(gc.plot.table([{"loss": (far(2), far(0))}]))


def test_total_probability_asks_a_network_on_its_own_device():
    class OnMeta(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, device="meta"))

        def forward(self, x):
            assert x.device.type == "meta"
            return torch.zeros(x.shape)

    assert gc.autoregressive.total_probability(OnMeta(), 2, 2) == pytest.approx(1)


def test_a_mixture_lies_where_its_means_lie(monkeypatch):
    monkeypatch.setattr(torch.distributions.Distribution, "_validate_args", False)
    means = torch.zeros(2, device="meta")
    assert gc.data.mixture_1d(means, [0.5, 0.5]).sample((3,)).device.type == "meta"
    assert gc.data.mixture_1d([0, 1], [0.5, 0.5], weights=[1, 2]).sample((3,)).dtype == torch.float32
    assert gc.data.mixture_1d(torch.zeros(2).double(), [0.5, 0.5]).sample((3,)).dtype == torch.float64


# ---- the speed of CUDA ----


def trained(step=None, rate=lambda i: 1 / (i + 1), **options):
    """Losses and weights of a short training whose learning rate changes in each step."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.SiLU(), torch.nn.Linear(8, 1))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    scheduler, average = torch.optim.lr_scheduler.LambdaLR(optimizer, rate), gc.ema(net)

    def plain(x):
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        average.update_parameters(net)
        return {"loss": loss}

    history = fit(step(plain) if step else plain, gc.batches(torch.randn(64, 3), 16), 8, quiet=True, **options)
    return [torch.tensor(history["loss"]), *average.parameters()]


def refusing(graph, inputs):
    raise NotImplementedError("no compiler here")


def test_a_compiled_step_trains_as_the_plain_one():
    expected = trained()
    for backend in ("aot_eager", refusing):  # the second goes on without the compiler
        found = trained(lambda step: train.compiled(step, backend))  # noqa: B023
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(trained(fast=True), expected, rtol=0, atol=0)  # on the CPU nothing changes
    with pytest.raises(AssertionError):  # a rate that stays as it was compiled would be seen
        torch.testing.assert_close(trained(rate=lambda i: 1.0), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="scale"):  # the checks of arguments, which torch.compile switches off, are on
        torch.distributions.Normal(0.0, -1.0)


def test_tiny_numbers_are_zero_only_while_training():
    tiny, seen = torch.full((8,), 1e-30), []
    assert (tiny * 1e-10).all()  # numbers below 1e-38 are kept

    def step(x):
        seen.append((tiny * 1e-10).any().item())
        if x == 1:
            raise ZeroDivisionError
        return {"loss": 0.0}

    with pytest.raises(ZeroDivisionError):
        fit(step, count(), 3, quiet=True)
    assert (seen == [False, False] or not torch.set_flush_denormal(False)) and (tiny * 1e-10).all()


@pytest.mark.parametrize("available", [False, True])
def test_tf32_only_on_cuda_and_only_while_training(available, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    seen = []

    def step(x):
        seen.append(torch.get_float32_matmul_precision())
        if x == 1:
            raise ZeroDivisionError
        return {"loss": 0.0}

    with pytest.raises(ZeroDivisionError):
        fit(step, count(), 3, quiet=True)
    assert seen == ["high" if available else "highest"] * 2 and torch.get_float32_matmul_precision() == "highest"
