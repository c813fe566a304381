"""A lecture on a whole notebook: nothing long is trained, and what is shown is what the page shows."""

import re

import nbformat
import pytest
import rules
import run

import gencourse as gc

STEM = "02_gan"
SHOW_LOADED = ("priors-result", "recovery")  # cells whose tables come from what was loaded
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not gc.data.found("MNIST"), reason="the weights were trained on MNIST, which is not here"),
]


def printed(nb):
    """cell id -> numbers that the cell prints, the speed of trainings left out."""
    found = {}
    for cell in rules.code_cells(nb):
        words = [text for out in cell["outputs"] for mime, text in rules.shown(out) if mime == "text/plain"]
        said = re.sub(r"(?m)^.*(?:steps/s|steps in).*\n?", "", "\n".join(words))
        found[cell["id"]] = [float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", said)]
    return found


def trains(nb):
    """The cells that call load_or_train, and of them those that have trained: they show a speed."""
    cells = [cell for cell in rules.code_cells(nb) if "gc.load_or_train(" in rules.text(cell["source"])]
    return cells, [cell["id"] for cell in cells if re.search(r"steps/s|steps in", str(cell["outputs"]))]


def test_a_lecture_shows_the_numbers_of_the_page_and_trains_nothing_long():
    page = nbformat.read(run.NOTEBOOKS / f"{STEM}.ipynb", as_version=4)
    lecture = nbformat.from_dict(page)
    seconds = run.execute(lecture, run.NOTEBOOKS, frames=False, GENCOURSE_LECTURE="1", GENCOURSE_PROFILE="laptop")
    assert trains(page)[0] and trains(lecture)[1] == []
    assert seconds < 60 * page["metadata"]["gencourse"]["minutes"]["laptop"]
    here, there = printed(page), printed(lecture)
    for name in SHOW_LOADED:
        assert len(here[name]) >= 5
        assert there[name] == pytest.approx(here[name], rel=0.05, abs=1e-4), name
