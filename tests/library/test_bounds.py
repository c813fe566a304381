"""The ELBO and the importance-weighted bound on models whose log p(x) is known exactly; bits per dimension."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close
from twins import every_check_fails, must_fail

from gencourse.likelihoods import bits_per_dim, gaussian_kl, gaussian_log_prob, importance_bound


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- a linear-Gaussian model: z ~ N(0, I) in two dimensions, x = W z + b + NOISE e in five ----

NOISE, LOGVAR_X = 0.6, 2 * math.log(0.6)
W, b = torch.linalg.qr(normal(5, 2, seed=8))[0] * torch.tensor([1.5, 0.8]), normal(5, seed=9)
X = b + normal(3, 5, seed=10)  # three samples


def decode(z):
    return z @ W.T + b


def exact_log_prob(x):
    return MultivariateNormal(b, W @ W.T + NOISE**2 * torch.eye(5, dtype=torch.float64)).log_prob(x)


def exact_posterior(x):
    """Its mean (B, 2) and the logarithms of its variances: the columns of W are orthogonal, so it is diagonal."""
    precision = 1 + W.square().sum(0) / NOISE**2
    return (x - b) @ W / NOISE**2 / precision, -precision.log().expand(len(x), 2)


def exact_elbo(x, mu, logvar):
    at_mean = Normal(decode(mu), NOISE).log_prob(x).sum(1)
    lost_by_noise = (logvar.exp() @ W.square().sum(0)) / (2 * NOISE**2)
    return at_mean - lost_by_noise - kl_divergence(Normal(mu, (logvar / 2).exp()), Normal(0.0, 1.0)).sum(1)


def with_noise(mu, logvar):
    return mu + (logvar / 2).exp() * torch.randn_like(mu)


def elbo(kl=gaussian_kl, sample=with_noise, log_prob=gaussian_log_prob):
    """An estimate of the ELBO from one z per sample, right unless told otherwise."""
    return lambda x, mu, logvar: log_prob(x, decode(sample(mu, logvar)), LOGVAR_X) - kl(mu, logvar)


def from_one_weight(x, mu, logvar):
    z = with_noise(mu, logvar)
    log_joint = gaussian_log_prob(x, decode(z), LOGVAR_X) + gaussian_log_prob(z, torch.zeros_like(z), 0.0)
    return importance_bound((log_joint - gaussian_log_prob(z, mu, logvar))[None])


def check_elbo(estimate):
    """Its mean over many draws is the exact ELBO, within five standard errors."""
    n, mu, logvar = 4000, normal(3, 2, seed=11) / 2, normal(3, 2, seed=12) / 2 - 1
    found = estimate(*(v.repeat_interleave(n, 0) for v in (X, mu, logvar)))
    assert found.shape == (3 * n,)
    found = found.view(3, n)
    error = found.mean(1) - exact_elbo(X, mu, logvar)
    assert bool((error.abs() < 5 * found.std(1) / n**0.5).all()), error


def squared_error_and_a_little_kl(x, mu, logvar):
    return -(x - decode(with_noise(mu, logvar))).square().mean(1) - 0.00025 * gaussian_kl(mu, logvar)


ELBO_TWINS = {
    "sampling without noise": elbo(sample=lambda mu, logvar: mu),
    "logvar taken as standard deviation": elbo(sample=lambda mu, logvar: mu + logvar * torch.randn_like(mu)),
    "logvar taken as log of that": elbo(sample=lambda mu, logvar: with_noise(mu, 2 * logvar)),
    "noise of one sign": elbo(sample=lambda mu, logvar: mu + (logvar / 2).exp() * torch.randn_like(mu).abs()),
    "squared error and 0.00025 KL": squared_error_and_a_little_kl,
    "KL averaged over dimensions": elbo(kl=lambda *q: gaussian_kl(*q) / 2),
    "KL added": elbo(kl=lambda *q: -gaussian_kl(*q)),
    "KL forgotten": elbo(kl=lambda *q: 0.0),
    "KL with arguments swapped": elbo(kl=lambda mu, logvar: gaussian_kl(0 * mu, 0 * mu, mu, logvar)),
    "pixels averaged": elbo(log_prob=lambda *a: gaussian_log_prob(*a) / 5),
    "variance of the pixels ignored": elbo(log_prob=lambda x, mu, logvar: gaussian_log_prob(x, mu, 0.0)),
}


def test_elbo():
    check_elbo(elbo())
    check_elbo(from_one_weight)


@pytest.mark.parametrize("name", ELBO_TWINS)
def test_broken_elbo(name):
    must_fail(check_elbo, ELBO_TWINS[name])


def test_at_the_exact_posterior_every_draw_gives_log_p():
    mu, logvar = exact_posterior(X)
    assert_close(exact_elbo(X, mu, logvar), exact_log_prob(X))
    for _ in range(3):
        assert_close(from_one_weight(X, mu, logvar), exact_log_prob(X))
    assert bool((exact_elbo(X, mu + 0.1, logvar) < exact_log_prob(X)).all())


# ---- the importance-weighted bound: checks ----


def check_formula(f):
    log_w = 3 * normal(7, 4)
    assert_close(f(log_w[:1]), log_w[0])  # one draw: the ELBO's own
    assert_close(f(log_w), torch.logsumexp(log_w, 0) - math.log(7))
    assert_close(f(log_w), log_w.exp().mean(0).log())


def check_images(f):
    """Log-weights of images lie near -10,000 in float32, where exp of them is 0."""
    log_w = normal(50, 4).float()
    assert_close(f(log_w - 1e4), f(log_w) - 1e4, atol=0.01, rtol=0)


def log_weights(k, draws=20_000, x=1.5):
    """For x = z + e / 2 with z, e ~ N(0, 1), and the prior as proposal q: columns are independent repetitions."""
    z, x = torch.randn(k * draws, 1, dtype=torch.float64), torch.full((k * draws, 1), x, dtype=torch.float64)
    return gaussian_log_prob(x, z, math.log(0.25)).view(k, draws)  # p(z) / q(z) = 1


def check_order(f):
    """ELBO = L_1 < L_5 < L_50 < log p(x): each gap is beyond five standard errors."""
    means, errors = zip(*((b.mean().item(), b.std().item() / 20_000**0.5) for b in (f(log_weights(k)) for k in KS)))
    log_p = Normal(0.0, 1.25**0.5).log_prob(torch.tensor(1.5, dtype=torch.float64)).item()
    gap = kl_divergence(Normal(0.0, 1.0), Normal(1.5 / 1.25, 0.2**0.5)).item()  # of q from the posterior
    assert abs(means[0] - (log_p - gap)) < 5 * errors[0]
    for low, high, error in zip(means, [*means[1:], log_p], errors):
        assert high - low > 5 * error, (means, log_p)


def check_unbiased(f):
    """exp of the bound is p(x) on average."""
    weights, p = f(log_weights(5)).exp(), Normal(0.0, 1.25**0.5).log_prob(torch.tensor(1.5)).exp().item()
    assert abs(weights.mean() - p) < 5 * weights.std() / len(weights) ** 0.5


KS = (1, 5, 50)
BOUND_CHECKS = [check_formula, check_order, check_unbiased]
BOUND_TWINS = {
    "log k forgotten": (lambda w: w.logsumexp(0), BOUND_CHECKS),
    "the mean of the logarithms": (lambda w: w.mean(0), BOUND_CHECKS),
    "over samples, not draws": (lambda w: w.logsumexp(1) - math.log(w.shape[1]), [check_formula]),
    "the best draw": (lambda w: w.max(0).values, BOUND_CHECKS),
    "divided by B": (lambda w: w.logsumexp(0) - math.log(w.shape[1]), BOUND_CHECKS),
    "one mean over the batch": (lambda w: (w.logsumexp(0) - math.log(len(w))).mean(), [check_formula]),
    "exp without a care": (lambda w: w.exp().mean(0).log(), [check_images]),
    "logarithms to base 2": (lambda w: (w.logsumexp(0) - math.log(len(w))) / math.log(2), [check_formula, check_order]),
}


@pytest.mark.parametrize("check", [*BOUND_CHECKS, check_images], ids=lambda f: f.__name__.removeprefix("check_"))
def test_bound(check):
    check(importance_bound)


test_broken_bound = every_check_fails(BOUND_TWINS)


def test_the_gradient_weighs_draws_by_their_weights():
    """d L_k / d log w_i = w_i / sum w: a useless draw teaches nothing."""
    log_w = normal(7, 4).requires_grad_()
    (slope,) = torch.autograd.grad(importance_bound(log_w).sum(), log_w)
    assert_close(slope, log_w.detach().softmax(0))


def test_one_axis_of_weights_is_not_enough():
    with pytest.raises(ValueError, match=r"log_weights.shape=\(3,\)"):
        importance_bound(torch.zeros(3))


# ---- bits per dimension ----


def check_bits(f):
    """Fair coins cost one bit each; uniform bytes cost eight."""
    assert f(784 * math.log(2), 784) == pytest.approx(1)
    assert f(3072 * math.log(256), 3072) == pytest.approx(8)
    assert_close(f(torch.tensor([0.0, 2.0, 4.0]) * math.log(2), 2), torch.tensor([0.0, 1.0, 2.0]))


def test_bits_per_dim():
    check_bits(bits_per_dim)
    assert isinstance(bits_per_dim(1.0, 2), float)


@pytest.mark.parametrize(
    "twin",
    [
        lambda nats, dims: nats / dims,
        lambda nats, dims: nats / math.log(2),
        lambda nats, dims: -nats / (dims * math.log(2)),
        lambda nats, dims: nats * math.log(2) / dims,
        lambda nats, dims: nats / (dims * math.log(10)),
    ],
    ids=["nats", "of the whole sample", "sign", "times log 2", "base 10"],
)
def test_broken_bits(twin):
    must_fail(check_bits, twin)
