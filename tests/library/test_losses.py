"""GAN losses against torch's binary cross-entropy and against autograd; every check has a broken twin."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.testing import assert_close
from twins import must_fail

from gencourse.losses import critic_loss, discriminator_loss, generator_loss, generator_loss_saturating, value

EXTREME = [-1e4, -100.0, -30.0, 0.0, 30.0, 100.0, 1e4]


def logits(n=64, seed=0, scale=3.0):
    return scale * torch.randn(n, generator=torch.Generator().manual_seed(seed))


def slope(loss, *at):
    """d loss / d (last argument), sample by sample."""
    at = [v.clone().requires_grad_() for v in at]
    (gradient,) = torch.autograd.grad(loss(*at).sum(), at[-1])
    return gradient


# ---- checks: each takes an implementation ----


def check_discriminator(f):
    real, fake = logits(), logits(seed=1)
    expected = bce(real, torch.ones(64), reduction="none") + bce(fake, torch.zeros(64), reduction="none")
    assert_close(f(real, fake), expected)


def check_value(f):
    real, fake = logits().double(), logits(seed=1).double()
    expected = torch.sigmoid(real).log() + (1 - torch.sigmoid(fake)).log()  # equation 1, literally
    assert_close(f(real, fake), expected)
    assert_close(f(torch.zeros(1), torch.zeros(1)).item(), -2 * math.log(2))


def check_generator(f):
    fake = logits()
    assert_close(f(fake), bce(fake, torch.ones(64), reduction="none"))
    assert_close(slope(f, fake), -(1 - torch.sigmoid(fake)))  # largest where D is sure


def check_saturating(f):
    fake = logits()
    assert_close(f(fake), -bce(fake, torch.zeros(64), reduction="none"))
    assert_close(slope(f, fake), -torch.sigmoid(fake))  # none where D is sure


def check_extreme_generator(f):
    """-log D is -l where D is 0 to the last bit, and its slope is still -1 there."""
    fake = torch.tensor(EXTREME)
    assert_close(f(fake), torch.tensor([1e4, 100.0, 30.0, math.log(2), math.exp(-30), 0.0, 0.0]))
    assert_close(slope(f, fake)[:3], torch.full((3,), -1.0))


def check_extreme_discriminator(f):
    real, fake = torch.tensor(EXTREME), -torch.tensor(EXTREME)  # wrong, and sure of it, at the start of the list
    assert_close(f(real, fake)[:3], torch.tensor([2e4, 200.0, 60.0]))
    assert bool(f(real, fake).isfinite().all() and slope(f, real, fake).isfinite().all())
    assert_close(slope(f, real, fake)[:3], torch.ones(3))


def clamped_log(p):
    return p.clamp(1e-8, 1 - 1e-8).log()


CHECKS = {
    "discriminator": (check_discriminator, discriminator_loss),
    "value": (check_value, value),
    "generator": (check_generator, generator_loss),
    "saturating": (check_saturating, generator_loss_saturating),
    "extreme generator": (check_extreme_generator, generator_loss),
    "extreme discriminator": (check_extreme_discriminator, discriminator_loss),
}
TWINS = {
    "discriminator with the wrong sign": (check_discriminator, value),
    "discriminator with data and samples exchanged": (check_discriminator, lambda r, f: discriminator_loss(f, r)),
    "discriminator that averages the halves": (check_discriminator, lambda r, f: discriminator_loss(r, f) / 2),
    "discriminator already averaged": (check_discriminator, lambda r, f: discriminator_loss(r, f).mean()),
    "discriminator of probabilities": (
        check_discriminator,
        lambda r, f: discriminator_loss(torch.sigmoid(r), torch.sigmoid(f)),
    ),
    "value with the wrong sign": (check_value, discriminator_loss),
    "value of log D on both": (check_value, lambda r, f: torch.sigmoid(r).log() + torch.sigmoid(f).log()),
    "value in bits": (check_value, lambda r, f: value(r, f) / math.log(2)),
    "generator with the wrong sign": (check_generator, lambda f: -generator_loss(f)),
    "generator that saturates": (check_generator, generator_loss_saturating),
    "generator with labels exchanged": (check_generator, lambda f: generator_loss(-f)),
    "saturating with the wrong sign": (check_saturating, lambda f: -generator_loss_saturating(f)),
    "saturating that does not": (check_saturating, generator_loss),
    "generator through a clamped sigmoid": (check_extreme_generator, lambda f: -clamped_log(torch.sigmoid(f))),
    "generator through a bare sigmoid": (check_extreme_generator, lambda f: -torch.sigmoid(f).log()),
    "discriminator through a clamped sigmoid": (
        check_extreme_discriminator,
        lambda r, f: -clamped_log(torch.sigmoid(r)) - clamped_log(1 - torch.sigmoid(f)),
    ),
    "discriminator through a bare sigmoid": (
        check_extreme_discriminator,
        lambda r, f: -torch.sigmoid(r).log() - (1 - torch.sigmoid(f)).log(),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_right(name):
    check, f = CHECKS[name]
    check(f)


@pytest.mark.parametrize("name", TWINS)
def test_broken_twin(name):
    must_fail(*TWINS[name])


def test_the_clamped_sigmoid_passes_where_it_is_harmless():
    """The twin is caught by the extremes alone: at ordinary logits it is right."""
    check_generator(lambda f: -clamped_log(torch.sigmoid(f)))


@pytest.mark.parametrize("loss", [discriminator_loss, value], ids=lambda f: f.__name__)
def test_columns_are_batches(loss):
    real, fake = logits(), logits(seed=1)
    assert loss(real[:, None], fake).shape == (64,)
    assert_close(loss(real[:, None], fake[:, None]), loss(real, fake))


@pytest.mark.parametrize("loss", [generator_loss, generator_loss_saturating], ids=lambda f: f.__name__)
def test_columns_are_batches_for_the_generator(loss):
    assert_close(loss(logits()[:, None]), loss(logits()))


def test_only_its_own_half_reaches_the_discriminator_input():
    """The slope for the real logits is D - 1, whatever the generated samples are."""
    real = logits()
    for fake in (logits(seed=1), logits(seed=2)):
        fixed = lambda r, f=fake: discriminator_loss(r, f)
        assert_close(slope(fixed, real), torch.sigmoid(real) - 1)


@pytest.mark.parametrize("loss", [discriminator_loss, value, critic_loss], ids=lambda f: f.__name__)
def test_numbers_that_would_be_broadcast(loss):
    """One logit against many, or two columns, would give a mean of something else."""
    for real, fake in ((logits(), logits(1)), (logits(), logits(64)[:, None].expand(-1, 2)), (logits(1)[0], logits(1))):
        with pytest.raises(ValueError, match="must be"):
            loss(real, fake)
