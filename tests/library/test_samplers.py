"""Samplers against diffusers, number for number, and against data from a Gaussian, where the best network is known."""

import itertools
import math

import pytest
import torch
from diffusers import DDIMScheduler
from test_diffusion import KINDS, both, normal
from torch.distributions import Categorical, MixtureSameFamily, Normal
from torch.testing import assert_close
from twins import every_check_fails, must_fail

from gencourse.diffusion import linear_schedule
from gencourse.samplers import annealed_langevin, ddim, ddpm, euler, guided, langevin, predictor_corrector

pytestmark = pytest.mark.usefixtures("one_thread")
M, S, N = 0.4, 0.3, 20_000  # data from N(M, S^2), and how many samples are drawn
SCHEDULE = linear_schedule().to(torch.float64)
X_T = normal(N, 1, seed=7)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def network(x, t):
    """As good as any to compare two samplers: the predicted x_0 is now and then beyond [-1, 1]."""
    return torch.tanh(x * 1.3 + x.roll(1, -1) - (t / 300).sin().view(-1, 1, 1, 1)) * 1.1


# ---- diffusers ----


def states_of_diffusers(theirs, steps, x, **options):
    theirs.set_timesteps(steps)
    generator = seeded()
    for t in theirs.timesteps:
        x = theirs.step(network(x, t.view(1) + 1), t, x, generator=generator, **options).prev_sample
        yield x


def check_ddpm_of_diffusers(f):
    """All states, but for the last with "fixed_large" and T > steps: diffusers adds noise to it, the paper does not."""
    x, names = normal(2, 3, 4, 4), {"posterior": "fixed_small", "beta": "fixed_large"}
    sizes = (20, 20), (1000, 50), (1000, 7)
    for (T, steps), kind, variance, clip in itertools.product(sizes, KINDS, names, (True, False)):
        options = {"variance_type": names[variance], "clip_sample": clip, "timestep_spacing": "trailing"}
        theirs, schedule = both(kind, T=T, **options)
        known = steps - 1 if variance == "beta" and T > steps else steps
        expected = list(states_of_diffusers(theirs, steps, x))[:known]
        found = list(f(network, x, schedule, variance=variance, clip=clip, steps=steps, generator=seeded()))[:known]
        assert_close(found, expected, rtol=1e-8, atol=1e-8)


def check_ddim_of_diffusers(f, **options):
    x, options = normal(2, 3, 4, 4), {"use_clipped_model_output": True} | options
    for kind, eta, clip, steps in itertools.product(KINDS, (0.0, 0.5, 1.0), (True, False), (50, 8)):
        theirs, schedule = both(kind, DDIMScheduler, clip_sample=clip, timestep_spacing="trailing")
        expected = list(states_of_diffusers(theirs, steps, x, eta=eta, **options))
        found = list(f(network, x, schedule, steps=steps, eta=eta, clip=clip, generator=seeded()))
        assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_all_thousand_steps_of_diffusers():
    (theirs, schedule), x = both("linear"), normal(2, 1, 4, 4)
    expected = list(states_of_diffusers(theirs, 1000, x))
    assert_close(list(ddpm(network, x, schedule, generator=seeded())), expected, rtol=1e-8, atol=1e-8)


# ---- data from a Gaussian: the best eps is known, and so is the law of what a sampler returns ----


def best(x, t):
    """E[eps | x_t] for data from N(M, S^2)."""
    a = SCHEDULE.alpha_bar[t].view(-1, 1)
    return (1 - a).sqrt() * (x - a.sqrt() * M) / (a * S**2 + 1 - a)


def law(times, variance):
    """Exact mean and deviation of the x_0 that a sampler makes with the best eps.

    The true step back has the sampler's mean, and as variance that of the posterior, (1 - a_s) beta / (1 - a_t), plus
    what is unknown, w^2 Var(x_0 | x_t), where w = sqrt(a_s) beta / (1 - a_t) weighs x_0. A wrong variance at s, or at
    the start, reaches x_0 times the square of dE[x_0 | x_s] / dx_s = sqrt(a_s) S^2 / V_s. Without noise each step
    multiplies the deviation over sqrt(V) by cos(theta_s - theta_t), where tan theta = sqrt(1 - a) / (S sqrt(a)).
    """
    a = SCHEDULE.alpha_bar[times].tolist()
    V = [v * S**2 + 1 - v for v in a]
    if variance == 0:
        theta = [math.atan2(math.sqrt(1 - v), S * math.sqrt(v)) for v in a]
        gain = S / math.sqrt(V[0]) * math.prod(math.cos(p - q) for p, q in zip(theta, theta[1:]))
        return M - gain * math.sqrt(a[0]) * M, gain
    gain = [math.sqrt(v) * S**2 / V_s for v, V_s in zip(a, V)]
    var = S**2 + gain[0] ** 2 * (1 - V[0])
    for a_t, V_t, a_s, g in zip(a, V, a[1:], gain[1:]):
        beta = 1 - a_t / a_s
        unknown = (math.sqrt(a_s) * beta / (1 - a_t)) ** 2 * S**2 * (1 - a_t) / V_t
        tilde = (1 - a_s) * beta / (1 - a_t)
        added = 0 if a_s == 1 else tilde if variance == "posterior" else beta
        var += g**2 * (added - tilde - unknown)
    return M - gain[0] * math.sqrt(a[0]) * M, math.sqrt(var)


def check_law(x0, mean, std):
    """Mean and deviation of N samples, each within five standard errors."""
    assert abs(x0.mean().item() - mean) < 5 * std / N**0.5
    assert abs(x0.std().item() - std) < 5 * std / (2 * N) ** 0.5


def times_of(steps, T=1000):
    return [round(T * i / steps) for i in range(steps, -1, -1)]


def check_gaussian_ddpm(f):
    for variance, steps in (("posterior", 20), ("beta", 20), ("posterior", 1000)):
        *_, x0 = f(best, X_T, SCHEDULE, variance=variance, clip=False, steps=steps, generator=seeded())
        check_law(x0, *law(times_of(steps), variance))


def check_gaussian_ddim(f):
    for eta, steps in ((0.0, 50), (1.0, 50), (0.0, 7), (1.0, 7)):
        *_, x0 = f(best, X_T, SCHEDULE, steps=steps, eta=eta, clip=False, generator=seeded())
        check_law(x0, *law(times_of(steps), "posterior" if eta else 0))


def test_the_laws_come_close_to_the_data():
    """A thousand steps lose or add a hundredth of the deviation; fifty lose a sixth (DDPM) or an eleventh (DDIM)."""
    laws = [law(times_of(steps), how) for steps, how in itertools.product((1000, 50), ("posterior", "beta", 0))]
    assert_close(torch.tensor(laws)[:, 0], torch.full((6,), M), rtol=0.002, atol=0)
    assert [round(std / S, 3) for _, std in laws] == [0.988, 1.003, 0.995, 0.843, 1.045, 0.911]


def ddpm_twin(at=0, root=0.5, noise=lambda a, beta: 1 - a, swap=False, sign=1, last=False, clip_x0=True):
    """A twin of ddpm, right unless told otherwise: the formulas as they stand in the paper."""

    def twin(predict, x, schedule, *, variance="posterior", clip=True, steps=None, generator=None):
        times = times_of(steps, schedule.T)
        for t, s in zip(times, times[1:]):
            beta = float(1 - schedule.alpha_bar[t] / schedule.alpha_bar[s])
            a_t, a_s = (float(schedule.alpha_bar[min(r + at, schedule.T)]) for r in (t, s))
            b_t, b_s = noise(a_t, beta), noise(a_s, beta)
            x0 = (x - b_t**0.5 * sign * predict(x, torch.full((len(x),), t))) / a_t**0.5
            x0 = x0.clamp(-1, 1) if clip and clip_x0 else x0
            weights = a_s**0.5 * beta / b_t, (1 - beta) ** 0.5 * b_s / b_t
            x = weights[swap] * x0 + weights[not swap] * x
            if s > 0 or last:
                spread = b_s / b_t * beta if variance == "posterior" else beta
                x = x + spread**root * torch.randn(x.shape, generator=generator, dtype=x.dtype)
            yield x

    return twin


DDPM_CHECKS = [check_ddpm_of_diffusers, check_gaussian_ddpm]
DDPM_TWINS = {
    "deviation taken for variance": (ddpm_twin(root=0.25), DDPM_CHECKS),
    "variance taken for deviation": (ddpm_twin(root=1), DDPM_CHECKS),
    "alpha_bar off by one": (ddpm_twin(at=1), DDPM_CHECKS),
    "beta for 1 - alpha_bar": (ddpm_twin(noise=lambda a, beta: beta), DDPM_CHECKS),
    "weights swapped": (ddpm_twin(swap=True), DDPM_CHECKS),
    "sign of the score": (ddpm_twin(sign=-1), DDPM_CHECKS),
    "noise in the last step": (ddpm_twin(last=True), [check_ddpm_of_diffusers]),
    "never clipped": (ddpm_twin(clip_x0=False), [check_ddpm_of_diffusers]),
}


def test_ddpm():
    check_ddpm_of_diffusers(ddpm)
    check_gaussian_ddpm(ddpm)
    check_ddpm_of_diffusers(ddpm_twin())  # broken by what it is told, not by the way it is written


test_broken_ddpm = every_check_fails(DDPM_TWINS)


def test_ddim():
    check_ddim_of_diffusers(ddim)
    check_gaussian_ddim(ddim)
    must_fail(lambda f: check_ddim_of_diffusers(f, use_clipped_model_output=False), ddim)  # eps as it was predicted
    for f in (check_ddim_of_diffusers, check_gaussian_ddim):
        must_fail(f, lambda *a, eta, **k: ddim(*a, **k, eta=1 - eta))
        must_fail(f, lambda *a, eta, **k: ddim(*a, **k, eta=eta**0.5 / 2))
        must_fail(f, lambda predict, *a, **k: ddim(lambda x, t: -predict(x, t), *a, **k))


# ---- what samplers promise ----


def test_ddim_without_noise_is_deterministic_and_with_it_is_ddpm():
    x, schedule = normal(3, 1, 2, 2), linear_schedule()
    before, generator = torch.get_rng_state(), seeded()
    first, second = (list(ddim(network, x, schedule, steps=10, generator=g)) for g in (generator, None))
    assert_close(first, second, rtol=0, atol=0)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(generator.get_state(), seeded().get_state())
    noisy = [list(ddim(network, x, schedule, steps=10, eta=1.0, generator=seeded(s))) for s in (1, 1, 2)]
    assert_close(noisy[0], noisy[1], rtol=0, atol=0)
    assert not torch.allclose(noisy[0][-1], noisy[2][-1]) and not torch.allclose(noisy[0][-1], first[-1])
    assert_close(list(ddpm(network, x, schedule, steps=10, generator=seeded(1))), noisy[0])


@pytest.mark.parametrize("T", [1, 2, 9, 33])
def test_times_are_evenly_spaced_from_T_down(T):
    for steps, sampler in itertools.product(range(1, T + 1), (ddim, ddpm)):
        asked = []
        record = lambda x, t, asked=asked: asked.append(t) or x
        states = list(sampler(record, torch.ones(2, 1), linear_schedule(T), steps=steps))
        assert all(t.dtype == torch.int64 and t.shape == (2,) for t in asked) and len(states) == len(asked) == steps
        times = [int(t[0]) for t in asked] + [0]
        gaps = [t - s for t, s in zip(times, times[1:])]
        assert times[0] == T and min(gaps) >= 1 and max(gaps) - min(gaps) <= 1
    assert len(list(ddpm(record, torch.ones(2, 1), linear_schedule(T)))) == T  # steps=None


def test_no_gradients_inside_and_gradients_outside():
    """While the caller holds a state, gradients are as the caller had them: a with-block around a yield is not."""
    net, inside = torch.nn.Linear(2, 2), []
    predict = lambda x, *_: inside.append(torch.is_grad_enabled()) or net(x)
    x, schedule = torch.randn(3, 2, requires_grad=True), linear_schedule(5)
    for states in (
        ddpm(predict, x, schedule),
        ddim(predict, x, schedule, steps=5),
        euler(predict, x, 5),
        langevin(predict, x, 5, 0.1),
        annealed_langevin(lambda x, sigma: predict(x), x, [2.0, 1.0, 0.5, 0.2, 0.1], 1),
        predictor_corrector(predict, x, schedule, steps=3),
    ):
        for state in states:
            assert torch.is_grad_enabled() and not state.requires_grad
    assert inside == [False] * 30


# ---- guidance and Euler's method ----


def check_guided(f):
    """eps is minus sigma times the score of p(x_t | y)^(1 + scale) / p(x_t)^scale, by autograd for two Gaussians."""
    a = SCHEDULE.alpha_bar[300]
    means, sd, sigma = a.sqrt() * torch.tensor([-0.5, 0.7]), (a * S**2 + 1 - a).sqrt(), (1 - a).sqrt()
    given = lambda y: Normal(means[y], sd)
    any_label = MixtureSameFamily(Categorical(torch.tensor([0.3, 0.7]).double()), Normal(means, sd))

    def minus_score(log_p, x):
        x = x.detach().requires_grad_()
        return -sigma * torch.autograd.grad(log_p(x).sum(), x)[0]

    predict = lambda x, t, y: minus_score((any_label if y is None else given(y)).log_prob, x)
    x, y = normal(50), torch.arange(50) % 2
    for scale in (0, 0.0, 0.5, 3.0, -1.0):
        sharp = lambda x, w=scale: (1 + w) * given(y).log_prob(x) - w * any_label.log_prob(x)
        assert_close(f(predict, scale)(x, 300, y), minus_score(sharp, x))


def test_guided():
    check_guided(guided)
    must_fail(check_guided, lambda predict, w: guided(predict, -w))  # the sign of the scale
    must_fail(check_guided, lambda predict, w: guided(predict, w - 1))  # the other convention
    must_fail(check_guided, lambda predict, w: guided(predict, -1 - w))  # label and no label swapped
    asked = []
    guided(lambda x, t, y: asked.append(y) or x, 0)(X_T, 1, 5)
    assert asked == [5]


def best_velocity(x, t):
    """E[x_1 - x_0 | x_t] for noise x_0 and data x_1 from N(M, S^2)."""
    t = t.view(-1, 1)
    return M + (t * S**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * S**2) * (x - t * M)


def check_euler(f):
    """The exact path ends in M + S x_0; Euler's in M + gain x_0, with a gain that is off by O(1 / steps)."""
    errors = []
    for steps in (50, 100, 200):
        *path, x1 = f(best_velocity, X_T, steps)
        slope = [(t * S**2 - (1 - t)) / ((1 - t) ** 2 + t**2 * S**2) for t in (i / steps for i in range(steps))]
        gain = math.prod(1 + c / steps for c in slope)
        assert len(path) == steps - 1
        assert_close(x1, M + gain * X_T)
        check_law(x1, M, gain)
        errors.append(abs(gain - S))
    assert errors[2] < 0.02 * S
    assert [a / b for a, b in zip(errors, errors[1:])] == pytest.approx([2, 2], rel=0.1)


def test_euler():
    check_euler(euler)
    must_fail(check_euler, lambda v, x, steps: euler(lambda x, t: v(x, 1 - t), x, steps))
    must_fail(check_euler, lambda v, x, steps: euler(lambda x, t: -v(x, t), x, steps))
    must_fail(check_euler, lambda v, x, steps: euler(lambda x, t: v(x, t + 1 / steps), x, steps))
    must_fail(check_euler, lambda v, x, steps: euler(v, x, steps + 1))


# ---- Langevin dynamics ----


def check_langevin(f):
    """The law after any number of steps is known for a Gaussian, N(M, S^2): mean and variance follow two recursions."""
    for eta in (0.02, 0.09, 0.15):
        mean, var, shrink = 0.0, 1.0, 1 - eta / S**2
        for i, x in enumerate(f(lambda x: (M - x) / S**2, X_T, 60, eta, generator=seeded())):
            mean, var = M + shrink * (mean - M), shrink**2 * var + 2 * eta
            if i in (0, 5, 59):
                check_law(x, mean, math.sqrt(var))
        assert i == 59
        assert var == pytest.approx(S**2 / (1 - eta / (2 * S**2)), rel=1e-6)


def test_langevin():
    check_langevin(langevin)
    must_fail(check_langevin, lambda score, x, n, eta, **k: langevin(lambda x: -score(x), x, n, eta, **k))
    must_fail(check_langevin, lambda score, x, n, eta, **k: langevin(lambda x: score(x) / 2, x, n, eta, **k))
    must_fail(check_langevin, lambda score, x, n, eta, **k: langevin(lambda x: 2 * score(x), x, n, eta / 2, **k))
    *_, away = langevin(lambda x: (M - x) / S**2, X_T, 60, 2.1 * S**2, generator=seeded())
    assert away.std() > 100


FAR = MixtureSameFamily(Categorical(torch.tensor([0.2, 0.8]).double()), Normal(torch.tensor([-4.0, 4.0]).double(), 0.5))


def far_score(x, sigma):
    """Of the mixture FAR blurred with sigma."""
    parts = FAR.component_distribution
    logs = Normal(parts.mean, (parts.stddev**2 + sigma**2).sqrt()).log_prob(x) + FAR.mixture_distribution.logits
    return (logs.softmax(1) * (parts.mean - x) / (parts.stddev**2 + sigma**2)).sum(1, keepdim=True)


def check_annealed(f):
    """It finds the shares of two far heaps, which Langevin dynamics with little noise does not; and their width."""
    ladder = torch.logspace(1, -1.3, 20).tolist()
    states = list(f(far_score, 10 * X_T[:4000], ladder, 60, generator=seeded()))
    assert len(states) == 20
    assert abs((states[-1] < 0).double().mean() - 0.2) < 0.04
    assert abs(states[-1].abs().std() - 0.5) < 0.05
    assert 5 < states[0].std() < 15


def test_annealed_langevin():
    check_annealed(annealed_langevin)
    must_fail(check_annealed, lambda score, x, ladder, *a, **k: annealed_langevin(score, x, ladder[-5:] * 4, *a, **k))
    must_fail(
        check_annealed, lambda score, *a, **k: annealed_langevin(lambda x, sigma: sigma * score(x, sigma), *a, **k)
    )


def check_corrector(f):
    """Without corrections it is ddpm; with them the law is known for data from a Gaussian, N(M, S^2)."""
    x = normal(3, 1, 2, 2)
    ours = list(f(network, x, linear_schedule(), steps=10, corrections=0, generator=seeded()))
    assert_close(ours, list(ddpm(network, x, linear_schedule(), steps=10, generator=seeded())), rtol=0, atol=0)
    size, steps = 0.3, 10
    mean, var = 0.0, 1.0
    states = f(best, X_T, SCHEDULE, steps=steps, corrections=2, size=size, generator=seeded())
    for (t, s), x in zip(itertools.pairwise(times_of(steps)), states, strict=True):
        a_t, a_s = float(SCHEDULE.alpha_bar[t]), float(SCHEDULE.alpha_bar[s])
        v_t, v_s = a_t * S**2 + 1 - a_t, a_s * S**2 + 1 - a_s
        keep, beta = a_t**0.5 * S**2 / v_t, 1 - a_t / a_s
        to_x0, to_x = a_s**0.5 * beta / (1 - a_t), (1 - beta) ** 0.5 * (1 - a_s) / (1 - a_t)
        gain = to_x0 * keep + to_x
        mean = a_s**0.5 * M + gain * (mean - a_t**0.5 * M)
        var = gain**2 * var + ((1 - a_s) / (1 - a_t) * beta if s > 0 else 0)
        for _ in range(2 if s > 0 else 0):
            eta = size * (1 - a_s)
            mean, var = a_s**0.5 * M + (1 - eta / v_s) * (mean - a_s**0.5 * M), (1 - eta / v_s) ** 2 * var + 2 * eta
        check_law(x, mean, math.sqrt(var))


def test_predictor_corrector():
    check_corrector(predictor_corrector)
    must_fail(check_corrector, lambda *a, corrections, **k: predictor_corrector(*a, corrections=corrections // 2, **k))
    must_fail(check_corrector, lambda *a, size=0.1, **k: predictor_corrector(*a, size=2 * size, **k))


# ---- what would be wrong in silence ----

X, TEN = torch.ones(3, 2), linear_schedule(10)


@pytest.mark.parametrize(
    "states",
    [
        lambda: ddpm(network, X, TEN, steps=0),
        lambda: ddpm(network, X, TEN, steps=11),
        lambda: ddim(network, X, TEN),  # 50 steps
        lambda: ddpm(network, X, TEN, variance="fixed_small"),
        lambda: ddpm(lambda x, t: x[:1], X, TEN),
        lambda: ddim(lambda x, t: x[:, :1], X, TEN, steps=2),
        lambda: euler(lambda x, t: x[:1], X, 2),
        lambda: euler(lambda x, t: x, X, 0),
        lambda: langevin(lambda x: x, X, 5, 0.0),
        lambda: langevin(lambda x: x[:1], X, 5, 0.1),
        lambda: annealed_langevin(lambda x, sigma: x[:1], X, [1.0], 5),
        lambda: predictor_corrector(network, X, TEN, steps=11),
        lambda: predictor_corrector(lambda x, t: x[:1], X, TEN, steps=2),
    ],
    ids=range(13),
)
def test_refused(states):
    with pytest.raises(ValueError, match="must be"):
        next(states())


def test_an_accelerator_is_not_waited_for():
    """On the meta device there are no values: whoever looks at one fails."""
    x, predict = X.to("meta"), lambda x, t: x * t[:, None]
    for states in (
        ddpm(predict, x, TEN),
        ddim(predict, x, TEN, steps=5, eta=1.0),
        euler(predict, x, 5),
        annealed_langevin(lambda x, sigma: -x / sigma, x, [2.0, 1.0], 3),
        predictor_corrector(predict, x, TEN, steps=5),
    ):
        assert all(state.shape == x.shape for state in states)
