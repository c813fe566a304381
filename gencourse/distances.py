"""How far apart are two distributions: divergences on a grid, and the Wasserstein-1 distance from samples.

On a grid, p and q are densities (..., N) at increasing points x (N,), integrated by the trapezoidal rule; with
``x=None`` (not for :func:`w1`) they are probabilities (..., N) that sum to 1. KL, reverse KL and JSD are in nats,
total variation is in [0, 1], Wasserstein-1 has the unit of x. Leading dimensions are batch dimensions.
"""

import torch

from .errors import require


def _integrate(values, x):
    return values.sum(-1) if x is None else torch.trapezoid(values, x)


def _checked(p, q, x):
    """p, q and x as float64 tensors, refused unless p and q are distributions on the same increasing grid."""
    p, q = torch.as_tensor(p, dtype=torch.float64), torch.as_tensor(q, dtype=torch.float64)
    if x is not None:
        x = torch.as_tensor(x, dtype=torch.float64)
        increasing = x.device.type != "cpu" or bool((x.diff() > 0).all())
        require(x.ndim == 1 and increasing, "x", tuple(x.shape), "a grid of shape (N,), increasing")
    N = p.shape[-1] if x is None else len(x)
    for name, density in (("p", p), ("q", q)):
        require(density.shape[-1] == N, f"{name}.shape", tuple(density.shape), f"(..., {N}), one value for each point")
        if density.device.type == "cpu":  # an accelerator would have to wait
            require(bool((density >= 0).all()), f"min({name})", density.min().item(), "nonnegative")
            mass = _integrate(density, x)
            error = (mass - 1).abs()
            worst = mass.flatten()[error.argmax()].item()
            allowed = "1 within 0.01: widen or refine the grid, or normalize"
            require(bool((error < 0.01).all()), f"mass of {name}", worst, allowed)
    return p, q, x


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
        ValueError: if p or q is negative or NaN somewhere, has not mass 1 within 0.01, or does not fit the grid, or
            if the grid does not increase.

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
        ValueError: as for :func:`kl`.

    Source: Villani (2003), Topics in Optimal Transportation, theorem 2.18 and remark 2.19.

    >>> x = torch.linspace(-9, 12, 4001, dtype=torch.float64)
    >>> gauss = lambda mean: torch.distributions.Normal(mean, 1.0).log_prob(x).exp()
    >>> round(w1(gauss(0.0), gauss(3.0), x).item(), 4)               # a shift by 3 costs 3
    3.0
    """
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
        ValueError: if the dimensions differ, or a value is not finite (optimal transport would then cost 0).

    Source: Peyré & Cuturi (2019), https://arxiv.org/abs/1803.00567; POT: Flamary et al. (2021).

    >>> w1_samples(torch.tensor([0.0, 1.0]), torch.tensor([5.0, 6.0])).item()
    5.0
    >>> w1_samples(torch.zeros(4, 2), torch.tensor([[3.0, 4.0]])).item()
    5.0
    """
    import ot  # slow to import, and needed here only

    a, b = torch.as_tensor(a), torch.as_tensor(b)
    a, b = (v if v.is_floating_point() else v.double() for v in (a, b))
    require(a.shape[1:] == b.shape[1:], "b.shape", tuple(b.shape), f"that of a, {tuple(a.shape)}, but for the first")
    for name, samples in (("a", a), ("b", b)):
        finite = samples.device.type != "cpu" or bool(samples.isfinite().all())
        require(finite, name, "NaN or infinity among the samples", "finite")
    dtype = torch.promote_types(a.dtype, b.dtype)
    a, b = a.to(dtype), b.to(a.device, dtype)
    if a.ndim == 1 or a.shape[1] == 1:
        return ot.wasserstein_1d(a.reshape(-1, 1), b.reshape(-1, 1), p=1).squeeze(0)
    uniform_a, uniform_b = (v.new_full((len(v),), 1 / len(v)) for v in (a, b))
    cost = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # mm would spoil small distances
    return ot.emd2(uniform_a, uniform_b, cost, numItermax=10_000_000)
