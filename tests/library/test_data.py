"""Image sets and batches: shapes, ranges, counts, the idx parser against torchvision's, speed, resuming."""

import numpy as np
import pytest
import torch
import torchvision.datasets.mnist as reader
from archive_server import idx
from PIL import Image
from torch.testing import assert_close
from twins import must_fail

import gencourse as gc
from gencourse import data
from gencourse.data import images
from gencourse.data.images import _read_idx

# ---- image sets ----


def need(name):
    if not data.found(name):
        pytest.skip(f"{name} is not in the data folder (set GENCOURSE_DATA to a folder that holds it)")


def check_images(images, n):
    assert images.x.shape == (n, 1, 28, 28) and images.x.dtype == torch.float32
    assert images.y.shape == (n,) and images.y.dtype == torch.int64
    assert images.x.min() == -1 and images.x.max() == 1
    assert images.x.mean() < -0.2  # more ground than ink
    share = torch.bincount(images.y, minlength=10) / n
    assert len(share) == 10 and share.min() > 0.08 and share.max() < 0.12


@pytest.mark.parametrize(
    ("load", "split", "n"),
    [
        (data.mnist, "train", 60_000),
        (data.mnist, "test", 10_000),
        (data.fashion_mnist, "train", 60_000),
        (data.fashion_mnist, "test", 10_000),
    ],
    ids=["mnist-train", "mnist-test", "fashion-train", "fashion-test"],
)
def test_downloaded_sets(load, split, n):
    name = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[load.__name__]
    need(name)
    images = load(split)
    check_images(images, n)
    assert images.name == name


def test_mnist_begins_as_everybody_knows():
    need("MNIST")
    assert data.mnist().y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert data.mnist("test").y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@pytest.mark.parametrize(("split", "n"), [("train", 1500), ("test", 297)])
def test_digits(split, n):
    images = data.digits(split)
    check_images(images, n)
    assert images.name == "digits"
    frame = torch.nn.functional.pad(torch.zeros(20, 20), (4, 4, 4, 4), value=1.0).bool()
    assert bool((images.x[:, 0, frame] == -1).all())  # framed, as MNIST's digits are


def test_digits_are_those_of_scikit_learn():
    """Shrunk back to 8x8 they agree with the originals, train and test in order and nothing twice."""
    from sklearn.datasets import load_digits

    both = [data.digits("train"), data.digits("test")]
    assert torch.cat([d.y for d in both]).tolist() == load_digits().target.tolist()
    x = torch.cat([d.x for d in both])[:, :, 4:-4, 4:-4]
    small = torch.nn.functional.interpolate(x, size=(8, 8), mode="area").flatten()
    original = torch.from_numpy(load_digits().images).flatten() / 8 - 1
    assert np.corrcoef(small, original)[0, 1] > 0.95


@pytest.mark.parametrize(
    "twin",
    [
        lambda d: d._replace(x=(d.x + 1) / 2),
        lambda d: d._replace(x=-d.x),
        lambda d: d._replace(x=d.x.double()),
        lambda d: d._replace(x=d.x[:, 0]),
        lambda d: d._replace(y=d.y.int()),
        lambda d: d._replace(y=d.y.sort().values.clamp(max=8)),
        lambda d: d._replace(y=d.y + 1),
    ],
    ids=["[0, 1]", "inverted", "float64", "no channel", "int32", "nine classes", "classes from 1"],
)
def test_broken_images(twin):
    must_fail(lambda images: check_images(images, 297), twin(data.digits("test")))


# ---- the idx parser ----


def check_parser(parse, folder):
    """Against torchvision's own reader, on images that are neither square nor symmetric, and on labels."""
    rng = np.random.default_rng(0)
    for i, shape in enumerate([(5, 4, 3), (7,), (2, 28, 28), (300, 1, 2)]):
        array = rng.integers(0, 256, shape).astype(np.uint8)
        (folder / f"{i}").write_bytes(idx(array))
        assert_close(parse(idx(array)), reader.read_sn3_pascalvincent_tensor(folder / f"{i}"))
        assert np.array_equal(parse(idx(array)).numpy(), array)


def test_emoji_are_the_squares_of_the_sheet():
    """One picture after another along the rows of 40; every tenth one is a test picture."""
    sheet = Image.open(images.HERE / "twemoji64.webp").convert("RGB")
    train, test = data.emoji("train"), data.emoji("test")
    assert train.x.shape == (1715, 3, 64, 64) and test.x.shape == (191, 3, 64, 64)
    assert set(train.y.tolist()) == set(range(9))

    def check(x, place, number):
        row, column = divmod(number, 40)
        square = np.asarray(sheet.crop((64 * column, 64 * row, 64 * column + 64, 64 * row + 64)), dtype=np.float32)
        assert_close(((x[place] + 1) * 127.5).permute(1, 2, 0), torch.from_numpy(square))

    for place, number in ((0, 0), (4, 40), (190, 1900)):
        check(test.x, place, number)
    check(train.x, 0, 1)
    check(train.x, 1714, 1905)
    must_fail(lambda x: check(x, 4, 40), test.x.mT)  # rows and columns exchanged
    must_fail(lambda x: check(x, 4, 40), test.x.flip(1))  # blue, green, red
    with pytest.raises(ValueError, match="split"):
        data.emoji("valid")


def test_parser(tmp_path):
    check_parser(_read_idx, tmp_path)


# ---- batches ----


def check_epochs(make):
    """Every epoch holds each sample exactly once, in an order of its own; another seed, another order."""
    stream = make(torch.arange(12), 4, 0)
    epochs = [torch.cat([next(stream) for _ in range(3)]).tolist() for _ in range(3)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] and epochs[0] != list(range(12))
    again, other = make(torch.arange(12), 4, 0), make(torch.arange(12), 4, 1)
    assert torch.cat([next(again) for _ in range(3)]).tolist() == epochs[0]
    assert torch.cat([next(other) for _ in range(3)]).tolist() != epochs[0]


class Sequential:
    """Twins of batches, each wrong in its own way."""

    def __init__(self, x, size, seed, pick):
        self.x, self.size, self.i, self.pick = x, size, 0, pick
        self.generator = torch.Generator().manual_seed(seed)
        self.order = torch.randperm(len(x), generator=self.generator)

    def __next__(self):
        start, self.i = self.i * self.size % len(self.x), self.i + 1
        return self.x[self.pick(self, start)]


TWINS = {
    "in order": lambda s, start: torch.arange(start, start + s.size),
    "the same order every epoch": lambda s, start: s.order[start : start + s.size],
    "with replacement": lambda s, start: torch.randint(len(s.x), (s.size,), generator=s.generator),
    "from the global state": lambda s, start: torch.randperm(len(s.x))[: s.size],
}


def test_epochs():
    check_epochs(gc.batches)


@pytest.mark.parametrize("name", TWINS)
def test_broken_batches(name):
    must_fail(check_epochs, lambda x, size, seed: Sequential(x, size, seed, TWINS[name]))


def test_last_incomplete_batch_is_dropped():
    stream = gc.batches(torch.arange(10), 4)
    for _ in range(5):
        epoch = torch.cat([next(stream), next(stream)])
        assert len(epoch) == len(epoch.unique()) == 8
    assert len(next(gc.batches(torch.arange(10), 10))) == 10


def test_what_would_go_wrong_in_silence_is_refused():
    x = torch.arange(10)
    for size in (0, 11):
        with pytest.raises(ValueError, match="batch_size"):
            gc.batches(x, size)
    with pytest.raises(ValueError, match="tensors of one length"):
        gc.batches((x, x[:9]), 3)
    with pytest.raises(ValueError, match="split"):
        data.digits("validation")


def test_tuples_stay_together():
    x = torch.arange(20)
    stream = gc.batches((x, x * 10, x.float()[:, None]), 5)
    for _ in range(9):
        a, b, c = next(stream)
        assert torch.equal(b, 10 * a) and torch.equal(c[:, 0], a.float()) and c.shape == (5, 1)
    images = data.digits("test")
    assert isinstance(next(gc.batches((images.x,), 4)), tuple)


def test_global_random_state_is_left_alone():
    gc.seed_everything(0)
    expected = torch.randn(3)
    gc.seed_everything(0)
    next(gc.batches(torch.arange(10), 4, seed=5))
    assert torch.equal(torch.randn(3), expected)


@pytest.mark.parametrize("taken", range(8))
def test_resume_gives_the_very_next_batch(taken):
    stream = gc.batches(torch.arange(10), 3, seed=2)
    for _ in range(taken):
        next(stream)
    state = stream.state_dict()
    expected = [next(stream).tolist() for _ in range(10)]
    other = gc.batches(torch.arange(10), 3, seed=99)
    other.load_state_dict(state)
    assert [next(other).tolist() for _ in range(10)] == expected


def test_resume_over_other_data_is_refused():
    with pytest.raises(ValueError, match="n=10: must be the number of samples, 11"):
        gc.batches(torch.arange(11), 3).load_state_dict(gc.batches(torch.arange(10), 3).state_dict())


# ---- batches of a distribution ----


def test_batches_of_a_distribution_are_fresh():
    gc.seed_everything(0)
    stream = gc.batches(data.mixture_1d([-1, 1], [1, 1]), 100)
    seen = torch.cat([next(stream) for _ in range(20)])
    assert len(seen.unique()) == 2000
    gc.seed_everything(0)
    assert torch.equal(next(stream), seen[:100])  # from torch's global state, and nothing else


def test_batches_from_a_function():
    stream = gc.batches(lambda n: torch.ones(n, 2), 7)
    assert next(stream).shape == (7, 2) and iter(stream) is stream
    assert next(gc.batches(data.ring_of_gaussians(), 5)).shape == (5, 2)
