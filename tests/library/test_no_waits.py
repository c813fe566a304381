"""No training step and no sampler waits for the device: all of them run on the meta device.

A tensor there has a shape and no numbers, so that whatever would fetch one (``.item()``, ``if x.any()``, a copy to the
CPU, a tensor of a data-dependent size) raises; so does a tensor that was left on the CPU.
"""

import sys

import pytest
import torch

import gencourse as gc
from experiments import entrants, models, plan, sampling

META = torch.device("meta")


@pytest.fixture
def on_meta(monkeypatch):
    """The course's device is the meta device; measures, which fetch numbers, and the fused Adam's own check are off."""
    nothing = lambda *a, **k: (None, None)
    for name in ("fid_quality", "thumbnail_quality", "nats_quality"):
        monkeypatch.setattr(models, name, nothing)
    binarize = gc.data.binarize
    monkeypatch.setattr(gc.data, "binarize", lambda x, seed=None: binarize(x) if seed is None else x)
    for module in ("torch.optim.adam", "torch.optim.adamw"):
        monkeypatch.setattr(sys.modules[module], "_device_dtype_check_for_fused", nothing, raising=False)
    monkeypatch.setattr(gc, "device", lambda: META)
    timeline, known = gc.samplers._timeline, gc.diffusion.cosine_schedule()  # fetched once, before the first step
    monkeypatch.setattr(gc.samplers, "_timeline", lambda schedule, steps: timeline(known, steps))


def check_step(step, batches):
    for _ in range(3):
        assert all(v.device == META for v in step(next(batches)).values())


@pytest.mark.parametrize("name", plan.PLAN)
def test_steps_of_the_marathon(name, on_meta):
    training = plan.PLAN[name].make(100)
    check_step(training.step, training.batches)


WAITING = {
    "fetches its loss": lambda loss: {"loss": loss, "log": torch.as_tensor(loss.item(), device=META)},
    "asks whether it is finite": lambda loss: {"loss": loss if loss.isfinite() else -loss},
    "picks some": lambda loss: {"loss": loss.view(1)[loss.view(1) > 0].sum()},
}


@pytest.mark.parametrize("name", WAITING)
def test_waiting_twins(name):
    with pytest.raises((NotImplementedError, RuntimeError)):
        check_step(lambda x: WAITING[name](x.mean()), gc.batches(torch.zeros(8, 2, device=META), 4))


@pytest.mark.parametrize("name", [name for name in entrants.RECIPES if name != "Gaussian"])
def test_steps_and_samplers_of_the_contest(name, on_meta):
    recipe = entrants.make(name, None, META)
    check_step(recipe.step, gc.batches(torch.zeros(70, 1, 28, 28, device=META), recipe.batch_size))
    for sampler in recipe.samplers.values() if recipe.protocol != "exact" else ():  # pixel by pixel: see below
        assert sampler(3).device == META


def diffuse(sampler, **options):
    schedule, x = gc.diffusion.cosine_schedule().to(META), torch.zeros(2, 1, 28, 28, device=META)
    net = network(lambda: gc.nets.UNet((8, 16), patch=2, blocks=1))
    predict = lambda x, t: gc.diffusion.convert(x, t, schedule, v=net(x, t)).eps
    return list(sampler(predict, x, schedule, steps=5, **options))[-1]


def network(make):
    return make().to(META).eval()


SAMPLERS = {
    "DDPM": lambda: diffuse(gc.samplers.ddpm),
    "DDIM": lambda: diffuse(gc.samplers.ddim, eta=0.5),
    "Euler": lambda: list(gc.samplers.euler(lambda x, t: -x, torch.zeros(2, 3, device=META), 5))[-1],
    "Heun": lambda: models.heun(lambda x, t: -x, torch.zeros(2, 3, device=META), 5),
    "pixel by pixel": lambda: gc.autoregressive.sample(
        network(lambda: gc.nets.PixelCNN(4, 1)), torch.zeros(2, 1, 3, 3, device=META)
    ),
    "token by token": lambda: gc.autoregressive.generate(
        network(lambda: gc.nets.GPT(5, 8)), torch.zeros(2, 1, dtype=torch.int64, device=META), 12, top_k=2, top_p=0.9
    ),
    **{
        name: lambda make=make: sampling.draw(network(make), torch.zeros(2, 5, 5, device=META))
        for name, make in {
            "PixelCNN": lambda: gc.nets.PixelCNN(4, 1),
            "gated PixelCNN": lambda: gc.nets.GatedPixelCNN(4, 1),
            "Row LSTM": lambda: gc.nets.PixelRNN("row", 4, 1),
            "Diagonal BiLSTM": lambda: gc.nets.PixelRNN("diagonal", 4, 1),
            "GPT on pixels": lambda: gc.nets.GPT(3, 25, 8, 2, 1),
        }.items()
    },
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers(name, on_meta):
    assert SAMPLERS[name]().device == META
