"""From noise to samples: ancestral sampling, DDIM, guidance, and straight paths (re-exported by ``gc.diffusion``).

A sampler yields each state as soon as it has it. Of the schedule it reads ``alpha_bar`` only, once, into Python's
numbers: on an accelerator no step waits for a number to come back.
"""

import torch

from .errors import is_real, is_whole, require, shown


def require_batch(name, x):
    """Refuse anything but a floating-point tensor with a batch dimension."""
    ok = isinstance(x, torch.Tensor) and x.ndim > 0 and x.is_floating_point()
    require(ok, name, shown(x), "a batch: a floating-point tensor of shape (B, ...)")


def require_like(name, value, first, like):
    """Refuse anything but a floating-point tensor of the shape of ``like``, the argument named ``first``."""
    ok = isinstance(value, torch.Tensor) and value.shape == like.shape and value.is_floating_point()
    require(ok, name, shown(value), f"a floating-point tensor of the same shape as {first}, {tuple(like.shape)}")


def bridge(a_s, a_t):
    """q(x_s | x_t, x_0) for s < t as (weight of x_0, weight of x_t, variance), from alpha_bar_s and alpha_bar_t.

    Numbers or tensors. beta too comes from alpha_bar: a difference of two close numbers is exact, so that for s = 0 the
    weight of x_0 is 1 to the last bit. In float32 a beta that was rounded by itself leaves an error of 2e-4.

    >>> bridge(1.0, 0.9)
    (1.0, 0.0, 0.0)
    """
    beta = (a_s - a_t) / a_s  # 1 - alpha_bar_t / alpha_bar_s, the variance of all noise between s and t
    return a_s**0.5 * beta / (1 - a_t), (a_t / a_s) ** 0.5 * (1 - a_s) / (1 - a_t), beta * (1 - a_s) / (1 - a_t)


def _start(predict, x_T, schedule, steps, clip, generator):
    """The checked arguments that the samplers share, as (alpha_bar as numbers, steps as pairs (t, s) with s < t)."""
    require(callable(predict), "predict", predict, "a function of (x_t, t) that returns the predicted noise")
    require_batch("x_T", x_T)
    table = getattr(schedule, "alpha_bar", None)
    ok = isinstance(table, torch.Tensor) and table.ndim == 1 and len(table) > 1
    require(ok, "schedule", schedule, "a Schedule, such as gc.diffusion.linear_schedule()")
    T = len(table) - 1
    steps = T if steps is None else steps
    require(is_whole(steps) and 0 < steps <= T, "steps", steps, f"an integer in 1..{T}")
    require(isinstance(clip, bool), "clip", clip, "True or False")
    ok = generator is None or isinstance(generator, torch.Generator)
    require(ok, "generator", generator, "a torch.Generator, or None for the global one")
    times = [round(T * i / steps) for i in range(steps, -1, -1)]
    return table.tolist(), list(zip(times, times[1:]))


def _predicted(predict, x, t, a, clip):
    """The network's (x_0, eps) at time t, where alpha_bar is a."""
    eps = predict(x, torch.full((len(x),), t, device=x.device))
    require_like("predict(x_t, t)", eps, "x_t", x)
    x0 = (x - (1 - a) ** 0.5 * eps) / a**0.5
    if clip:
        x0 = x0.clamp(-1, 1)
        eps = (x - a**0.5 * x0) / (1 - a) ** 0.5
    return x0, eps


def _noisy(x, variance, generator):
    if variance == 0:  # no draw: a deterministic sampler leaves the random state alone
        return x
    device = x.device if generator is None else generator.device
    return x + variance**0.5 * torch.randn(x.shape, generator=generator, device=device, dtype=x.dtype).to(x.device)


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
        A generator of ``steps`` tensors (B, ...), x_{T-1} first and x_0 last, in the units of the data.

    Raises:
        ArgumentError: at the call, for a bad argument; on the way, if ``predict`` returns another shape.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, algorithm 2.

    >>> from gencourse.diffusion import linear_schedule
    >>> schedule, x_T = linear_schedule(), torch.randn(2, 1)
    >>> at_half = lambda x, t: (x - 0.5 * schedule.alpha_bar[t, None].sqrt()) / schedule.sigma[t, None]
    >>> *path, x0 = ddpm(at_half, x_T, schedule)     # all data is 0.5, and the predicted noise is exact
    >>> len(path), x0.round(decimals=4).tolist()
    (999, [[0.5], [0.5]])
    """
    require(variance in ("posterior", "beta"), "variance", variance, "'posterior' or 'beta'")
    alpha_bar, pairs = _start(predict, x_T, schedule, steps, clip, generator)
    return _ddpm(predict, x_T, alpha_bar, pairs, variance, clip, generator)


@torch.no_grad()  # as a decorator: a with-block would stay entered while the caller holds a yielded state
def _ddpm(predict, x, alpha_bar, pairs, variance, clip, generator):
    for t, s in pairs:
        x0, _ = _predicted(predict, x, t, alpha_bar[t], clip)
        of_x0, of_x, small = bridge(alpha_bar[s], alpha_bar[t])
        large = 1 - alpha_bar[t] / alpha_bar[s]
        x = _noisy(of_x0 * x0 + of_x * x, 0 if s == 0 else small if variance == "posterior" else large, generator)
        yield x


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
        clip: whether the predicted x_0 is clamped to [-1, 1]. If so, eps is computed anew from it, so that the two
            still add up to x_t (diffusers does that with ``use_clipped_model_output=True`` only).
        generator: a torch.Generator for z; default the global one. With eta = 0 nothing is drawn.

    Returns:
        A generator of ``steps`` tensors (B, ...), x_0 last, in the units of the data.

    Raises:
        ArgumentError: at the call, for a bad argument; on the way, if ``predict`` returns another shape.

    Source: Song et al. (2021), https://arxiv.org/abs/2010.02502, equations 12 and 16.

    >>> from gencourse.diffusion import linear_schedule
    >>> asked = []
    >>> zero = lambda x, t: asked.append(t.tolist()) or torch.zeros_like(x)
    >>> *path, x0 = ddim(zero, torch.randn(1, 2), linear_schedule(), steps=4)
    >>> asked, len(path)
    ([[1000], [750], [500], [250]], 3)
    """
    require(is_real(eta) and 0 <= eta <= 1, "eta", eta, "in [0, 1]")
    require(steps is not None, "steps", steps, "an integer in 1..T")
    alpha_bar, pairs = _start(predict, x_T, schedule, steps, clip, generator)
    return _ddim(predict, x_T, alpha_bar, pairs, eta, clip, generator)


@torch.no_grad()
def _ddim(predict, x, alpha_bar, pairs, eta, clip, generator):
    for t, s in pairs:
        x0, eps = _predicted(predict, x, t, alpha_bar[t], clip)
        _, _, posterior = bridge(alpha_bar[s], alpha_bar[t])
        variance = eta**2 * posterior  # sigma^2
        rest = max(1 - alpha_bar[s] - variance, 0.0)  # rounding must not make it negative
        x = alpha_bar[s] ** 0.5 * x0 + rest**0.5 * eps
        x = _noisy(x, variance, generator)
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

    Raises:
        ArgumentError: for something that cannot be called, or a scale that is no number.

    Source: Ho & Salimans (2022), https://arxiv.org/abs/2207.12598, equation 6.

    >>> predict = lambda x, t, y: x if y is None else x + y
    >>> guided(predict, 2.0)(torch.zeros(1), 1, 5.0).item()     # 3 * 5 - 2 * 0
    15.0
    """
    require(callable(predict), "predict", predict, "a function of (x_t, t, y) that returns the predicted noise")
    require(is_real(scale), "scale", scale, "a finite number")
    if scale == 0:
        return predict
    return lambda x, t, y: (1 + scale) * predict(x, t, y) - scale * predict(x, t, None)


def flow_path(x0: torch.Tensor, x1: torch.Tensor, t):
    """The straight path from noise to data: x_t = (1 - t) x0 + t x1, and its velocity dx_t / dt = x1 - x0.

    HERE x0 IS NOISE AND x1 IS DATA, and t runs from 0 to 1, as in the literature of flow matching. Everywhere else in
    this module x_0 is data, and t counts steps towards noise.

    Args:
        x0: noise, (B, ...).
        x1: data, same shape.
        t: times in [0, 1]: a number, or a floating-point tensor of shape (B,).

    Returns:
        (x_t, velocity), each (B, ...).

    Raises:
        ArgumentError: if the shapes differ, or a time is out of range.

    Source: Lipman et al. (2023), https://arxiv.org/abs/2210.02747, equations 22 and 23 with sigma_min = 0.

    >>> [v.item() for v in flow_path(torch.tensor([0.0]), torch.tensor([4.0]), 0.25)]
    [1.0, 4.0]
    """
    require_batch("x0", x0)
    require_like("x1", x1, "x0", x0)
    allowed = f"in [0, 1]: a number, or a floating-point tensor of shape ({len(x0)},)"
    if isinstance(t, torch.Tensor):
        require(t.shape == x0.shape[:1] and t.is_floating_point(), "t", tuple(t.shape), allowed)
        inside = (t >= 0) & (t <= 1)
        if not inside.all():
            require(False, "t", float(t[~inside][0]), allowed)
        t = t.to(x0).view(-1, *[1] * (x0.ndim - 1))
    else:
        require(is_real(t) and 0 <= t <= 1, "t", t, allowed)
    return (1 - t) * x0 + t * x1, x1 - x0


def euler(velocity, x: torch.Tensor, steps):
    """Euler's method for dx/dt = velocity(x, t) from t = 0 to 1: x <- x + velocity(x, t) / steps.

    A generator of the states after each step, the first at t = 1 / steps and the last at t = 1, without gradients.
    The error at t = 1 falls like 1 / steps.

    Args:
        velocity: (x, t) -> dx/dt, same shape as x; t is a tensor of shape (B,) and of the type of x, in [0, 1).
        x: the state at t = 0, (B, ...): noise, for the velocity of :func:`flow_path`.
        steps: how many, a positive integer.

    Returns:
        A generator of ``steps`` tensors (B, ...).

    Raises:
        ArgumentError: at the call, for a bad argument; on the way, if ``velocity`` returns another shape.

    >>> *path, x1 = euler(lambda x, t: -x, torch.ones(1), 1000)
    >>> len(path), round(x1.item(), 3)     # exp(-1), and an error of about 0.0002
    (999, 0.368)
    """
    require(callable(velocity), "velocity", velocity, "a function of (x, t) that returns dx/dt")
    require_batch("x", x)
    require(is_whole(steps) and steps > 0, "steps", steps, "a positive integer")
    return _euler(velocity, x, steps)


@torch.no_grad()
def _euler(velocity, x, steps):
    for i in range(steps):
        slope = velocity(x, torch.full((len(x),), i / steps, device=x.device, dtype=x.dtype))
        require_like("velocity(x, t)", slope, "x", x)
        x = x + slope / steps
        yield x
