"""How good are samples? Every measure takes features (N, F) of two sets, or 2-D points, and is shown beside a floor.

The features come from a small digit classifier that ships with the course. They are not Inception's: compare a
FID from here only with other FIDs from here.
"""

import warnings

import torch
from torch import nn

from .classifier import DigitClassifier, digit_classifier  # noqa: F401 (a part of this module for its users)
from .errors import require


def _apply(classifier, function, x):
    """``function`` of images in parts of 1,000, on the CPU; refuses what would give wrong numbers in silence."""
    require(x.shape[1:] == (1, 28, 28), "x", f"shape {tuple(x.shape)}", "images of shape (N, 1, 28, 28)")
    if not ((x >= -1.001) & (x <= 1.001)).all():
        require(False, "x", f"values from {x.min():.2f} to {x.max():.2f}", "in [-1, 1], as all images of the course")
    require(not classifier.training, "classifier", "in train mode", "in evaluation mode: classifier.eval()")
    with torch.no_grad():
        return torch.cat([function(part).cpu() for part in x.split(1000)])


def features(classifier, x) -> torch.Tensor:
    """The last hidden layer of the classifier, on the CPU, without gradients.

    Args:
        classifier: from :func:`digit_classifier`; it is in evaluation mode, and must stay there.
        x: images (N, 1, 28, 28) in [-1, 1] on the device of the classifier.

    Returns:
        (N, F) float32.

    Raises:
        ValueError: for images of another shape or range, and for a classifier in train mode.
    """
    return _apply(classifier, classifier.features, x)


def class_shares(classifier, x) -> torch.Tensor:
    """The share of images that the classifier puts into each class, (10,). Arguments as :func:`features`."""
    return _apply(classifier, classifier, x).argmax(1).bincount(minlength=10) / len(x)


def class_entropy(shares) -> float:
    """The entropy -sum s log s of shares that sum to 1, in nats; at most log K, for K equal shares.

    log K minus it is the KL divergence of the shares to the uniform distribution.

    >>> round(class_entropy(torch.full((10,), 0.1)), 3)
    2.303
    """
    ok = shares.ndim == 1 and (shares >= 0).all() and abs(shares.sum() - 1) < 1e-3
    require(ok, "shares", shares, "a vector of nonnegative numbers that sum to 1")
    return torch.special.entr(shares.double()).sum().item()


def _two_sets(min_samples=2, **named):
    (first, a), (second, b) = named.items()
    for name, v in named.items():
        allowed = f"of shape (N, F), N at least {min_samples}"
        require(v.ndim == 2 and len(v) >= min_samples, name, f"shape {tuple(v.shape)}", allowed)
        require(v.isfinite().all(), name, "NaN or infinity", "finite everywhere")
    allowed = f"with as many features as {first}, {a.shape[1]}"
    require(a.shape[1] == b.shape[1], second, f"shape {tuple(b.shape)}", allowed)
    return a.detach().cpu().double(), b.detach().cpu().double()


def _distances(a, b):
    """All distances (N, M), exact also where points lie close together: no |a|^2 - 2 a.b + |b|^2."""
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def _identity(num_features):
    """What torchmetrics calls a feature network, for features that are there already."""
    net = nn.Identity()
    net.num_features = num_features
    return net


def fid(real, fake) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features, squared: lower is better.

    |m_r - m_f|^2 + tr(C_r + C_f - 2 (C_r C_f)^(1/2)), with means m and covariances C; through torchmetrics. Few
    samples make it too large: always state N, and show the value for real against real.

    Args:
        real: features of data, (N, F).
        fake: features of samples, (M, F).

    Raises:
        ValueError: for other shapes, fewer than two samples, or values that are not finite.

    Source: Heusel et al. (2017), https://arxiv.org/abs/1706.08500.

    >>> a = torch.tensor([[-1.0], [1.0]])                  # variance 2
    >>> round(fid(a, 2 * a + 3), 4)                        # 3^2 + (sqrt 8 - sqrt 2)^2
    11.0
    """
    from torchmetrics.image.fid import FrechetInceptionDistance  # slow to import

    real, fake = _two_sets(real=real, fake=fake)
    metric = FrechetInceptionDistance(feature=_identity(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    value = metric.compute().item()
    return 0.0 if value < 1e-9 else value  # of equal sets rounding leaves a little, of either sign


def image_fid(classifier, real, fake) -> float:
    """The FID of two sets of images in the features of the classifier: see :func:`fid`.

    Args:
        classifier: from :func:`digit_classifier`.
        real: images of data, (N, 1, 28, 28) in [-1, 1], or their :func:`features`, (N, F), where they are used again.
        fake: samples, (M, 1, 28, 28), clamped to [-1, 1].

    Raises:
        ValueError: as :func:`features` and :func:`fid`.
    """
    real = real if real.ndim == 2 else features(classifier, real)
    return fid(real, features(classifier, fake.clamp(-1, 1)))


def kid(real, fake, subsets=20, subset_size=500, seed=0) -> tuple[float, float]:
    """Kernel inception distance: the squared maximum mean discrepancy with the kernel (x.y / F + 1)^3, unbiased.

    Unlike the FID it does not shrink with more samples; it can be negative. Through torchmetrics.

    Args:
        real: features of data, (N, F).
        fake: features of samples, (M, F).
        subsets: how many random subsets to average over.
        subset_size: their size; at most N and M.
        seed: of the choice of subsets.

    Returns:
        Mean and standard deviation over the subsets.

    Raises:
        ValueError: for other shapes, or subsets that are larger than the sets.

    Source: Binkowski et al. (2018), https://arxiv.org/abs/1801.01401.
    """
    real, fake = _two_sets(real=real, fake=fake)
    largest = min(len(real), len(fake))
    require(1 < subset_size <= largest, "subset_size", subset_size, f"from 2 to {largest}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps all features: they are small
        from torchmetrics.image.kid import KernelInceptionDistance

        sizes = {"subsets": int(subsets), "subset_size": int(subset_size)}  # NumPy's integers too
        metric = KernelInceptionDistance(feature=_identity(real.shape[1]), **sizes)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(seed))  # torch.manual_seed would seed the GPUs too
        mean, std = metric.compute()
    return mean.item(), std.item()


def prdc(real, fake, k=5) -> dict:
    """Precision, recall, density and coverage, from balls that reach to each point's k-th nearest neighbour.

    Precision: share of samples inside some ball around a real point. Recall: share of real points inside some ball
    around a sample. Density: real balls around a sample, over k. Coverage: share of real balls that hold a sample.

    Args:
        real: features of data, (N, F); a few thousand, as all N x M distances are computed.
        fake: features of samples, (M, F).
        k: which neighbour; smaller than N and M.

    Returns:
        The four names -> values; density can exceed 1.

    Raises:
        ValueError: for other shapes, or a k that does not fit.

    Source: Kynkäänniemi et al. (2019), https://arxiv.org/abs/1904.06991; Naeem et al. (2020),
    https://arxiv.org/abs/2002.09797.
    """
    real, fake = _two_sets(real=real, fake=fake)
    largest = min(len(real), len(fake)) - 1
    require(0 < k <= largest, "k", k, f"from 1 to {largest}")

    def radii(points):
        return _distances(points, points).kthvalue(k + 1, dim=1).values  # the nearest one is the point itself

    apart = _distances(real, fake)  # (N, M)
    in_real_ball = apart <= radii(real)[:, None]
    in_fake_ball = apart <= radii(fake)[None, :]
    return {
        "precision": in_real_ball.any(0).float().mean().item(),
        "recall": in_fake_ball.any(1).float().mean().item(),
        "density": in_real_ball.sum(0).float().mean().item() / k,
        "coverage": in_real_ball.any(1).float().mean().item(),
    }


def report(classifier, real, fake, max_samples=2000) -> dict:
    """The measures of this file for generated digits, ready for a row of :func:`gencourse.plot.table`.

    Args:
        classifier: from :func:`digit_classifier`.
        real: images of the test set, (N, 1, 28, 28) in [-1, 1].
        fake: samples, (M, 1, 28, 28); give 10,000 where you can.
        max_samples: how many of each, drawn at random, go into precision, recall, density and coverage.

    Returns:
        "samples" (M), "FID", "KID" (mean over subsets of 500, or of all where there are fewer), "precision", "recall",
        "density", "coverage", and the "entropy" of the class shares in nats.

    Raises:
        ValueError: as the functions it calls.
    """
    a, b = features(classifier, real), features(classifier, fake)
    fewer = min(max_samples, len(a), len(b))
    order = torch.Generator().manual_seed(0)  # the order of a test set is not random: MNIST's first half is easier
    some_a, some_b = (v[torch.randperm(len(v), generator=order)[:fewer]] for v in (a, b))
    close = prdc(some_a, some_b, k=min(5, fewer - 1))
    similarity = kid(a, b, subset_size=min(500, len(a), len(b)))[0]
    entropy = class_entropy(class_shares(classifier, fake))
    return {"samples": len(b), "FID": fid(a, b), "KID": similarity, **close, "entropy": entropy}


def modes(samples, centres, radius) -> tuple[int, float]:
    """How many modes of a 2-D mixture are found, and the share of samples near one.

    Args:
        samples: (N, D).
        centres: (K, D), the modes.
        radius: a sample is near a mode if it is at most this far; usually three standard deviations.

    Returns:
        The number of modes with at least a quarter of their fair share, N / (4 K), of samples near them, and the
        share of all samples near any mode.

    Raises:
        ValueError: for other shapes.

    Source: after Lin et al. (2018), https://arxiv.org/abs/1712.04086.

    >>> modes(torch.tensor([[0.0, 0.1], [0.1, 0.0], [3.0, 3.0]]), torch.tensor([[0.0, 0.0], [5.0, 5.0]]), 0.2)
    (1, 0.6666666865348816)
    """
    samples, centres = _two_sets(min_samples=1, samples=samples, centres=centres)
    apart, nearest = _distances(samples, centres).min(1)
    near = apart <= radius
    counts = nearest[near].bincount(minlength=len(centres))
    return int((counts >= len(samples) / (4 * len(centres))).sum()), near.float().mean().item()
