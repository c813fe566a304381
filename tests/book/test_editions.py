"""The students' edition, the paper edition, and the doctor."""

import os
import subprocess
import sys

import doctor
import editions
import nbformat
import pytest
import rules
import run
import solving

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_students_edition_has_all_but_the_solutions(path, tmp_path):
    """Stubs, checks and statements are the teacher's, so the solutions of the one solve the other."""
    editions.student_edition([path], tmp_path)
    teacher, student = solving.read(path), solving.read(tmp_path / path.name)
    nbformat.validate(student)
    known, kept = rules.exercises(teacher), rules.exercises(student)
    assert [name for name, _, _ in kept] == [name for name, _, _ in known] and known
    assert all(solution is None for _, _, solution in kept)
    everything = "\n".join(rules.text(cell["source"]) for cell in student["cells"])
    assert "{solution}" not in everything
    assert not any(solution in everything for _, _, solution in known)
    assert all(cell["outputs"] == [] for cell in rules.code_cells(student))
    assert rules.code_hash(student, "laptop") == rules.code_hash(teacher, "laptop")
    kinds = [[kind for _, kind, _, _ in rules.directives(nb) if kind != "solution"] for nb in (teacher, student)]
    assert kinds[0] == kinds[1]


def test_a_solution_with_text_around_it_is_cut_out():
    source = "Before.\n\n````{solution} ex-1\n:class: dropdown\n\n```python\na = 1\n```\n````\n\nAfter."
    assert editions.without_solutions(source) == ("Before.\n\n\nAfter.", True)
    assert editions.without_solutions("Nothing.") == ("Nothing.", False)


def test_the_doctor_says_what_is_well_and_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("GENCOURSE_PROFILE", "fast")
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(doctor, "find_chromium", lambda: None)
    well, text = doctor.report()
    lines = text.splitlines()
    assert not well and str(tmp_path) not in text
    for name in ("Python", "packages"):
        assert any(line.startswith(f"ok  {name}") for line in lines)
    for name in ("profile", "data", "browser"):
        [at] = [i for i, line in enumerate(lines) if line.startswith(f"NO  {name}")]
        assert "-> " in lines[at + 1]
    monkeypatch.setattr(doctor, "LOOKS", {"sky": (lambda: (True, "blue"), "")})
    assert doctor.report() == (True, "ok  sky       blue\nReady.")


def test_the_doctor_is_a_program_that_fails_where_something_is_missing(tmp_path):
    """One screen, and an exit code for scripts."""
    environment = {**os.environ, "GENCOURSE_DATA": str(tmp_path)}
    command = [sys.executable, doctor.__file__]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 1 and "NO  data" in done.stdout and done.stderr == ""
    assert len(done.stdout.splitlines()) <= 24


@pytest.mark.browser
@pytest.mark.xdist_group("book")
def test_a_page_is_printed_whole(built, monkeypatch, tmp_path):
    path, out = NOTEBOOKS[0], built.parent / "pdf"
    editions.printed([path], out)
    printed = (out / f"{path.stem}.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and len(printed) > 100_000
    with pytest.raises(SystemExit, match="make book"):
        editions.printed([path], tmp_path / "pdf")
