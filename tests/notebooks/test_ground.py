"""What the course stands on: the lock, the commands, the documents, and the size of the files."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import pytest
import run
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course

ROOT = run.ROOT
MOST_LINES, MOST_FUNCTION_LINES = 300, 40
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = ("3.11", "3.12", "3.13")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def tracked(*patterns):
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def lock_problems(lock, wanted):
    """What is wrong with a lock: lines that are no pin, requirements not pinned, pins outside their range."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    found = [f"not a pin: {line}" for line in lines if not re.fullmatch(r"[\w.-]+==[\w.!+]+( ; .+)?", line)]
    pins = {canonicalize_name(line.split("==")[0]): re.split("==| ;", line)[1] for line in lines if "==" in line}
    for requirement in map(Requirement, wanted):
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is None:
            found.append(f"{requirement.name} is not pinned")
        elif not requirement.specifier.contains(pin):
            found.append(f"{requirement.name} {pin} is outside {requirement.specifier}")
    return found


WANTED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]


def test_the_lock_pins_everything_that_the_project_asks_for():
    assert lock_problems(read("requirements.lock"), WANTED) == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (r"(?m)^jupyterlab==.*", "jupyterlab==4.6.0", "jupyterlab 4.6.0 is outside"),
        (r"(?m)^pot==.*\n", "", "POT is not pinned"),
        (r"(?m)^tqdm==", "tqdm>=", "not a pin: tqdm>="),
        (r"(?m)^tqdm==.*", "tqdm @ file:///wheels/tqdm.whl", "not a pin: tqdm @"),
        (r"(?m)^tqdm==", "--index-url https://example.org\ntqdm==", "not a pin: --index-url"),
    ],
)
def test_a_broken_lock_is_reported(old, new, problem):
    lock, count = re.subn(old, new, read("requirements.lock"))
    assert count == 1
    assert problem in "\n".join(lock_problems(lock, WANTED))


def test_torch_and_torchvision_are_the_pair_from_one_build():
    pins = dict(re.findall(r"(?m)^(torch|torchvision)==(\S+)$", read("requirements.lock")))
    assert pins == {"torch": "2.14.1", "torchvision": "0.29.1"}


def test_the_course_starts_on_exactly_the_supported_pythons():
    assert PROJECT["requires-python"] == ">=3.11,<3.14"
    assert [course.supported((3, minor)) for minor in range(10, 15)] == [False, True, True, True, False]
    assert not course.supported((2, 7))


def test_a_stale_environment_is_noticed(tmp_path):
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).write_text("a")
    wanted = course.fingerprint(tmp_path, (3, 12, 1))
    assert not course.ready(tmp_path, wanted), "never finished"
    (tmp_path / "gencourse.stamp").write_text(wanted + "\n")
    assert course.ready(tmp_path, wanted)
    assert course.fingerprint(tmp_path, (3, 12, 9)) == wanted
    assert course.fingerprint(tmp_path, (3, 13, 1)) != wanted
    (tmp_path / "requirements.lock").write_text("b")
    assert not course.ready(tmp_path, course.fingerprint(tmp_path, (3, 12, 1)))


def test_a_wrong_python_and_a_wrong_command_get_a_sentence(monkeypatch):
    monkeypatch.setattr(course.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(course, "other_python", lambda: None)
    with pytest.raises(SystemExit, match=r"This is Python 3\.9, and the course needs Python 3\.11, 3\.12 or 3\.13"):
        course.main(["lab"])
    with pytest.raises(SystemExit, match=r"usage: python3 course\.py lab"):
        course.main(["lap"])


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C in another way")
def test_ctrl_c_is_left_to_the_program_that_runs():
    """JupyterLab asks whether to stop, and training saves: neither may be killed meanwhile."""
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert course.outcome([sys.executable, "-c", "import time; time.sleep(1.5); raise SystemExit(7)"]) == 7
    timer.join()
    assert signal.getsignal(signal.SIGINT) is before


def test_conda_gets_the_same_packages():
    conda = yaml.safe_load(read("environment.yml"))
    assert conda["name"] == "gencourse"
    python, pip = conda["dependencies"][0], conda["dependencies"][-1]["pip"]
    assert python.removeprefix("python=") in SUPPORTED
    assert pip == ["-r requirements.lock", "-e ."]


def commands_in(document):
    """The make targets and course.py commands that a document tells its reader to use."""
    patterns = r"\bmake ([a-z]+)\b(?!\s+[a-z])", r"course\.py ([a-z]+)"
    return {name for pattern in patterns for name in re.findall(pattern, document)}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "book/intro.md", ".github/workflows/book.yml"])
def test_documents_name_only_commands_that_exist(document):
    targets = set(re.findall(r"(?m)^([a-z]+):", read("Makefile")))
    assert {"lab", "test", "book", "run", "lint"} <= targets
    assert commands_in(read(document)) <= targets | set(course.COMMANDS)
    assert commands_in("`make tea`, course.py cake") == {"tea", "cake"}


@pytest.mark.skipif(not shutil.which("make"), reason="no make here: course.py does the same")
def test_make_passes_each_target_on_to_the_one_script():
    for target in ("lab", "test", "book", "run", "lint"):
        shown = subprocess.run(["make", "-n", target, "NB=02_gan"], cwd=ROOT, capture_output=True, text=True)
        assert f"course.py {target}" in shown.stdout


def test_the_readme_maps_the_course_as_measured():
    readme = read("README.md")
    assert run.MAP.search(readme)[0] == run.MAP.sub(lambda m: m[1] + run.course_map() + m[2], run.MAP.search(readme)[0])


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_notebook_states_the_measured_minutes(path):
    nb = run.nbformat.read(path, as_version=4)
    assert run.rules.text(nb["cells"][0]["source"]) == run.headed(nb), "run: python book/run.py map"
    assert "**Time to run.** On two cores" in run.headed(nb)
    nb["metadata"]["gencourse"]["minutes"] = {"laptop": 77.7}
    assert run.rules.text(nb["cells"][0]["source"]) != run.headed(nb), "a stale time is noticed"


def test_links_of_the_documents_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", read(document)):
            assert (ROOT / target).exists(), f"{document} links to {target}"


def lengths(source):
    """(lines of the file, longest function) of a Python source."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return len(source.splitlines()), max([f.end_lineno - f.lineno + 1 - doc_lines(f) for f in functions], default=0)


def doc_lines(function):
    first = function.body[0]
    docstring = ast.get_docstring(function, clean=False)
    return first.end_lineno - first.lineno + 1 if docstring else 0


def test_files_and_functions_are_short():
    assert lengths("def f():\n    '''Say.'''\n    return 1\n") == (3, 2)
    assert lengths("x = 1\n" * 301)[0] > MOST_LINES
    for path in tracked("*.py"):
        lines, longest = lengths(path.read_text(encoding="utf-8"))
        assert lines <= MOST_LINES, f"{path.name} has {lines} lines"
        assert longest <= MOST_FUNCTION_LINES, f"{path.name} has a function of {longest} lines"


def test_no_file_names_a_machine():
    places = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/\w")
    allowed = {"rules.py", "test_notebooks.py", "test_ground.py"}
    for path in tracked("*.py", "*.md", "*.toml", "*.yml", "Makefile", ".ci/run", "*.lock"):
        assert path.name in allowed or not places.search(path.read_text(encoding="utf-8")), path.name


def test_the_package_is_installed_from_here_and_for_this_python():
    assert f"{sys.version_info[0]}.{sys.version_info[1]}" in SUPPORTED
    import gencourse

    assert ROOT in Path(gencourse.__file__).parents
