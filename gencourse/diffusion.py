"""Diffusion: schedules of noise, x_t from x_0 and back, straight paths. Pure functions of tensors.

A schedule is indexed by t itself, t = 0 being clean: alpha_bar[0] = 1, and no index is ever t - 1 by convention.
Networks may predict x_0, eps, v or the score: all say the same, and ``convert`` translates.
"""

import math
from typing import NamedTuple

import torch

from .errors import require, require_same_shape


class Schedule(NamedTuple):
    """How much noise x_t holds, for t = 0 (none) to T: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps.

    ``beta`` and ``alpha_bar``, and the properties ``alpha``, ``sigma`` and ``snr``, all have shape (T + 1,) and are
    indexed by t: beta_t is ``beta[t]``, and ``beta[0]`` is 0.

    >>> schedule = linear_schedule()
    >>> schedule.T, schedule.beta[0].item(), schedule.alpha_bar[0].item(), schedule.snr[0].item()
    (1000, 0.0, 1.0, inf)
    """

    beta: torch.Tensor
    alpha_bar: torch.Tensor

    @property
    def T(self) -> int:
        """The number of steps."""
        return len(self.alpha_bar) - 1

    @property
    def alpha(self) -> torch.Tensor:
        """alpha_t = 1 - beta_t."""
        return 1 - self.beta

    @property
    def sigma(self) -> torch.Tensor:
        """The standard deviation of the noise in x_t, sqrt(1 - alpha_bar_t)."""
        return (1 - self.alpha_bar).sqrt()

    @property
    def snr(self) -> torch.Tensor:
        """The signal-to-noise ratio alpha_bar_t / (1 - alpha_bar_t), a ratio of variances; infinite at t = 0."""
        return self.alpha_bar / (1 - self.alpha_bar)

    def to(self, device) -> "Schedule":
        """The schedule on another device, or in another floating-point type."""
        return Schedule(self.beta.to(device), self.alpha_bar.to(device))


def _schedule(beta):
    """A Schedule from beta_1, ..., beta_T in float64."""
    beta = torch.cat([torch.zeros(1, dtype=torch.float64), beta])
    schedule = Schedule(beta.float(), (1 - beta).cumprod(0).float())
    ends = schedule.alpha_bar[1].item(), schedule.alpha_bar[-1].item()
    require(ends[0] < 1 and ends[1] > 0, "(alpha_bar_1, alpha_bar_T)", ends, "below 1 and above 0 in float32")
    return schedule


def linear_schedule(T=1000, beta_start=1e-4, beta_end=0.02) -> Schedule:
    """Noise of linearly growing variance: beta_t = beta_1 + (beta_T - beta_1) (t - 1) / (T - 1).

    The defaults belong together: for fewer steps make both ends larger by 1000 / T, or x_T is not noise.

    Args:
        T: the number of steps.
        beta_start: beta_1, in (0, 1).
        beta_end: beta_T, in (0, 1).

    Returns:
        Schedule, computed in float64 and rounded to float32.

    Raises:
        ValueError: for ends so extreme that alpha_bar_1 is 1 in float32, or alpha_bar_T is 0 or less.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, section 4.

    >>> schedule = linear_schedule()
    >>> [round(schedule.beta[t].item(), 5) for t in (1, 1000)], f"{schedule.alpha_bar[1000]:.1e}"
    ([0.0001, 0.02], '4.0e-05')
    """
    return _schedule(torch.linspace(beta_start, beta_end, T, dtype=torch.float64))


def cosine_schedule(T=1000, s=0.008, max_beta=0.999) -> Schedule:
    """Noise that grows gently at both ends: alpha_bar_t = f(t) / f(0) with f(t) = cos^2((t / T + s) / (1 + s) pi / 2).

    beta_t = 1 - f(t) / f(t - 1), but at most ``max_beta``: f(T) = 0 would wipe out all that x_T tells of x_0.

    Args:
        T: the number of steps.
        s: an offset that keeps beta_1 from being too small, at least 0.
        max_beta: the largest beta, in (0, 1).

    Returns:
        Schedule, computed in float64 and rounded to float32.

    Raises:
        ValueError: for ends so extreme that alpha_bar_1 is 1 in float32, or alpha_bar_T is 0 or less.

    Source: Nichol & Dhariwal (2021), https://arxiv.org/abs/2102.09672, equation 17.

    >>> [round(cosine_schedule().alpha_bar[t].item(), 2) for t in (0, 250, 500, 750, 1000)]
    [1.0, 0.85, 0.49, 0.14, 0.0]
    """
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = ((u + s) / (1 + s) * math.pi / 2).cos().square()
    return _schedule((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def _times(t, first, x, T):
    """The times as an int64 tensor (B,) on the device of x, refused unless they are in first..T."""
    allowed = f"an integer in {first}..{T}, or an int64 tensor of them of shape ({len(x)},)"
    if not isinstance(t, torch.Tensor):
        require(first <= t <= T and t == int(t), "t", t, allowed)
        return torch.full((len(x),), int(t), device=x.device)
    require(t.dtype == torch.int64, "t.dtype", t.dtype, allowed)
    require(t.shape == x.shape[:1], "t.shape", tuple(t.shape), allowed)
    if t.device.type == "cpu":  # an accelerator would have to wait
        ends = int(t.min()), int(t.max())
        require(first <= ends[0] and ends[1] <= T, "(min(t), max(t))", ends, allowed)
    return t.to(x.device)


def _column(values, x):
    """One number per sample, (B,), as (B, 1, ..., 1), to be multiplied with x."""
    return values.to(x.dtype).view(-1, *[1] * (x.ndim - 1))


def q_sample(x0: torch.Tensor, t, eps: torch.Tensor, schedule: Schedule) -> torch.Tensor:
    """The noised x_t ~ q(x_t | x_0): x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) eps, at once for any t.

    Args:
        x0: data, (B, ...).
        t: times, an integer or an int64 tensor of shape (B,), with values in 0..T.
        eps: noise from N(0, I), same shape as x0.
        schedule: Schedule, on the device of x0.

    Returns:
        x_t, (B, ...), in the units of x0; x0 itself for t = 0.

    Raises:
        ValueError: if the shapes do not fit, or a time is out of range.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, equation 4.

    >>> schedule = linear_schedule()
    >>> x_t = q_sample(torch.ones(2, 1), torch.tensor([0, 1000]), torch.zeros(2, 1), schedule)
    >>> [round(v, 4) for v in x_t.flatten().tolist()]
    [1.0, 0.0064]
    """
    t = _times(t, 0, x0, schedule.T)
    require_same_shape("eps", eps, "x0", x0)
    a = schedule.alpha_bar[t]
    return _column(a.sqrt(), x0) * x0 + _column((1 - a).sqrt(), x0) * eps


def posterior_coefficients(alpha_bar_s, alpha_bar_t):
    """The Gaussian q(x_s | x_t, x_0) for s < t: its mean is w_0 x_0 + w_t x_t; returns (w_0, w_t, variance).

    With beta = 1 - alpha_bar_t / alpha_bar_s, the variance of all noise between s and t, w_0 = sqrt(alpha_bar_s) beta /
    (1 - alpha_bar_t), w_t = sqrt(1 - beta) (1 - alpha_bar_s) / (1 - alpha_bar_t), and the variance is beta
    (1 - alpha_bar_s) / (1 - alpha_bar_t).

    beta comes from alpha_bar: a difference of two close numbers is exact, so that for s = 0 the weight of x_0 is 1 to
    the last bit. In float32 a beta that was rounded by itself leaves an error of 2e-4.

    Args:
        alpha_bar_s, alpha_bar_t: numbers, or tensors of one shape.

    Returns:
        Three numbers, or three tensors of that shape.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, equations 6 and 7; for s < t - 1 Song et al. (2021),
    https://arxiv.org/abs/2010.02502.

    >>> posterior_coefficients(1.0, 0.9)
    (1.0, 0.0, 0.0)
    """
    a_s, a_t = alpha_bar_s, alpha_bar_t
    beta = (a_s - a_t) / a_s  # 1 - alpha_bar_t / alpha_bar_s, the variance of all noise between s and t
    weight_x0 = a_s**0.5 * beta / (1 - a_t)
    weight_x_t = (a_t / a_s) ** 0.5 * (1 - a_s) / (1 - a_t)
    return weight_x0, weight_x_t, beta * (1 - a_s) / (1 - a_t)


def posterior(x0: torch.Tensor, x_t: torch.Tensor, t, schedule: Schedule):
    """One step back when x_0 is known: mean and variance of the Gaussian q(x_{t-1} | x_t, x_0).

    mean = [sqrt(alpha_bar_{t-1}) beta_t x_0 + sqrt(alpha_t) (1 - alpha_bar_{t-1}) x_t] / (1 - alpha_bar_t) and
    variance = (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) beta_t, which is called beta_tilde_t.

    Args:
        x0: data, (B, ...).
        x_t: the same noised, same shape.
        t: times, an integer or an int64 tensor of shape (B,), with values in 1..T.
        schedule: Schedule, on the device of x0.

    Returns:
        (mean, variance): (B, ...) and (B, 1, ..., 1), which broadcasts to it. At t = 1 they are x0 and 0.

    Raises:
        ValueError: if the shapes do not fit, or a time is out of range.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, equations 6 and 7.

    >>> mean, variance = posterior(torch.ones(1, 2), torch.zeros(1, 2), 1, linear_schedule())
    >>> mean.tolist(), variance.tolist()
    ([[1.0, 1.0]], [[0.0]])
    """
    t = _times(t, 1, x0, schedule.T)
    require_same_shape("x_t", x_t, "x0", x0)
    coefficients = posterior_coefficients(schedule.alpha_bar[t - 1], schedule.alpha_bar[t])  # each (B,)
    weight_x0, weight_x_t, variance = (_column(c, x0) for c in coefficients)
    return weight_x0 * x0 + weight_x_t * x_t, variance


class Prediction(NamedTuple):
    """Four ways to say what a network knows of x_t, each (B, ...): see :func:`convert`."""

    x0: torch.Tensor
    eps: torch.Tensor
    v: torch.Tensor
    score: torch.Tensor


def convert(x_t: torch.Tensor, t, schedule: Schedule, *, x0=None, eps=None, v=None, score=None) -> Prediction:
    """Any of x_0, eps, v and score as all four: each tells the others once x_t is known.

    With a = sqrt(alpha_bar_t) and s = sqrt(1 - alpha_bar_t): x_t = a x_0 + s eps, v = a eps - s x_0, score = -eps / s,
    and back x_0 = a x_t - s v, eps = s x_t + a v. An error in eps is s / a times as large in x_0: 157 times at the
    end of the linear schedule.

    Args:
        x_t: noised data, (B, ...).
        t: times, an integer or an int64 tensor of shape (B,), with values in 1..T.
        schedule: Schedule, on the device of x_t.
        x0, eps, v, score: exactly one of them, same shape as x_t. The score is that of q(x_t | x_0), or an estimate of
            grad log q(x_t).

    Returns:
        Prediction, four tensors (B, ...).

    Raises:
        ValueError: if none or several are given, the shapes do not fit, or a time is out of range.

    Source: v: Salimans & Ho (2022), https://arxiv.org/abs/2202.00512, appendix D; score: Song et al. (2021),
    https://arxiv.org/abs/2011.13456.

    >>> found = convert(torch.zeros(1, 1), 500, linear_schedule(), x0=torch.ones(1, 1))
    >>> [round(value.item(), 3) for value in found]
    [1.0, -0.292, -1.042, 0.304]
    """
    t = _times(t, 1, x_t, schedule.T)
    given = {name: p for name, p in (("x0", x0), ("eps", eps), ("v", v), ("score", score)) if p is not None}
    require(len(given) == 1, "predictions", list(given), "exactly one of x0, eps, v and score")
    for name, p in given.items():
        require_same_shape(name, p, "x_t", x_t)
    alpha_bar = schedule.alpha_bar[t]
    a, s = _column(alpha_bar.sqrt(), x_t), _column((1 - alpha_bar).sqrt(), x_t)
    if v is not None:
        x0, eps = a * x_t - s * v, s * x_t + a * v
    elif x0 is not None:
        eps = (x_t - a * x0) / s
    else:
        eps = -s * score if eps is None else eps
        x0 = (x_t - s * eps) / a
    v = a * eps - s * x0 if v is None else v
    score = -eps / s if score is None else score
    return Prediction(x0, eps, v, score)


def flow_path(x0: torch.Tensor, x1: torch.Tensor, t):
    """The straight path from noise to data: x_t = (1 - t) x0 + t x1, and its velocity dx_t / dt = x1 - x0.

    Here x0 is noise and x1 is data, and t runs from 0 to 1, as in the literature of flow matching. Everywhere else in
    this module x_0 is data, and t counts steps towards noise.

    Args:
        x0: noise, (B, ...).
        x1: data, same shape.
        t: times in [0, 1]: a number, or a floating-point tensor of shape (B,).

    Returns:
        (x_t, velocity), each (B, ...).

    Raises:
        ValueError: if the shapes do not fit, or a time is out of range.

    Source: Lipman et al. (2023), https://arxiv.org/abs/2210.02747, equations 22 and 23 with sigma_min = 0.

    >>> [v.item() for v in flow_path(torch.tensor([0.0]), torch.tensor([4.0]), 0.25)]
    [1.0, 4.0]
    """
    require_same_shape("x1", x1, "x0", x0)
    if isinstance(t, torch.Tensor):
        require(t.shape == x0.shape[:1], "t.shape", tuple(t.shape), f"({len(x0)},), one time for each sample")
        inside = t.device.type != "cpu" or bool(((t >= 0) & (t <= 1)).all())
        require(inside, "t", t, "in [0, 1]")
        t = _column(t.to(x0.device), x0)
    else:
        require(0 <= t <= 1, "t", t, "in [0, 1]")
    return (1 - t) * x0 + t * x1, x1 - x0
