"""A cell that is run once more, after the whole notebook, does what it did before."""

import dis
from pathlib import Path

import nbformat
import pytest
import rules
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def names(source):
    """Names that a cell reads before it sets them, and all that it sets."""
    reads, sets, later = set(), set(), []
    for step in dis.get_instructions(compile(source, "cell", "exec")):
        if step.opname == "STORE_NAME":
            sets.add(step.argval)
        elif step.opname in ("LOAD_NAME", "LOAD_GLOBAL"):
            reads |= {step.argval} - sets
        elif hasattr(step.argval, "co_code"):
            later.append(step.argval)
    for code in later:  # bodies of functions: they run when the cell has run
        steps = list(dis.get_instructions(code))
        reads |= {step.argval for step in steps if step.opname == "LOAD_GLOBAL"} - sets
        later += [step.argval for step in steps if hasattr(step.argval, "co_code")]
    return reads, sets


def problems(cells):
    """What a second run of a cell would read, though another cell has set it since: (id, source) for each cell."""
    known = [(name, *names(source)) for name, source in cells]
    for i, (name, reads, sets) in enumerate(known):
        before = set().union(*(each[2] for each in known[:i]))
        after = sets.union(*(each[2] for each in known[i + 1 :]))
        for word in sorted(reads & before & after):
            yield f"{name} reads {word}, which is set before it, and again in it or after it"


@pytest.mark.parametrize("cells", [
    ["x = 1", "print(x)", "x = 2"], ["x = 1", "x = x + 1"], ["x = 1", "def f():\n    return x", "x = 2"],
    ["x = 1", "[x + i for i in range(3)]", "x = 2"],
])  # fmt: skip
def test_a_name_used_twice_is_noticed(cells):
    assert len(list(problems(list(enumerate(cells))))) == 1


def test_names_that_stay_are_left_alone():
    cells = ["x = 1", "y = [z for z in range(x)]", "def f(z):\n    return z + x", "for z in y:\n    f(z)", "y = 2"]
    assert list(problems(list(enumerate(cells))))[1:] == []


@each_notebook
def test_no_cell_reads_what_a_later_one_has_changed(path):
    nb = nbformat.read(path, as_version=4)
    cells = [(cell.id, cell.source) for cell in rules.code_cells(nb) if "exercise" not in cell.metadata.get("tags", [])]
    assert list(problems(cells)) == []


@pytest.mark.slow
@each_notebook
def test_each_cell_runs_once_more_after_the_whole(path):
    nb = nbformat.read(path, as_version=4)
    client = NotebookClient(nb, timeout=600, resources={"metadata": {"path": path.parent}})
    with client.setup_kernel():
        for _ in range(2):
            for index, cell in enumerate(nb.cells):
                client.execute_cell(cell, index)
