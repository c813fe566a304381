"""Finished weights: what comes back is what was kept, a lecture trains nothing, and no wrong file is taken."""

import hashlib
import re
import signal
from pathlib import Path

import nbformat
import pytest
import rules
import torch
from torch import nn

import gencourse as gc
from gencourse import finished, shelf

NAME = "03_dcgan/a run, seed 0"


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCOURSE_MODELS", str(tmp_path / "models"))
    monkeypatch.delenv("GENCOURSE_LECTURE", raising=False)
    return tmp_path / "models"


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


def test_self_study_trains_even_when_there_is_something_to_load(monkeypatch):
    for steps in (20, 30):
        net = Masked()
        assert gc.load_or_train(NAME, training(net, steps), net=net).steps == steps
    monkeypatch.setenv("GENCOURSE_LECTURE", "0")
    assert gc.load_or_train(NAME, lambda: "trained") == "trained"


def test_a_lecture_gets_weights_history_and_randomness_back(monkeypatch):
    net, other = Masked(), Masked()
    with torch.no_grad():
        for w in other.parameters():
            w.add_(torch.randn_like(w))
    history = gc.load_or_train(NAME, training(net), net=net)
    expected, x = torch.rand(3), torch.randn(9, 3)
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    loaded = gc.load_or_train(NAME, never, net=other)
    assert torch.rand(3).equal(expected)
    torch.testing.assert_close(other.eval()(x), net.eval()(x), rtol=0, atol=5e-3)
    assert other.norm.num_batches_tracked == net.norm.num_batches_tracked > 0
    assert list(loaded) == ["loss"] and loaded["loss"] == pytest.approx(history["loss"], rel=1e-3)
    assert (loaded.steps, loaded.seconds, loaded.interrupted) == (history.steps, history.seconds, False)
    assert len(loaded.snapshots) == 9 < len(history.snapshots)
    assert [loaded.snapshot_steps[i] for i in (0, -1)] == [history.snapshot_steps[i] for i in (0, -1)]
    torch.testing.assert_close(loaded.snapshots[-1], history.snapshots[-1], rtol=0, atol=5e-3)


def test_what_training_leaves_alone_takes_no_room(own_folder):
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    tensors, card = shelf.read(own_folder / "smoke" / "03_dcgan" / "a-run-seed-0.safetensors")
    assert "net/first.weight" in tensors and "net/mask" not in tensors
    assert tensors["net/first.weight"].dtype == torch.half
    assert card["steps"] == 20 and card["profile"] == "smoke" and card["parameters"] == {"net": 24}


def test_anything_that_a_cell_measures_comes_back(monkeypatch):
    net = Masked()
    images = torch.rand(2, 1, 28, 28) * 2 - 1
    numbers = torch.arange(3), torch.empty(0, 2)
    made = {("DCGAN", 1): [1, 2.5, None, "text", True], "images": images, "numbers": numbers, "network": net}
    gc.load_or_train(NAME, lambda: made, net=Masked(1))
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    found = gc.load_or_train(NAME, never, net=Masked(2))
    assert list(found) == list(made) and found["DCGAN", 1] == made["DCGAN", 1]
    torch.testing.assert_close(found["images"], images, rtol=0, atol=1 / 250)
    assert found["numbers"][0].equal(torch.arange(3)) and found["numbers"][1].shape == (0, 2)
    torch.testing.assert_close(found["network"].first.weight, net.first.weight, rtol=1e-3, atol=1e-4)
    assert found["network"].mask.equal(net.mask)


def test_what_was_kept_can_be_had_without_a_lecture():
    net, other = Masked(), Masked()
    assert gc.kept(NAME, net=other) is None
    gc.load_or_train(NAME, training(net), net=net)
    card = gc.kept(NAME, net=other)
    assert (card["name"], card["profile"], card["steps"], card["parameters"]) == (NAME, "smoke", 20, {"net": 24})
    torch.testing.assert_close(other.first.weight, net.first.weight, rtol=1e-3, atol=1e-4)
    with pytest.raises(gc.DataError, match="other networks"):
        gc.kept(NAME, net=nn.Linear(2, 2))


def test_a_training_that_was_stopped_is_not_kept(own_folder, monkeypatch):
    """Neither one fit alone, nor a loop of fits of which one was stopped: pressing stop ends that fit, not the loop."""

    def stopped():
        signal.raise_signal(signal.SIGINT)
        return {"loss": torch.zeros(())}

    def loop():
        gc.fit(lambda x: stopped(), iter(lambda: 0, None), 5, quiet=True)
        return gc.fit(lambda x: {"loss": 0.0}, iter(lambda: 0, None), 2, quiet=True)

    assert gc.load_or_train(NAME, loop).steps == 2
    assert not own_folder.exists()
    gc.load_or_train(NAME, lambda: 1)
    assert own_folder.exists()


def test_other_networks_and_damaged_files_are_refused(monkeypatch, own_folder):
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    for others in ({"net": nn.Linear(3, 4)}, {"G": Masked()}, {}):
        with pytest.raises(gc.DataError, match="other networks"):
            gc.load_or_train(NAME, never, **others)
    path = own_folder / "smoke" / "03_dcgan" / "a-run-seed-0.safetensors"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(gc.DataError, match="damaged"):
        gc.load_or_train(NAME, never, net=net)


def test_the_weights_of_the_course_are_checked_and_only_for_their_profile(monkeypatch, own_folder, tmp_path):
    monkeypatch.setenv("GENCOURSE_PROFILE", "laptop")
    net = Masked()
    gc.load_or_train(NAME, training(net), net=net)
    course = tmp_path / "weights"
    own_folder.rename(course)
    monkeypatch.setattr(finished, "COURSE", course)
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    path, sums = course / "laptop" / "03_dcgan" / "a-run-seed-0.safetensors", course / "SHA256SUMS"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    sums.write_text(f"{digest}  laptop/03_dcgan/a-run-seed-0.safetensors\n")
    assert gc.load_or_train(NAME, never, net=Masked()).steps == 20
    with pytest.raises(gc.DataError, match=r"notebooks/weights.*GENCOURSE_PROFILE=laptop"):
        gc.load_or_train(NAME, never, net=nn.Linear(2, 2))
    sums.write_text(f"{digest[::-1]}  laptop/03_dcgan/a-run-seed-0.safetensors\n")
    with pytest.raises(gc.DataError, match="checksum"):
        gc.load_or_train(NAME, never, net=Masked())
    sums.unlink()
    with pytest.raises(gc.DataError, match="checksum"):
        gc.load_or_train(NAME, never, net=Masked())
    monkeypatch.setenv("GENCOURSE_PROFILE", "gpu")
    with pytest.warns(UserWarning, match="for profile gpu: this trains now"):
        assert gc.load_or_train(NAME, lambda: "trained", net=Masked()) == "trained"


def test_a_fitting_file_is_found_behind_one_that_does_not_fit(monkeypatch, own_folder, tmp_path):
    monkeypatch.setenv("GENCOURSE_PROFILE", "laptop")
    gc.load_or_train(NAME, lambda: 1, net=nn.Linear(2, 2))
    course = tmp_path / "weights"
    own_folder.rename(course)
    path = course / "laptop" / "03_dcgan" / "a-run-seed-0.safetensors"
    (course / "SHA256SUMS").write_text(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(course).as_posix()}\n"
    )
    monkeypatch.setattr(finished, "COURSE", course)
    gc.load_or_train(NAME, lambda: 2, net=nn.Linear(3, 3))  # your own: another network
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    assert gc.load_or_train(NAME, never, net=nn.Linear(3, 3)) == 2
    assert gc.load_or_train(NAME, never, net=nn.Linear(2, 2)) == 1
    assert gc.kept(NAME, net=nn.Linear(2, 2))["name"] == NAME


def test_what_cannot_be_kept_is_not_lost(monkeypatch, tmp_path):
    with pytest.warns(UserWarning, match="could not be kept"):
        assert gc.load_or_train(NAME, lambda: gc) is gc  # a module: nothing that a file could hold
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("GENCOURSE_MODELS", str(blocked))
    with pytest.warns(UserWarning, match="GENCOURSE_MODELS"):
        assert gc.load_or_train(NAME, lambda: 5) == 5


def test_what_a_full_disk_does_not_take_is_not_lost(monkeypatch):
    def full(*_, **__):
        raise shelf.SafetensorError("No space left on device")

    monkeypatch.setattr(shelf, "save_file", full)
    with pytest.warns(UserWarning, match=r"No space left on device.*Make room"):
        assert gc.load_or_train(NAME, lambda: 5) == 5


def test_large_matrices_take_a_byte_a_number_and_come_back_close(monkeypatch, own_folder):
    torch.manual_seed(0)
    net, other = nn.Linear(100, 100), nn.Linear(100, 100)
    x = torch.randn(50, 100)
    gc.load_or_train(NAME, lambda: x.numpy().mean(), net=net)
    file = own_folder / "smoke" / "03_dcgan" / "a-run-seed-0.safetensors"
    assert shelf.read(file)[0]["net/weight"].dtype == torch.int8
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    assert gc.load_or_train(NAME, never, net=other) == pytest.approx(x.mean().item())
    error = (net(x) - other(x)).std() / net(x).std()
    assert 0 < error < 0.01


def test_images_keep_their_range(monkeypatch):
    bits = (torch.rand(3, 1, 28, 28) > 0.5).float()
    faint = torch.rand(2, 28, 28) * 1e-3
    gc.load_or_train(NAME, lambda: [bits, faint, [faint, faint]])
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    found = gc.load_or_train(NAME, never)
    assert found[0].equal(bits)
    torch.testing.assert_close(found[1], faint, rtol=0, atol=1e-5)


def test_the_course_weights_fit_their_networks(monkeypatch):
    """A finished network of the course is put into the network of its notebook, and draws."""
    monkeypatch.setenv("GENCOURSE_PROFILE", "laptop")
    G, D = gc.nets.DCGANGenerator(64, (64, 32)), gc.nets.DCGANDiscriminator((16, 32))
    assert gc.kept("03_dcgan/digits", G=G, D=D)["steps"] > 1000
    torch.manual_seed(0)
    with torch.no_grad():
        images = G.eval()(torch.randn(200, 64))
        judged = D.eval()(images).sigmoid().mean()
    ink = (images > 0).float().mean()
    assert 0.05 < ink < 0.3 and 0.02 < judged < 0.98  # strokes on black, as digits have


def test_arguments_are_refused(monkeypatch):
    with pytest.raises(gc.ArgumentError, match="name="):
        gc.load_or_train("digits", never)
    with pytest.raises(gc.ArgumentError, match="run="):
        gc.load_or_train(NAME, 3)
    with pytest.raises(gc.ArgumentError, match="net="):
        gc.load_or_train(NAME, never, net=torch.ones(3))
    monkeypatch.setenv("GENCOURSE_LECTURE", "yes")
    with pytest.raises(gc.ArgumentError, match="GENCOURSE_LECTURE"):
        gc.load_or_train(NAME, never)


WEIGHTS = Path(finished.COURSE)
NOTEBOOKS = {path.stem: nbformat.read(path, as_version=4) for path in sorted(WEIGHTS.parent.glob("*.ipynb"))}
TRAINING = [stem for stem, nb in NOTEBOOKS.items() if "gc.load_or_train(" in str(rules.code_cells(nb))]


def test_the_weights_of_the_course_are_small_and_safetensors_only():
    files = [path for path in WEIGHTS.rglob("*") if path.is_file() and path.name != "SHA256SUMS"]
    assert sum(path.stat().st_size for path in files) <= 30_000_000
    assert {path.suffix for path in files} == {".safetensors"}
    listed = dict(reversed(line.split()) for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines())
    assert sorted(listed) == sorted(path.relative_to(WEIGHTS).as_posix() for path in files)
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == listed[path.relative_to(WEIGHTS).as_posix()]


@pytest.mark.parametrize("stem", TRAINING)
def test_the_weights_of_a_notebook_come_from_its_committed_run(stem):
    nb = NOTEBOOKS[stem]
    assert nb["metadata"]["gencourse"]["weights"] == rules.weights_digest(WEIGHTS, stem)
    cards = [shelf.read(path)[1] for path in sorted((WEIGHTS / "laptop" / stem).glob("*"))]
    assert {card["profile"] for card in cards} == {"laptop"}
    called = re.findall(
        rf'load_or_train\(f?"({stem}/[^"{{]*)', "".join(rules.text(c["source"]) for c in rules.code_cells(nb))
    )
    for start in called:  # every call has a file: its name up to the first inserted value
        assert any(card["name"].startswith(start) for card in cards), start
    assert all(card["name"].startswith(f"{stem}/") for card in cards)
