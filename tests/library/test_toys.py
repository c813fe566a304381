"""Mixtures and toy sets: exact densities, right modes, reproducible, the global random state untouched."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch.testing import assert_close
from twins import must_fail

import gencourse as gc
from gencourse.data import TOY_SETS, grid_of_gaussians, mixture_1d, ring_of_gaussians, toy

pytestmark = pytest.mark.usefixtures("one_thread")
MEANS, STDS, WEIGHTS = [-3.0, 0.5, 4.0], [0.5, 1.0, 0.8], [1.0, 2.0, 5.0]


# ---- 1-D mixtures ----


def check_mixture(make):
    """log_prob, cdf and mean against scipy's Gaussians, and the cdf against the integral of the density."""
    mixture = make(MEANS, STDS, WEIGHTS)
    x = torch.linspace(-10, 12, 4001)
    parts = list(zip(np.array(WEIGHTS) / sum(WEIGHTS), MEANS, STDS))
    density = sum(w * scipy.stats.norm.pdf(x.numpy(), m, s) for w, m, s in parts)
    area = sum(w * scipy.stats.norm.cdf(x.numpy(), m, s) for w, m, s in parts)
    p = mixture.log_prob(x).exp().double()
    assert_close(p, torch.from_numpy(density), atol=1e-6, rtol=1e-4)
    assert_close(mixture.cdf(x).double(), torch.from_numpy(area), atol=1e-6, rtol=1e-4)
    assert_close(torch.trapezoid(p, x.double()).item(), 1.0, atol=1e-5, rtol=0)
    assert_close(torch.cumulative_trapezoid(p, x.double()), mixture.cdf(x)[1:].double(), atol=1e-5, rtol=0)
    assert_close(mixture.mean.item(), sum(w * m for w, m, _ in parts))


def check_sampler(mixture):
    """The Kolmogorov-Smirnov test finds no difference between the samples and the distribution function."""
    torch.manual_seed(0)
    samples = mixture.sample((5000,))
    right = mixture_1d(MEANS, STDS, WEIGHTS)
    assert scipy.stats.kstest(samples.numpy(), lambda v: right.cdf(torch.from_numpy(v)).numpy()).pvalue > 0.01


def test_mixture():
    check_mixture(mixture_1d)
    check_sampler(mixture_1d(MEANS, STDS, WEIGHTS))


@pytest.mark.parametrize(
    "twin",
    [
        lambda m, s, w: mixture_1d(m, s),
        lambda m, s, w: mixture_1d(m, [v**2 for v in s], w),
        lambda m, s, w: mixture_1d(m, s, w[::-1]),
        lambda m, s, w: mixture_1d([-v for v in m], s, w),
    ],
    ids=["without weights", "variances for deviations", "weights in reverse", "mirrored"],
)
def test_broken_mixtures(twin):
    must_fail(check_mixture, twin)
    must_fail(check_sampler, twin(MEANS, STDS, WEIGHTS))


def test_weights_default_to_equal_and_need_not_sum_to_one():
    x = torch.linspace(-5, 5, 11)
    assert_close(mixture_1d([-1, 2], [1, 1]).log_prob(x), mixture_1d([-1, 2], [1, 1], [7, 7]).log_prob(x))


# ---- 2-D sets ----


def nearest(points, centres):
    """Index of, and distance to, the nearest centre."""
    distance, index = torch.cdist(points, centres).min(1)
    return index, distance


def ring_centres():
    angle = torch.arange(8) * torch.pi / 4
    return 2 * torch.stack([angle.cos(), angle.sin()], 1)


def grid_centres():
    return torch.tensor([(x, y) for x in range(-2, 3) for y in range(-2, 3)]).float()


def check_modes(points, centres):
    """Every mode has its share of the points, and no point lies away from all modes."""
    index, distance = nearest(points, centres)
    share = torch.bincount(index, minlength=len(centres)) / len(points) * len(centres)
    assert share.min() > 0.6 and share.max() < 1.4
    assert distance.max() < 0.05 * 6
    assert_close(distance.square().mean().item(), 2 * 0.05**2, atol=0, rtol=0.1)  # two axes of variance σ²


def check_checkerboard(points):
    """Eight of the sixteen unit squares hold an eighth of the points each; the other eight are empty."""
    square = (points + 2).floor().long()
    assert square.min() >= 0 and square.max() <= 3
    count = torch.bincount(4 * square[:, 0] + square[:, 1], minlength=16).view(4, 4)
    filled = (torch.arange(4)[:, None] + torch.arange(4)) % 2 == 0
    assert bool((count[~filled] == 0).all())
    assert bool(((count[filled] / len(points) * 8 - 1).abs() < 0.25).all())


def check_moons(points):
    """Every point lies close to one of two half circles; both are populated alike."""
    points = (points + torch.tensor([0.7, 0.35])) / 1.4  # back to where scikit-learn draws them
    t = torch.linspace(0, torch.pi, 400)
    arcs = [torch.stack([t.cos(), t.sin()], 1), torch.stack([1 - t.cos(), 0.5 - t.sin()], 1)]
    to_arc = torch.stack([nearest(points, arc)[1] for arc in arcs])
    assert to_arc.min(0).values.max() < 0.08 * 6
    assert 0.4 < (to_arc[0] < to_arc[1]).float().mean() < 0.6


def check_swiss_roll(points):
    """On the spiral (t cos t, t sin t) / 6.5 the radius is the unrolled angle: residues are the noise alone."""
    radius = points.norm(dim=1) * 6.5
    angle = torch.atan2(points[:, 1], points[:, 0])
    residue = (radius - angle) / (2 * torch.pi)
    residue = (residue - residue.round()).abs() * 2 * torch.pi
    assert residue.mean() < 0.4 and 4 < radius.min() < radius.max() < 15.5


SETS = {
    "ring": lambda points: check_modes(points, ring_centres()),
    "grid": lambda points: check_modes(points, grid_centres()),
    "moons": check_moons,
    "swiss_roll": check_swiss_roll,
    "checkerboard": check_checkerboard,
}


@pytest.mark.parametrize("name", TOY_SETS)
def test_toy_sets(name):
    points = toy(name, 4000)
    assert points.shape == (4000, 2) and points.dtype == torch.float32
    assert bool(points.isfinite().all()) and points.abs().max() < 2.6
    SETS[name](points)


@pytest.mark.parametrize("name", TOY_SETS)
def test_each_check_knows_its_set(name):
    """Twins: the points of every other set, one half of the points, and the points turned by a little."""
    for other in set(TOY_SETS) - {name}:
        must_fail(SETS[name], toy(other, 4000))
    turn = torch.tensor([[0.9, -0.44], [0.44, 0.9]])
    must_fail(SETS[name], 1.15 * toy(name, 4000) @ turn)
    if name != "swiss_roll":  # half a spiral is a spiral
        must_fail(SETS[name], toy(name, 4000)[toy(name, 4000)[:, 0] > 0])


@pytest.mark.parametrize("name", TOY_SETS)
def test_seeds(name):
    assert torch.equal(toy(name, 50, seed=3), toy(name, 50, seed=3))
    assert not torch.equal(toy(name, 50, seed=3), toy(name, 50, seed=4))
    assert torch.equal(toy(name, 50, seed=np.int64(3)), toy(name, np.int64(50), seed=3))
    assert toy(name, 1).shape == (1, 2)


@pytest.mark.parametrize("name", TOY_SETS)
def test_global_random_state_is_left_alone(name, monkeypatch):
    gc.seed_everything(7)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: pytest.fail("seeded the GPUs"))
    toy(name, 10)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()  # noqa: NPY002


@pytest.mark.parametrize(
    ("distribution", "centres"),
    [(ring_of_gaussians(), ring_centres()), (grid_of_gaussians(), grid_centres())],
    ids=["ring", "grid"],
)
def test_distributions_in_the_plane(distribution, centres):
    """The density is the mean of the Gaussians at the centres, and integrates to 1."""
    torch.manual_seed(0)
    points = distribution.sample((200,))
    gaussians = [scipy.stats.multivariate_normal(c.numpy(), 0.05**2) for c in centres]
    expected = np.mean([g.pdf(points.numpy()) for g in gaussians], axis=0)
    assert_close(distribution.log_prob(points).double(), torch.from_numpy(np.log(expected)), atol=1e-3, rtol=1e-3)
    axis = torch.linspace(-2.6, 2.6, 261)  # steps of 0.02, less than half a standard deviation
    mass = distribution.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * 0.02**2
    assert_close(mass.item(), 1.0, atol=1e-3, rtol=0)
    check_modes(distribution.sample((4000,)), centres)
