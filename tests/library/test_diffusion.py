"""Schedules, q(x_t | x_0), the posterior and conversions against diffusers, simulation and linear algebra."""

import math

import pytest
import torch
from diffusers import DDPMScheduler
from torch.distributions import Normal
from torch.testing import assert_close
from twins import must_fail

from gencourse.diffusion import (
    Prediction,
    Schedule,
    convert,
    cosine_schedule,
    flow_path,
    linear_schedule,
    posterior,
    posterior_coefficients,
    q_sample,
)

pytestmark = pytest.mark.usefixtures("one_thread")
KINDS = {"linear": linear_schedule, "squaredcos_cap_v2": cosine_schedule}  # by their names in diffusers
SHAPE = (7, 3, 2, 2)  # of a batch of images: the bugs differ over channels and pixels
TIMES = torch.tensor([1, 2, 3, 250, 500, 999, 1000])


def normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def both(kind, cls=DDPMScheduler, T=1000, **options):
    """A scheduler of diffusers, index t - 1 for time t, and a Schedule of its very numbers, both in float64."""
    theirs = cls(num_train_timesteps=T, beta_schedule=kind, **options)
    theirs.alphas_cumprod = theirs.alphas_cumprod.double()  # in float32 its 1 - alpha_t has three digits at small t
    at_0 = torch.zeros(1).double()
    return theirs, Schedule(torch.cat([at_0, theirs.betas]), torch.cat([at_0 + 1, theirs.alphas_cumprod]))


def small():
    return linear_schedule(12, beta_start=0.02, beta_end=0.5).to(torch.float64)


# ---- schedules ----


def check_table(make):
    """Indexed by t from 0, alpha_bar the product of 1 - beta, but for one rounding of each beta and of the result."""
    for schedule in (make(), make(T=1), make(T=40)):
        assert schedule.beta.dtype == schedule.alpha_bar.dtype == torch.float32
        assert len(schedule.beta) == len(schedule.alpha_bar) == schedule.T + 1
        assert schedule.beta[0] == 0 and schedule.alpha_bar[0] == 1
        alpha = 1 - schedule.beta.double()
        expected = alpha.new_tensor([math.prod(alpha[1 : t + 1].tolist()) for t in range(schedule.T + 1)])
        relative = 2**-24 * (1 + (schedule.beta / alpha).cumsum(0))  # of a rounded beta, 1 - beta has fewer digits
        assert ((schedule.alpha_bar - expected).abs() <= 1.01 * relative * expected).all()


def check_linear(make):
    schedule = make(500, 0.001, 0.05)
    for t, expected in ((1, 0.001), (2, 0.001 + 0.049 / 499), (500, 0.05)):
        assert schedule.beta[t].item() == pytest.approx(expected, rel=1e-6)


def check_cosine(make):
    """alpha_bar has the closed form f(t) / f(0) wherever beta is not capped, and is the cap's multiple where it is."""
    for T, s in ((1000, 0.008), (50, 0.02)):
        schedule = make(T, s=s)
        f = lambda t, T=T, s=s: math.cos((t / T + s) / (1 + s) * math.pi / 2) ** 2
        expected = torch.tensor([f(t) / f(0) for t in range(T)])
        assert_close(schedule.alpha_bar[:-1], expected, rtol=1e-6, atol=0)
        assert schedule.beta.max().item() == pytest.approx(0.999)
        assert schedule.alpha_bar[-1].item() == pytest.approx(0.001 * expected[-1].item(), rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_schedules(kind):
    check_table(KINDS[kind])
    (check_linear if kind == "linear" else check_cosine)(KINDS[kind])
    ours, theirs = KINDS[kind](), DDPMScheduler(num_train_timesteps=1000, beta_schedule=kind)
    assert_close(ours.beta[1:], theirs.betas, rtol=2e-7, atol=0)
    assert_close(ours.alpha_bar[1:], theirs.alphas_cumprod, rtol=2e-5, atol=0)  # theirs is a product in float32


def test_properties_of_a_schedule():
    schedule = small()
    assert_close(schedule.alpha.cumprod(0), schedule.alpha_bar)
    assert_close(schedule.sigma**2, 1 - schedule.alpha_bar)
    assert_close(schedule.snr, (schedule.alpha_bar.sqrt() / schedule.sigma).square())
    assert schedule.T == 12 and schedule.snr[0] == math.inf and schedule.to("meta").beta.device.type == "meta"


def rebuilt(beta_to_bar):
    """A twin of linear_schedule with another alpha_bar."""
    return lambda T=1000, *a: Schedule(beta := linear_schedule(T, *a).beta, beta_to_bar(beta))


SCHEDULE_TWINS = {
    "alpha_bar off by one": rebuilt(lambda beta: (1 - beta).cumprod(0).roll(-1)),
    "one too short": lambda T=1000: Schedule(*(v[1:] for v in linear_schedule(T))),
    "product of beta": rebuilt(lambda beta: beta.cumprod(0)),
}


@pytest.mark.parametrize("name", SCHEDULE_TWINS)
def test_broken_schedules(name):
    must_fail(check_table, SCHEDULE_TWINS[name])


def test_broken_formulas():
    must_fail(check_linear, lambda T, a, b: Schedule(torch.linspace(a, b, T + 1), None))  # beta[0] is the first
    must_fail(check_linear, lambda T, a, b: Schedule(torch.linspace((a / b) ** 0.5, 1, T + 1) ** 2 * b, None))
    must_fail(check_cosine, lambda T, s: cosine_schedule(T, s=0.0))
    must_fail(check_cosine, lambda T, s: cosine_schedule(T, s=s, max_beta=0.5))


# ---- q(x_t | x_0) ----


def check_add_noise(q):
    x0, eps = normal(*SHAPE), normal(*SHAPE, seed=1)
    for kind in KINDS:
        theirs, schedule = both(kind)
        assert_close(q(x0, TIMES, eps, schedule), theirs.add_noise(x0, eps, TIMES - 1))
        assert_close(q(x0, 40, eps, schedule), theirs.add_noise(x0, eps, torch.full((7,), 39)))
        single = q(x0.float(), TIMES, eps.float(), KINDS[kind]())  # sqrt(1 - a) errs by (last digit of a) / sigma
        assert_close(single, theirs.add_noise(x0, eps, TIMES - 1).float(), atol=2e-5, rtol=1e-6)
    assert torch.equal(q(x0, 0, eps, schedule), x0)


def check_chain(q):
    """x_t made by t small steps, x_s = sqrt(1 - beta_s) x_{s-1} + sqrt(beta_s) z, has mean and deviation of q."""
    schedule, n = small(), 20_000
    x0 = torch.full((n,), 1.5, dtype=torch.float64)
    x, zero, one = x0, torch.zeros(n).double(), torch.ones(n).double()
    for t in range(1, schedule.T + 1):
        x = (1 - schedule.beta[t]).sqrt() * x + schedule.beta[t].sqrt() * normal(n, seed=t)
        mean, std = q(x0, t, zero, schedule)[0], q(zero, t, one, schedule)[0]
        assert abs(x.mean() - mean) < 5 * std / n**0.5, t  # five standard errors, of the mean and of the deviation
        assert abs(x.std() - std) < 5 * std / (2 * n) ** 0.5, t


def q_twin(at=lambda t: t, root=torch.sqrt, noise=lambda a, beta: 1 - a, bar=True):
    """A twin of q_sample, right unless told otherwise."""

    def twin(x0, t, eps, schedule):
        a = (schedule.alpha_bar if bar else 1 - schedule.beta)[at(t)]
        column = lambda v: torch.as_tensor(v, dtype=x0.dtype).view(-1, *[1] * (x0.ndim - 1))
        return column(a.sqrt()) * x0 + column(root(noise(a, schedule.beta[t]))) * eps

    return twin


Q_TWINS = {
    "variance for deviation": q_twin(root=lambda v: v),
    "alpha_bar off by one": q_twin(at=lambda t: t - 1),
    "beta for 1 - alpha_bar": q_twin(noise=lambda a, beta: beta),
    "alpha for alpha_bar": q_twin(bar=False),
    "noise subtracted": lambda x0, t, eps, schedule: q_sample(x0, t, -eps, schedule),
}


def test_q_sample():
    for f in (q_sample, q_twin()):
        check_add_noise(f)
        check_chain(f)
    assert q_sample(x := torch.ones(7).half(), TIMES, x, linear_schedule()).dtype == torch.float16


@pytest.mark.parametrize("name", Q_TWINS)
def test_broken_q_sample(name):
    must_fail(check_add_noise, Q_TWINS[name])
    if name != "noise subtracted":  # the same in distribution
        must_fail(check_chain, Q_TWINS[name])


# ---- q(x_{t-1} | x_t, x_0) ----


def check_conditioning(f):
    """The chain as one Gaussian vector: covariance from its small steps, conditional from the precision matrix."""
    schedule, x0, x_t = small(), normal(5, 1), 2 * normal(5, 1, seed=1)
    T, alpha = schedule.T, (1 - schedule.beta).tolist()
    step = torch.eye(T).double() - torch.diag(torch.tensor(alpha[2:]).double().sqrt(), -1)
    paths = torch.linalg.solve(step, torch.diag(schedule.beta[1:].sqrt()))  # x = paths z + ..., one row per time
    cov = paths @ paths.T
    for t in range(2, T + 1):
        precision = torch.linalg.inv(cov[t - 2 : t, t - 2 : t])
        means = [math.prod(alpha[1:r]) ** 0.5 * x0 for r in (t, t + 1)]
        mean, variance = f(x0, x_t, t, schedule)
        assert_close(mean, means[0] - precision[0, 1] / precision[0, 0] * (x_t - means[1]), rtol=1e-5, atol=1e-6)
        assert_close(variance, (1 / precision[0, 0]).expand(5, 1), rtol=1e-5, atol=0)
    mean, variance = f(x0, x_t, 1, schedule)
    assert_close((mean, variance), (x0, torch.zeros(5, 1).double()), rtol=1e-12, atol=1e-12)


def check_posterior_of_diffusers(f):
    x0, x_t = normal(*SHAPE).clamp(-1, 1), normal(*SHAPE, seed=1)
    for kind in KINDS:
        theirs, schedule = both(kind, prediction_type="sample")
        mean, variance = f(x0, x_t, TIMES, schedule)
        assert variance.shape == (7, 1, 1, 1)
        for i, t in enumerate(TIMES.tolist()):
            one = slice(i, i + 1)
            z = normal(1, *SHAPE[1:], seed=9)
            step = theirs.step(x0[one], t - 1, x_t[one], generator=torch.Generator().manual_seed(9)).prev_sample
            assert_close(mean[one] + variance[one].sqrt() * z, step, rtol=1e-9, atol=1e-9)


def posterior_twin(at=lambda t: t, noise=lambda a, beta: 1 - a, swap=False, spread=lambda small, beta: small):
    """A twin of posterior, right unless told otherwise: the formulas as they stand in the paper."""

    def twin(x0, x_t, t, schedule):
        t = torch.as_tensor(t).expand(len(x0))
        a_s, a_t = schedule.alpha_bar[at(t) - 1], schedule.alpha_bar[at(t)]
        beta = 1 - schedule.alpha_bar[t] / schedule.alpha_bar[t - 1]
        weights = a_s.sqrt() * beta / noise(a_t, beta), (1 - beta).sqrt() * noise(a_s, beta) / noise(a_t, beta)
        variance = spread(noise(a_s, beta) / noise(a_t, beta) * beta, beta)
        of_x0, of_x_t, variance = (v.view(-1, *[1] * (x0.ndim - 1)) for v in (*weights, variance))
        return (of_x0 * x_t + of_x_t * x0 if swap else of_x0 * x0 + of_x_t * x_t), variance

    return twin


POSTERIOR_TWINS = {
    "deviation for variance": posterior_twin(spread=lambda small, beta: small.sqrt()),
    "beta for beta_tilde": posterior_twin(spread=lambda small, beta: beta),
    "weights swapped": posterior_twin(swap=True),
    "alpha_bar off by one": posterior_twin(at=lambda t: (t + 1).clamp(max=12)),
    "beta for 1 - alpha_bar": posterior_twin(noise=lambda a, beta: beta),
}


def test_posterior():
    for f in (posterior, posterior_twin()):
        check_conditioning(f)
        check_posterior_of_diffusers(f)
    x0, x_t = normal(3, 2, dtype=torch.float32), normal(3, 2, seed=1, dtype=torch.float32)
    mean, variance = posterior(x0, x_t, 1, linear_schedule())
    assert torch.equal(mean, x0) and torch.equal(variance, torch.zeros(3, 1))  # to the last bit, in float32 too


def check_two_small_steps(coefficients):
    """The variance of x_s given x_0 is that of x_t sent back by q(x_s | x_t, x_0), for steps of any length."""
    schedule = small()
    for s, t in ((1, 2), (3, 7), (1, 12), (11, 12)):
        a_s, a_t = schedule.alpha_bar[s].item(), schedule.alpha_bar[t].item()
        w_0, w_t, variance = coefficients(a_s, a_t)
        assert w_0 + w_t * a_t**0.5 == pytest.approx(a_s**0.5, rel=1e-6)  # the mean of x_s is sqrt(a_s) x_0
        assert w_t**2 * (1 - a_t) + variance == pytest.approx(1 - a_s, rel=1e-6)


def test_posterior_coefficients():
    check_two_small_steps(posterior_coefficients)
    must_fail(check_two_small_steps, lambda a_s, a_t: posterior_coefficients(a_t, a_s))
    must_fail(check_two_small_steps, lambda a_s, a_t: (*posterior_coefficients(a_s, a_t)[:2], 1 - a_t / a_s))


@pytest.mark.parametrize("name", POSTERIOR_TWINS)
def test_broken_posterior(name):
    must_fail(check_conditioning, POSTERIOR_TWINS[name])
    must_fail(check_posterior_of_diffusers, POSTERIOR_TWINS[name])


# ---- x_0, eps, v and the score ----


def check_meaning(f):
    """eps as it was drawn, v as diffusers says, the score as autograd finds it; x_0 as diffusers finds it from each."""
    x0, eps = normal(*SHAPE).clamp(-1, 1), normal(*SHAPE, seed=1)
    for kind in KINDS:
        theirs, schedule = both(kind)
        a = schedule.alpha_bar[TIMES].view(-1, 1, 1, 1)
        x_t = q_sample(x0, TIMES, eps, schedule).requires_grad_()
        log_q = Normal(a.sqrt() * x0, (1 - a).sqrt()).log_prob(x_t).sum()
        (score,) = torch.autograd.grad(log_q, x_t)
        v, x_t = theirs.get_velocity(x0, eps, TIMES - 1), x_t.detach()
        for name, p in (("x0", x0), ("eps", eps), ("v", v), ("score", score)):
            found = f(x_t, TIMES, schedule, **{name: p})
            assert_close(found, Prediction(x0, eps, v, score), rtol=1e-6, atol=1e-8)
        for name, field in (("sample", "x0"), ("epsilon", "eps"), ("v_prediction", "v")):
            (theirs, _), guess = both(kind, prediction_type=name, clip_sample=False), normal(*SHAPE, seed=4)
            expected = theirs.step(guess, 699, x_t).pred_original_sample
            assert_close(f(x_t, 700, schedule, **{field: guess}).x0, expected)


def check_round_trips(f):
    schedule, x_t = linear_schedule().to(torch.float64), normal(*SHAPE)
    for start in Prediction._fields:
        guess = normal(*SHAPE, seed=3)
        found = f(x_t, TIMES, schedule, **{start: guess})
        assert getattr(found, start) is guess
        assert_close(q_sample(found.x0, TIMES, found.eps, schedule), x_t, rtol=1e-9, atol=1e-9)
        for name, value in found._asdict().items():
            assert_close(f(x_t, TIMES, schedule, **{name: value}), found, rtol=1e-6, atol=1e-7)


def changed(**how):
    """A twin of convert that changes some of the four before it returns them."""

    def twin(x_t, t, schedule, **given):
        found = convert(x_t, t, schedule, **given)
        return found._replace(**{name: f(found, schedule.sigma[t].view(-1, 1, 1, 1)) for name, f in how.items()})

    return twin


CONVERT_TWINS = {
    "sign of the score": changed(score=lambda p, s: -p.score),
    "sign of v": changed(v=lambda p, s: -p.v),
    "t off by one": lambda x, t, schedule, **p: convert(x, (torch.as_tensor(t).expand(7) - 1).clamp(1), schedule, **p),
}


def test_convert():
    for f in (convert, changed()):
        check_meaning(f)
        check_round_trips(f)


@pytest.mark.parametrize("name", CONVERT_TWINS)
def test_broken_convert(name):
    must_fail(check_meaning, CONVERT_TWINS[name])


# ---- straight paths ----


def check_path(f):
    noise, data, h = normal(6, 3, 2), normal(6, 3, 2, seed=1), 1e-4
    assert_close(f(noise, data, 0.0)[0], noise)
    assert_close(f(noise, data, torch.ones(6))[0], data)
    t = torch.linspace(0.1, 0.9, 6).double()
    x, velocity = f(noise, data, t)
    assert_close(velocity, (f(noise, data, t + h)[0] - f(noise, data, t - h)[0]) / (2 * h), rtol=1e-8, atol=1e-8)
    assert_close(x[2], f(noise, data, t[2].item())[0][2])


def test_flow_path():
    check_path(flow_path)
    must_fail(check_path, lambda x0, x1, t: flow_path(x1, x0, t))
    must_fail(check_path, lambda x0, x1, t: (flow_path(x0, x1, t)[0], x0 - x1))


# ---- what would be wrong in silence ----

X, TEN = torch.ones(3, 2), linear_schedule(10)


@pytest.mark.parametrize(
    "t",
    [-1, 11, 2.5, torch.tensor([1, 2, 11]), torch.tensor([1, 2, -1]), torch.ones(3), torch.ones(3, 1).long()],
    ids=str,
)
def test_times_out_of_range(t):
    for call in (lambda: q_sample(X, t, X, TEN), lambda: posterior(X, X, t, TEN), lambda: convert(X, t, TEN, eps=X)):
        with pytest.raises(ValueError, match=r"t.*=.*: must be an integer in [01]\.\.10"):
            call()


def test_time_0_has_no_step_back():
    for call in (lambda: posterior(X, X, 0, TEN), lambda: convert(X, 0, TEN, eps=X)):
        with pytest.raises(ValueError, match=r"t=0: must be an integer in 1\.\.10"):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: q_sample(X, 1, X[:1], TEN),
        lambda: posterior(X, X[:1], 1, TEN),
        lambda: convert(X, 1, TEN, v=X[:1]),
        lambda: convert(X, 1, TEN),
        lambda: convert(X, 1, TEN, eps=X, v=X),
        lambda: flow_path(X, X[:1], 0.5),
        lambda: flow_path(X, X, 1.5),
        lambda: flow_path(X, X, torch.tensor([0.0, 0.5, -0.1])),
        lambda: flow_path(X, X, torch.tensor([0.5])),
        lambda: linear_schedule(10**6),
        lambda: linear_schedule(10, 0.5, 1.5),
        lambda: cosine_schedule(10, max_beta=1.0),
    ],
    ids=range(12),
)
def test_refused(call):
    with pytest.raises(ValueError, match="must be"):
        call()


def test_an_accelerator_is_not_waited_for():
    """On the meta device there are no values: whoever looks at one fails."""
    x, t, schedule = X.to("meta"), torch.ones(3, dtype=torch.int64, device="meta"), TEN.to("meta")
    found = q_sample(x, t, x, schedule), posterior(x, x, t, schedule)[0], *convert(x, t, schedule, eps=x)
    assert all(v.shape == x.shape for v in (*found, *flow_path(x, x, t.float())))
