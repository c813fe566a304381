"""Likelihoods and the KL divergence against torch.distributions, quadrature and sampling, each with broken twins."""

import itertools
import math

import pytest
import torch
from scipy.integrate import quad
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import softplus
from torch.testing import assert_close
from twins import every_check_fails

from gencourse.likelihoods import bernoulli_log_prob, gaussian_kl, gaussian_log_prob

SHAPE = (6, 3, 4, 4)  # of a batch of images: the bugs differ over channels and pixels
LOG_2PI = math.log(2 * math.pi)


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def coins(*shape):
    return (normal(*shape, seed=5) > 0).double()


# ---- Bernoulli pixels ----


def check_bernoulli(f):
    logits, x = 3 * normal(*SHAPE), coins(*SHAPE)
    assert_close(f(logits, x), Bernoulli(logits=logits).log_prob(x).sum((1, 2, 3)))
    assert_close(f(logits, x), -bce(logits, x, reduction="none").sum((1, 2, 3)))


def check_adds_up(f):
    """The probabilities of all sixteen images of four pixels add up to 1."""
    images = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64).view(16, 2, 2)
    total = f(normal(1, 2, 2).expand(16, 2, 2), images).logsumexp(0)
    assert_close(total.item(), 0.0, atol=1e-12, rtol=0)


def check_extreme(f):
    """Right where a sigmoid is 0 or 1 to the last bit, and so is the slope."""
    at = torch.tensor([[-1e4], [-100.0], [0.0], [12.0], [100.0], [1e4]], requires_grad=True)
    found = f(at, torch.ones(6, 1))
    assert_close(found.detach(), torch.tensor([-1e4, -100.0, -math.log(2), -math.log1p(math.exp(-12)), 0.0, 0.0]))
    assert_close(found[3].item(), -math.log1p(math.exp(-12)), rtol=1e-5, atol=0)  # 12 - softplus(12) is not
    (slope,) = torch.autograd.grad(found.sum(), at)
    assert_close(slope.flatten()[:3], torch.tensor([1.0, 1.0, 0.5]))


def check_grey_is_refused(f):
    for grey in (0.5, 1e-6, -1.0, 2.0, math.nan):
        x = coins(*SHAPE)
        x[2, 1, 0, 3] = grey
        with pytest.raises(ValueError, match=r"x=.*: must be 0 or 1 .*[Bb]inarize"):
            f(normal(*SHAPE), x)


def naive(logits, x):
    return (x * logits - softplus(logits)).flatten(1).sum(1)


def clamped(logits, x):
    p = logits.sigmoid().clamp(1e-7, 1 - 1e-7)
    return (x * p.log() + (1 - x) * (1 - p).log()).flatten(1).sum(1)


PIXELS = [check_bernoulli, check_adds_up]
BERNOULLI_TWINS = {
    "averaged over pixels": (lambda l, x: naive(l, x) / l[0].numel(), PIXELS),
    "summed over the last dimension": (lambda l, x: -bce(l, x, reduction="none").sum(-1), [check_bernoulli]),
    "averaged over the batch": (lambda l, x: naive(l, x).mean(), [check_bernoulli]),
    "loss, not log-likelihood": (lambda l, x: -naive(l, x), PIXELS),
    "black for white": (lambda l, x: naive(-l, x), [check_bernoulli]),
    "twice a sigmoid": (lambda l, x: naive(l.sigmoid(), x), [check_bernoulli]),
    "normalization forgotten": (lambda l, x: (x * l).flatten(1).sum(1), PIXELS),
    "squared error": (lambda l, x: -(l.sigmoid() - x).square().flatten(1).sum(1), PIXELS),
    "clamped probabilities": (clamped, [check_extreme]),
    "difference of large numbers": (naive, [check_extreme]),
    "grey let through": (naive, [check_grey_is_refused]),
}


def test_bernoulli():
    for check in (*PIXELS, check_extreme, check_grey_is_refused):
        check(bernoulli_log_prob)
    logits, x = normal(*SHAPE), coins(*SHAPE)
    for kind in (torch.uint8, torch.bool, torch.int64, torch.float32):
        assert_close(bernoulli_log_prob(logits, x.to(kind)), bernoulli_log_prob(logits, x))
    assert torch.autograd.gradcheck(lambda l: bernoulli_log_prob(l, x), logits.requires_grad_())


test_broken_bernoulli = every_check_fails(BERNOULLI_TWINS)


# ---- Gaussian densities ----


def check_density(f):
    x, mu, logvar = (normal(*SHAPE, seed=s) for s in (1, 2, 3))
    assert_close(f(x, mu, logvar), Normal(mu, (logvar / 2).exp()).log_prob(x).sum((1, 2, 3)))
    per_pixel, shared = logvar[0], logvar[0, 0, 0, 0]
    for part in (per_pixel, per_pixel[:1], shared, shared.item(), 1):
        sd = (torch.as_tensor(part) / 2).exp()
        assert_close(f(x, mu, part), Normal(mu, sd).log_prob(x).sum((1, 2, 3)))


def check_integral(f):
    one = lambda v: torch.tensor([[v]], dtype=torch.float64)
    for logvar in (-2.0, 0.0, 1.5):
        area, _ = quad(lambda v, at=logvar: f(one(v), one(0.3), at).exp().item(), -15, 15, points=[0.3])
        assert area == pytest.approx(1, abs=1e-6)


def density_twin(half=0.5, constant=LOG_2PI, spread=1.0, var=torch.exp, over=torch.sum):
    """A twin of gaussian_log_prob, right unless told otherwise."""

    def twin(x, mu, logvar):
        v = var(torch.as_tensor(logvar, dtype=x.dtype))
        terms = half * (constant + spread * v.log() + (x - mu).square() / v)
        return -over(terms.flatten(1), dim=1)

    return twin


DENSITY_TWINS = {
    "1/2 forgotten": (density_twin(half=1.0), [check_density, check_integral]),
    "no constant": (density_twin(constant=0.0), [check_density, check_integral]),
    "spread not paid for": (density_twin(spread=0.0), [check_density, check_integral]),
    "logvar taken as standard deviation": (density_twin(var=torch.square), [check_density]),
    "logvar taken as log of that": (density_twin(var=lambda l: (2 * l).exp()), [check_density]),
    "logvar taken as variance": (density_twin(var=torch.abs), [check_density]),
    "averaged over pixels": (density_twin(over=torch.mean), [check_density]),
    "squared error": (lambda x, mu, logvar: -(x - mu).square().flatten(1).sum(1), [check_density, check_integral]),
}


def test_gaussian_density():
    for f in (gaussian_log_prob, density_twin()):
        check_density(f)
        check_integral(f)
    arguments = [normal(2, 3, seed=s).requires_grad_() for s in (1, 2)]
    shared = torch.zeros((), dtype=torch.float64, requires_grad=True)  # one learned variance
    assert torch.autograd.gradcheck(gaussian_log_prob, (*arguments, shared))


test_broken_density = every_check_fails(DENSITY_TWINS)


# ---- the KL divergence ----


def two_gaussians(*shape):
    return [normal(*shape, seed=s) for s in (1, 2, 3, 4)]


def check_kl(f):
    mu, logvar, mu_p, logvar_p = two_gaussians(5, 3, 2)
    q, p, standard = Normal(mu, (logvar / 2).exp()), Normal(mu_p, (logvar_p / 2).exp()), Normal(mu * 0, 1.0)
    assert_close(f(mu, logvar), kl_divergence(q, standard).sum((1, 2)))
    assert_close(f(mu, logvar, mu_p, logvar_p), kl_divergence(q, p).sum((1, 2)))


def check_kl_by_quadrature(f):
    for values in ((0.7, -1.0, 0.0, 0.0), (-0.5, 0.4, 1.0, 0.8)):
        (q_mean, q_logvar), (p_mean, p_logvar) = values[:2], values[2:]
        q, p = Normal(q_mean, math.exp(q_logvar / 2)), Normal(p_mean, math.exp(p_logvar / 2))

        def integrand(v, q=q, p=p):
            v = torch.tensor(v)
            return (q.log_prob(v).exp() * (q.log_prob(v) - p.log_prob(v))).item()

        expected, _ = quad(integrand, -12, 12, points=[q_mean], epsabs=1e-7)
        found = f(*(torch.tensor([[v]], dtype=torch.float64) for v in values)).item()
        assert found == pytest.approx(expected, abs=1e-5)


def check_kl_by_sampling(f):
    """The mean of log q(z) - log p(z) over z ~ q, within five standard errors."""
    mu, logvar, mu_p, logvar_p = two_gaussians(1, 4)
    z = mu + (logvar / 2).exp() * torch.randn(100_000, 4, dtype=torch.float64)
    at = gaussian_log_prob(z, mu.expand_as(z), logvar) - gaussian_log_prob(z, mu_p.expand_as(z), logvar_p)
    assert abs(at.mean() - f(mu, logvar, mu_p, logvar_p).item()) < 5 * at.std() / len(z) ** 0.5


def check_small_kl(f):
    """d^2 / 4 for a small difference d of the logarithms, in float32, where exp(d) - 1 - d has no digit left."""
    d = torch.tensor([[1e-4], [-1e-4], [0.0]])
    assert_close(f(torch.zeros(3, 1), d), d.flatten().square() / 4, rtol=0.01, atol=0)


def kl_twin(half=0.5, over=torch.sum, var=torch.exp, swap=False):
    """A twin of gaussian_kl, right unless told otherwise."""

    def twin(mu, logvar, mu_p=None, logvar_p=None):
        p = (torch.zeros_like(mu), torch.zeros_like(mu)) if mu_p is None else (mu_p, logvar_p)
        (m, v), (m_p, v_p) = ((m, var(l)) for m, l in ((p, (mu, logvar)) if swap else ((mu, logvar), p)))
        terms = half * (v / v_p - 1 - (v / v_p).log() + (m - m_p).square() / v_p)
        return over(terms.flatten(1), dim=1)

    return twin


KL_CHECKS = [check_kl, check_kl_by_quadrature, check_kl_by_sampling]
KL_TWINS = {
    "averaged over dimensions": (kl_twin(over=torch.mean), [check_kl, check_kl_by_sampling]),
    "1/2 forgotten": (kl_twin(half=1.0), KL_CHECKS),
    "logvar taken as standard deviation": (kl_twin(var=torch.square), KL_CHECKS),
    "logvar taken as log of that": (kl_twin(var=lambda l: (2 * l).exp()), KL_CHECKS),
    "arguments swapped": (kl_twin(swap=True), KL_CHECKS),
    "the wrong sign": (lambda *a: -gaussian_kl(*a), KL_CHECKS),
    "p ignored": (lambda mu, logvar, *p: gaussian_kl(mu, logvar), KL_CHECKS),
    "averaged over the batch": (lambda *a: gaussian_kl(*a).mean(), [check_kl]),
    "a difference of rounded numbers": (lambda m, l: (l.exp() - 1 - l + m**2).sum(1) / 2, [check_small_kl]),
}


@pytest.mark.parametrize("check", KL_CHECKS, ids=lambda f: f.__name__.removeprefix("check_"))
def test_kl(check):
    check(gaussian_kl)
    check(kl_twin())  # the twins are broken by what they are told, not by the way they are written


def test_kl_of_small_differences_and_of_shared_parameters():
    check_small_kl(gaussian_kl)
    mu, logvar, mu_p, logvar_p = two_gaussians(5, 3, 2)
    assert_close(gaussian_kl(mu, logvar, 0, 0.0), gaussian_kl(mu, logvar))
    wide = gaussian_kl(mu, logvar, mu_p[0].expand_as(mu), logvar_p[0, 0, 0].expand_as(mu))
    assert_close(gaussian_kl(mu, logvar, mu_p[0], logvar_p[0, 0, 0]), wide)
    assert_close(gaussian_kl(mu, logvar, mu, logvar), torch.zeros(5, dtype=torch.float64))
    assert torch.autograd.gradcheck(gaussian_kl, [v.requires_grad_() for v in two_gaussians(2, 3)])


test_broken_kl = every_check_fails(KL_TWINS)


# ---- shapes that would be broadcast ----


@pytest.mark.parametrize(
    "call",
    [
        lambda x: bernoulli_log_prob(x, x[:1]),
        lambda x: gaussian_log_prob(x, x[:1], 0.0),
        lambda x: gaussian_log_prob(x[:1], x[:1], x),
        lambda x: gaussian_kl(x, x[:1]),
        lambda x: gaussian_kl(x, x, x[None], 0.0),
        lambda x: gaussian_kl(x, x, 0.0, x[None]),
    ],
    ids=range(6),
)
def test_shapes_that_would_be_broadcast(call):
    with pytest.raises(ValueError, match=r"shape=.*must be"):
        call(torch.ones(3, 2))


def test_an_accelerator_is_not_waited_for():
    """On the meta device there are no values: whoever looks at one fails."""
    x = torch.ones(3, 2, device="meta")
    for log_p in (bernoulli_log_prob(x, x), gaussian_log_prob(x, x, 0.0), gaussian_kl(x, x)):
        assert log_p.shape == (3,)
