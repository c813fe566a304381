"""A lecture on a whole notebook: nothing long is trained, and what is shown is what the page shows."""

import re
import time

import nbformat
import pytest
import rules
import run

from gencourse.archives import found

STEM = "02_gan"
TRAINED = ("digits-train", "priors", "winning", "recovery")


def words(nb, name):
    """All text that a cell shows."""
    cell = next(cell for cell in nb["cells"] if cell["id"] == name)
    return "\n".join(text for out in cell["outputs"] for mime, text in rules.shown(out) if mime == "text/plain")


@pytest.fixture(scope="module")
def lecture(tmp_path_factory):
    """The notebook as a lecture shows it, and the minutes that it took."""
    nb = nbformat.read(run.NOTEBOOKS / f"{STEM}.ipynb", as_version=4)
    away = {"GENCOURSE_MODELS": str(tmp_path_factory.mktemp("own")), "GENCOURSE_PROFILE": "laptop"}
    started = time.monotonic()
    run.execute(nb, run.NOTEBOOKS, frames=False, GENCOURSE_LECTURE="1", **away)
    return nb, (time.monotonic() - started) / 60


def test_no_training_cell_of_a_lecture_trains(lecture):
    nb, minutes = lecture
    page = nbformat.read(run.NOTEBOOKS / f"{STEM}.ipynb", as_version=4)
    for name in TRAINED:
        assert "steps/s" in words(page, name), "the committed run has trained here"
        assert "steps/s" not in words(nb, name), name
    assert minutes < page["metadata"]["gencourse"]["minutes"]["laptop"]


@pytest.mark.skipif(not found("MNIST"), reason="the weights were trained on MNIST, which is not here")
@pytest.mark.parametrize("name", ["priors-result", "recovery", "winning-table"])
def test_a_lecture_shows_the_numbers_of_the_page(name, lecture):
    page = nbformat.read(run.NOTEBOOKS / f"{STEM}.ipynb", as_version=4)
    table = [re.sub(r"(?m)^.*steps/s.*\n?", "", words(nb, name)) for nb in (page, lecture[0])]
    numbers = [[float(number) for number in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", text)] for text in table]
    assert len(numbers[0]) == len(numbers[1]) >= 5
    for here, there in zip(*numbers, strict=True):
        assert there == pytest.approx(here, rel=0.05, abs=1e-4)
