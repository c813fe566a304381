"""Every committed notebook: fresh outputs, the house's rules, and a run in which every exercise is solved.

nbval runs the same notebooks once more, cell by cell. Each rule has its broken twin: a notebook that breaks it.
"""

import copy
from pathlib import Path

import pace
import pytest
import rules
import run
import sample
import solving
from nbclient.exceptions import CellExecutionError

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
MOST_SECONDS = 60
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_outputs_are_those_of_one_clean_run_of_this_code(path):
    assert rules.freshness_problems(solving.read(path)) == []


@each_notebook
def test_outputs_hold_no_path_no_warning_no_widget_and_no_silent_picture(path):
    assert rules.output_problems(solving.read(path)) == []
    assert path.stat().st_size <= rules.MOST_BYTES


@each_notebook
def test_sources_and_exercises_keep_the_conventions(path):
    nb = solving.read(path)
    assert rules.source_problems(nb) + rules.exercise_problems(nb) == []


@each_notebook
def test_stubs_fail_solutions_pass_within_a_minute(path):
    before = pace.slowness()
    problems, seconds = solving.solve(solving.read(path), path.parent)
    assert problems == []
    said = f"{path.stem} took {seconds:.0f} s under smoke, at most {MOST_SECONDS} s on a quiet machine"
    assert pace.within(seconds, MOST_SECONDS, before), said


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The sample as the run tool saves it."""
    path = tmp_path_factory.mktemp("notebooks") / "sample.ipynb"
    run.nbformat.write(sample.notebook(), path)
    assert run.run(path) == []
    return path


@pytest.fixture
def nb(saved):
    return copy.deepcopy(solving.read(saved))


def cell(nb, name):
    return next(c for c in nb["cells"] if c["id"] == name)


def stream(words, name="stdout"):
    return run.nbformat.v4.new_output("stream", name=name, text=words)


def html(words):
    return run.nbformat.v4.new_output("display_data", data={"text/html": words})


def test_the_run_tool_saves_a_notebook_that_keeps_every_rule(nb, saved):
    for check in (rules.freshness_problems, rules.output_problems, rules.source_problems, rules.exercise_problems):
        assert check(nb) == []
    assert "gc-player" in str(cell(nb, "explore")["outputs"])
    assert nb["metadata"]["gencourse"]["minutes"] == {"smoke": pytest.approx(0.5, abs=0.5)}
    before = saved.read_text(encoding="utf-8")
    assert run.run(saved) == []
    again = solving.read(saved)
    again["metadata"]["gencourse"]["minutes"] = nb["metadata"]["gencourse"]["minutes"]
    assert again == solving.nbformat.reads(before, as_version=4), "a second run changes nothing but the minutes"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print('/home/ada/course/x.py')", "absolute path"),
        ("import warnings; warnings.warn('mind the gap')", "stderr"),
        ("import matplotlib.pyplot as plt; plt.plot([1, 2]);", "bare image"),
        ("import ipywidgets; ipywidgets.IntSlider()", "widget"),
        ("1 / 0", "ZeroDivisionError"),
        ("print(('x' * 99 + chr(10)) * 31_000)", "bytes"),
    ],
)
def test_the_run_tool_refuses_to_save(source, reason, tmp_path):
    path = tmp_path / "bad.ipynb"
    bad = run.nbformat.v4.new_notebook(cells=[run.nbformat.v4.new_code_cell(source, id="bad")])
    run.nbformat.write(bad, path)
    before = path.read_text()
    assert reason in str(run.run(path))
    assert path.read_text() == before
    kept = tmp_path / ".refused" / "bad.ipynb"  # what it took minutes to make, unless a cell failed
    assert kept.exists() == (source != "1 / 0")


def drop_alt(nb):
    cell(nb, "explore")["outputs"].append(html('<img src="data:image/png;base64,AAAA" alt="">'))


STALE = {
    "code has changed": lambda nb: cell(nb, "setup").update(source="import torch"),
    "execution counts": lambda nb: cell(nb, "check").update(execution_count=7),
    "never run": lambda nb: nb["metadata"].pop("gencourse"),
    "the times": lambda nb: cell(nb, "setup")["metadata"].update(execution={"shell.execute_reply": "now"}),
}
SPOILT = {
    "absolute path": lambda nb: cell(nb, "check")["outputs"].append(stream("see /home/ada/course/x.py")),
    "path: 'C:": lambda nb: cell(nb, "check")["outputs"].append(stream(r"see C:\Users\ada")),
    "a warning": lambda nb: cell(nb, "check")["outputs"].append(stream("UserWarning: mind the gap")),
    "stderr": lambda nb: cell(nb, "check")["outputs"].append(stream("oops", name="stderr")),
    "alternative text": drop_alt,
}
CARELESS = {
    "lines, at most": lambda nb: cell(nb, "setup").update(source="x = 1\n" * 26),
    "without an assertion": lambda nb: cell(nb, "check").update(source="# NBVAL_CHECK_OUTPUT\nprint(1)"),
    "has no # NBVAL": lambda nb: cell(nb, "check").update(source="print(1)"),
    "path": lambda nb: cell(nb, "setup").update(source="open('/home/ada/x')"),
    "alternative text": lambda nb: cell(nb, "title").update(source="![](x.png)"),
}
CLUMSY = {
    "no label": lambda nb: cell(nb, "ex-2").update(source="```{exercise} Nameless\nDo it.\n```"),
    "tagged exercise": lambda nb: cell(nb, "stub-2")["metadata"].update(tags=[]),
    "no gc.check": lambda nb: cell(nb, "stub-2").update(source="print(1)"),
    "no folded solution": lambda nb: cell(nb, "sol-2").update(source="It is 2."),
    "at least 4": lambda nb: nb["cells"].remove(cell(nb, "ex-2")),
    "find the bug": lambda nb: cell(nb, "ex-1").update(source=cell(nb, "ex-2")["source"]),
}


def twins(check, breakages):
    return [pytest.param(check, words, broken, id=words) for words, broken in breakages.items()]


@pytest.mark.parametrize(
    ("check", "words", "broken"),
    [
        *twins(rules.freshness_problems, STALE),
        *twins(rules.output_problems, SPOILT),
        *twins(rules.source_problems, CARELESS),
        *twins(rules.exercise_problems, CLUMSY),
    ],
)
def test_each_rule_reports_its_broken_twin(check, words, broken, nb):
    assert words not in "\n".join(check(nb))
    broken(nb)
    assert words in "\n".join(check(nb))


def test_the_solved_run_reports_a_wrong_solution_a_solved_stub_and_a_warning(nb, tmp_path):
    assert solving.solve(nb, tmp_path)[0] == []
    wrong = cell(nb, "sol-2")
    wrong["source"] = wrong["source"].replace("return 2", "return 5")
    stub = cell(nb, "stub-3")
    stub["source"] = stub["source"].replace("...", "return 3")
    cell(nb, "check")["source"] += "\nimport warnings; warnings.warn('mind the gap')"
    found = solving.solve(nb, tmp_path)[0]
    problems = "\n".join(found)
    assert "the solution of ex-2 does not pass" in problems
    assert "the untouched stub stub-3 does not fail" in problems
    assert "cell check holds an absolute path" in problems
    assert "UserWarning: mind the gap" in problems
    assert len(found) == 3


def test_a_cell_that_fails_stops_the_solved_run(nb, tmp_path):
    cell(nb, "check")["source"] = "assert False"
    with pytest.raises(CellExecutionError):
        solving.solve(nb, tmp_path)


def test_measure_records_minutes_and_keeps_the_outputs(saved, tmp_path):
    path = tmp_path / "copy.ipynb"
    before = solving.read(saved)
    before["metadata"]["gencourse"]["minutes"] = {"gpu": 1.5}
    run.nbformat.write(before, path)
    assert run.measure(path) == []
    after = solving.read(path)
    assert set(after["metadata"]["gencourse"]["minutes"]) == {"gpu", "smoke"}
    assert after["cells"] == before["cells"]
    assert "[copy](notebooks/copy.ipynb): A small sample | not measured | 1.5 min |" in run.course_map(Path(tmp_path))
