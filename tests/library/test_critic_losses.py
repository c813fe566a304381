"""Label smoothing, critics, relativistic losses, and penalties on gradients; each known bug is caught by a check."""

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus
from torch.testing import assert_close
from twins import every_check_fails, must_fail

from gencourse.losses import (
    critic_generator_loss,
    critic_loss,
    discriminator_loss,
    gradient_penalty,
    relativistic_discriminator_loss,
    relativistic_generator_loss,
    zero_centred_penalty,
)
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
    with pytest.raises(ValueError, match=r"critic\(x\).*=" + found + ": must be"):
        gradient_penalty(lambda x: wrong(critic(x)), torch.randn(5, 3), torch.randn(5, 3))


def test_pairs_that_would_be_broadcast():
    with pytest.raises(ValueError, match=r"fake.shape=\(1, 3\)"):
        gradient_penalty(mlp([3, 8, 1]), torch.randn(5, 3), torch.randn(1, 3))


# ---- the zero-centred penalty ----


def check_zero_centred_linear(f):
    """The slope of w.x is w everywhere: |w|^2, over all of a sample's entries."""
    w = normal(*SHAPE[1:], seed=3)
    assert_close(f(lambda x: (x * w).sum((1, 2, 3)), normal(*SHAPE)), (w**2).sum().expand(6))


def check_zero_centred_quadratic(f):
    """|x|^2 where the slope is x itself: at the samples, and nowhere else."""
    x = normal(*SHAPE)
    assert_close(f(quadratic, x), torch.stack([a.square().sum() for a in x]))


def check_zero_centred_slopes(f):
    """Each entry of the slope against central differences in float64."""
    critic, x, h = smooth_critic(), normal(5, 3), 1e-5
    squares = torch.zeros(5, dtype=torch.float64)
    with torch.no_grad():
        for i in range(3):
            e = h * torch.eye(3, dtype=torch.float64)[i]
            squares += ((critic(x + e) - critic(x - e)).squeeze(1) / (2 * h)).square()
    assert_close(f(critic, x), squares, atol=1e-7, rtol=1e-6)


def check_zero_centred_second_derivative(f):
    """d penalty / d parameter against central differences: the second backpropagation is right."""
    critic, x, h = smooth_critic(), normal(5, 3), 1e-5
    assert f(critic, x).requires_grad
    f(critic, x).mean().backward()
    for p in [p for p in critic.parameters() if p is not critic[-1].bias]:
        flat = p.data.view(-1)
        for i in range(0, len(flat), 3):
            at, ends = flat[i].item(), []
            for shifted in (at + h, at - h):
                flat[i] = shifted
                ends.append(f(critic, x).mean().item())
            flat[i] = at
            torch.testing.assert_close(p.grad.view(-1)[i].item(), (ends[0] - ends[1]) / (2 * h), atol=1e-7, rtol=1e-5)


def check_zero_centred_reach(f):
    """Nothing flows into the samples, nor into the generator that made them."""
    generator = nn.Linear(2, 3).double()
    x = generator(normal(5, 2))
    f(smooth_critic(), x).mean().backward()
    assert all(p.grad is None for p in generator.parameters()) and x.requires_grad


def zero_centred(over=None, detach=True, graph=True, power=2, factor=1.0):
    """A twin of zero_centred_penalty, right unless told otherwise."""

    def twin(critic, x):
        x = x.detach() if detach else x
        x = x if x.requires_grad else x.requires_grad_()
        (slope,) = torch.autograd.grad(critic(x).sum(), x, create_graph=graph)
        slope = slope if over is None else slope.mean(over)
        return factor * slope.flatten(1).norm(dim=1) ** power

    return twin


ZERO_CENTRED = [check_zero_centred_linear, check_zero_centred_quadratic, check_zero_centred_slopes,
                check_zero_centred_second_derivative, check_zero_centred_reach]  # fmt: skip
ZERO_CENTRED_TWINS = {
    "the norm, not its square": (zero_centred(power=1), ZERO_CENTRED[:3]),
    "half of it": (zero_centred(factor=0.5), ZERO_CENTRED[:3]),
    "mean over channels": (zero_centred(over=1), ZERO_CENTRED[:2]),
    "create_graph forgotten": (zero_centred(graph=False), [check_zero_centred_second_derivative]),
    "samples not detached": (zero_centred(detach=False), [check_zero_centred_reach]),
    "around 1": (lambda c, x: (zero_centred(power=1)(c, x) - 1).square(), ZERO_CENTRED[:3]),
    "one mean over the batch": (lambda c, x: zero_centred_penalty(c, x).mean(), [check_zero_centred_quadratic]),
}


@pytest.mark.parametrize("check", ZERO_CENTRED, ids=lambda f: f.__name__.removeprefix("check_zero_centred_"))
def test_zero_centred_penalty(check):
    check(zero_centred_penalty)
    check(zero_centred())


test_broken_zero_centred_penalty = every_check_fails(ZERO_CENTRED_TWINS)


# ---- relativistic losses ----


def check_relativistic(losses):
    """A classifier of pairs: the cross-entropy of "the first one is data", given the difference of the logits."""
    real, fake = 3 * normal(64), 3 * normal(64, seed=1)
    one, (loss_D, loss_G) = torch.ones(64, dtype=torch.float64), losses
    assert_close(loss_D(real, fake), bce(real - fake, one, reduction="none"))
    assert_close(loss_G(real, fake), bce(fake - real, one, reduction="none"))
    assert_close(loss_D(real[:, None], fake[:, None] + 7), loss_D(real - 7, fake))  # only differences count


def check_relativistic_slopes(losses):
    """The slopes: D raises data and lowers samples, the loss of G wants the opposite, both in equal parts."""
    for loss, sign in zip(losses, (-1, 1)):
        real, fake = normal(5).requires_grad_(), normal(5, seed=1).requires_grad_()
        up, down = torch.autograd.grad(loss(real, fake).sum(), (real, fake))
        assert bool((sign * up > 0).all())
        assert_close(up, -down)


def test_relativistic():
    right = relativistic_discriminator_loss, relativistic_generator_loss
    for check in (check_relativistic, check_relativistic_slopes):
        check(right)
        must_fail(check, right[::-1])  # G and D exchanged
        must_fail(check, (lambda r, f: softplus(-r) + softplus(f), lambda r, f: softplus(-f)))  # of a plain GAN
    must_fail(check_relativistic, (lambda r, f: softplus(f.mean() - r), right[1]))  # against the mean: another loss
    with pytest.raises(ValueError, match="fake_logits"):
        relativistic_discriminator_loss(torch.zeros(4), torch.zeros(1))


# ---- spectral normalization ----


@pytest.mark.parametrize("layer", [nn.Linear(6, 4), nn.Conv2d(2, 4, 3)], ids=["linear", "convolution"])
def test_spectral_normalization_divides_by_the_largest_singular_value(layer):
    """torch's parametrization, which the course uses, against the singular values of the plain matrix."""
    plain = layer.weight.detach().clone()
    nn.utils.parametrizations.spectral_norm(layer, n_power_iterations=100)

    def check(norm):
        assert_close(layer.weight, plain / norm, atol=1e-4, rtol=1e-3)

    check(torch.linalg.svdvals(plain.flatten(1))[0])
    must_fail(check, plain.norm())  # that of Frobenius
