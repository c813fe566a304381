"""The classifier behind the measures: trained once, kept whole, the same each time; with broken twins."""

import signal
import time

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn
from torch.testing import assert_close
from twins import must_fail

import gencourse as gc
from gencourse import classifier, data
from gencourse.metrics import digit_classifier

STEPS = 30
NAME = f"classifier-digits-{STEPS}.safetensors"


@pytest.fixture(autouse=True)
def folders(monkeypatch, tmp_path, one_thread):
    """Empty folders in place of the data and the cache folder, and small digits in place of MNIST."""
    monkeypatch.setattr(classifier, "root", lambda: tmp_path / "data")
    monkeypatch.setattr(classifier, "cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(classifier.data, "mnist", data.digits)
    monkeypatch.setattr(classifier, "device", lambda: torch.device("cpu"))
    return tmp_path / "data", tmp_path / "cache"


@pytest.fixture
def trainings(monkeypatch):
    """The list of trainings: one entry each."""
    done, train = [], classifier._train
    monkeypatch.setattr(classifier, "_train", lambda *a: done.append(a[-1]) or train(*a))
    return done


def weights(net):
    return {name: v.clone() for name, v in net.state_dict().items()}


def equal(a, b):
    a, b = weights(a), weights(b)
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


# ---- checks: each takes a way to get the classifier ----


def check_ready(get):
    """In evaluation mode, frozen, and it has learnt something."""
    net, test = get(STEPS), data.digits("test")
    assert not any(m.training for m in net.modules()) and not any(p.requires_grad for p in net.parameters())
    assert (net(test.x).argmax(1) == test.y).float().mean() > 0.6


def check_global_state(get):
    """Random numbers go on as if nothing had been trained, or read."""
    for _ in range(2):
        before = torch.get_rng_state()
        get(STEPS)
        assert torch.equal(torch.get_rng_state(), before)


def check_same_each_time(get, kept):
    """Whatever the random state is, two trainings give the same weights to the last bit."""
    torch.manual_seed(1)
    first = get(STEPS)
    kept.unlink()
    torch.manual_seed(2)
    assert equal(first, get(STEPS))


def check_replaced(get, kept):
    """A damaged file is not believed, and is whole afterwards."""
    good = weights(get(STEPS))
    whole = kept.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"x" * 100, safetensors.torch.save({"a": torch.ones(3)})):
        kept.write_bytes(damaged)
        assert_close(weights(get(STEPS)), good, atol=0, rtol=0)
        assert kept.read_bytes() == whole


# ---- kept, and believed only if whole ----


def test_trained_once_and_then_read(folders, trainings, monkeypatch):
    check_ready(digit_classifier)
    assert trainings == [STEPS] and [f.name for f in folders[0].iterdir()] == [NAME]
    first = digit_classifier(STEPS)
    monkeypatch.setattr(classifier, "_train", lambda *a: pytest.fail("trained again"))
    check_ready(digit_classifier)
    assert equal(first, digit_classifier(STEPS))
    must_fail(lambda steps: digit_classifier(steps), STEPS + 1)  # another number of steps is another classifier


def test_what_is_not_ready_is_caught():
    must_fail(check_ready, lambda steps: digit_classifier(steps).train())
    must_fail(check_ready, lambda steps: digit_classifier(steps).requires_grad_(True))
    must_fail(check_ready, lambda steps: classifier.DigitClassifier().eval().requires_grad_(False))


def test_read_from_the_cache_folder_too(folders, trainings):
    first = digit_classifier(STEPS)
    folders[1].mkdir()
    (folders[0] / NAME).rename(folders[1] / NAME)
    assert equal(first, digit_classifier(STEPS)) and trainings == [STEPS]


def test_smoke_steps_are_few(folders, trainings, monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "smoke")
    digit_classifier()
    assert trainings[0] <= 100


def test_same_each_time(folders):
    kept = folders[0] / NAME
    check_same_each_time(digit_classifier, kept)

    def unseeded(steps):
        net = digit_classifier(steps)
        nn.init.normal_(net.head.bias)
        return net

    must_fail(lambda get: check_same_each_time(get, kept), unseeded)


def test_global_state_is_left_alone():
    check_global_state(digit_classifier)
    must_fail(check_global_state, lambda steps: (classifier.DigitClassifier(), digit_classifier(steps))[1])


def test_damaged_files_are_replaced(folders, monkeypatch):
    kept = folders[0] / NAME
    check_replaced(digit_classifier, kept)

    def credulous(net, path):
        return path.exists()

    kept.unlink()
    monkeypatch.setattr(classifier, "_read", credulous)
    must_fail(lambda get: check_replaced(get, kept), digit_classifier)


# ---- folders that take nothing, and interrupts ----


def test_a_folder_that_cannot_be_written(folders, trainings, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(classifier, "root", lambda: tmp_path / "file" / "data")
    first = digit_classifier(STEPS)
    assert (folders[1] / NAME).exists()  # the next best folder
    assert equal(first, digit_classifier(STEPS)) and trainings == [STEPS]
    monkeypatch.setattr(classifier, "cache", lambda: tmp_path / "file" / "cache")
    assert equal(first, digit_classifier(STEPS)) and trainings == [STEPS] * 2  # none: it trains each time


def test_a_full_disk(folders, monkeypatch):
    def full(tensors, path):
        raise SafetensorError("I/O error: No space left on device")

    monkeypatch.setattr(classifier.safetensors.torch, "save_file", full)
    check_ready(digit_classifier)
    assert list(folders[0].iterdir()) == []  # no half file, no folder left


def test_half_a_training_is_not_kept(folders, monkeypatch):
    def interrupted(step, batches, steps, **options):
        def stopping(batch):
            signal.raise_signal(signal.SIGINT)
            return step(batch)

        return gc.fit(stopping, batches, steps, **options)

    monkeypatch.setattr(classifier, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        digit_classifier(STEPS)
    assert not any(folder.exists() for folder in folders)


# ---- the real one ----


@pytest.mark.skipif(not gc.data.found("MNIST"), reason="MNIST is not in the data folder: see GENCOURSE_DATA")
def test_the_whole_training(monkeypatch, tmp_path):
    monkeypatch.undo()  # MNIST itself, but still an empty cache: the data folder may be read-only, or hold weights
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(classifier, "root", classifier.cache)
    monkeypatch.setattr(classifier, "device", lambda: torch.device("cpu"))
    began = time.process_time()  # of this one thread: what the clock shows where nothing else runs
    net = digit_classifier(steps=1400)
    seconds = time.process_time() - began
    assert (tmp_path / "gencourse" / "classifier-MNIST-1400.safetensors").exists()
    test = data.mnist("test")
    assert (torch.cat([net(x).argmax(1) for x in test.x.split(1000)]) == test.y).float().mean() >= 0.985
    assert seconds <= 60, f"training took {seconds:.0f} s of processor time"
