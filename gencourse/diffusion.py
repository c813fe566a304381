"""Diffusion: schedules of noise, x_t from x_0 and back, and the samplers. Pure functions of tensors.

A schedule is indexed by t itself, t = 0 being clean: alpha_bar[0] = 1, and no index is ever t - 1 by convention.
Networks may predict x_0, eps, v or the score: all say the same, and ``convert`` translates.
"""

import math
from typing import NamedTuple

import torch

from .errors import is_real, is_whole, require, shown
from .samplers import bridge, ddim, ddpm, euler, flow_path, guided, require_batch, require_like

__all__ = [
    "Schedule", "linear_schedule", "cosine_schedule", "q_sample", "posterior", "Prediction", "convert",
    "ddpm", "ddim", "guided", "flow_path", "euler",
]  # fmt: skip


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


def _scheduled(beta):
    """A Schedule from beta_1, ..., beta_T in float64."""
    beta = torch.cat([torch.zeros(1, dtype=torch.float64), beta])
    schedule = Schedule(beta.float(), (1 - beta).cumprod(0).float())
    first, last = schedule.alpha_bar[1].item(), schedule.alpha_bar[-1].item()
    allowed = f"such that alpha_bar_1 < 1 and alpha_bar_T > 0 in float32; they are {first} and {last}"
    require(first < 1 and last > 0, "T", schedule.T, allowed)
    return schedule


def linear_schedule(T=1000, first=1e-4, last=0.02) -> Schedule:
    """Noise of linearly growing variance: beta_t = first + (last - first) (t - 1) / (T - 1).

    The defaults belong together: for fewer steps make ``first`` and ``last`` larger by 1000 / T, or x_T is not noise.

    Args:
        T: the number of steps.
        first: beta_1, in (0, 1).
        last: beta_T, in (0, 1).

    Returns:
        Schedule, computed in float64 and rounded to float32.

    Raises:
        ArgumentError: for arguments out of range, or so extreme that float32 cannot hold alpha_bar.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, section 4.

    >>> schedule = linear_schedule()
    >>> [round(schedule.beta[t].item(), 5) for t in (1, 1000)], f"{schedule.alpha_bar[1000]:.1e}"
    ([0.0001, 0.02], '4.0e-05')
    """
    require(is_whole(T) and T > 0, "T", T, "a positive integer")
    require(is_real(first) and 0 < first < 1, "first", first, "in (0, 1)")
    require(is_real(last) and 0 < last < 1, "last", last, "in (0, 1)")
    return _scheduled(torch.linspace(first, last, T, dtype=torch.float64))


def cosine_schedule(T=1000, s=0.008, most=0.999) -> Schedule:
    """Noise that grows gently at both ends: alpha_bar_t = f(t) / f(0) with f(t) = cos^2((t / T + s) / (1 + s) pi / 2).

    beta_t = 1 - f(t) / f(t - 1), but at most ``most``: f(T) = 0 would wipe out all that x_T tells of x_0.

    Args:
        T: the number of steps.
        s: an offset that keeps beta_1 from being too small, at least 0.
        most: the largest beta, in (0, 1).

    Returns:
        Schedule, computed in float64 and rounded to float32.

    Raises:
        ArgumentError: for arguments out of range, or so extreme that float32 cannot hold alpha_bar.

    Source: Nichol & Dhariwal (2021), https://arxiv.org/abs/2102.09672, equation 17.

    >>> [round(cosine_schedule().alpha_bar[t].item(), 2) for t in (0, 250, 500, 750, 1000)]
    [1.0, 0.85, 0.49, 0.14, 0.0]
    """
    require(is_whole(T) and T > 0, "T", T, "a positive integer")
    require(is_real(s) and s >= 0, "s", s, "a finite number, at least 0")
    require(is_real(most) and 0 < most < 1, "most", most, "in (0, 1)")
    u = torch.linspace(0, 1, T + 1, dtype=torch.float64)
    f = ((u + s) / (1 + s) * math.pi / 2).cos().square()
    return _scheduled((1 - f[1:] / f[:-1]).clamp(max=most))


def _times(t, first, name, x, schedule):
    """The times in first..T as an int64 tensor (B,) on the device of x, the argument called name; all three checked."""
    require_batch(name, x)
    ok = isinstance(schedule, Schedule)
    require(ok, "schedule", schedule, "a Schedule, such as gc.diffusion.linear_schedule()")
    device, T = schedule.alpha_bar.device, schedule.T
    require(device == x.device, "schedule", str(device), f"on the device of {name}: schedule.to('{x.device}')")
    allowed = f"an integer in {first}..{T}, or an int64 tensor of them of shape ({len(x)},)"
    if not isinstance(t, torch.Tensor):
        require(is_whole(t) and first <= t <= T, "t", t, allowed)
        return torch.full((len(x),), int(t), device=x.device)
    require(t.dtype == torch.int64, "t", t.dtype, allowed)
    require(t.shape == x.shape[:1], "t", tuple(t.shape), allowed)
    outside = (t < first) | (t > T)
    if outside.any():
        require(False, "t", int(t[outside][0]), allowed)
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
        ArgumentError: if shapes or devices do not fit, or a time is out of range.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, equation 4.

    >>> schedule = linear_schedule()
    >>> x_t = q_sample(torch.ones(2, 1), torch.tensor([0, 1000]), torch.zeros(2, 1), schedule)
    >>> [round(v, 4) for v in x_t.flatten().tolist()]
    [1.0, 0.0064]
    """
    t = _times(t, 0, "x0", x0, schedule)
    require_like("eps", eps, "x0", x0)
    a = schedule.alpha_bar[t]
    return _column(a.sqrt(), x0) * x0 + _column((1 - a).sqrt(), x0) * eps


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
        ArgumentError: if shapes or devices do not fit, or a time is out of range.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, equations 6 and 7.

    >>> mean, variance = posterior(torch.ones(1, 2), torch.zeros(1, 2), 1, linear_schedule())
    >>> mean.tolist(), variance.tolist()
    ([[1.0, 1.0]], [[0.0]])
    """
    t = _times(t, 1, "x0", x0, schedule)
    require_like("x_t", x_t, "x0", x0)
    of_x0, of_x_t, variance = (_column(v, x0) for v in bridge(schedule.alpha_bar[t - 1], schedule.alpha_bar[t]))
    return of_x0 * x0 + of_x_t * x_t, variance


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
        ArgumentError: if none or several are given, shapes or devices do not fit, or a time is out of range.

    Source: v: Salimans & Ho (2022), https://arxiv.org/abs/2202.00512, appendix D; score: Song et al. (2021),
    https://arxiv.org/abs/2011.13456.

    >>> found = convert(torch.zeros(1, 1), 500, linear_schedule(), x0=torch.ones(1, 1))
    >>> [round(value.item(), 3) for value in found]
    [1.0, -0.292, -1.042, 0.304]
    """
    t = _times(t, 1, "x_t", x_t, schedule)
    given = {name: p for name, p in (("x0", x0), ("eps", eps), ("v", v), ("score", score)) if p is not None}
    name, p = next(reversed(given.items()), ("x0", None))
    require(len(given) == 1, name, shown(p), "given alone: one of x0, eps, v and score")
    require_like(name, p, "x_t", x_t)
    a, s = (_column(w.sqrt(), x_t) for w in (schedule.alpha_bar[t], 1 - schedule.alpha_bar[t]))
    if name == "v":
        x0, eps = a * x_t - s * p, s * x_t + a * p
    elif name == "x0":
        eps = (x_t - a * x0) / s
    else:
        eps = p if name == "eps" else -s * p
        x0 = (x_t - s * eps) / a
    return Prediction(x0, eps, a * eps - s * x0 if v is None else v, -eps / s if score is None else score)
