"""gc.autoregressive: enumeration, the Jacobian, sampling, grey levels; with broken twins."""

import math

import pytest
import torch
from torch.distributions import Normal, TransformedDistribution, Uniform
from torch.distributions.transforms import AffineTransform, SigmoidTransform
from torch.testing import assert_close
from twins import every_check_fails, must_fail

from gencourse import nets
from gencourse.autoregressive import (
    all_images,
    dependence,
    logistic_mixture_log_prob,
    logistic_mixture_sample,
    nll_step,
    sample,
    total_probability,
)
from gencourse.likelihoods import bernoulli_log_prob


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def test_all_images_are_there_once():
    for height, width in ((1, 1), (2, 3), (3, 3), (4, 4)):
        x = all_images(height, width).flatten(1)
        assert x.shape == (2 ** (height * width), height * width) and len(x.unique(dim=0)) == len(x)
        assert ((x == 0) | (x == 1)).all()


def table(x):
    """A causal model without weights: the logit is a fixed function of the number that the earlier pixels spell."""
    flat = x.flatten(1)
    spelled = (flat * 2.0 ** torch.arange(flat.shape[1])).cumsum(1) - flat * 2.0 ** torch.arange(flat.shape[1])
    return (3 * (spelled + 0.7).sin()).view_as(x)


def check_total(total):
    assert abs(total(table) - 1) < 1e-6
    assert abs(total(lambda x: table(x) + 0.5 * x) - 1) > 0.1  # sees itself
    later = lambda x: table(x) + 0.5 * x.flatten(1).roll(-1, 1).view_as(x)  # sees the next one
    assert abs(total(later) - 1) > 0.01


def test_total_probability():
    check_total(total_probability)
    for shape in ((1, 2), (2, 3), (3, 4)):
        assert abs(total_probability(table, *shape) - 1) < 1e-6
    with pytest.raises(ValueError, match=r"must be \(512, 2, 3, 3\)"):
        total_probability(lambda x: x.repeat(1, 2, 1, 1))
    with pytest.raises(ValueError, match="must be at most 16"):
        total_probability(table, 3, 6)


test_wrong_totals = every_check_fails(
    {
        "always 1": (lambda model: 1.0, [check_total]),
        "a mean": (lambda model: total_probability(model) / 512, [check_total]),
        "half of the images": (lambda model: 0.5 * total_probability(model), [check_total]),
    }
)


def check_dependence(f):
    """Against a linear map, whose Jacobian is its matrix, and a batch in which signs would cancel."""
    matrix = torch.randn(6, 6, dtype=torch.float64)
    x = torch.randn(5, 1, 2, 3, dtype=torch.float64)
    linear = lambda x: (x.flatten(1) @ matrix.T).view_as(x)
    assert_close(f(linear, x), matrix.abs())
    assert_close(f(lambda x: torch.cat([linear(x), -2 * linear(x)], 1), x), 3 * matrix.abs())
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).view(2, 1, 1, 1)
    assert_close(f(lambda x: x * signs, x[:2]), torch.eye(6, dtype=torch.float64))


def test_dependence():
    check_dependence(dependence)
    net = nets.PixelCNN(4, 1, image_channels=2).double()
    x = torch.randn(3, 2, 4, 5, dtype=torch.float64)
    one_by_one = torch.stack([torch.autograd.functional.jacobian(net, one[None])[0, 0, :, :, 0] for one in x])
    assert_close(dependence(net, x), one_by_one.abs().sum(3).mean(0).flatten(2).flatten(0, 1))


test_wrong_dependences = every_check_fails(
    {
        "transposed": (lambda m, x: dependence(m, x).T, [check_dependence]),
        "signed": (lambda m, x: torch.autograd.functional.jacobian(
            lambda x: m(x).sum((0, 1)).flatten(), x).sum((1, 2)).flatten(1) / len(x), [check_dependence]),
    }
)  # fmt: skip


def check_sampling(draw):
    """The frequencies of all 2 x 2 images against their probabilities, and pixels that were given."""
    n = 100_000
    x = draw(table, torch.rand(n, 1, 2, 2).round())
    numbers = (x.flatten(1) @ torch.tensor([8.0, 4.0, 2.0, 1.0])).long()
    images = all_images(2, 2)
    p = bernoulli_log_prob(table(images), images).exp()
    assert_close(numbers.bincount(minlength=16) / n, p, atol=4 * (0.25 / n) ** 0.5, rtol=0)
    given = torch.tensor([1.0, 0.0, 9.0, 9.0]).view(1, 1, 2, 2).expand(50, -1, -1, -1)
    completed = draw(table, given, start=2)
    assert (completed.flatten(1)[:, :2] == given.flatten(1)[:, :2]).all() and (completed <= 1).all()


def all_at_once(model, x, start=0):
    """Every pixel from the first pass: they do not know of one another."""
    drawn = torch.bernoulli(model(x).sigmoid()).flatten(1)
    drawn[:, :start] = x.flatten(1)[:, :start]
    return drawn.view_as(x)


def test_sampling():
    check_sampling(sample)
    x = torch.zeros(2, 1, 2, 2)
    before = x.clone()
    sample(table, x)
    assert x.equal(before)
    assert sample(table, x, start=4).equal(x)
    torch.manual_seed(1)
    one = sample(table, x, generator=torch.Generator().manual_seed(0))
    assert one.equal(sample(table, x, generator=torch.Generator().manual_seed(0)))


test_wrong_samplers = every_check_fails(
    {
        "all at once": (all_at_once, [check_sampling]),
        "likeliest": (lambda m, x, **rest: sample(m, x, temperature=0, **rest), [check_sampling]),
        "hotter": (lambda m, x, **rest: sample(m, x, temperature=2.0, **rest), [check_sampling]),
        "forgets what was given": (lambda m, x, start=0: sample(m, x), [check_sampling]),
    }
)


def levels_model(x):
    """(B, H, W) of 3 levels -> logits (B, 3, H, W): the last pixel's level, or level 0 at first, is likelier."""
    before = torch.cat([torch.zeros_like(x.flatten(1)[:, :1]), x.flatten(1)[:, :-1]], 1).view_as(x)
    return 2.0 * torch.nn.functional.one_hot(before, 3).movedim(3, 1)


def test_sampling_levels():
    x = sample(levels_model, torch.zeros(60_000, 1, 2, dtype=torch.int64))
    assert x.dtype == torch.int64
    stay = math.exp(2) / (math.exp(2) + 2)
    assert abs((x[:, 0, 0] == 0).float().mean() - stay) < 0.01
    assert abs((x[:, 0, 0] == x[:, 0, 1]).float().mean() - stay) < 0.01
    assert (sample(levels_model, x[:9], start=1, temperature=0)[:, 0, 1] == x[:9, 0, 0]).all()
    hot = sample(levels_model, torch.zeros(60_000, 1, 1, dtype=torch.int64), temperature=2.0)
    assert abs((hot == 0).float().mean() - math.e / (math.e + 2)) < 0.01
    drawn = sample(levels_model, x[:9], sample_pixel=lambda out: out.argmin(1))
    assert (drawn[:, 0, 0] == 1).all()


def check_grey(log_prob, levels=256):
    """The levels' probabilities add up to 1, and are those of a logistic variable that is rounded and clipped."""
    torch.manual_seed(0)
    parameters = torch.randn(7, 6, 1, 1, dtype=torch.float64)
    parameters[:, 4:] -= 3
    x = torch.arange(levels).view(-1, 1, 1)
    v, d = 2 * torch.arange(levels, dtype=torch.float64) / (levels - 1) - 1, 1 / (levels - 1)
    edges = torch.cat([torch.tensor([-math.inf]), (v + d)[:-1], torch.tensor([math.inf])]).double()
    for one in parameters:
        p = log_prob(one.expand(levels, -1, -1, -1), x, levels).exp()
        weight, mu, log_s = one.flatten().view(3, 2)
        base = Uniform(torch.zeros(2).double(), torch.ones(2).double(), validate_args=False)
        logistic = TransformedDistribution(base, [SigmoidTransform().inv, AffineTransform(mu, log_s.exp())])
        cdf = torch.stack([logistic.cdf(e.clamp(-1e6, 1e6)) for e in edges])
        assert_close(p, cdf.diff(dim=0) @ weight.softmax(0), atol=1e-12, rtol=1e-6)
        assert abs(p.sum() - 1) < 1e-12


def test_grey_levels():
    check_grey(logistic_mixture_log_prob)
    check_grey(logistic_mixture_log_prob, 4)
    parameters = torch.randn(5, 9, 3, 4)
    x = torch.randint(256, (5, 3, 4))
    alone = [logistic_mixture_log_prob(parameters[:, :, i, j, None, None], x[:, i, j, None, None])
             for i in range(3) for j in range(4)]  # fmt: skip
    assert_close(logistic_mixture_log_prob(parameters, x), sum(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("channels", "x"), [(3, (0, 9)), (3, (-1, 0)), (5, (0, 1)), (3, (0, 1, 1))], ids=["above", "below", "5", "shape"]
)
def test_grey_levels_that_do_not_fit(channels, x):
    with pytest.raises(ValueError, match="must be"):
        logistic_mixture_log_prob(torch.zeros(1, channels, 1, 2), torch.tensor(x).view(1, 1, -1), 9)


def test_grey_levels_on_an_accelerator_are_not_waited_for():
    """On the meta device there are no values: whoever looks at one fails."""
    x = torch.zeros(2, 3, 4, dtype=torch.int64, device="meta")
    assert logistic_mixture_log_prob(torch.zeros(2, 6, 3, 4, device="meta"), x).shape == (2,)


def test_grey_levels_far_out():
    """Narrow and far away: finite numbers and gradients."""
    for log_s in (-7.0, -20.0, 5.0):
        parameters = torch.tensor([0.0, 0.9, log_s]).view(1, 3, 1, 1).requires_grad_()
        for level in (0, 1, 128, 254, 255):
            value = logistic_mixture_log_prob(parameters, torch.full((1, 1, 1), level)).sum()
            (gradient,) = torch.autograd.grad(value, parameters)
            assert value.isfinite() and gradient.isfinite().all(), (log_s, level)


def density_times_width(parameters, x, levels):
    """What one gets by taking the density at the middle of each level."""
    weight, mu, log_s = parameters.chunk(3, 1)
    u = (2 * x[:, None] / (levels - 1) - 1 - mu) * (-log_s).exp()
    density = u.sigmoid() * (-u).sigmoid() * (-log_s).exp()
    return ((weight.softmax(1) * density).sum(1) * 2 / (levels - 1)).log().flatten(1).sum(1)


def open_ends(parameters, x, levels):
    """Without the tails at the two ends."""
    weight, mu, log_s = parameters.chunk(3, 1)
    v, d = 2 * x[:, None] / (levels - 1) - 1, 1 / (levels - 1)
    p = ((v + d - mu) / log_s.exp()).sigmoid() - ((v - d - mu) / log_s.exp()).sigmoid()
    return (weight.softmax(1) * p).sum(1).log().flatten(1).sum(1)


test_wrong_grey_levels = every_check_fails(
    {
        "density": (density_times_width, [check_grey]),
        "open ends": (open_ends, [check_grey]),
        "half the width": (lambda p, x, n: logistic_mixture_log_prob(p, 2 * x, 2 * n), [check_grey]),
    }
)


def check_grey_draws(draw):
    parameters = torch.tensor([0.0, 1.0, -0.6, 0.8, -2.0, -3.0])
    n, levels = 200_000, 16
    x = draw(parameters.expand(n, 6), levels)
    every = torch.arange(levels).view(-1, 1, 1)
    p = logistic_mixture_log_prob(parameters.view(1, 6, 1, 1).expand(levels, -1, -1, -1), every, levels).exp()
    assert_close(x.bincount(minlength=levels) / n, p, atol=4 * (0.25 / n) ** 0.5, rtol=0)


def gaussian_draw(parameters, levels):
    weight, mu, log_s = parameters.chunk(3, 1)
    m = torch.multinomial(weight.softmax(1), 1)
    v = Normal(mu.gather(1, m), log_s.gather(1, m).exp()).sample()[:, 0]
    return ((v.clamp(-1, 1) + 1) / 2 * (levels - 1)).round().long()


def test_grey_draws():
    check_grey_draws(logistic_mixture_sample)
    must_fail(check_grey_draws, gaussian_draw)
    must_fail(check_grey_draws, lambda p, n: (logistic_mixture_sample(p, n) - 1).clamp(min=0))


# ---- the training step ----


def check_step(make_step):
    """Three steps with a falling rate, against the same written by hand: equal to the last bit."""
    x = (torch.rand(3, 8, 1, 5, 5) > 0.5).float()
    ends = []
    for by_hand in (False, True):
        torch.manual_seed(0)
        model = nets.PixelCNN(4, 1)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        step, losses = make_step(model, optimizer, scheduler), []
        for batch in x:
            if by_hand:
                loss = -bernoulli_log_prob(model(batch), batch).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
            else:
                result = step(batch)
                assert list(result) == ["nats"]
                loss = result["nats"]
            losses.append(loss.detach())
        ends.append([*losses, *(w.detach() for w in model.parameters()), torch.tensor(scheduler.get_last_lr())])
    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_nll_step():
    check_step(nll_step)
    model = nets.PixelCNN(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    nll_step(model, optimizer)(torch.ones(2, 1, 5, 5))  # without a scheduler
    assert optimizer.param_groups[0]["lr"] == 1e-3


def test_broken_steps():
    must_fail(check_step, lambda model, optimizer, scheduler: nll_step(model, optimizer))
    must_fail(check_step, lambda model, *rest: nll_step(lambda x: -model(x), *rest))
