"""Checkpoints: resumed runs equal uninterrupted ones to the last bit; torn, foreign and unwritable files."""

import errno
import signal
from itertools import count

import numpy as np
import pytest
import rehearsal
import torch
from rehearsal import STEPS, Rehearsal

import gencourse as gc
from gencourse import ArgumentError, CheckpointError, checkpoints, fit

pytestmark = pytest.mark.usefixtures("one_thread")


def interrupted_at(run, last):
    def step(x, calls=count()):  # noqa: B008
        if next(calls) == last:
            signal.raise_signal(signal.SIGINT)
        return run.step(x)

    return step


@pytest.fixture
def whole(one_thread, tmp_path_factory):
    """What a run without interruption leaves behind."""
    run = Rehearsal()
    return run.everything(run.fit(tmp_path_factory.mktemp("whole") / "file"))


@pytest.fixture
def saved(one_thread, tmp_path):
    """A checkpoint after 10 steps."""
    run = Rehearsal()
    run.fit(tmp_path / "file", step=interrupted_at(run, 9))
    return tmp_path / "file"


# ---- bit-exact ----


def check_resume(whole, folder, stops=(9,)):
    """Stopped after so many more steps, gone on with as new objects, seeded otherwise: the same to the last bit."""
    for i, stop in enumerate(stops):
        run = Rehearsal(seed=50 + i if i else 0)
        assert run.fit(folder / "file", step=interrupted_at(run, stop)).interrupted
    last = Rehearsal(seed=99)
    assert last.everything(last.fit(folder / "file")) == whole


@pytest.mark.parametrize("stops", [(0,), (9,), (22,), (2, 2, 2), (5, 6, 7)], ids=str)
def test_resume_is_exact(whole, tmp_path, stops):
    check_resume(whole, tmp_path, stops)


@pytest.mark.parametrize("forgotten", ["net", "optimizer", "schedule", "generator", "batches", "random", "history"])
def test_twin_that_forgets(whole, tmp_path, monkeypatch, forgotten):
    """Whatever is not restored, the comparison sees it."""
    original = checkpoints.resume

    def resume(path, parts, history):
        left = {name: part for name, part in parts.items() if name != forgotten}
        dummy = {forgotten: torch.optim.SGD([torch.zeros(1)])} if forgotten in parts else {}
        monkeypatch.setattr(checkpoints, "_put", lambda part, s: None if part in dummy.values() else put(part, s))
        original(path, {**left, **dummy}, gc.History() if forgotten == "history" else history)

    put = checkpoints._put
    monkeypatch.setattr(checkpoints, "resume", resume)
    if forgotten == "random":
        monkeypatch.setattr(checkpoints, "_restore_random_state", lambda state: None)
    with pytest.raises(AssertionError):
        check_resume(whole, tmp_path)


def test_finished_run_is_not_run_again(tmp_path):
    run = Rehearsal()
    first = run.fit(tmp_path / "file")
    again = Rehearsal().fit(tmp_path / "file", step=lambda x: pytest.fail("trained again"))
    assert dict(again) == dict(first) and again.steps == STEPS and not again.interrupted


def test_longer_run_goes_on(tmp_path):
    Rehearsal().fit(tmp_path / "file", steps=5, snapshot=None)
    part = Rehearsal(seed=1)
    history = part.fit(tmp_path / "file", steps=12, snapshot=None)
    resumed = part.everything(history)
    straight = Rehearsal()
    assert resumed == straight.everything(straight.fit(tmp_path / "other", steps=12, snapshot=None))


def test_saved_every_so_often(tmp_path, monkeypatch):
    saves, original = [], checkpoints.save
    monkeypatch.setattr(checkpoints, "save", lambda *a: saves.append(a[2].steps) or original(*a))
    Rehearsal().fit(tmp_path / "a")
    assert saves == [STEPS]  # 30 seconds have not passed
    monkeypatch.setattr(checkpoints, "SECONDS_BETWEEN", -1.0)
    Rehearsal().fit(tmp_path / "b")
    assert saves[1:] == [*range(1, STEPS + 1), STEPS]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]  # no temporary file is left


def test_folder_is_made(tmp_path):
    Rehearsal().fit(str(tmp_path / "new" / "folder" / "file"), steps=1)
    assert (tmp_path / "new" / "folder" / "file").exists()


# ---- torn files ----


def check_torn(read, saved):
    content = saved.read_bytes()
    lengths = [0, 1, 10, len(checkpoints._MAGIC), 40, 54, 55, 56, len(content) // 2, len(content) - 1]
    damaged = [content[:length] for length in lengths] + [content + b"\0"]
    for place in range(0, len(content), len(content) // 40):
        damaged.append(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    for torn in damaged:
        saved.write_bytes(torn)
        with pytest.raises(CheckpointError, match=r"is damaged or is no checkpoint.*Delete it to start afresh"):
            read(saved)
    saved.write_bytes(content)
    assert read(saved)["history"]["steps"] == 10


def test_torn_file_is_never_read(saved):
    check_torn(checkpoints._read, saved)


def test_twin_without_the_digest(saved):
    def trusting(path):
        body = path.read_bytes()[len(checkpoints._MAGIC) + 32 :]
        try:
            return torch.load(checkpoints.io.BytesIO(body), weights_only=True)
        except Exception:
            raise CheckpointError("is damaged or is no checkpoint. Delete it to start afresh") from None

    with pytest.raises((AssertionError, pytest.fail.Exception)):
        check_torn(trusting, saved)


def test_torn_file_stops_fit_and_stays(saved):
    torn = saved.read_bytes()[:1000]
    saved.write_bytes(torn)
    run = Rehearsal()
    before = run.everything(gc.History())["parts"]
    with pytest.raises(CheckpointError):
        run.fit(saved)
    assert run.everything(gc.History())["parts"] == before and saved.read_bytes() == torn


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        Rehearsal().fit(tmp_path)


# ---- disks that refuse ----


@pytest.mark.parametrize("where", ["open", "write", "fsync", "replace"])
def test_full_disk(saved, monkeypatch, where):
    """The old file is intact, the history is in the exception, and no temporary file is left."""
    before = saved.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def opened(name, mode):
        file = full() if where == "open" else open(name, mode)
        if where == "write":
            file.write = full
        return file

    monkeypatch.setattr(checkpoints, "open", opened, raising=False)
    if where in ("fsync", "replace"):
        monkeypatch.setattr(checkpoints.os, where, full)
    with pytest.raises(CheckpointError, match=r"could not be written \(No space left on device\)") as caught:
        Rehearsal().fit(saved)
    assert saved.read_bytes() == before and [p.name for p in saved.parent.iterdir()] == ["file"]
    assert caught.value.history.steps == STEPS


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="could not be written"):
        checkpoints.save(tmp_path / "file" / "below", {}, gc.History())


# ---- files that do not fit ----


def other(**changes):
    run = Rehearsal(seed=3)
    for name, part in changes.items():
        run.state[name] = part
    return run


MISFITS = {
    "another width": (lambda: other(net=torch.nn.Linear(4, 1)), "does not fit 'net'"),
    "another optimizer": (lambda: other(optimizer=torch.optim.SGD([torch.zeros(2)])), "does not fit 'optimizer'"),
    "exchanged": (lambda: other(net=Rehearsal().optimizer), "does not fit 'net'"),
    "no generator": (lambda: other(generator=torch.nn.Linear(1, 1)), "does not fit 'generator'"),
    "one more part": (
        lambda: other(ema=torch.nn.Linear(1, 1)),
        r"holds \['batches', 'generator'.*give \['batches', 'ema'",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfits_change_nothing(saved, name):
    make, message = MISFITS[name]
    run, content = make(), saved.read_bytes()
    before = {k: rehearsal.plain(checkpoints._get(part)) for k, part in run.state.items()}
    with pytest.raises(CheckpointError, match=message):
        run.fit(saved)
    assert {k: rehearsal.plain(checkpoints._get(part)) for k, part in run.state.items()} == before
    assert saved.read_bytes() == content


def test_other_data_is_refused(saved):
    run = Rehearsal()
    run.stream = gc.batches(torch.randn(21, 4), 6)
    with pytest.raises(CheckpointError, match=r"does not fit 'batches': n=20: must be the number of samples, 21"):
        run.fit(saved)


@pytest.mark.parametrize("snapshot", [lambda: np.zeros(3), lambda: lambda: None, object], ids=["array", "λ", "object"])
def test_what_could_not_be_loaded_is_refused_when_saved(saved, snapshot):
    before = saved.read_bytes()
    with pytest.raises(CheckpointError, match=r"could not be loaded again.*only tensors, numbers, text"):
        Rehearsal().fit(saved, snapshot=snapshot)
    assert saved.read_bytes() == before


def test_snapshots_of_tensors_are_kept(tmp_path):
    grab = lambda: {"w": [torch.ones(2), 1.5, "text", None, (1, True)]}
    first = Rehearsal().fit(tmp_path / "file", snapshot=grab)
    again = Rehearsal().fit(tmp_path / "file", snapshot=grab)
    assert rehearsal.plain(again.snapshots) == rehearsal.plain(first.snapshots) and len(again.snapshots) == 5


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"state": None}, "state=None: must be a dictionary of all that training changes"),
        ({"state": {}}, "state={}"),
        ({"state": {"G": 3}}, "state={'G': 3}"),
        ({"state": {"batches": torch.nn.Linear(1, 1)}}, "none of them named 'batches'"),
        ({"batches": count()}, r"batches='count': must be gc.batches\(...\) or gc.draws\(...\), which can resume"),
        ({"checkpoint": 3}, "checkpoint=3: must be a path"),
    ],
)
def test_arguments(tmp_path, changes, named):
    good = {
        "checkpoint": tmp_path / "f",
        "state": {"G": torch.nn.Linear(1, 1)},
        "batches": gc.batches(torch.ones(3), 1),
    }
    with pytest.raises(ArgumentError, match=named):
        fit(lambda x: {"v": 0.0}, steps=2, **{**good, **changes})
    assert not list(tmp_path.iterdir())
