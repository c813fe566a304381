"""Binarized images: values, rates, a frozen draw with a seed, a new one without; with broken twins."""

import hashlib

import numpy as np
import pytest
import torch
from twins import every_check_fails, must_fail

from gencourse.data import binarize, digits

RAMP = torch.linspace(-1, 1, 256).view(4, 1, 8, 8)  # every grey of a byte once
RAMP_SHA256 = "b6c5f3abff38fd42ead833a77764927cd834a7577ff7904da28dc511bd4e298b"


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def many(value, n=40_000):
    return torch.full((n // 4, 1, 2, 2), float(value))


# ---- values and rates: checks that hold with a seed and without ----


def check_values(f):
    for x in (RAMP, RAMP[0, 0, 0], RAMP.double(), RAMP.half(), RAMP[:0], RAMP.transpose(0, 3)):
        drawn = f(x)
        assert drawn.shape == x.shape and drawn.dtype == torch.float32 and drawn.device == x.device
        assert bool(((drawn == 0) | (drawn == 1)).all())
    assert bool((f(many(-1)) == 0).all() and (f(many(1)) == 1).all())
    slightly_out = torch.tensor([[-1.0009, 1.0009]])  # as rounding leaves them
    assert f(slightly_out).tolist() == [[0, 1]]


def check_rates(f):
    """A pixel is 1 with probability (x + 1) / 2, within five standard errors; pixels are drawn one by one."""
    for byte in (1, 51, 128, 204, 254):
        p, drawn = byte / 255, f(many(byte / 127.5 - 1))
        assert abs(drawn.mean().item() - p) < 5 * (p * (1 - p) / drawn.numel()) ** 0.5
    pixels = f(many(0)).flatten(1).T  # of one probability: without correlation between pixels or between images
    assert (torch.corrcoef(pixels) - torch.eye(4)).abs().max() < 5 / 10_000**0.5
    assert abs(torch.corrcoef(torch.stack([pixels[0, 1:], pixels[0, :-1]]))[0, 1]) < 5 / 10_000**0.5


def rounded(x):
    return (x > 0).float()


def in_pixels(f):
    """A broken draw that must cope with every kind of float."""
    return lambda x: f(x.float())


VALUE_TWINS = {
    "into -1 and 1": in_pixels(lambda x: 2 * binarize(x) - 1),
    "of type bool": lambda x: binarize(x).bool(),
    "of the type of x": lambda x: binarize(x).to(x.dtype),
    "flat": lambda x: binarize(x).flatten(),
    "grey kept": in_pixels(lambda x: (x + 1) / 2),
    "torch.bernoulli of what leaves [0, 1]": in_pixels(lambda x: torch.bernoulli((x + 1) / 2)),
    "upside down": in_pixels(lambda x: 1 - binarize(x)),
}
RATE_TWINS = {
    "rounded": rounded,
    "upside down": lambda x: binarize(-x),
    "for x in [0, 1]": lambda x: (torch.rand_like(x) < x).float(),
    "normal noise": lambda x: (torch.randn_like(x) < x).float(),
    "one draw per image": lambda x: (torch.rand(len(x), 1, 1, 1) < (x + 1) / 2).float(),
    "one draw for all images": lambda x: (torch.rand(x.shape[1:]) < (x + 1) / 2).float(),
}


@pytest.mark.parametrize("f", [binarize, lambda x: binarize(x, seed=3)], ids=["dynamic", "static"])
@pytest.mark.parametrize("check", [check_values, check_rates], ids=lambda f: f.__name__.removeprefix("check_"))
def test_binarize(check, f):
    check(f)


@pytest.mark.parametrize("name", VALUE_TWINS)
def test_broken_values(name):
    with pytest.raises((AssertionError, RuntimeError)):  # the second: torch's own complaint about probabilities
        check_values(VALUE_TWINS[name])


@pytest.mark.parametrize("name", RATE_TWINS)
def test_broken_rates(name):
    must_fail(check_rates, RATE_TWINS[name])


# ---- with a seed: frozen ----


def check_frozen(f):
    """The draw that it has been since the first day, for floats of any precision, and as NumPy alone makes it."""
    for x in (RAMP, RAMP.double()):
        drawn = f(x, seed=0).numpy().astype(np.uint8)
        assert hashlib.sha256(drawn.tobytes()).hexdigest() == RAMP_SHA256
    u = np.random.RandomState(0).random_sample(256)
    assert np.array_equal(drawn.ravel(), u < np.arange(256) / 255)


def check_parts(f):
    """The draw of an image depends on its place alone, also across the parts of 1,000."""
    x = 0.9 * torch.sin(torch.arange(2300 * 6.0)).view(2300, 6)
    whole = f(x, seed=5)
    for n in (1, 999, 1000, 1001, 2000):
        assert torch.equal(f(x[:n], seed=5), whole[:n])
    u = np.random.RandomState(5).random_sample((2300, 6))
    p = torch.round((x.double() + 1) * 127.5).numpy() / 255
    assert np.array_equal(whole.numpy(), (u < p).astype(np.float32))


def check_alone(f):
    """The global generators are neither used nor moved."""
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first = f(RAMP, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], before_numpy)  # noqa: NPY002
    torch.manual_seed(99)
    assert torch.equal(f(RAMP, seed=1), first) and not torch.equal(f(RAMP, seed=2), first)


def by_torch(x, seed):
    return (torch.rand(x.shape, generator=torch.Generator().manual_seed(seed)) < (x + 1) / 2).float()


def by_new_numpy(x, seed):
    return torch.from_numpy((np.random.default_rng(seed).random(x.shape) < (x.numpy() + 1) / 2).astype(np.float32))


def each_part_from_the_start(x, seed):
    return torch.cat([binarize(part, seed) for part in x.split(1000)])


def globally(x, seed):
    torch.manual_seed(seed)
    return binarize(x)


FROZEN_TWINS = {
    "torch's stream": (by_torch, [check_frozen, check_parts]),
    "NumPy's newer stream": (by_new_numpy, [check_frozen, check_parts]),
    "the next seed": (lambda x, seed: binarize(x, seed + 1), [check_frozen, check_parts]),
    "each part from the start": (each_part_from_the_start, [check_parts]),
    "the global seed set": (globally, [check_alone, check_frozen]),
    "seed ignored": (lambda x, seed: binarize(x), [check_alone, check_frozen]),
    "one seed for all": (lambda x, seed: binarize(x, 0), [check_alone]),
}


@pytest.mark.parametrize("check", [check_frozen, check_parts, check_alone], ids=lambda f: f.__name__[6:])
def test_with_a_seed(check):
    check(binarize)


test_broken_with_a_seed = every_check_fails(FROZEN_TWINS)


# ---- without a seed: drawn anew ----


def check_dynamic(f):
    first, second = f(RAMP), f(RAMP)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(f(RAMP), first) and torch.equal(f(RAMP), second)


def test_without_a_seed():
    torch.manual_seed(0)
    check_dynamic(binarize)
    fresh = np.random.default_rng()
    for twin in (lambda x: binarize(x, 0), lambda x: binarize(x, int(fresh.integers(2**32))), rounded):
        torch.manual_seed(0)
        must_fail(check_dynamic, twin)


def test_real_digits_keep_their_ink():
    x = digits("test").x
    for drawn in (binarize(x, seed=0), binarize(x)):
        assert abs(drawn.mean() - ((x + 1) / 2).mean()) < 5 * 0.5 / x.numel() ** 0.5


def test_x_is_left_alone_and_no_gradient_flows():
    x = RAMP.clone().requires_grad_()
    assert not binarize(x).requires_grad and not binarize(x, seed=0).requires_grad
    assert torch.equal(x.detach(), RAMP)


# ---- refusals ----


@pytest.mark.parametrize("x", [RAMP * 1.002, RAMP * 127.5 + 127.5, RAMP * torch.nan], ids=["a bit out", "bytes", "NaN"])
def test_images_out_of_range_are_refused(x):
    with pytest.raises(ValueError, match=r"must be in \[-1, 1\]"):
        binarize(x)
