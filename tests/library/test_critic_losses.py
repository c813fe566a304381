"""Label smoothing, the losses of a critic and its gradient penalty; each known bug is caught by a named check."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus
from torch.testing import assert_close
from twins import every_check_fails, must_fail

from gencourse.losses import critic_generator_loss, critic_loss, discriminator_loss, gradient_penalty
from gencourse.nets import DCGANDiscriminator, mlp

SHAPE = (6, 3, 4, 4)  # of a batch of images: the bugs differ over channels and pixels


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def pair(*shape):
    return normal(*shape, seed=1), 2 + normal(*shape, seed=2)


# ---- label smoothing ----


def check_smoothing(f):
    real, fake = 3 * normal(64), 3 * normal(64, seed=1)
    for t in (0.9, 0.5, 0.01, 1.0, 1):
        soft = bce(real, torch.full_like(real, t), reduction="none")
        assert_close(f(real, fake, real_target=t), soft + bce(fake, torch.zeros_like(fake), reduction="none"))
    assert_close(f(real, fake), f(real, fake, real_target=1.0))


def check_best_logit(f):
    """Smoothed, the best answer to data is the target itself: the slope is 0 at its logit."""
    t = torch.tensor(0.9, dtype=torch.float64)
    logit = torch.logit(t)[None].requires_grad_()
    (slope,) = torch.autograd.grad(f(logit, logit.detach(), real_target=t.item()).sum(), logit)
    assert_close(slope, torch.zeros(1, dtype=torch.float64))


def both_sides(real, fake, real_target=1.0):
    return discriminator_loss(real, fake, real_target) - (1 - real_target) * fake


SMOOTHING_TWINS = {
    "target ignored": lambda r, f, real_target=1.0: discriminator_loss(r, f),
    "first term scaled only": lambda r, f, real_target=1.0: real_target * softplus(-r) + softplus(f),
    "rest with the wrong sign": lambda r, f, real_target=1.0: softplus(-r) - (1 - real_target) * r + softplus(f),
    "samples smoothed": lambda r, f, real_target=1.0: discriminator_loss(-f, -r, real_target),
}


def test_smoothing():
    check_smoothing(discriminator_loss)
    check_best_logit(discriminator_loss)
    must_fail(check_smoothing, both_sides)  # of D = 1 on data only: one-sided


@pytest.mark.parametrize("name", SMOOTHING_TWINS)
def test_broken_smoothing(name):
    must_fail(check_smoothing, SMOOTHING_TWINS[name])
    if name != "samples smoothed":
        must_fail(check_best_logit, SMOOTHING_TWINS[name])


# ---- the losses of critic and generator ----


def check_critic_loss(f):
    real, fake = normal(5), normal(5, seed=1)
    assert_close(f(real, fake), torch.stack([b - a for a, b in zip(real, fake)]))
    assert f(real[:, None], fake[:, None]).shape == (5,)


def check_critic_learns(f):
    """A step downhill raises f on data and lowers it on samples."""
    real, fake = normal(5).requires_grad_(), normal(5, seed=1).requires_grad_()
    up, down = torch.autograd.grad(f(real, fake).sum(), (real, fake))
    assert bool((up == -1).all() and (down == 1).all())


def check_generator_loss(f):
    """A step downhill raises the score of samples."""
    fake = normal(5).requires_grad_()
    assert_close(f(fake), torch.stack([-b for b in fake]))
    (slope,) = torch.autograd.grad(f(fake[:, None]).sum(), fake)
    assert bool((slope == -1).all())


def test_signs():
    check_critic_loss(critic_loss)
    check_critic_learns(critic_loss)
    check_generator_loss(critic_generator_loss)
    for check in (check_critic_loss, check_critic_learns):
        must_fail(check, lambda real, fake: critic_loss(fake, real))  # the wrong sign
    must_fail(check_critic_loss, lambda real, fake: critic_loss(real, fake).mean())
    must_fail(check_generator_loss, lambda fake: -critic_generator_loss(fake))
    must_fail(check_generator_loss, lambda fake: softplus(-fake.reshape(-1)))  # of a GAN


# ---- the gradient penalty: checks ----


def check_linear(f):
    """The slope of w.x is w everywhere: (|w| - 1)^2, over all of a sample's entries."""
    real, fake = pair(*SHAPE)
    w = normal(*SHAPE[1:], seed=3)
    expected = ((w**2).sum() ** 0.5 - 1) ** 2
    assert_close(f(lambda x: (x * w).sum((1, 2, 3)), real, fake), expected.expand(6))
    assert_close(f(lambda x: (x * w).sum((1, 2, 3))[:, None], real, fake), expected.expand(6))


def quadratic(x):
    """|x|^2 / 2, whose slope is x."""
    return x.flatten(1).square().sum(1) / 2


def check_quadratic(f):
    """(|x_hat| - 1)^2 at one point between each pair, whose place the generator tells."""
    real, fake = pair(*SHAPE)
    alpha, expected = torch.rand(6, generator=seeded(7)).tolist(), []
    for a, x, y in zip(alpha, real, fake):
        expected.append(((a * x + (1 - a) * y).square().sum().sqrt() - 1) ** 2)
    assert_close(f(quadratic, real, fake, generator=seeded(7)), torch.stack(expected))


def points(f, real, fake):
    """Where f asks the critic for its slope."""
    seen = []
    f(lambda x: seen.append(x.detach().clone()) or quadratic(x), real, fake)
    return seen[0]


def check_on_segments(f):
    """Every point lies on the segment of its pair: one a in [0, 1] for all entries, uniform over many pairs."""
    real, fake = pair(4000, 2, 3)
    a = (points(f, real, fake) - fake) / (real - fake)  # (4000, 2, 3)
    assert_close(a, a[:, :1, :1].expand_as(a), atol=1e-6, rtol=0)
    a = a[:, 0, 0].sort().values
    assert a[0] > -1e-6 and a[-1] < 1 + 1e-6
    assert (a - torch.linspace(0, 1, 4000, dtype=a.dtype)).abs().max() < 0.03  # Kolmogorov-Smirnov, p = 0.001


def check_reach(f):
    """The penalty reaches the critic's parameters, and neither data nor the generator that made the samples."""
    critic, generator = mlp([3, 8, 1]).double(), nn.Linear(2, 3).double()
    real = normal(5, 3).requires_grad_()
    fake = generator(normal(5, 2))
    fake.retain_grad()
    penalty = f(critic, real, fake)
    assert penalty.requires_grad  # else the critic cannot learn from it
    penalty.mean().backward()
    assert real.grad is None and fake.grad is None and all(p.grad is None for p in generator.parameters())
    assert all(p.grad.abs().sum() > 0 for name, p in critic.named_parameters() if name.endswith("weight"))


def smooth_critic():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)).double()


def check_second_derivative(f):
    """d penalty / d parameter against central differences in float64: the second backpropagation is right."""
    critic, (real, fake) = smooth_critic(), pair(5, 3)
    loss = lambda: f(critic, real, fake, generator=seeded(7)).mean()
    assert loss().requires_grad
    loss().backward()
    for p in [p for p in critic.parameters() if p is not critic[-1].bias]:  # that one moves no slope
        flat, h = p.data.view(-1), 1e-5
        for i in range(0, len(flat), 3):
            at = flat[i].item()
            flat[i] = at + h
            above = loss().item()
            flat[i] = at - h
            below = loss().item()
            flat[i] = at
            torch.testing.assert_close(p.grad.view(-1)[i].item(), (above - below) / (2 * h), atol=1e-7, rtol=1e-5)


def check_one_sample_at_a_time(critic):
    """Another sample in the batch changes nothing for the first one: the penalty is one of each sample."""
    real, fake = (x.float() for x in pair(4, 1, 8, 8))
    moved = torch.cat([fake[:1], 3 * fake[1:]])
    before, after = (gradient_penalty(critic, real, x, generator=seeded(7)) for x in (fake, moved))
    assert_close(before[0], after[0])
    assert not torch.allclose(before[1:], after[1:])


def penalty(
    alpha=lambda x, g: torch.rand(len(x), generator=g).to(x).view(-1, *[1] * (x.ndim - 1)),
    over=None,
    detach=True,
    graph=True,
    target=1.0,
):
    """A twin of gradient_penalty, right unless told otherwise."""

    def twin(critic, real, fake, generator=None):
        if detach:
            real, fake = real.detach(), fake.detach()
        a = alpha(real, generator)
        between = a * real + (1 - a) * fake
        between = between if between.requires_grad else between.requires_grad_()
        (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=graph)
        norm = slope.flatten(1).norm(dim=1) if over is None else slope.norm(dim=over).flatten(1).mean(1)
        return (norm - target).square()

    return twin


def halfway(x):
    return (x + x.detach()) / 2


def per_sample(draw):
    return lambda x, g: draw(len(x), generator=g).to(x).view(-1, *[1] * (x.ndim - 1))


CHECKS = [check_linear, check_quadratic, check_on_segments, check_reach, check_second_derivative]
TWINS = {
    "alpha from a normal distribution": (penalty(alpha=per_sample(torch.randn)), [check_on_segments, check_quadratic]),
    "norm over channels only": (penalty(over=1), [check_linear, check_quadratic]),
    "one alpha per pixel": (
        penalty(alpha=lambda x, g: torch.rand(x.shape, generator=g).to(x)),
        [check_on_segments, check_quadratic],
    ),
    "one alpha for all pairs": (penalty(alpha=lambda x, g: torch.rand(1, generator=g).to(x)), [check_on_segments]),
    "at data only": (penalty(alpha=lambda x, g: 1.0), [check_on_segments, check_quadratic]),
    "at samples only": (penalty(alpha=lambda x, g: 0.0), [check_on_segments, check_quadratic]),
    "samples not detached": (penalty(detach=False), [check_reach]),
    "create_graph forgotten": (penalty(graph=False), [check_reach, check_second_derivative]),
    "one mean over the batch": (lambda *a, **k: gradient_penalty(*a, **k).mean(), [check_linear, check_quadratic]),
    "around 0": (penalty(target=0.0), [check_linear, check_quadratic]),
    "half the derivative": (lambda *a, **k: halfway(gradient_penalty(*a, **k)), [check_second_derivative]),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda f: f.__name__.removeprefix("check_"))
def test_penalty(check):
    check(gradient_penalty)
    check(penalty())  # the twins below are broken by what they are told, not by the way they are written


test_broken_penalty = every_check_fails(TWINS)


def test_batch_norm_in_the_critic_is_caught():
    critic = lambda batch_norm: DCGANDiscriminator((4, 8), (1, 8, 8), batch_norm)
    check_one_sample_at_a_time(critic(False))
    must_fail(check_one_sample_at_a_time, critic(True))


def test_a_flat_critic_learns_without_nan():
    """Where the slope is 0 the norm has none of its own: the penalty is 1, and no gradient is NaN."""
    critic = mlp([3, 8, 1])
    nn.init.zeros_(critic[-1].weight)
    value = gradient_penalty(critic, torch.randn(5, 3), torch.randn(5, 3))
    value.mean().backward()
    assert_close(value, torch.ones(5))
    assert all(p.grad is None or p.grad.isfinite().all() for p in critic.parameters())


@pytest.mark.parametrize(
    ("wrong", "found"),
    [(lambda s: s.mean(), r"\(\)"), (lambda s: s.expand(-1, 2), r"\(5, 2\)"), (lambda s: s[1:], "4")],
    ids=["averaged", "two columns", "one short"],
)
def test_critics_that_do_not_score_each_sample(wrong, found):
    critic = mlp([3, 8, 1])
    with pytest.raises(ValueError, match=r"critic\(x_hat\).*=" + found + ": must be"):
        gradient_penalty(lambda x: wrong(critic(x)), torch.randn(5, 3), torch.randn(5, 3))


def test_pairs_that_would_be_broadcast():
    with pytest.raises(ValueError, match=r"fake.shape=\(1, 3\)"):
        gradient_penalty(mlp([3, 8, 1]), torch.randn(5, 3), torch.randn(1, 3))
