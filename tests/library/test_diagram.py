"""Data-flow diagrams: boxes and arrows stand where they are asked for."""

import numpy as np

import gencourse as gc

BOXES = {"$z$": (0, 0), "$G$": (1, 0), "$x$": (2, 0)}


def test_an_arrow_adds_ink_where_it_runs():
    without = gc.plot.diagram(BOXES, [], alt="Three boxes.")
    dashed = gc.plot.diagram(BOXES, [("$x$", "$z$", "updates", "dashed")], alt="Three boxes and an arrow back.")
    assert without.size == dashed.size
    below = slice(without.image.height * 3 // 4, None)
    rows = [np.asarray(p.image.convert("L"))[below] for p in (without, dashed)]
    assert (rows[0] < 250).sum() == 0, "nothing hangs below the boxes"
    assert (rows[1] < 250).sum() > 100, "the dashed arrow and its label run below"


def test_a_diagram_grows_with_its_rows():
    tall = gc.plot.diagram(BOXES | {"$D$": (1, 2)}, [], alt="Four boxes in two rows.")
    assert tall.size[1] > gc.plot.diagram(BOXES, [], alt="Three boxes.").size[1]
