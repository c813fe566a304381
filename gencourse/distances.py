"""How far apart are two distributions: divergences on a grid, and the Wasserstein-1 distance from samples.

On a grid, p and q are densities (..., N) at increasing points x (N,), integrated by the trapezoidal rule; with
``x=None`` (not for :func:`w1`) they are probabilities (..., N) that sum to 1. KL, reverse KL and JSD are in nats,
total variation is in [0, 1], Wasserstein-1 has the unit of x. Leading dimensions are batch dimensions.
"""

import torch

from .errors import require

_MASS_TOLERANCE = 1e-2


def _integrate(values, x):
    return values.sum(-1) if x is None else torch.trapezoid(values, x)


def _checked(p, q, x):
    """p and q as float64 tensors, refused unless they are distributions on the same grid."""
    p, q = _numbers("p", p, torch.float64), _numbers("q", q, torch.float64)
    if x is not None:
        x = _numbers("x", x, torch.float64)
        ok = x.ndim == 1 and len(x) > 1 and bool((x.diff() > 0).all())
        require(ok, "x", tuple(x.shape), "a vector of at least two increasing points")
    for name, v in (("p", p), ("q", q)):
        fits = v.ndim > 0 and v.shape[-1] == (p.shape[-1] if x is None else len(x))
        require(fits, name, tuple(v.shape), "of shape (..., N) with the N of the grid")
        require(bool((v >= 0).all()), name, v.min().item(), "nonnegative everywhere (NaN is refused too)")
        mass = _integrate(v, x)
        ok = bool(((mass - 1).abs() < _MASS_TOLERANCE).all())
        require(
            ok,
            f"mass of {name}",
            mass.flatten()[(mass - 1).abs().argmax()].item(),
            "1 within 0.01: widen or refine the grid, or normalize",
        )
    ok = all(m == n or 1 in (m, n) for m, n in zip(reversed(p.shape), reversed(q.shape)))
    require(ok, "q", tuple(q.shape), f"of a shape that broadcasts against that of p, {tuple(p.shape)}")
    return p, q, x


def _numbers(argument, values, dtype=None):
    try:
        return torch.as_tensor(values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        require(False, argument, values, "a tensor, or numbers that make one")


def _kl(p, q, x):
    """Where p = 0 the integrand is 0; where p > 0 = q it is infinite, and so is the divergence."""
    both = (p > 0) & (q > 0)
    log_ratio = torch.where(both, p, 1.0).log() - torch.where(both, q, 1.0).log()  # no 0/0 reaches the gradients
    return _integrate(torch.where(both, p * log_ratio, torch.where(p > 0, torch.inf, 0.0)), x)


def kl(p, q, x=None) -> torch.Tensor:
    """Kullback-Leibler divergence KL(p || q) = ∫ p log(p / q) dx, in nats.

    Args:
        p: density on the grid, shape (..., N), or probabilities if ``x`` is None.
        q: the same, broadcastable against p.
        x: grid, shape (N,), increasing; or None.

    Returns:
        Shape (...): nonnegative, 0 only if p = q, infinite where p > 0 = q on part of the grid.

    Raises:
        ArgumentError: if p or q is negative, has not mass 1 within 0.01, or does not fit the grid.

    Source: Cover & Thomas (2006), section 2.3 (2.1 to 2.3 for probabilities, 8.5 for densities).

    >>> kl([0.5, 0.5], [0.25, 0.75]).item()          # (log 2 + log 2/3) / 2
    0.14384103622589045
    """
    return _kl(*_checked(p, q, x))


def reverse_kl(p, q, x=None) -> torch.Tensor:
    """KL(q || p) = ∫ q log(q / p) dx, in nats. Arguments, result and errors as for :func:`kl`.

    >>> reverse_kl([0.5, 0.5], [0.25, 0.75]).item() == kl([0.25, 0.75], [0.5, 0.5]).item()
    True
    """
    p, q, x = _checked(p, q, x)
    return _kl(q, p, x)


def jsd(p, q, x=None) -> torch.Tensor:
    """Jensen-Shannon divergence: KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2, in nats.

    Arguments and errors as for :func:`kl`.

    Returns:
        Shape (...), in [0, log 2]: 0 only if p = q, log 2 only if p and q share no mass.

    Source: Lin (1991), https://doi.org/10.1109/18.61115.

    >>> from math import log
    >>> jsd([1.0, 0.0], [0.0, 1.0]).item() == log(2)
    True
    """
    p, q, x = _checked(p, q, x)
    total = p + q  # 2m, with 2p and 2q against it: half of the smallest number would be 0
    return (_kl(2 * p, total, x) + _kl(2 * q, total, x)) / 4


def tv(p, q, x=None) -> torch.Tensor:
    """Total variation: ½ ∫ |p - q| dx, the largest difference in probability that any event can show.

    Arguments and errors as for :func:`kl`.

    Returns:
        Shape (...), in [0, 1].

    Source: Levin & Peres (2017), proposition 4.2.

    >>> tv([0.5, 0.5], [0.25, 0.75]).item()
    0.25
    """
    p, q, x = _checked(p, q, x)
    return _integrate((p - q).abs(), x) / 2


def w1(p, q, x) -> torch.Tensor:
    """Wasserstein-1 distance on the line: ∫ |F_p - F_q| dx with F the distribution functions, in units of x.

    Args:
        p: density on the grid, shape (..., N).
        q: the same, broadcastable against p.
        x: grid, shape (N,), increasing.

    Returns:
        Shape (...), nonnegative; the error is that of two trapezoidal rules, O(dx²) for smooth densities.

    Raises:
        ArgumentError: as for :func:`kl`, and if ``x`` is None.

    Source: Villani (2003), Topics in Optimal Transportation, theorem 2.18 and remark 2.19.

    >>> x = torch.linspace(-9, 12, 4001, dtype=torch.float64)
    >>> gauss = lambda mean: torch.distributions.Normal(mean, 1.0).log_prob(x).exp()
    >>> round(w1(gauss(0.0), gauss(3.0), x).item(), 4)               # a shift by 3 costs 3
    3.0
    """
    require(x is not None, "x", x, "the grid: Wasserstein distances need positions")
    p, q, x = _checked(p, q, x)
    gap = torch.cumulative_trapezoid(p - q, x)  # (..., N-1), starts after x[0]
    gap = torch.cat([torch.zeros_like(gap[..., :1]), gap], -1)
    return torch.trapezoid(gap.abs(), x)


def w1_samples(a, b) -> torch.Tensor:
    """Wasserstein-1 distance between two empirical distributions, in units of the data; differentiable.

    Args:
        a: samples, shape (n,) or (n, d).
        b: samples, shape (m,) or (m, d); m may differ from n.

    Returns:
        A scalar. On the line it is exact by sorting, O(n log n); in d dimensions the exact optimal transport
        with Euclidean cost through POT, O(n³) at worst and an n x m matrix: a few thousand points.

    Raises:
        ArgumentError: if shapes do not fit, a set is empty, or a value is not finite.

    Source: Peyré & Cuturi (2019), https://arxiv.org/abs/1803.00567; POT: Flamary et al. (2021).

    >>> w1_samples(torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0])).item()
    5.0
    >>> w1_samples(torch.zeros(4, 2), torch.tensor([[3.0, 4.0]])).item()
    5.0
    """
    import ot  # slow to import, and needed here only

    a, b = _numbers("a", a), _numbers("b", b)
    a, b = (v if v.is_floating_point() else v.double() for v in (a, b))
    for name, v in (("a", a), ("b", b)):
        require(v.ndim in (1, 2) and len(v) > 0, name, tuple(v.shape), "samples of shape (n,) or (n, d), n > 0")
        require(bool(v.isfinite().all()), name, "NaN or infinity among the samples", "finite everywhere")
    require(a.shape[1:] == b.shape[1:], "b", tuple(b.shape), f"of the same dimension as a, {tuple(a.shape)}")
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype), b.to(a.device, dtype)
    if a.ndim == 1 or a.shape[1] == 1:
        return ot.wasserstein_1d(a.reshape(-1, 1), b.reshape(-1, 1), p=1).squeeze(0)
    uniform_a, uniform_b = (v.new_full((len(v),), 1 / len(v)) for v in (a, b))
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # mm would spoil small distances
    return ot.emd2(uniform_a, uniform_b, cost, numItermax=10_000_000)
