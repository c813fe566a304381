"""Finished weights: what is loaded is what was trained, up to half precision; a lecture trains nothing."""

import hashlib
import signal

import pytest
import torch
from archive_server import ArchiveServer
from torch import nn
from twins import must_fail

import gencourse as gc
from gencourse import weights
from gencourse.data import images

NAME = "03_dcgan/a-run"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCOURSE_SAVE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("GENCOURSE_WEIGHTS", str(tmp_path))
    monkeypatch.delenv("GENCOURSE_LECTURE", raising=False)
    monkeypatch.setitem(images.stands_for, "MNIST", "MNIST")
    torch.manual_seed(0)
    return tmp_path


@pytest.fixture
def lecture(folder, monkeypatch):
    """Turns what was saved so far into the course's finished weights, and the lecture on."""

    def start():
        files = sorted(folder.glob("*/*.pt.xz"))
        sums = [f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.parent.name}/{f.name}" for f in files]
        (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
        monkeypatch.setenv("GENCOURSE_LECTURE", "1")

    return start


class Masked(nn.Module):
    """A network with weights, a mask that training leaves alone, and the counters of batch normalization."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.register_buffer("mask", torch.rand(4).round())

    def forward(self, x):
        return self.norm(self.first(x)) * self.mask


def training(net, steps=20):
    optimizer = torch.optim.Adam(net.parameters(), 0.1)

    def step(x):
        loss = (net(x) - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    data = gc.batches(torch.randn(50, 3), 10)
    return lambda: gc.fit(step, data, steps, snapshot=lambda: net(torch.ones(2, 3)).detach(), snapshots=30, quiet=True)


def never():
    raise AssertionError("a lecture must not train")


def test_self_study_trains_even_when_there_is_something_to_load():
    for steps in (20, 30):
        net = Masked()
        assert gc.load_or_train(NAME, training(net, steps), net=net).steps == steps


def test_a_lecture_gets_weights_history_and_random_state_back(lecture):
    net, other = Masked(), Masked(seed=1)
    history = gc.load_or_train(NAME, training(net), net=net)
    expected, x = torch.rand(3), torch.randn(9, 3)
    lecture()
    loaded = gc.load_or_train(NAME, never, net=other)
    assert torch.rand(3).equal(expected)
    torch.testing.assert_close(other.eval()(x), net.eval()(x), rtol=0, atol=5e-3)
    assert other.norm.num_batches_tracked == net.norm.num_batches_tracked > 0
    assert loaded == history and list(loaded) == ["loss"]
    assert (loaded.steps, loaded.seconds) == (history.steps, history.seconds)
    assert len(loaded.snapshots) == 9 < len(history.snapshots)
    for i, (step, snapshot) in enumerate(zip(loaded.snapshot_steps, loaded.snapshots)):
        torch.testing.assert_close(snapshot, history.snapshots[history.snapshot_steps.index(step)], rtol=0, atol=2e-3)
        assert i or step == 0


def check_result(roundtrip, lecture):
    """Numbers, text and whole numbers come back exactly, float32 up to half precision, everything in its place."""
    x = torch.randn(7, 3)
    given = {"a": [1, 2.5, "text", None, True], ("b", 0): (x, x.double(), torch.arange(3))}
    given["net"] = Masked().state_dict()
    roundtrip(NAME, lambda: given)
    lecture()
    found = roundtrip(NAME, never)
    assert list(found) == list(given) and found["a"] == given["a"]
    half, double, whole = found["b", 0]
    assert half.dtype == torch.float32 and half.equal(x.half().float())
    assert double.equal(x.double()) and whole.equal(torch.arange(3))
    Masked(seed=1).load_state_dict(found["net"])


def test_results_of_every_kind(lecture):
    check_result(gc.load_or_train, lecture)


def test_a_result_that_is_always_trained_is_caught(lecture):
    must_fail(lambda f: check_result(f, lecture), lambda name, train: train())


def test_numbers_too_large_for_half_precision_stay_whole(lecture):
    gc.load_or_train(NAME, lambda: torch.tensor([1e6]))
    lecture()
    assert gc.load_or_train(NAME, never).item() == 1e6


def test_a_view_does_not_bring_all_that_it_is_a_view_of(folder):
    big = torch.randn(1_000_000)
    gc.load_or_train(NAME, lambda: {"some": big[:10]})
    assert (folder / f"{NAME}.pt.xz").stat().st_size < 20_000


def test_nothing_is_saved_unless_asked(folder, monkeypatch):
    monkeypatch.delenv("GENCOURSE_SAVE_WEIGHTS")
    assert gc.load_or_train(NAME, lambda: 1) == 1
    assert not list(folder.iterdir())


def test_what_was_interrupted_is_not_saved(folder):
    def step(x):
        signal.raise_signal(signal.SIGINT)
        return {"v": 0.0}

    with pytest.raises(gc.TrainingStopped):
        gc.load_or_train(NAME, lambda: gc.fit(step, gc.batches(torch.arange(4), 2), 10))
    assert not list(folder.iterdir())


def test_a_lecture_without_weights_trains_and_says_so(lecture):
    lecture()
    with pytest.warns(UserWarning, match="trains now"):
        assert gc.load_or_train(NAME, lambda: "trained") == "trained"


def test_load_weights(lecture):
    net, other = Masked(), Masked(seed=1)
    history = gc.load_or_train(NAME, training(net), net=net)
    lecture()
    card = gc.load_weights(NAME, net=other)
    assert card["name"] == NAME and card["steps"] == history.steps and card["seconds"] == history.seconds
    torch.testing.assert_close(other.first.weight, net.first.weight, rtol=1e-3, atol=1e-3)


def test_what_does_not_fit_is_refused(folder, lecture):
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    lecture()
    with pytest.raises(gc.DataError, match="other networks"):
        gc.load_weights(NAME, net=nn.Linear(3, 5))
    with pytest.raises(gc.DataError, match="other networks"):
        gc.load_weights(NAME, critic=net)
    with pytest.raises(gc.DataError, match="no finished weights"):
        gc.load_weights("03_dcgan/never-trained", net=net)
    path = folder / f"{NAME}.pt.xz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(gc.DataError, match="checksum"):
        gc.load_weights(NAME, net=net)


@pytest.fixture
def installed(folder, monkeypatch):
    """A course without its repository: no folder of weights, and a server that hands them out."""
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    file = folder / f"{NAME}.pt.xz"
    listed = f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {NAME}.pt.xz\n".encode()
    monkeypatch.delenv("GENCOURSE_WEIGHTS")
    monkeypatch.setenv("GENCOURSE_DATA", str(folder / "data"))
    monkeypatch.setattr(weights, "__file__", str(folder / "site-packages" / "gencourse" / "weights.py"))
    with ArchiveServer({"SHA256SUMS": listed, file.name: file.read_bytes()}) as server:
        monkeypatch.setattr(weights, "ADDRESS", server.url)
        yield net, server


def test_without_the_repository_weights_are_downloaded_once(installed):
    net, server = installed
    for seed in (1, 2):
        other = Masked(seed)
        assert gc.load_weights(NAME, net=other)["name"] == NAME
        torch.testing.assert_close(other.first.weight, net.first.weight, rtol=1e-3, atol=1e-3)
    assert sorted(server.asked) == ["SHA256SUMS", "a-run.pt.xz"]


def test_a_damaged_download_is_refused(installed):
    net, server = installed
    server.files["a-run.pt.xz"] = server.files["a-run.pt.xz"][:-1]
    with pytest.raises(gc.DataError, match="checksum"):
        gc.load_weights(NAME, net=net)


def test_no_network_is_said(installed, monkeypatch):
    monkeypatch.setattr(weights, "ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(gc.DataError, match=r"could not be downloaded.*Connect to a network, or train"):
        gc.load_weights(NAME, net=installed[0])


COLLIDING = ["digits", "03_dcgan/Digits", "03_dcgan/a run", "03_dcgan/数字", "../x/y", "03_dcgan/a/b"]


@pytest.mark.parametrize("name", COLLIDING)
def test_names_that_could_collide_are_refused(name):
    with pytest.raises(ValueError, match="lower-case"):
        gc.load_or_train(name, never)


def test_weights_of_another_data_set_are_refused(lecture, monkeypatch):
    """A network of MNIST beside the digits that stand in for it would make every number of a page wrong."""
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    lecture()
    gc.load_or_train(NAME, never, net=net)  # without images, as for toys and texts, it does not matter what is here
    monkeypatch.setitem(images.stands_for, "MNIST", "digits")
    with pytest.raises(gc.DataError, match="trained on MNIST, and digits is what you have here"):
        gc.load_or_train(NAME, never, net=net)
    assert gc.load_weights(NAME, net=net)["data"] == "MNIST"


def test_the_course_has_its_weights(monkeypatch):
    """Every file is listed with its checksum, can be loaded, and all together are small."""
    monkeypatch.delenv("GENCOURSE_WEIGHTS")
    listed = dict(reversed(line.split()) for line in (weights.folder() / "SHA256SUMS").read_text().splitlines())
    files = sorted(weights.folder().glob("*/*.*"))
    assert {f"{file.parent.name}/{file.name}" for file in files} == set(listed)
    assert sum(file.stat().st_size for file in files if file.suffix == ".xz") <= 60_000_000
    for file in (file for file in files if file.suffix == ".xz" and file.parent.name != "finished"):
        card = gc.load_weights(f"{file.parent.name}/{file.name.removesuffix('.pt.xz')}")
        assert card["name"] == f"{file.parent.name}/{file.name.removesuffix('.pt.xz')}"
