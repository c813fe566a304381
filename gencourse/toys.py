"""Distributions small enough to know exactly: 1-D mixtures and 2-D toy sets (re-exported by ``gencourse.data``)."""

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from .errors import is_real, is_whole, require, require_seed

TOY_SETS = ("ring", "grid", "moons", "swiss_roll", "checkerboard")


def mixture_1d(means, stds, weights=None) -> MixtureSameFamily:
    """A mixture of 1-D Gaussians with exact ``log_prob``, ``cdf`` and ``sample``.

    Args:
        means: K numbers.
        stds: K positive numbers.
        weights: K positive numbers, normalized for you; default equal.

    Raises:
        ArgumentError: if the lengths differ or a value is out of range.

    >>> mixture_1d([-2, 2], [0.5, 0.5]).mean.item()
    0.0
    """
    means = _numbers("means", means, "a list of at least one number")
    k = len(means)
    stds = _numbers("stds", stds, f"{k} positive numbers", k)
    weights = torch.ones(k) if weights is None else _numbers("weights", weights, f"{k} positive numbers", k)
    return MixtureSameFamily(Categorical(weights), Normal(means, stds))


def _numbers(argument, values, allowed, positive=None):
    """A vector of finite numbers; ``positive`` is how many there must be when they must be positive."""
    try:
        v = torch.as_tensor(values, dtype=torch.get_default_dtype())
    except (TypeError, ValueError, RuntimeError):
        v = torch.tensor(torch.nan)
    ok = v.ndim == 1 and len(v) > 0 and bool(v.isfinite().all())
    if positive is not None:
        ok = ok and len(v) == positive and bool((v > 0).all())
    require(ok, argument, values, allowed)
    return v


def _gaussians_at(centres, std):
    require(is_real(std) and std > 0, "std", std, "a positive number")
    return MixtureSameFamily(
        Categorical(torch.ones(len(centres))), Independent(Normal(centres, torch.full_like(centres, std)), 1)
    )


def ring_of_gaussians(modes=8, radius=2.0, std=0.05) -> MixtureSameFamily:
    """Equal Gaussians on a circle, a distribution on R² with exact ``log_prob`` and ``sample``.

    >>> ring_of_gaussians().sample((5,)).shape
    torch.Size([5, 2])
    """
    require(is_whole(modes) and modes > 0, "modes", modes, "a positive integer")
    require(is_real(radius) and radius >= 0, "radius", radius, "a nonnegative number")
    angle = torch.arange(modes) * (2 * torch.pi / modes)
    return _gaussians_at(radius * torch.stack([angle.cos(), angle.sin()], 1), std)


def grid_of_gaussians(side=5, spacing=1.0, std=0.05) -> MixtureSameFamily:
    """side x side equal Gaussians on a square grid around 0: as :func:`ring_of_gaussians`.

    >>> grid_of_gaussians().component_distribution.mean.shape
    torch.Size([25, 2])
    """
    require(is_whole(side) and side > 0, "side", side, "a positive integer")
    require(is_real(spacing) and spacing >= 0, "spacing", spacing, "a nonnegative number")
    ticks = (torch.arange(side) - (side - 1) / 2) * spacing
    return _gaussians_at(torch.cartesian_prod(ticks, ticks), std)


def toy(name, n, seed=0) -> torch.Tensor:
    """n points of a 2-D toy set, float32 (n, 2), about within [-2.5, 2.5]².

    Args:
        name: "ring" (8 Gaussians), "grid" (25 Gaussians), "moons", "swiss_roll" or "checkerboard".
        n: how many.
        seed: same seed, same points; the global random state is left alone.

    Raises:
        ArgumentError: for another name, or n < 1.

    >>> toy("moons", 100).shape
    torch.Size([100, 2])
    """
    require(name in TOY_SETS, "name", name, f"one of {', '.join(TOY_SETS)}")
    require(is_whole(n) and n > 0, "n", n, "a positive integer")
    require_seed(seed)
    if name in ("moons", "swiss_roll"):
        from sklearn.datasets import make_moons, make_swiss_roll

        if name == "moons":
            points = make_moons(n, noise=0.08, random_state=seed)[0] * 1.4 - [0.7, 0.35]
        else:
            points = make_swiss_roll(n, noise=0.3, random_state=seed)[0][:, [0, 2]] / 6.5
        return torch.from_numpy(points).float()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would seed the GPUs too
        if name == "checkerboard":  # 4x4 squares of side 1, every second one
            row = torch.randint(0, 4, (n,))
            column = 2 * torch.randint(0, 2, (n,)) + row % 2
            return torch.stack([column, row], 1) - 2 + torch.rand(n, 2)
        return (ring_of_gaussians() if name == "ring" else grid_of_gaussians()).sample((n,))
