"""Checkpoints: resumed runs equal uninterrupted ones to the last bit; torn, foreign and unwritable files."""

import errno
import signal
from itertools import count

import pytest
import rehearsal
import torch
from rehearsal import STEPS, Rehearsal

import gencourse as gc
from gencourse import DataError, train

pytestmark = pytest.mark.usefixtures("one_thread")


def stopped_at(run, last, path):
    """Train, press the button in this step, and see that it stops."""

    def step(x, calls=count()):  # noqa: B008
        if next(calls) == last:
            signal.raise_signal(signal.SIGINT)
        return run.step(x)

    with pytest.raises(gc.TrainingStopped):
        run.fit(path, step=step)


@pytest.fixture
def whole(one_thread, tmp_path_factory):
    """What a run without interruption leaves behind."""
    run = Rehearsal()
    return run.everything(run.fit(tmp_path_factory.mktemp("whole") / "file"))


@pytest.fixture
def saved(one_thread, tmp_path):
    """A checkpoint after 10 steps."""
    stopped_at(Rehearsal(), 9, tmp_path / "file")
    return tmp_path / "file"


# ---- bit-exact ----


def check_resume(whole, folder, stops=(9,)):
    """Stopped after so many more steps, gone on with as new objects, seeded otherwise: the same to the last bit."""
    for i, stop in enumerate(stops):
        run = Rehearsal(seed=50 + i if i else 0)
        stopped_at(run, stop, folder / "file")
    last = Rehearsal(seed=99)
    assert last.everything(last.fit(folder / "file")) == whole


@pytest.mark.parametrize("stops", [(0,), (9,), (22,), (2, 2, 2), (5, 6, 7)], ids=str)
def test_resume_is_exact(whole, tmp_path, stops):
    check_resume(whole, tmp_path, stops)


@pytest.mark.parametrize("forgotten", ["net", "optimizer", "schedule", "generator", "batches"])
def test_twin_that_forgets_a_part(whole, tmp_path, monkeypatch, forgotten):
    """Whatever is not restored, the comparison sees it."""
    original = train._load_checkpoint

    def load(path, parts, history):
        class Forgetful:
            def load_state_dict(self, state):
                pass

        original(path, {**parts, forgotten: Forgetful()}, history)

    monkeypatch.setattr(train, "_load_checkpoint", load)
    with pytest.raises(AssertionError):
        check_resume(whole, tmp_path)


@pytest.mark.parametrize("forgotten", ["random.setstate", "numpy.random.set_state", "torch.set_rng_state"])
def test_twin_that_forgets_a_random_state(whole, tmp_path, monkeypatch, forgotten):
    monkeypatch.setattr(forgotten, lambda state: None)
    with pytest.raises(AssertionError):
        check_resume(whole, tmp_path)


def test_finished_run_is_not_run_again(tmp_path):
    run = Rehearsal()
    first = run.fit(tmp_path / "file")
    again = Rehearsal().fit(tmp_path / "file", step=lambda x: pytest.fail("trained again"))
    assert dict(again) == dict(first) and again.steps == STEPS


def test_longer_run_goes_on(tmp_path):
    Rehearsal().fit(tmp_path / "file", steps=5, snapshot=None)
    part = Rehearsal(seed=1)
    history = part.fit(tmp_path / "file", steps=12, snapshot=None)
    resumed = part.everything(history)
    straight = Rehearsal()
    assert resumed == straight.everything(straight.fit(tmp_path / "other", steps=12, snapshot=None))


def test_saved_every_so_often(tmp_path, monkeypatch):
    saves, original = [], train._save_checkpoint
    monkeypatch.setattr(train, "_save_checkpoint", lambda *a: saves.append(a[2].steps) or original(*a))
    Rehearsal().fit(tmp_path / "a")
    assert saves == [STEPS]  # 30 seconds have not passed
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)
    Rehearsal().fit(tmp_path / "b")
    assert saves[1:] == [*range(1, STEPS + 1), STEPS]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # no temporary file is left


def test_folder_is_made(tmp_path):
    Rehearsal().fit(str(tmp_path / "new" / "folder" / "file"), steps=1)
    assert (tmp_path / "new" / "folder" / "file").exists()


# ---- torn and foreign files, disks that refuse ----


def test_a_torn_file_is_never_resumed_from(saved):
    content = saved.read_bytes()
    for length in [0, 1, 10, 100, len(content) // 2, len(content) - 1]:
        saved.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged"):
            Rehearsal().fit(saved)
        assert saved.read_bytes() == content[:length]


@pytest.mark.parametrize("where", ["open", "fsync", "replace"])
def test_full_disk(saved, monkeypatch, where):
    """The old file is intact, and no temporary file is left."""
    before = saved.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    if where == "open":
        monkeypatch.setattr(train, "open", full, raising=False)
    else:
        monkeypatch.setattr(train.os, where, full)
    with pytest.raises(DataError, match="No space left on device"):
        Rehearsal().fit(saved)
    assert saved.read_bytes() == before and [p.name for p in saved.parent.iterdir()] == ["file"]


def other(**changes):
    run = Rehearsal(seed=3)
    for name, part in changes.items():
        run.state[name] = part
    return run


MISFITS = {
    "another width": lambda: other(net=torch.nn.Linear(4, 1)),
    "another optimizer": lambda: other(optimizer=torch.optim.SGD([torch.zeros(2)])),
    "no generator": lambda: other(generator=torch.nn.Linear(1, 1)),
    "one more part": lambda: other(ema=torch.nn.Linear(1, 1)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfits_are_refused(saved, name):
    content = saved.read_bytes()
    with pytest.raises(DataError, match="made for other networks or optimizers"):
        MISFITS[name]().fit(saved)
    assert saved.read_bytes() == content


def test_other_data_is_refused(saved):
    run = Rehearsal()
    run.stream = gc.batches(torch.randn(21, 4), 6)
    with pytest.raises(DataError, match="the number of samples, 21"):
        run.fit(saved)


def test_snapshots_of_tensors_are_kept(tmp_path):
    grab = lambda: {"w": [torch.ones(2), 1.5, "text", None, (1, True)]}
    first = Rehearsal().fit(tmp_path / "file", snapshot=grab)
    again = Rehearsal().fit(tmp_path / "file", snapshot=grab)
    assert rehearsal.plain(again.snapshots) == rehearsal.plain(first.snapshots) and len(again.snapshots) == 5
