"""Lesson plans: one for each notebook, with cells that exist and numbers that were printed."""

import re

import nbformat
import pytest
import run
import slides

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
TEXT = (run.ROOT / "book" / "lessons.md").read_text(encoding="utf-8")
PLANS = {plan[:2]: plan for plan in re.split(r"(?m)^## ", TEXT)[1:]}
CELL = re.compile(r"`([a-z][a-z0-9]*(?:-[a-z0-9]+)+)`")


def test_every_notebook_has_its_plan():
    assert list(PLANS) == [path.stem[:2] for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_plan_speaks_of_its_notebook(path):
    nb, plan = nbformat.read(path, as_version=4), PLANS[path.stem[:2]]
    named = set(CELL.findall(plan))
    assert named and named <= {cell["id"] for cell in nb["cells"]}
    assert slides.typed_numbers(nb, plan) == []
    assert slides.typed_numbers(nb, plan + " 123.456789") == ["123.456789"]
