"""Measures of samples against closed forms, loops and counts by hand; with broken twins."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from scipy.stats import entropy
from torch import nn
from torch.testing import assert_close
from twins import must_fail

from gencourse import data, metrics
from gencourse.metrics import class_entropy, class_shares, features, fid, kid, modes, prdc, report


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(n, mean, root, seed=0):
    """n points whose mean is ``mean`` and whose covariance is ``root @ root.T``, exactly."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    white = torch.linalg.solve_triangular(torch.linalg.cholesky(x.T.cov()), x.T, upper=False).T
    return white @ root.T + mean


# ---- FID ----


def check_fid_closed_form(f):
    """Covariances that commute: |m_r - m_f|^2 + sum (s_r - s_f)^2."""
    (m, n), (s, t) = normal(2, 4), normal(2, 4, seed=1).abs() + 0.1
    real, fake = with_moments(50, m, s.diag(), seed=2), with_moments(70, n, t.diag(), seed=3)
    assert f(real, fake) == pytest.approx(((m - n).square() + (s - t).square()).sum().item(), rel=1e-8)


def check_fid_scipy(f):
    a, b = normal(60, 5) @ normal(5, 5, seed=1), normal(80, 5, seed=2) @ normal(5, 5, seed=3) + 1
    c, d = np.cov(a.T), np.cov(b.T)  # they do not commute
    expected = (a.mean(0) - b.mean(0)).square().sum().item() + np.trace(c + d - 2 * sqrtm(c @ d).real)
    assert f(a, b) == pytest.approx(expected, rel=1e-7)


def check_fid_invariances(f):
    a, b = normal(60, 5), 2 * normal(80, 5, seed=1) + 1
    turn = torch.linalg.qr(normal(5, 5, seed=2)).Q
    assert f(a @ turn + 10, b @ turn + 10) == pytest.approx(f(a, b), rel=1e-7)
    assert f(b, a) == pytest.approx(f(a, b), rel=1e-9)
    assert f(3 * a, 3 * b) == pytest.approx(9 * f(a, b), rel=1e-7)  # squared: it has the units of a square
    assert abs(f(a, a)) < 1e-5 and abs(f(a.float(), a[torch.randperm(60)].float())) < 1e-4


def check_too_large_for_few(f):
    """Of samples that are as good as can be, fewer look worse."""
    reference = normal(4000, 16)
    values = [np.mean([f(reference, normal(n, 16, seed=s)) for s in range(1, 4)]) for n in (50, 200, 800, 3200)]
    assert all(a > 1.5 * b for a, b in zip(values, values[1:]))


def gaussians(real, fake, mean=1.0, cross=2.0, root=sqrtm, ddof=1):
    """A twin of fid, right unless told otherwise."""
    c, d = np.cov(real.T, ddof=ddof), np.cov(fake.T, ddof=ddof)
    far = (real.mean(0) - fake.mean(0)).square().sum().item()
    return mean * far + np.trace(c + d - cross * root(c @ d).real)


FID_CHECKS = [check_fid_closed_form, check_fid_scipy, check_fid_invariances, check_too_large_for_few]
FID_TWINS = {
    "no mean": (check_fid_closed_form, partial(gaussians, mean=0.0)),
    "one root": (check_fid_closed_form, partial(gaussians, cross=1.0)),
    "root of each number": (check_fid_scipy, partial(gaussians, root=lambda c: np.sqrt(np.abs(c)))),
    "divided by N": (check_fid_scipy, partial(gaussians, ddof=0)),
    "root of the whole": (check_fid_invariances, lambda a, b: fid(a, b) ** 0.5),
    "spread seen on one side": (check_fid_invariances, lambda a, b: fid(a, b) / a.var().item()),
    "means around 0": (check_fid_invariances, lambda a, b: fid(a, b) + a.mean().item()),
    "unbiased": (check_too_large_for_few, lambda a, b: kid(a, b, subsets=5, subset_size=50)[0]),
}


@pytest.mark.parametrize("check", FID_CHECKS, ids=lambda f: f.__name__.removeprefix("check_"))
def test_fid(check):
    check(fid)
    check(gaussians)


@pytest.mark.parametrize("name", FID_TWINS)
def test_broken_fid(name):
    must_fail(*FID_TWINS[name])


# ---- KID ----


def by_hand(real, fake, subsets=1, subset_size=None, seed=0, power=3, over=None, plus=1.0, own=False):
    """The unbiased squared MMD, term by term; right unless told otherwise."""
    kernel = lambda x, y: (sum(a * b for a, b in zip(x, y)) / (over or len(x)) + plus) ** power
    x, y = real.tolist(), fake.tolist()
    inside = lambda s: [kernel(a, b) for i, a in enumerate(s) for j, b in enumerate(s) if own or i != j]
    return np.mean(inside(x)) + np.mean(inside(y)) - 2 * np.mean([kernel(a, b) for a in x for b in y]), 0.0


def check_kid(f):
    a, b = normal(6, 3), 2 * normal(6, 3, seed=1) + 0.5
    mean, std = f(a, b, subsets=3, subset_size=6)
    assert mean == pytest.approx(by_hand(a, b)[0], rel=1e-9) and abs(std) < 1e-9


def check_seeded(f):
    """Subsets depend on the seed alone, and the global random state is left alone."""
    a, b, before = normal(60, 3), normal(60, 3, seed=1), torch.get_rng_state()
    first, other, again = (f(a, b, subsets=4, subset_size=20, seed=s) for s in (0, 1, 0))
    assert first == again != other and first[1] > 0 and torch.equal(before, torch.get_rng_state())


def test_kid():
    check_kid(kid)
    check_seeded(kid)
    values = [kid(normal(50, 4, seed=s), normal(50, 4, seed=99 + s), 1, 50)[0] for s in range(40)]
    assert min(values) < 0 < max(values) and abs(np.mean(values)) < 3 * np.std(values) / 40**0.5  # unbiased
    for wrong in ({"power": 2}, {"over": 1}, {"plus": 0.0}, {"own": True}):
        must_fail(check_kid, partial(by_hand, **wrong))
    must_fail(check_seeded, lambda *a, seed, **k: kid(*a, **k))
    must_fail(check_seeded, lambda *a, **k: (torch.rand(1), kid(*a, **k))[1])


# ---- precision, recall, density, coverage ----


def loops(real, fake, k=5, own=1, over=None):
    """By definition, point by point."""
    radius = lambda points: [sorted(math.dist(p, q) for q in points)[k - 1 + own] for p in points]
    x, y = real.double().tolist(), fake.double().tolist()
    r, s = radius(x), radius(y)
    held = [[math.dist(a, b) <= r[i] for b in y] for i, a in enumerate(x)]
    reached = [any(math.dist(a, b) <= s[j] for j, b in enumerate(y)) for a in x]
    return {
        "precision": np.mean([any(column) for column in zip(*held)]),
        "recall": np.mean(reached),
        "density": np.sum(held) / ((over or k) * len(y)),
        "coverage": np.mean([any(row) for row in held]),
    }


def check_loops(f):
    for k, n, m in ((1, 20, 30), (5, 40, 25), (24, 40, 25)):
        a, b = normal(n, 3), 0.7 * normal(m, 3, seed=1) + 0.5
        assert f(a, b, k=k) == pytest.approx(loops(a, b, k=k), rel=1e-6)


def check_close_points(f):
    """Neighbours far closer to each other than to the origin, as in the toy sets."""
    a, b = (data.ring_of_gaussians(std=0.002).sample((200,)) for _ in range(2))
    assert f(a, b) == pytest.approx(loops(a, b), rel=1e-6)


def check_hand(f):
    real, fake = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [1.5], [10.0]])
    expected = {"precision": 2 / 3, "recall": 2 / 3, "density": 5 / 3, "coverage": 1.0}  # real radii 1, 1, 1
    assert f(real, fake, k=1) == pytest.approx(expected, rel=1e-6)
    a, best = normal(40, 3), {"precision": 1.0, "recall": 1.0, "density": 6 / 5, "coverage": 1.0}
    assert f(a, a) == pytest.approx(best, rel=1e-6)  # each ball holds its centre and five more
    assert set(f(a, a + 100).values()) == {0.0}
    collapsed = f(a, a[a.norm(dim=1).argmin()] + 1e-3 * normal(40, 3, seed=1))
    assert collapsed["precision"] == 1 and collapsed["recall"] < 1.01 / 40 and 0 < collapsed["coverage"] < 0.5


def blurred(real, fake, k=5):
    """Distances as |a|^2 - 2 a.b + |b|^2 in single precision."""
    real, fake = real.float(), fake.float()
    far = lambda a, b: (a.square().sum(1)[:, None] - 2 * a @ b.T + b.square().sum(1)).clamp(min=0)
    held = far(real, fake) <= far(real, real).sort(1).values[:, k : k + 1]
    density = held.sum(0).float().mean().item() / k
    return {**prdc(real, fake, k), "density": density, "coverage": held.any(1).float().mean().item()}


PRDC_TWINS = {
    "sets exchanged": (check_loops, lambda a, b, k=5: prdc(b, a, k)),
    "each its own neighbour": (check_loops, partial(loops, own=0)),
    "density not over k": (check_loops, partial(loops, over=1)),
    "sets exchanged, by hand": (check_hand, lambda a, b, k=5: prdc(b, a, k)),
    "own neighbour, by hand": (check_hand, partial(loops, own=0)),
    "single precision": (check_close_points, blurred),
}


@pytest.mark.parametrize("check", [check_loops, check_close_points, check_hand], ids=lambda f: f.__name__[6:])
def test_prdc(check):
    check(prdc)
    check(loops)


@pytest.mark.parametrize("name", PRDC_TWINS)
def test_broken_prdc(name):
    must_fail(*PRDC_TWINS[name])


# ---- classes and modes ----


def check_entropy(f):
    for shares in (
        torch.full((10,), 0.1),
        torch.tensor([0.5, 0.25, 0.25, 0.0]),
        torch.eye(10)[3],
        normal(7).softmax(0),
    ):
        assert f(shares) == pytest.approx(entropy(shares.double().numpy()), abs=1e-6)


def check_modes(f):
    ring = data.ring_of_gaussians()
    centres, samples = ring.component_distribution.mean, ring.sample((2000,))
    count, share = f(samples, centres, 0.15)
    assert count == 8 and abs(share - (1 - math.exp(-4.5))) < 0.01  # Rayleigh: within three standard deviations
    assert f(samples[(samples - centres[2]).norm(dim=1) < 1], centres, 0.15)[0] == 1
    assert f(torch.zeros(50, 2), centres, 0.15) == (0, 0.0)
    two = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    for there, expected in ((1, 1), (2, 2)):  # of 16, a quarter of the fair share is 2
        assert f(two[[1] * there + [0] * (16 - there)], two, 0.1) == (expected, 1.0)


def test_classes_and_modes():
    check_entropy(class_entropy)
    must_fail(check_entropy, lambda s: class_entropy(s) / math.log(2))
    must_fail(check_entropy, lambda s: -(s * s.log()).sum().item())  # 0 log 0
    check_modes(modes)
    must_fail(check_modes, lambda s, c, r: modes(s, c, 10 * r))
    must_fail(check_modes, lambda s, c, r: (len(torch.cdist(s, c).argmin(1).unique()), modes(s, c, r)[1]))


class Brightness(nn.Module):
    """A classifier of images of one grey value, -1, ..., 1 in ten steps."""

    def features(self, x):
        return x.flatten(1)[:, :3]

    def forward(self, x):
        return nn.functional.one_hot((4.5 * (x.mean((1, 2, 3)) + 1)).round().long(), 10).float()


def test_features_and_shares():
    y = torch.randint(0, 7, (2500,))  # more than go through at once
    x = ((y / 4.5 - 1)[:, None, None, None]).expand(-1, 1, 28, 28)
    assert_close(class_shares(Brightness().eval(), x), y.bincount(minlength=10) / 2500)
    assert_close(features(Brightness().eval(), x), x.flatten(1)[:, :3])
    net = metrics.DigitClassifier().eval()
    assert features(net, x[:3]).shape == (3, 64) and not features(net, x[:3]).requires_grad
    for f in (features, class_shares):
        f(net, torch.full((2, 1, 28, 28), 1.0005))  # rounding
        for bad in (torch.full((2, 1, 28, 28), 1.01), torch.rand(2, 1, 28, 28) * 255):
            with pytest.raises(ValueError, match=r"^x=.*\[-1, 1\]"):
                f(net, bad)
        with pytest.raises(ValueError, match="train mode"):
            f(net.train(), x)
        net.eval()


def test_report():
    net, images = metrics.DigitClassifier().eval(), data.digits().x
    row = report(net, images[:700], images[700:])
    names = ["samples", "FID", "KID", "precision", "recall", "density", "coverage", "entropy"]
    assert list(row) == names and all(math.isfinite(v) for v in row.values()) and row["samples"] == 800
    a, b = features(net, images[:700]), features(net, images[700:])
    assert row["FID"] == fid(a, b) and row["KID"] == kid(a, b)[0]
    fewer = report(net, images[:700], images[700:], max_samples=700)  # all of one set, part of the other
    assert all(abs(fewer[name] - value) < 0.1 for name, value in prdc(a, b[:700]).items())
    assert fewer == report(net, images[:700], images[700:], max_samples=700)
    assert report(net, images[:3], images[3:5])["samples"] == 2


def check_image_fid(f):
    """The FID of the features, and of features that were computed before; samples are clamped."""
    net, images = metrics.DigitClassifier().eval(), data.digits().x
    real, fake = images[:300], 1.5 * images[300:600]
    expected = fid(features(net, real), features(net, fake.clamp(-1, 1)))
    assert f(net, real, fake) == expected == f(net, features(net, real), fake)


def test_image_fid():
    check_image_fid(metrics.image_fid)
    must_fail(check_image_fid, lambda net, real, fake: metrics.image_fid(net, real, fake / 1.5))


def test_kid_leaves_every_random_state_alone(monkeypatch):
    def refuse(seed):
        raise AssertionError("this seeds the GPUs too")

    monkeypatch.setattr(torch, "manual_seed", refuse)
    before = torch.get_rng_state()
    kid(torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), torch.ones(60, 3), subset_size=20)
    assert torch.get_rng_state().equal(before)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda x: fid(x[:1], x), "real="),
        (lambda x: fid(x, x[:, :2]), "fake="),
        (lambda x: fid(x, x / 0), "finite"),
        (lambda x: kid(x, x, subset_size=41), "subset_size=41"),
        (lambda x: prdc(x, x[:9], k=9), "k=9"),
        (lambda x: class_entropy(torch.full((10,), 0.2)), "sum to 1"),
        (lambda x: features(metrics.DigitClassifier().eval(), x), "images"),
    ],
)
def test_what_would_give_a_wrong_number_in_silence_is_refused(call, named):
    with pytest.raises(ValueError, match=named):
        call(torch.arange(120.0).view(40, 3) + 1)
