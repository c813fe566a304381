"""The students' edition, the doctor, and the commands that teachers call."""

import os
import subprocess
import sys

import editions
import nbformat
import pytest
import rules
import run
import solving

from gencourse import doctor

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))


@pytest.fixture(scope="module")
def students(tmp_path_factory):
    out = tmp_path_factory.mktemp("editions") / "student"
    editions.student_edition(NOTEBOOKS, out)
    return out


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_students_edition_has_all_but_the_solutions(path, students):
    teacher, student = solving.read(path), solving.read(students / path.name)
    nbformat.validate(student)
    known = rules.exercises(teacher)
    kept = rules.exercises(student)
    assert [name for name, _, _ in kept] == [name for name, _, _ in known] and known
    assert all(solution is None for _, _, solution in kept)
    everything = "\n".join(rules.text(cell["source"]) for cell in student["cells"])
    assert "{solution}" not in everything
    for _, _, solution in known:
        assert solution not in everything
    assert all(cell["outputs"] == [] for cell in rules.code_cells(student))
    assert rules.code_hash(student) == rules.code_hash(teacher)  # stubs and checks are the same
    for word in ("theorem", "exercise", "proof", "definition"):
        count = [sum(word in kind for _, kind, _, _ in rules.directives(nb)) for nb in (teacher, student)]
        assert count[0] == count[1], word


def test_the_round_trip_from_stub_to_solution(students, tmp_path):
    """In the students' notebook every stub fails; with the teacher's solutions put in, every one passes."""
    path = next(path for path in NOTEBOOKS if path.stem == "01_distances")
    teacher, student = solving.read(path), solving.read(students / path.name)
    solutions = {name: solution for name, _, solution in rules.exercises(teacher)}
    handed_in = nbformat.from_dict(student)
    for name, i, _ in reversed(rules.exercises(student)):
        cell = nbformat.v4.new_markdown_cell(
            f"````{{solution}} {name}\n:class: dropdown\n\n```python\n{solutions[name]}\n```\n````",
            id=f"sol-{name}"[:64],
        )
        handed_in["cells"].insert(i + 1, cell)
    problems, _ = solving.solve(handed_in, path.parent)
    assert problems == []


def test_a_solution_with_text_around_it_is_cut_out():
    source = "Before.\n\n````{solution} ex-1\n:class: dropdown\n\n```python\na = 1\n```\n````\n\nAfter."
    assert editions.without_solutions(source) == ("Before.\n\n\nAfter.", True)
    assert editions.without_solutions("Nothing.") == ("Nothing.", False)


def test_the_doctor_says_what_is_well_and_what_to_do(monkeypatch, tmp_path):
    findings = doctor.examine()
    names = {finding.what for finding in findings}
    assert {"Python", "torch", "device", "memory", "disk", "data", "browser", "weights"} <= names
    assert all(finding.well for finding in findings if finding.what in ("Python", "torch", "JupyterLab", "weights"))
    monkeypatch.setenv("GENCOURSE_PROFILE", "fast")
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    monkeypatch.setattr(doctor, "USUAL", ())
    monkeypatch.setattr(doctor, "OTHERS", ())
    named = ("profile", "data", "browser")  # what else is wrong depends on the machine
    bad = {finding.what: finding for finding in doctor.examine() if not finding.well and finding.what in named}
    assert set(bad) == set(named)
    assert all(finding.remedy for finding in bad.values())
    said = doctor.report(list(bad.values()))
    assert said.count("->") == 3 and "3 of 3 lines need you" in said
    assert str(tmp_path) not in said
    assert doctor.report([doctor.Finding(True, "a", "b")]).endswith("Ready.")


def test_the_doctor_is_a_program_that_fails_where_something_is_missing(tmp_path):
    """One screen, and an exit code for scripts."""
    environment = {**os.environ, "GENCOURSE_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "gencourse.doctor"], capture_output=True, text=True, env=environment)
    assert done.returncode == 1 and "NO  data" in done.stdout and done.stderr == ""
    assert len(done.stdout.splitlines()) <= 24


@pytest.mark.browser
def test_a_page_is_printed_whole(built):
    path, out = NOTEBOOKS[0], built.parent / "pdf"
    editions.printed([path], out)
    printed = (out / f"{path.stem}.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and len(printed) > 100_000
    (built / "notebooks" / f"{path.stem}.html").rename(built / "gone.html")
    try:
        with pytest.raises(SystemExit, match="make book"):
            editions.printed([path], out)
    finally:
        (built / "gone.html").rename(built / "notebooks" / f"{path.stem}.html")
