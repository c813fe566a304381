"""A notebook as a diligent reader leaves it, every stub followed by its solution, and nbval's run of that copy."""

import copy
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import rules
from nbformat.v4 import new_code_cell


def read(path):
    return nbformat.read(path, as_version=4)


def with_solutions(nb):
    """A copy in which each stub cell is followed by a cell that holds the solution and the same check."""
    solved = copy.deepcopy(nb)
    for name, i, solution in reversed(rules.exercises(nb)):
        check = rules.split_stub(rules.text(nb["cells"][i]["source"]))[1]
        cell = new_code_cell(f"{solution}\n{check}", id=f"solved-{name}"[:64], metadata={"solves": name})
        solved["cells"].insert(i + 1, cell)
    return solved


def run_with_nbval(nb, folder):
    """Let nbval run a notebook in a folder of its own: (it passed, what pytest said, the notebook with new outputs).

    nbval compares the cells that begin with ``# NBVAL_CHECK_OUTPUT`` with the outputs that the notebook brings along.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pytest.ini").write_text("[pytest]\n")  # not that of the course
    shutil.copy(Path(__file__).with_name("listening.py"), folder / "conftest.py")
    nbformat.write(nb, folder / "solved.ipynb")
    options = "--nbval-lax --nbval-current-env --nbval-cell-timeout=120 --maxfail=3 --color=no -q -p no:cacheprovider"
    command = [sys.executable, "-m", "pytest", *options.split(), "solved.ipynb"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8")
    said, ran = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr), folder / "ran.ipynb"
    return done.returncode == 0, said, read(ran) if ran.exists() else nb


def verdicts(cell):
    """The first character of everything the cell shows: ✓ or ✗ for a check."""
    return {words.strip()[:1] for out in cell["outputs"] for mime, words in rules.shown(out) if mime == "text/plain"}


def problems(nb, folder):
    """What is wrong with a notebook: cells that fail or print something else, stubs that pass, solutions that do not,
    warnings."""
    passed, said, ran = run_with_nbval(with_solutions(nb), folder)
    if not passed:
        return [said]
    found = []
    for cell in rules.code_cells(ran):
        if "exercise" in cell["metadata"].get("tags", []) and "✗" not in verdicts(cell):
            found.append(f"the untouched stub {cell['id']} does not fail its check")
        if "solves" in cell["metadata"] and "✓" not in verdicts(cell):
            shown = " ".join(words for out in cell["outputs"] for _, words in rules.shown(out))
            found.append(f"the solution of {cell['metadata']['solves']} does not pass: {shown[:200]}")
        for output in cell["outputs"]:
            words = " ".join(words for _, words in rules.shown(output))
            if output.get("name") == "stderr" and (told := rules.text_problems(words)):
                found.append(f"cell {cell['id']} {'; '.join(told)}")
    return found
