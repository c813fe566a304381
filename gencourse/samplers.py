"""From noise to samples: ancestral sampling, DDIM, guidance, Euler's method on straight paths, Langevin dynamics.

A sampler is a generator that yields each state as soon as it has it, without gradients. Of the schedule it reads
``alpha_bar`` only, once, into Python's numbers: on an accelerator no step waits for a number to come back.
"""

from functools import partial

import torch

from .diffusion import posterior_coefficients
from .errors import require, require_same_shape


def _timeline(schedule, steps):
    """``alpha_bar`` as Python's numbers, and the steps as pairs (t, s) with s < t, evenly spaced from T down to 0."""
    T = len(schedule.alpha_bar) - 1
    require(0 < steps <= T, "steps", steps, f"in 1..{T}, the steps of the schedule")
    times = [round(T * i / steps) for i in range(steps, -1, -1)]
    return schedule.alpha_bar.tolist(), list(zip(times, times[1:]))


def _predict_x0_and_eps(predict, x, t, alpha_bar, clip):
    """The network's (x_0, eps) at time t."""
    eps = predict(x, torch.full((len(x),), t, device=x.device))
    require_same_shape("predict(x_t, t)", eps, "x_t", x)
    x0 = (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (x - alpha_bar**0.5 * x0) / (1 - alpha_bar) ** 0.5
    return x0, eps


def _add_noise(x, variance, generator):
    if variance == 0:  # a deterministic sampler leaves the random state alone
        return x
    device = x.device if generator is None else generator.device
    return x + variance**0.5 * torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


@torch.no_grad()  # as a decorator: a with-block would stay entered while the caller holds a yielded state
def ddpm(predict, x_T: torch.Tensor, schedule, *, variance="posterior", clip=True, steps=None, generator=None):
    """Ancestral sampling: x_{t-1} = mu(x_t, x_0) + sigma_t z with z ~ N(0, I), from t = T down to 1.

    mu is the mean of :func:`gencourse.diffusion.posterior` with the predicted x_0 in place of x_0, and no noise is
    added in the last step (diffusers adds it there for "fixed_large", its name for "beta", if ``steps`` is below T).
    A generator, so that ``*path, x0 = ddpm(...)`` keeps every state and ``for x0 in ddpm(...): pass`` the last one
    only. It runs without gradients.

    Args:
        predict: (x_t, t) -> the predicted eps, same shape as x_t; t is int64 of shape (B,), with values in 1..T.
        x_T: noise from N(0, I), (B, ...).
        schedule: Schedule.
        variance: sigma_t^2: "posterior" for the variance of the posterior, beta_tilde_t = (1 - alpha_bar_{t-1}) /
            (1 - alpha_bar_t) beta_t, or "beta" for beta_t. The first is right for data that is a single point, the
            second for data from N(0, I); for data that varies less than that the truth lies between.
        clip: whether the predicted x_0 is clamped to [-1, 1] before the mean is taken.
        steps: how many of the T steps to take, at times chosen as in :func:`ddim`; default all. The beta of a step
            from t to s is then 1 - alpha_bar_t / alpha_bar_s.
        generator: a torch.Generator for z; default the global one.

    Returns:
        A generator of ``steps`` tensors (B, ...), from the first earlier time down to x_0, in the units of the data.

    Raises:
        ValueError: when the first state is asked for, if ``steps`` is not in 1..T, ``variance`` is unknown, or
            ``predict`` returns another shape.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, algorithm 2.

    >>> from gencourse.diffusion import linear_schedule
    >>> schedule, x_T = linear_schedule(), torch.randn(2, 1)
    >>> at_half = lambda x, t: (x - 0.5 * schedule.alpha_bar[t, None].sqrt()) / schedule.sigma[t, None]
    >>> *path, x0 = ddpm(at_half, x_T, schedule)     # all data is 0.5, and the predicted noise is exact
    >>> len(path), x0.round(decimals=4).tolist()
    (999, [[0.5], [0.5]])
    """
    require(variance in ("posterior", "beta"), "variance", variance, '"posterior" or "beta"')
    alpha_bar, pairs = _timeline(schedule, schedule.T if steps is None else steps)
    x = x_T
    for t, s in pairs:
        x0, _ = _predict_x0_and_eps(predict, x, t, alpha_bar[t], clip)
        weight_x0, weight_x_t, sigma2 = posterior_coefficients(alpha_bar[s], alpha_bar[t])
        if variance == "beta":
            sigma2 = 1 - alpha_bar[t] / alpha_bar[s]
        x = weight_x0 * x0 + weight_x_t * x
        x = _add_noise(x, sigma2 if s > 0 else 0, generator)
        yield x


@torch.no_grad()
def ddim(predict, x_T: torch.Tensor, schedule, *, steps=50, eta=0.0, clip=True, generator=None):
    """DDIM: x_s = sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) eps + sigma z, from t to an earlier s.

    x_0 and eps are those predicted from x_t, z ~ N(0, I), and sigma = eta sqrt((1 - alpha_bar_s) / (1 - alpha_bar_t))
    sqrt(1 - alpha_bar_t / alpha_bar_s): with eta = 0 the noise x_T decides all, with eta = 1 it is :func:`ddpm` with
    the variance of the posterior. A generator, as there.

    The times are T i / steps for i = steps, ..., 1, 0, rounded to integers: evenly spaced, T the first at which the
    network is asked, 0 where the last step arrives. (The diffusers library calls this spacing "trailing".)

    Args:
        predict: (x_t, t) -> the predicted eps, same shape as x_t; t is int64 of shape (B,), with values in 1..T.
        x_T: noise from N(0, I), (B, ...).
        schedule: Schedule.
        steps: how many steps to take, in 1..T.
        eta: how much of the noise of :func:`ddpm` to add, in [0, 1].
        clip: whether the predicted x_0 is clamped to [-1, 1]. If so, eps is recomputed from it, so that the two
            still add up to x_t (diffusers does that with ``use_clipped_model_output=True`` only).
        generator: a torch.Generator for z; default the global one. With eta = 0 nothing is drawn.

    Returns:
        A generator of ``steps`` tensors (B, ...), x_0 last, in the units of the data.

    Raises:
        ValueError: when the first state is asked for, if ``steps`` is not in 1..T, or ``predict`` returns another
            shape.

    Source: Song et al. (2021), https://arxiv.org/abs/2010.02502, equations 12 and 16.

    >>> from gencourse.diffusion import linear_schedule
    >>> asked = []
    >>> zero = lambda x, t: asked.append(t.tolist()) or torch.zeros_like(x)
    >>> *path, x0 = ddim(zero, torch.randn(1, 2), linear_schedule(), steps=4)
    >>> asked, len(path)
    ([[1000], [750], [500], [250]], 3)
    """
    require(0 <= eta <= 1, "eta", eta, "in [0, 1]")
    alpha_bar, pairs = _timeline(schedule, steps)
    x = x_T
    for t, s in pairs:
        x0, eps = _predict_x0_and_eps(predict, x, t, alpha_bar[t], clip)
        _, _, posterior_var = posterior_coefficients(alpha_bar[s], alpha_bar[t])
        sigma2 = eta**2 * posterior_var
        weight_eps = max(1 - alpha_bar[s] - sigma2, 0.0) ** 0.5  # rounding must not make it negative
        x = alpha_bar[s] ** 0.5 * x0 + weight_eps * eps
        x = _add_noise(x, sigma2, generator)
        yield x


def guided(predict, scale):
    """Classifier-free guidance: eps = (1 + scale) eps(x_t, t, y) - scale eps(x_t, t, no label).

    Scale 0 is the plain conditional model, and -1 the unconditional one. Others, among them diffusers, call 1 + scale
    the guidance scale: their 3 is 2 here.

    Args:
        predict: (x_t, t, y) -> the predicted eps, same shape as x_t; y is None for "no label".
        scale: any number; larger ones follow the label more closely, at the price of variety.

    Returns:
        A function of (x_t, t, y) that returns the guided eps. It asks ``predict`` twice (once for scale 0): to
        do both in one batch is up to the caller. For a sampler, fix y: ``lambda x, t: guided(predict, 2)(x, t, y)``.

    Source: Ho & Salimans (2022), https://arxiv.org/abs/2207.12598, equation 6.

    >>> predict = lambda x, t, y: x if y is None else x + y
    >>> guided(predict, 2.0)(torch.zeros(1), 1, 5.0).item()     # 3 * 5 - 2 * 0
    15.0
    """
    if scale == 0:
        return predict
    return lambda x, t, y: (1 + scale) * predict(x, t, y) - scale * predict(x, t, None)


@torch.no_grad()
def euler(velocity, x: torch.Tensor, steps):
    """Euler's method for dx/dt = velocity(x, t) from t = 0 to 1: x <- x + velocity(x, t) / steps.

    A generator of the states after each step, the first at t = 1 / steps and the last at t = 1, without gradients.
    The error at t = 1 falls like 1 / steps.

    Args:
        velocity: (x, t) -> dx/dt, same shape as x; t is a tensor of shape (B,) and of the type of x, in [0, 1).
        x: the state at t = 0, (B, ...): noise, for the velocity of :func:`gencourse.diffusion.flow_path`.
        steps: how many, a positive integer.

    Returns:
        A generator of ``steps`` tensors (B, ...).

    Raises:
        ValueError: when the first state is asked for, if ``steps`` is less than 1, or ``velocity`` returns another
            shape.

    >>> *path, x1 = euler(lambda x, t: -x, torch.ones(1), 1000)
    >>> len(path), round(x1.item(), 3)     # exp(-1), and an error of about 0.0002
    (999, 0.368)
    """
    require(steps > 0, "steps", steps, "at least 1")
    for i in range(steps):
        dx_dt = velocity(x, torch.full((len(x),), i / steps, device=x.device, dtype=x.dtype))
        require_same_shape("velocity(x, t)", dx_dt, "x", x)
        x = x + dx_dt / steps
        yield x


@torch.no_grad()
def langevin(score, x: torch.Tensor, steps, eta, *, generator=None):
    """Langevin dynamics, x <- x + eta score(x) + sqrt(2 eta) z with z ~ N(0, I): samples of p from grad log p.

    A generator of the states after each step, without gradients. The size of the steps leaves an error: for a Gaussian
    of variance s^2 the stationary variance is s^2 / (1 - eta / (2 s^2)), and for eta >= 2 s^2 it runs away.

    Args:
        score: x -> grad log p(x), same shape as x: minus the slope of an energy.
        x: where to begin, (B, ...).
        steps: how many.
        eta: their size, positive, in the square of the units of x.
        generator: a torch.Generator for z; default the global one.

    Returns:
        A generator of ``steps`` tensors (B, ...).

    Raises:
        ValueError: when the first state is asked for, if ``eta`` is not positive, or ``score`` returns another shape.

    Source: Roberts & Tweedie (1996), https://projecteuclid.org/euclid.bj/1178291835.

    >>> *_, x = langevin(lambda x: -x, torch.zeros(10_000), 100, 1.0, generator=torch.Generator().manual_seed(0))
    >>> round(x.var().item(), 1)     # 1 / (1 - 0.5)
    2.0
    """
    require(eta > 0, "eta", eta, "positive")
    for _ in range(steps):
        slope = score(x)
        require_same_shape("score(x)", slope, "x", x)
        x = _add_noise(x + eta * slope, 2 * eta, generator)
        yield x


@torch.no_grad()
def annealed_langevin(score, x: torch.Tensor, sigmas, steps, *, size=0.1, generator=None):
    """Langevin dynamics down a ladder of noise: ``steps`` steps of size ``size`` sigma^2 for each sigma in turn.

    A generator of the states after each sigma, without gradients.

    Args:
        score: (x, sigma) -> grad log p_sigma(x), same shape as x, where p_sigma is the density of data plus noise of
            standard deviation sigma, a number.
        x: where to begin, (B, ...): noise of the first sigma.
        sigmas: numbers, falling.
        steps: how many for each sigma.
        size: of a step, in units of sigma^2.
        generator: a torch.Generator; default the global one.

    Returns:
        A generator of as many tensors (B, ...) as there are sigmas.

    Source: Song & Ermon (2019), https://arxiv.org/abs/1907.05600, algorithm 1; its step is alpha_i / 2 here.

    >>> wide = lambda x, sigma: -x / (1 + sigma**2)     # data from N(0, 1)
    >>> x = 10 * torch.randn(10_000, generator=torch.Generator().manual_seed(0))
    >>> *_, x = annealed_langevin(wide, x, [10, 3, 1], 100, generator=torch.Generator().manual_seed(1))
    >>> round(x.std().item(), 1)     # sqrt(1 + 1)
    1.4
    """
    for sigma in sigmas:
        *_, x = langevin(partial(score, sigma=sigma), x, steps, size * sigma**2, generator=generator)
        yield x


@torch.no_grad()
def predictor_corrector(predict, x_T: torch.Tensor, schedule, *, steps=50, corrections=1, size=0.1, generator=None):
    """Ancestral sampling with Langevin steps at each level of noise in between.

    After each step of :func:`ddpm` to a time s > 0 come ``corrections`` steps of :func:`langevin` with the score
    -eps / sqrt(1 - alpha_bar_s), of size ``size`` (1 - alpha_bar_s). So the network is evaluated ``steps`` +
    ``corrections`` (steps - 1) times.

    Args:
        predict, x_T, schedule, steps, generator: as in :func:`ddpm`.
        corrections: how many Langevin steps after each step.
        size: of a Langevin step, relative to the variance of the noise.

    Returns:
        A generator of ``steps`` tensors (B, ...), x_0 last, in the units of the data.

    Raises:
        ValueError: when the first state is asked for, if ``steps`` is not in 1..T or ``predict`` returns another shape.

    Source: Song et al. (2021), https://arxiv.org/abs/2011.13456, algorithm 5, with a size of the step that is fixed.

    >>> from gencourse.diffusion import linear_schedule
    >>> asked = []
    >>> zero = lambda x, t: asked.append(t.tolist()) or torch.zeros_like(x)
    >>> *path, x0 = predictor_corrector(zero, torch.randn(1, 2), linear_schedule(), steps=3, corrections=1)
    >>> asked, len(path)
    ([[1000], [667], [667], [333], [333]], 2)
    """
    alpha_bar, pairs = _timeline(schedule, steps)
    x = x_T
    for t, s in pairs:
        x0, _ = _predict_x0_and_eps(predict, x, t, alpha_bar[t], True)
        weight_x0, weight_x_t, sigma2 = posterior_coefficients(alpha_bar[s], alpha_bar[t])
        x = _add_noise(weight_x0 * x0 + weight_x_t * x, sigma2 if s > 0 else 0, generator)
        if s > 0 and corrections:
            at, sigma = torch.full((len(x),), s, device=x.device), (1 - alpha_bar[s]) ** 0.5
            score = lambda x, at=at, sigma=sigma: -predict(x, at) / sigma
            *_, x = langevin(score, x, corrections, size * sigma**2, generator=generator)
        yield x
