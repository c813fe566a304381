"""Running a notebook as a diligent reader does: every stub as it stands, then its solution, both checked."""

import copy
import time

import nbformat
import rules
from nbformat.v4 import new_code_cell
from run import execute


def with_solutions(nb):
    """A copy in which each stub cell is followed by a cell that holds the solution and the same check."""
    solved = copy.deepcopy(nb)
    for name, i, solution in reversed(rules.exercises(nb)):
        check = rules.split_stub(rules.text(nb["cells"][i]["source"]))[1]
        cell = new_code_cell(f"{solution}\n{check}", id=f"solved-{name}"[:64], metadata={"solves": name})
        solved["cells"].insert(i + 1, cell)
    return solved


def verdicts(cell):
    """The first character of everything the cell shows: ✓ or ✗ for a check."""
    return {words.strip()[:1] for out in cell["outputs"] for mime, words in rules.shown(out) if mime == "text/plain"}


def solve(nb, folder):
    """Run the solved copy; returns (problems, seconds)."""
    solved, found = with_solutions(nb), []
    started = time.monotonic()
    execute(solved, folder, frames=False)
    seconds = time.monotonic() - started
    for cell in rules.code_cells(solved):
        tags = cell["metadata"].get("tags", [])
        if "exercise" in tags and "✗" not in verdicts(cell):
            found.append(f"the untouched stub {cell['id']} does not fail its check")
        if "solves" in cell["metadata"] and "✓" not in verdicts(cell):
            shown = " ".join(words for out in cell["outputs"] for _, words in rules.shown(out))
            found.append(f"the solution of {cell['metadata']['solves']} does not pass: {shown[:200]}")
        for output in cell["outputs"]:
            words = " ".join(words for _, words in rules.shown(output))
            if output.get("name") == "stderr" and (said := rules.text_problems(words)):
                found.append(f"cell {cell['id']} {'; '.join(said)}")
    return found, seconds


def read(path):
    return nbformat.read(path, as_version=4)
