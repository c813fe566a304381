"""The classifier behind the measures: ready to use, the same for all, and what its training gives."""

import pytest
import torch
from twins import must_fail

import gencourse as gc
from experiments.classifier import train_digit_classifier
from gencourse import classifier, data
from gencourse.metrics import digit_classifier


def accuracy(net, images):
    return (torch.cat([net(x).argmax(1) for x in images.x.split(1000)]) == images.y).float().mean()


def check_ready(get):
    """In evaluation mode, frozen, it knows digits, and random numbers go on as if it had not been loaded."""
    before = torch.get_rng_state()
    net, test = get().cpu(), data.digits("test")
    assert torch.get_rng_state().equal(before)
    assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
    assert accuracy(net, test) >= 0.95


def test_ready():
    check_ready(digit_classifier)
    must_fail(check_ready, lambda: digit_classifier().train())
    must_fail(check_ready, lambda: digit_classifier().requires_grad_(True))
    must_fail(check_ready, lambda: (torch.rand(1), digit_classifier())[1])
    must_fail(check_ready, lambda: classifier.DigitClassifier().eval().requires_grad_(False))


def test_training_is_the_same_each_time_and_leaves_the_random_state_alone(monkeypatch):
    monkeypatch.setattr(data, "mnist", data.digits)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = train_digit_classifier(20).state_dict()
    assert torch.get_rng_state().equal(before)
    torch.manual_seed(2)
    second = train_digit_classifier(20).state_dict()
    assert all(first[name].equal(second[name]) for name in first)


@pytest.mark.skipif(not gc.data.found("MNIST"), reason="MNIST is not in the data folder: see GENCOURSE_DATA")
def test_it_names_the_test_digits_of_mnist():
    assert accuracy(digit_classifier().cpu(), data.mnist("test")) >= 0.985


@pytest.mark.slow
@pytest.mark.skipif(not gc.data.found("MNIST"), reason="MNIST is not in the data folder: see GENCOURSE_DATA")
def test_the_whole_training(one_thread):
    net = train_digit_classifier()
    assert accuracy(net, data.mnist("test")) >= 0.985 and accuracy(net, data.digits("test")) >= 0.95
