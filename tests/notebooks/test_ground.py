"""What the course stands on: the lock, the commands, the documents, the size of the library and who imports whom."""

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
import sizes
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import course

ROOT = run.ROOT
LIBRARY = ROOT / "gencourse"
MOST_CODE_LINES = 2510  # of these 120 for the flows of part two, 30 for its samplers, 80 for latents and DiT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SUPPORTED = ("3.11", "3.12", "3.13", "3.14")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


# --- the lock and the environment


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


WANTED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["lab"] + PROJECT["optional-dependencies"]["dev"]


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


def test_conda_gets_the_same_packages():
    conda = yaml.safe_load(read("environment.yml"))
    python, pip = conda["dependencies"][0], conda["dependencies"][-1]["pip"]
    assert python.removeprefix("python=") in SUPPORTED
    assert pip == ["-r requirements.lock", "-e ."]


def test_every_package_of_the_library_is_installed():
    packages = tomllib.loads(read("pyproject.toml"))["tool"]["setuptools"]["packages"]
    there = [path.parent.relative_to(ROOT) for top in ("gencourse", "experiments") for path in
             (ROOT / top).rglob("__init__.py")]  # fmt: skip
    assert sorted(packages) == sorted(path.as_posix().replace("/", ".") for path in there)
    import gencourse

    assert ROOT in Path(gencourse.__file__).parents


# --- course.py


def test_the_course_starts_on_exactly_the_supported_pythons():
    assert PROJECT["requires-python"] == ">=3.11,<3.15"
    assert [course.supported((3, minor)) for minor in range(10, 16)] == [False, True, True, True, True, False]
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


def test_a_folder_that_moved_gets_a_new_environment(tmp_path):
    old, new = tmp_path / "a", tmp_path / "c"
    old.mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        (old / name).write_text("a")
    (old / "gencourse.stamp").write_text(course.fingerprint(old, (3, 12)))
    assert course.ready(old, course.fingerprint(old, (3, 12)))
    old.rename(new)
    assert not course.ready(new, course.fingerprint(new, (3, 12)))


@pytest.mark.parametrize(
    ("system", "machine", "bits", "said"),
    [
        ("Darwin", "x86_64", 64, "Intel processor"),
        ("Darwin", "arm64", 64, None),
        ("Windows", "ARM64", 64, "Python for x64"),
        ("Windows", "AMD64", 64, None),
        ("Windows", "x86", 32, "64 bits"),
        ("Linux", "riscv64", 64, "riscv64"),
        ("Linux", "x86_64", 64, None),
        ("Linux", "aarch64", 64, None),
    ],
)
def test_where_there_is_no_torch_it_is_said_before_anything_is_fetched(system, machine, bits, said, monkeypatch):
    found = course.without_wheels(system, machine, bits)
    assert (said in found) if said else found is None
    monkeypatch.setattr(course, "without_wheels", lambda *_: found)
    monkeypatch.setattr(course, "ready", lambda *_: False)
    monkeypatch.setattr(course.shutil, "rmtree", lambda *_, **__: pytest.fail("went on") if said else sys.exit("on"))
    with pytest.raises(SystemExit, match=said or "on"):
        course.setup()


def test_settings_of_other_programs_stay_outside(monkeypatch, capfd):
    """What is started sees none of them, and the reader is told; the kernel of .venv goes before the reader's own."""
    for name in course.IGNORED:
        monkeypatch.setenv(name, "elsewhere")
    monkeypatch.setattr(course, "setup", lambda uv: None)
    monkeypatch.setattr(course, "program", lambda name: sys.executable)
    look = "import os; print([n for n in os.environ if n in %r], os.environ['JUPYTER_PREFER_ENV_PATH'])"
    original = course.call
    monkeypatch.setattr(course, "call", lambda command: original([sys.executable, "-c", look % (course.IGNORED,)]))
    course.main(["doctor"])
    said = capfd.readouterr().out
    assert "[] 1" in said and all(name in said.splitlines()[0] for name in ("PYTHONPATH", "PIP_USER"))


def test_folders_are_meant_as_seen_from_where_the_command_is_given(tmp_path):
    given = {"GENCOURSE_DATA": "data", "GENCOURSE_WEIGHTS": str(tmp_path), "GENCOURSE_SAVE_WEIGHTS": ""}
    assert course.absolute(given, str(tmp_path)) == {
        "GENCOURSE_DATA": str(tmp_path / "data"), "GENCOURSE_WEIGHTS": str(tmp_path),
    }  # fmt: skip
    assert course.absolute({"GENCOURSE_DATA": "~/d"}, "/") == {"GENCOURSE_DATA": os.path.expanduser("~/d")}


def test_the_environment_is_made_by_uv_where_there_is_one_and_by_pip_elsewhere():
    (venv, install), (pip_venv, pip_install) = course.makers("uv", (3, 13)), course.makers(None, (3, 13))
    assert venv[:2] == ["uv", "venv"] and sys.executable in venv and install[:3] == ["uv", "pip", "install"]
    assert ">=3.11,<3.15" in course.makers("uv", (3, 9))[0], "uv finds or fetches a Python where this one is too old"
    assert pip_venv[:3] == [sys.executable, "-m", "venv"] and pip_install[1:4] == ["-m", "pip", "install"]
    assert install[-4:] == pip_install[-4:] == ["-r", str(ROOT / "requirements.lock"), "-e", str(ROOT)]


def test_a_wrong_python_and_a_wrong_command_get_a_sentence(monkeypatch):
    monkeypatch.setattr(course.sys, "version_info", (3, 9, 1))
    monkeypatch.setattr(course, "other_python", lambda: None)
    monkeypatch.setattr(course.shutil, "which", lambda name: None)
    with pytest.raises(SystemExit, match=r"This is Python 3\.9, and the course needs"):
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


@pytest.mark.parametrize("command", sorted(set(course.COMMANDS) - {"setup"}))
def test_each_command_starts_a_program_that_is_there(command, monkeypatch):
    called = []
    monkeypatch.setattr(course, "setup", lambda uv: None)
    monkeypatch.setattr(course, "call", lambda arguments, **environment: called.append(arguments))
    course.main([command, "--more"])
    assert "--more" in called[-1] or command == "lint"
    for name in (word for word in called[-1] if word.endswith((".py", ".ipynb"))):
        assert (ROOT / name).is_file()
    if called[-1][1] == "-m" and called[-1][2] == "experiments.contest":
        assert (ROOT / "experiments" / "contest.py").is_file()


# --- documents


def commands_in(document):
    """The make targets and course.py commands that a document tells its reader to use."""
    patterns = r"\bmake ([a-z-]+)\b(?!\s+[a-z])", r"course\.py ([a-z-]+)"
    return {name for pattern in patterns for name in re.findall(pattern, document)}


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "book/intro.md", ".github/workflows/book.yml"])
def test_documents_name_only_commands_that_exist(document):
    targets = set(re.findall(r"(?m)^([a-z-]+):", read("Makefile")))
    assert commands_in(read(document)) <= targets | set(course.COMMANDS)
    assert commands_in("`make tea`, course.py cake") == {"tea", "cake"}


@pytest.mark.skipif(not shutil.which("make"), reason="no make here: course.py does the same")
def test_make_passes_each_target_on_to_the_one_script():
    for target in set(course.COMMANDS) - {"setup"}:
        shown = subprocess.run(["make", "-n", target, "NB=02_gan"], cwd=ROOT, capture_output=True, text=True)
        assert f"course.py {target}" in shown.stdout


def test_the_readme_maps_the_whole_course():
    named = re.findall(r"(?m)^\| \[(\w+)\]\(notebooks/\1\.ipynb\)", run.MAP.search(read("README.md"))[0])
    assert named == [path.stem for path in sorted(run.NOTEBOOKS.glob("*.ipynb"))]


def test_links_of_the_documents_lead_somewhere():
    for document in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", read(document)):
            assert (ROOT / target).exists(), f"{document} links to {target}"


def test_no_file_names_a_machine():
    places = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/\w")
    allowed = {"rules.py", "test_notebooks.py", "test_ground.py"}
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for path in (ROOT / name for name in listed if re.search(r"\.(py|md|toml|yml|lock)$|Makefile|\.ci/run", name)):
        if path.is_file() and path.name not in allowed:
            assert not places.search(path.read_text(encoding="utf-8")), path.name


# --- the library


def test_the_library_is_thin():
    assert sizes.code_lines('"""Say."""\n\n# why\ndef f(x):\n    """Say."""\n    return f(\n        x\n    )\n') == 4
    assert sum(sizes.code_lines(path.read_text(encoding="utf-8")) for path in LIBRARY.rglob("*.py")) <= MOST_CODE_LINES


# Each may import those before it; those in ALONE nothing but what stands in the first line.
BASE = ("errors", "runtime")
ORDER = (
    *BASE, "data", "progress", "train", "weights", "losses", "likelihoods", "distances", "diffusion", "samplers",
    "nets", "autoregressive", "classifier", "metrics",
)  # fmt: skip
ALONE = ("nets", "check", "plot", "losses", "likelihoods", "distances")


def imported(path):
    """The parts of the library that one of its files imports."""
    module = ["gencourse", *path.relative_to(LIBRARY).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = module[: len(module) - node.level] if node.level else []
            base = [*start, node.module] if node.module else start
            yield from (".".join([*base, alias.name]) for alias in node.names)


def wrong_imports(path):
    """What a file of the library imports although it must not."""
    me = path.relative_to(LIBRARY).with_suffix("").parts[0]
    before = BASE if me in ALONE else ORDER[: ORDER.index(me)]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] in ("experiments", "book", "tests", "rules", "run", "course"):
            yield f"{me}: {name}"
        if parts[0] == "gencourse" and parts[1] not in (me, *before):
            yield f"{me}: {name}"


FILES = [path for path in sorted(LIBRARY.rglob("*.py")) if path != LIBRARY / "__init__.py"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_imports_go_one_way(path):
    assert list(wrong_imports(path)) == []


def test_a_wrong_import_is_reported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "LIBRARY", tmp_path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "train.py").write_text("from .weights import folder\nfrom . import metrics, data\nimport experiments\n")
    (tmp_path / "nets" / "gpt.py").write_text("from ..data import text\nfrom .mlp import mlp\n")
    assert list(wrong_imports(tmp_path / "train.py")) == [
        "train: gencourse.weights.folder", "train: gencourse.metrics", "train: experiments",
    ]  # fmt: skip
    assert list(wrong_imports(tmp_path / "nets" / "gpt.py")) == ["nets: gencourse.data.text"]


def hidden_inputs(source):
    """Where code asks for the profile or keeps a count of its own."""
    tree = ast.parse(source)
    silent = {id(node.value) for node in sizes.docstrings(tree)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in silent and node.value in (
            "GENCOURSE_PROFILE", "GENCOURSE_LECTURE",
        ):  # fmt: skip
            yield f"line {node.lineno} reads {node.value}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("profile", "by_profile"):
            yield f"line {node.lineno} asks for the profile"
        if isinstance(node, ast.Global):
            yield f"line {node.lineno} changes a variable of the module"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIBRARY).as_posix())
def test_results_depend_on_arguments_only(path):
    if path.name != "runtime.py":
        assert list(hidden_inputs(path.read_text(encoding="utf-8"))) == []


def test_hidden_inputs_are_reported():
    source = 'def f():\n    """GENCOURSE_PROFILE"""\n    global n\n    profile(), os.environ["GENCOURSE_PROFILE"]\n'
    assert len(list(hidden_inputs(source))) == 3
