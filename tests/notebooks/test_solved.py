"""Every notebook runs once under the smoke profile: nbval runs a copy in which every exercise is solved.

Checked cells must print what is committed, stubs must fail their checks and solutions must pass, and no cell may
write a warning. `--durations` of pytest says how long each takes; a minute on two cores is the aim.
"""

import copy

import pytest
import run
import sample
import solving


def minutes(path):
    return solving.read(path)["metadata"].get("gencourse", {}).get("minutes", {}).get("laptop", 99)


LONGEST_FIRST = sorted(run.NOTEBOOKS.glob("*.ipynb"), key=minutes, reverse=True)
EACH = [pytest.param(path, marks=pytest.mark.xdist_group(path.stem), id=path.stem) for path in LONGEST_FIRST]


@pytest.mark.parametrize("path", EACH)
def test_a_notebook_runs_and_its_solutions_pass(path, tmp_path):
    assert solving.problems(solving.read(path), tmp_path) == []


@pytest.fixture
def nb():
    """The sample, with the output of its checked cell as a run would leave it."""
    made = copy.deepcopy(sample.notebook())
    check = sample.cell(made, "check")
    check.update(execution_count=2, outputs=[solving.nbformat.v4.new_output("stream", text="mass 1.00\n")])
    return made


def test_a_wrong_solution_a_solved_stub_and_a_warning_are_reported(nb, tmp_path):
    wrong, stub = sample.cell(nb, "sol-2"), sample.cell(nb, "stub-3")
    wrong["source"] = wrong["source"].replace("return 2", "return 5")
    stub["source"] = stub["source"].replace("...", "return 3")
    sample.cell(nb, "setup")["source"] += "\nimport warnings; warnings.warn('mind the gap')"
    found = solving.problems(nb, tmp_path)
    said = "\n".join(found)
    assert len(found) == 3
    assert "the solution of ex-2 does not pass" in said
    assert "the untouched stub stub-3 does not fail" in said
    assert "UserWarning: mind the gap" in said


def test_a_cell_that_fails_or_prints_something_else_is_reported(nb, tmp_path):
    sample.cell(nb, "check")["source"] += "\nprint('and more')"
    sample.cell(nb, "explore")["source"] += "\nraise ValueError('broken')"
    [said] = solving.problems(nb, tmp_path)
    assert "Cell outputs differ" in said and "and more" in said and "ValueError: broken" in said
