"""Distributions small enough to know exactly: 1-D mixtures and 2-D toy sets."""

import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from ..errors import require

TOY_SETS = ("ring", "grid", "moons", "swiss_roll", "checkerboard")


def mixture_1d(means, stds, weights=None) -> MixtureSameFamily:
    """A mixture of 1-D Gaussians with exact ``log_prob``, ``cdf`` and ``sample``.

    Args:
        means: K numbers; a tensor makes a mixture of its type, on its device.
        stds: K positive numbers.
        weights: K positive numbers, normalized for you; default equal.

    Raises:
        ValueError: if the lengths differ or a standard deviation or a weight is not positive.

    >>> mixture_1d([-2, 2], [0.5, 0.5]).mean.item()
    0.0
    """
    weights = [1.0] * len(means) if weights is None else weights
    require(len(means) == len(stds) == len(weights), "stds", stds, f"as many as means and weights, {len(means)}")
    means = torch.as_tensor(means)
    means = means if means.is_floating_point() else means.to(torch.get_default_dtype())
    stds, weights = (torch.as_tensor(v, dtype=means.dtype, device=means.device) for v in (stds, weights))
    return MixtureSameFamily(Categorical(weights), Normal(means, stds))


def _gaussians_at(centres, std):
    components = Independent(Normal(centres, torch.full_like(centres, std)), 1)
    return MixtureSameFamily(Categorical(torch.ones(len(centres))), components)


def ring_of_gaussians(modes=8, radius=2.0, std=0.05) -> MixtureSameFamily:
    """Equal Gaussians on a circle, a distribution on R² with exact ``log_prob`` and ``sample``.

    >>> ring_of_gaussians().sample((5,)).shape
    torch.Size([5, 2])
    """
    angle = torch.arange(modes) * (2 * torch.pi / modes)
    return _gaussians_at(radius * torch.stack([angle.cos(), angle.sin()], 1), std)


def grid_of_gaussians(side=5, spacing=1.0, std=0.05) -> MixtureSameFamily:
    """side x side equal Gaussians on a square grid around 0: as :func:`ring_of_gaussians`.

    >>> grid_of_gaussians().component_distribution.mean.shape
    torch.Size([25, 2])
    """
    ticks = (torch.arange(side) - (side - 1) / 2) * spacing
    return _gaussians_at(torch.cartesian_prod(ticks, ticks), std)


def toy(name, n, seed=0) -> torch.Tensor:
    """n points of a 2-D toy set, float32 (n, 2), roughly within [-2.5, 2.5]².

    Args:
        name: "ring" (8 Gaussians), "grid" (25 Gaussians), "moons", "swiss_roll" or "checkerboard".
        n: how many.
        seed: same seed, same points; the global random state is left alone.

    Raises:
        ValueError: for another name.

    >>> toy("moons", 100).shape
    torch.Size([100, 2])
    """
    require(name in TOY_SETS, "name", name, f"one of {', '.join(TOY_SETS)}")
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
