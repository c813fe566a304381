"""Pictures with captions: what is held out stays out, and the judges read real pictures."""

import pytest
import torch
from twins import must_fail

import gencourse as gc
from experiments import captions


@pytest.fixture(scope="module")
def digits():
    return gc.data.mnist("test")


def few(digits, count=400, **options):
    return captions.captioned(gc.data.Images(digits.x[:count], digits.y[:count], digits.name), **options)


def test_held_out_pairs_never_occur_in_training(digits):
    words = few(digits, 4000).words
    assert not captions.held_out(words).any()
    everything = few(digits, 4000, unseen=True).words
    assert 0.15 < captions.held_out(everything).float().mean() < 0.25  # one ink of five
    pairs = {tuple(pair) for pair in words[:, :2].tolist()}
    assert len(pairs) == 10 * 4
    for kind, first in zip(captions.KINDS, captions.FIRST):  # each word of each kind, and of no other
        column = captions.FIRST.index(first)
        assert sorted(set(words[:, column].tolist())) == list(range(first, first + len(kind)))


def check_judges(read, pictures):
    classifier = gc.metrics.digit_classifier()
    right = (read(pictures.x, classifier) == pictures.words).float().mean(0)
    assert right[0] > 0.95 and (right[1:] == 1).all(), right


def test_judges_read_real_pictures(digits):
    pictures = few(digits, unseen=True)
    check_judges(captions.read, pictures)
    must_fail(lambda read: check_judges(read, pictures), lambda x, c: captions.read(x.flip(1), c))  # blue for red
    must_fail(lambda read: check_judges(read, pictures), lambda x, c: captions.read(x.flip(3), c))  # right for left
    noisy = pictures._replace(x=(pictures.x + 0.1 * torch.randn_like(pictures.x)).clamp(-1, 1))
    check_judges(captions.read, noisy)


def test_a_picture_is_what_its_caption_says(digits):
    words = torch.tensor([[7, 10, 15, 20]])  # a red seven on white, top left
    seven = digits.x[digits.y == 7][:1]
    picture = captions.paint(seven, words)[0]
    assert picture.shape == (3, 32, 32)
    assert (picture[:, 20:] == 1).all() and (picture[:, :, 20:] == 1).all()  # white paper elsewhere
    darkest = picture[:, :20, :20].mean(0).argmin()
    red, green, blue = picture[:, :20, :20].flatten(1)[:, darkest]
    assert red > 0.5 and green < -0.5 and blue < -0.5
    assert captions.caption(words[0]) == "a red seven on white, top left"
