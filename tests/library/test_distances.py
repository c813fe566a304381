"""Distances against closed forms, scipy and brute force; every check has a broken twin that it catches."""

import math
from itertools import permutations

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import erf
from torch.testing import assert_close
from twins import must_fail

from gencourse.distances import jsd, kl, reverse_kl, tv, w1, w1_samples

pytestmark = [pytest.mark.filterwarnings("error"), pytest.mark.usefixtures("one_thread")]

LOG2 = math.log(2)
X = torch.linspace(-20, 25, 9001, dtype=torch.float64)
PAIRS = [(0.0, 1.0, 0.0, 1.0), (0.0, 1.0, 1.5, 1.0), (-1.0, 0.7, 2.0, 1.3), (0.0, 1.0, 0.0, 2.0)]  # m1, s1, m2, s2


def gauss(mean, std):
    z = (X - mean) / std
    return torch.exp(-z * z / 2) / (std * math.sqrt(2 * math.pi))


def probabilities(*shape, seed=0):
    p = torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return p / p.sum(-1, keepdim=True)


def gaussian_kl(m1, s1, m2, s2):
    return math.log(s2 / s1) + (s1**2 + (m1 - m2) ** 2) / (2 * s2**2) - 0.5


def cdf_area(m1, s1, m2, s2):
    """∫ |F1 - F2| dx by scipy's adaptive quadrature of its own distribution functions."""
    gap = lambda x: abs(scipy.stats.norm.cdf(x, m1, s1) - scipy.stats.norm.cdf(x, m2, s2))
    kinks = [(m1 * s2 - m2 * s1) / (s2 - s1)] if s1 != s2 else None  # where the two distribution functions cross
    return scipy.integrate.quad(gap, -20, 25, points=kinks, limit=200)[0]


# ---- checks: each takes an implementation ----


def check_kl(f):
    for m1, s1, m2, s2 in PAIRS:
        expected = torch.tensor(gaussian_kl(m1, s1, m2, s2), dtype=torch.float64)
        assert_close(f(gauss(m1, s1), gauss(m2, s2), X), expected, atol=1e-9, rtol=1e-9)


def check_reverse_kl(f):
    for m1, s1, m2, s2 in PAIRS:
        expected = torch.tensor(gaussian_kl(m2, s2, m1, s1), dtype=torch.float64)
        assert_close(f(gauss(m1, s1), gauss(m2, s2), X), expected, atol=1e-9, rtol=1e-9)


def check_jsd(f):
    """Bounds, symmetry, both ends, and scipy's Jensen-Shannon distance, which is the square root."""
    p, q = probabilities(50, 8), probabilities(50, 8, seed=1)
    result = f(p, q)
    assert bool((result > 0).all() and (result < LOG2).all())
    assert_close(result, f(q, p))
    assert_close(f(p, p), torch.zeros(50, dtype=torch.float64), atol=1e-15, rtol=0)
    expected = [scipy.spatial.distance.jensenshannon(a, b) ** 2 for a, b in zip(p, q)]
    assert_close(result, torch.tensor(np.array(expected)))
    assert_close(f(torch.tensor([1.0, 0, 0]), torch.tensor([0, 0.5, 0.5])).item(), LOG2)


def check_tv(f):
    for shift in (0.0, 0.3, 2.0, 9.0):  # two Gaussians of one width differ by erf(shift / (2 √2 σ))
        got = f(gauss(0.0, 1.0), gauss(shift, 1.0), X)
        assert_close(got.item(), erf(shift / (2 * math.sqrt(2))), atol=1e-5, rtol=0)
    assert_close(f(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])).item(), 1.0)


def check_w1(f):
    for pair in PAIRS:
        assert_close(f(gauss(*pair[:2]), gauss(*pair[2:]), X).item(), cdf_area(*pair), atol=1e-5, rtol=1e-5)
    assert_close(f(gauss(0.0, 1.0), gauss(3.0, 1.0), X).item(), 3.0, atol=1e-5, rtol=0)  # a shift costs the shift
    scaled = (2.0 - 1.0) * math.sqrt(2 / math.pi)  # about one centre: |σ1 - σ2| E|Z|
    assert_close(f(gauss(0.0, 1.0), gauss(0.0, 2.0), X).item(), scaled, atol=1e-5, rtol=0)


def check_w1_line(f):
    rng = np.random.default_rng(0)
    for n, m in ((1, 1), (5, 5), (40, 17), (300, 299)):
        a, b = rng.normal(size=n), rng.exponential(size=m) - 2
        expected = scipy.stats.wasserstein_distance(a, b)
        assert_close(f(torch.from_numpy(a), torch.from_numpy(b)).item(), expected, atol=1e-12, rtol=1e-9)


def check_w1_plane(f):
    rng = np.random.default_rng(0)
    for d in (2, 3):
        a, b = rng.normal(size=(6, d)), rng.normal(size=(6, d)) + 1
        cost = np.linalg.norm(a[:, None] - b, axis=-1)
        best = min(cost[range(6), list(order)].mean() for order in permutations(range(6)))
        assert_close(f(torch.from_numpy(a), torch.from_numpy(b)).item(), best, atol=1e-12, rtol=1e-9)


def mixed(p, q):
    return (p + q) / 2


CHECKS = {
    "kl": (check_kl, kl),
    "reverse_kl": (check_reverse_kl, reverse_kl),
    "jsd": (check_jsd, jsd),
    "tv": (check_tv, tv),
    "w1": (check_w1, w1),
    "w1_samples on the line": (check_w1_line, w1_samples),
    "w1_samples in space": (check_w1_plane, w1_samples),
}
TWINS = {
    "kl with swapped arguments": (check_kl, lambda p, q, x: kl(q, p, x)),
    "kl in bits": (check_kl, lambda p, q, x: kl(p, q, x) / LOG2),
    "kl with the wrong sign": (check_kl, lambda p, q, x: -kl(p, q, x)),
    "kl without dx": (check_kl, lambda p, q, x: torch.xlogy(p, p / q).sum()),
    "reverse kl that is forward": (check_reverse_kl, kl),
    "jsd without the 1/2": (check_jsd, lambda p, q: kl(p, mixed(p, q)) + kl(q, mixed(p, q))),
    "jsd against q instead of the middle": (check_jsd, lambda p, q: (kl(p, q) + kl(q, p)) / 2),
    "jsd of one side only": (check_jsd, lambda p, q: kl(p, mixed(p, q))),
    "jsd as its square root": (check_jsd, lambda p, q: jsd(p, q).sqrt()),
    "tv without the 1/2": (check_tv, lambda p, q, x=None: 2 * tv(p, q, x)),
    "w1 of densities, not distribution functions": (check_w1, lambda p, q, x: torch.trapezoid((p - q).abs(), x)),
    "w1 without the absolute value": (
        check_w1,
        lambda p, q, x: torch.trapezoid(torch.cumulative_trapezoid(p - q, x), x[1:]).abs(),
    ),
    "w1 without dx": (check_w1, lambda p, q, x: ((p - q).cumsum(-1) * (x[1] - x[0])).abs().sum()),
    "w1 as the difference of the means": (check_w1_line, lambda a, b: (a.mean() - b.mean()).abs()),
    "w1 of unsorted pairs": (check_w1_line, lambda a, b: (a[: len(b)] - b[: len(a)]).abs().mean()),
    "w1 in space by nearest neighbours": (check_w1_plane, lambda a, b: torch.cdist(a, b).min(1).values.mean()),
    "w1 in space with squared costs": (
        check_w1_plane,
        lambda a, b: torch.tensor(__import__("ot").emd2([], [], (torch.cdist(a, b) ** 2).numpy())).sqrt(),
    ),
    "w1 in space one axis at a time": (
        check_w1_plane,
        lambda a, b: sum(w1_samples(a[:, k], b[:, k]) for k in range(a.shape[1])),
    ),
}


@pytest.mark.parametrize("name", CHECKS)
def test_right(name):
    check, f = CHECKS[name]
    check(f)


@pytest.mark.parametrize("name", TWINS)
def test_broken_twin(name):
    must_fail(*TWINS[name])


# ---- edges ----


def test_disjoint_supports():
    """Where nothing is shared KL is infinite, JSD log 2, TV 1; only the Wasserstein distance says how far."""
    boxes = lambda left: ((X >= left) & (X < left + 1)).double()
    near = boxes(-5.0) / torch.trapezoid(boxes(-5.0), X)
    for left in (0.0, 7.0):
        far = boxes(left) / torch.trapezoid(boxes(left), X)
        assert kl(near, far, X) == reverse_kl(near, far, X) == math.inf
        assert_close(jsd(near, far, X).item(), LOG2, atol=1e-12, rtol=0)
        assert_close(tv(near, far, X).item(), 1.0, atol=1e-12, rtol=0)
        assert_close(w1(near, far, X).item(), left + 5.0, atol=1e-2, rtol=0)


def test_infinity_is_one_sided():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.25, 0.25])
    assert kl(p, q).item() == pytest.approx(0.5 * LOG2)
    assert kl(q, p).item() == reverse_kl(p, q).item() == math.inf


@pytest.mark.parametrize("f", [kl, reverse_kl, jsd, tv, w1], ids=lambda f: f.__name__)
def test_batches_and_broadcasting(f):
    p = torch.stack([gauss(m, 1.0) for m in (0.0, 1.0, 2.0)])
    q = torch.stack([gauss(0.5, s) for s in (1.0, 1.5)])[:, None]  # (2, 1, N) against (3, N)
    together = f(p, q, X)
    assert together.shape == (2, 3)
    one_by_one = [[f(a, b, X) for a in p] for b in q.squeeze(1)]
    assert_close(together, torch.stack([torch.stack(row) for row in one_by_one]))


@pytest.mark.parametrize("f", [kl, reverse_kl, jsd, tv], ids=lambda f: f.__name__)
def test_probabilities_are_a_grid_of_bars(f):
    """The sum over probabilities is the integral over the bars that they draw."""
    p, q = probabilities(6), probabilities(6, seed=1)
    edges = torch.arange(6).repeat_interleave(2).double() + torch.tensor([0.0, 1 - 1e-9] * 6, dtype=torch.float64)
    bars = lambda v: v.repeat_interleave(2)
    assert_close(f(bars(p), bars(q), edges), f(p, q), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("f", [kl, reverse_kl, jsd], ids=lambda f: f.__name__)
def test_gradients_where_densities_vanish(f):
    """Far tails underflow to exactly 0 in both densities: no 0/0 may reach the gradient."""
    mean = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    p, q = gauss(0.0, 0.2), torch.exp(-((X - mean) ** 2) / 0.08) / (0.2 * math.sqrt(2 * math.pi))
    assert bool(((p == 0) & (q == 0)).any())
    if f is not jsd:
        p, q = torch.where(q > 0, p, 0.0), torch.where(p > 0, q, 0.0)  # one support, or the divergence is infinite
    f(p, q, X).backward()
    assert math.isfinite(mean.grad)
    if f is kl:
        assert_close(mean.grad.item(), 0.3 / 0.04, atol=1e-6, rtol=1e-6)  # d/dμ of μ²/(2σ²)


def check_smallest_numbers(f):
    """The smallest positive number cannot be halved: it must not count as mass where the middle has none."""
    p = torch.tensor([0.5, 0.5, 5e-324], dtype=torch.float64)
    assert_close(f(p, torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64)).item(), 0.0, atol=1e-15, rtol=0)


def test_smallest_numbers():
    check_smallest_numbers(jsd)
    must_fail(check_smallest_numbers, lambda p, q: (kl(p, (p + q) / 2) + kl(q, (p + q) / 2)) / 2)


# ---- gradients and precision of w1_samples ----


def check_w1_gradient(f):
    a = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    f(a, torch.tensor([5.0, 0.5, -3.0], dtype=torch.float64)).backward()  # sorted pairs: (0, -3), (1, 0.5), (2, 5)
    assert_close(a.grad, torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64) / 3)


def test_gradient_on_the_line():
    check_w1_gradient(w1_samples)
    must_fail(check_w1_gradient, lambda a, b: -w1_samples(a, b))
    must_fail(check_w1_gradient, lambda a, b: (a - b).abs().mean())  # pairs taken as they come


def test_gradient_in_space():
    """Towards its partner, with length 1/n; two parallel lines at distance θ have slope 1 in θ."""
    y = torch.linspace(0, 1, 30)
    theta = torch.tensor(0.7, requires_grad=True)
    lines = [torch.stack([c.expand(30), y], 1) for c in (torch.zeros(1), theta)]
    distance = w1_samples(*lines)
    distance.backward()
    assert_close(distance.item(), 0.7, atol=1e-6, rtol=1e-6)
    assert_close(theta.grad.item(), 1.0, atol=1e-6, rtol=1e-6)


def check_small_distances(cost):
    """float32 far from the origin: a set is at distance 0 from itself, not at the rounding error of |a|² + |b|²."""
    a = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) + 50
    assert cost(a, a.flip(0)) < 1e-7


def test_small_distances():
    check_small_distances(w1_samples)
    fast = lambda a, b: torch.cdist(a, b, compute_mode="use_mm_for_euclid_dist").min(1).values.mean()
    must_fail(check_small_distances, fast)


def test_samples_of_other_kinds():
    assert w1_samples([0, 1], [5, 6]).item() == 5.0  # whole numbers and lists
    a, b = torch.randn(50, 1), torch.randn(40, 1)
    assert w1_samples(a, b).item() == pytest.approx(w1_samples(a[:, 0], b[:, 0]).item())  # (n, 1) is the line
    assert w1_samples(torch.zeros(3), torch.ones(2, dtype=torch.float64)).dtype == torch.float64
    big = torch.randn(20_000, generator=torch.Generator().manual_seed(1))
    assert w1_samples(big, big + 2).item() == pytest.approx(2.0, rel=1e-5)


# ---- what would be wrong in silence ----

HALF = [0.5, 0.5]


@pytest.mark.parametrize("f", [kl, reverse_kl, jsd, tv], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("p", "q", "x", "named"),
    [
        ([0.5, -0.5, 1.0], [0.5, 0.25, 0.25], None, r"min\(p\)=-0.5"),
        ([math.nan, 1.0], HALF, None, r"min\(p\)=nan"),
        (HALF, [0.5, 0.6], None, "mass of q=1.1"),
        (HALF, [1.0], None, "q.shape"),
        (HALF, HALF, [1.0, 0.0], "x="),
        ([9.0, 9.0], [1.0, 1.0], [0.0, 1.0], "mass of p=9.0"),
        ([1.0, 0.5, 0.5], HALF, [0.0, 1.0, 1.5], "q.shape"),
    ],
    ids=["negative", "NaN", "mass", "one number", "grid that falls", "mass on a grid", "another grid"],
)
def test_no_distributions(f, p, q, x, named):
    with pytest.raises(ValueError, match=named):
        f(p, q, x)


def test_no_samples():
    for a, b in ((torch.ones(4), torch.ones(4, 2)), (torch.ones(4, 2), torch.full((4, 2), math.nan))):
        with pytest.raises(ValueError, match="must be"):
            w1_samples(a, b)


def test_an_accelerator_is_not_waited_for():
    """On the meta device there are no values: whoever looks at one fails."""
    p, x = torch.ones(3, 5, device="meta"), torch.ones(5, device="meta")
    assert [f(p, p, x).shape for f in (kl, reverse_kl, jsd, tv, w1)] == [(3,)] * 5
