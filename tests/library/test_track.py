"""A loop of runs: track goes through a list with one line, and a quiet fit shows nothing; with broken twins."""

import json
import subprocess
import sys
from itertools import count

import pytest
import torch
from tqdm import tqdm
from twins import must_fail

from gencourse import GencourseError, TrainingDiverged, fit, track


def step(x):
    return {"loss": torch.tensor(1.0 / (x + 1)), "D": 0.5}


# ---- track ----


def check_items(loop):
    """Each item, once, in order; it need not have a length; nothing before the item is asked for."""
    assert list(loop("abc")) == ["a", "b", "c"]
    assert list(loop(n * n for n in range(5))) == [0, 1, 4, 9, 16]
    assert list(loop({"a": 1, "b": 2})) == ["a", "b"]
    assert [(a, b) for a, b in loop([(1, 2), (3, 4)])] == [(1, 2), (3, 4)]
    mine = [1, 2, 3]
    for n in loop(mine):
        mine.append(n)  # what changes on the way is not gone through
        assert len(mine) < 9
    assert mine == [1, 2, 3, 1, 2, 3]


def lines(shown):
    """The states of the bar that were on the screen one after another, and the number of lines that are left."""
    return [part for part in shown.split("\r") if part.strip()], shown.count("\n")


def check_one_line(loop, capfd):
    capfd.readouterr()
    for n in loop(range(3), label="seeds"):
        fit(step, count(n), 5, quiet=True)
    shown = capfd.readouterr()
    states, ends = lines(shown.err)
    assert shown.out == "" and ends == 1  # the library never prints
    assert all(state.startswith("seeds: ") for state in states)
    assert "0%" in states[0] and "100%" in states[-1] and "3/3" in states[-1]


TWINS = {
    "in the reverse order": lambda items, label="": track(list(items)[::-1]),
    "without the last": lambda items, label="": track(list(items)[:-1]),
    "of numbered items": lambda items, label="": enumerate(track(items)),
    "of the list itself": lambda items, label="": iter(items),
}


def test_track(capfd):
    check_items(track)
    check_one_line(track, capfd)


@pytest.mark.parametrize("name", TWINS)
def test_broken_track(name):
    must_fail(check_items, TWINS[name])


def test_a_loop_of_other_lines_is_caught(capfd):
    def loud(items, label):
        for n in items:
            fit(step, count(), 3, label=label)
            yield n

    for twin in (loud, lambda items, label: items, lambda items, label: tqdm(items, disable=True)):
        must_fail(lambda loop: check_one_line(loop, capfd), twin)


def test_a_loop_that_ends_early_says_where(capfd):
    for n in track(range(5), label="seeds"):
        if n == 2:
            break
    states, ends = lines(capfd.readouterr().err)
    assert "2/5" in states[-1] and ends == 1  # two were finished


def test_an_error_in_the_loop_comes_through(capfd):
    with pytest.raises(GencourseError, match="ended after 1"):
        [fit(step, [0], 2, quiet=True) for _ in track([1, 2])]
    assert capfd.readouterr().out == ""


SCRIPT = """
import json
from gencourse import track
print(json.dumps([n * n for n in track(range(4), label="squares")]))
"""


def test_in_a_process_without_kernel_or_terminal():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout) == [0, 1, 4, 9]
    assert "squares: 100%" in done.stderr and "4/4" in done.stderr and "Traceback" not in done.stderr


# ---- a quiet fit ----


def check_quiet(loop, capfd):
    """Nothing on either stream, not even an empty line, and the same history."""
    capfd.readouterr()
    history = loop(step, count(), 40, label="never shown", snapshot=lambda: 1, snapshots=3)
    assert capfd.readouterr() == ("", "")
    loud = fit(step, count(), 40, snapshot=lambda: 1, snapshots=3)
    assert capfd.readouterr().err
    assert history == loud and list(history) == list(loud) and history.steps == loud.steps == 40
    assert history.snapshots == loud.snapshots and history.snapshot_steps == loud.snapshot_steps


def fewer(step, batches, steps, **options):
    return fit(step, batches, steps - 1, quiet=True, **options)


def printing(step, batches, steps, **options):
    print()
    return fit(step, batches, steps, quiet=True, **options)


def test_quiet(capfd):
    check_quiet(lambda *a, **k: fit(*a, **k, quiet=True), capfd)
    for twin in (fit, fewer, printing):
        must_fail(lambda loop, twin=twin: check_quiet(loop, capfd), twin)


def test_quiet_still_says_what_went_wrong(capfd):
    with pytest.raises(TrainingDiverged, match="loss became nan at step 2"):
        fit(lambda x: {"loss": float("nan") if x else 0.0}, count(), 5, quiet=True)
    assert capfd.readouterr() == ("", "")
