"""Every committed notebook keeps the course's rules, and each rule has its broken twin: a notebook that breaks it."""

import copy
import hashlib
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import rules
import run
import sample
import solving

NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
WEIGHTS = run.NOTEBOOKS / "weights"
MOST_WEIGHTS, MOST_SAMPLES = 60_000_000, 12_000_000
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
cell = sample.cell


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


def lost_references(nb):
    """References to theorems, exercises and equations of another page, which JupyterLab cannot resolve."""
    source = "\n".join(rules.text(found["source"]) for found in nb["cells"])
    places = set(re.findall(r":label: (\S+)|\$\$ \((\S+)\)$", source, re.MULTILINE))
    asked = re.findall(r"\{(?:eq|ref|prf:ref)\}`(?:[^`<]*<)?([^`>]+)>?`", source)
    return sorted(set(asked) - {name for found in places for name in found})


@each_notebook
def test_references_stay_on_the_page(path):
    nb = solving.read(path)
    assert lost_references(nb) == []
    nb["cells"][0]["source"] = "See {prf:ref}`thm-of-another-page`."
    assert lost_references(nb) == ["thm-of-another-page"]


@each_notebook
def test_each_notebook_opens_elsewhere(path):
    """The first code cell installs the course where it is missing, and nothing here; the links name this notebook."""
    nb = solving.read(path)
    first, asked = rules.code_cells(nb)[0], []
    assert first["id"] == "install" and first["outputs"] == []
    code = compile(rules.text(first["source"]), "install", "exec")
    get_ipython = lambda: SimpleNamespace(run_line_magic=lambda *words: asked.append(words))
    exec(code, {"get_ipython": get_ipython})
    assert asked == []
    exec(code.replace(co_consts=tuple("nowhere" if c == "gencourse" else c for c in code.co_consts)),
         {"get_ipython": get_ipython})  # fmt: skip
    assert asked == [("pip", "install -q git+https://github.com/gencourse/gencourse")]
    title = rules.text(nb["cells"][0]["source"])
    for place in ("https://colab.research.google.com/github/", "https://kaggle.com/kernels/welcome?src=https://github.com/"):
        assert f"{place}gencourse/gencourse/blob/main/notebooks/{path.name})" in title


@each_notebook
def test_finished_weights_are_those_of_the_committed_run(path):
    nb = solving.read(path)
    code = "\n".join(rules.text(found["source"]) for found in rules.code_cells(nb))
    named = set(re.findall(rf'load_or_train\(\s*"{path.stem}/([\w-]+)"', code))
    assert named == {file.name.removesuffix(".pt.xz") for file in (WEIGHTS / path.stem).glob("*")}
    assert nb["metadata"]["gencourse"].get("weights") == rules.weights_digest(WEIGHTS, path.stem)


def test_the_finished_weights_are_listed_whole_and_small():
    files = {file.relative_to(WEIGHTS).as_posix(): file.read_bytes() for file in WEIGHTS.rglob("*.*")}
    listed = [line.split() for line in (WEIGHTS / "SHA256SUMS").read_text(encoding="utf-8").splitlines()]
    assert sorted(listed, key=lambda pair: pair[1]) == [
        [hashlib.sha256(files[name]).hexdigest(), name] for name in sorted(files)
    ]
    samples = [name for name in files if name.startswith("finished/") and name.endswith(".npz")]
    assert all(name.endswith(".pt.xz") or name in samples for name in files)
    assert sum(len(content) for name, content in files.items() if name not in samples) <= MOST_WEIGHTS
    assert sum(len(files[name]) for name in samples) <= MOST_SAMPLES


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


def stream(words, name="stdout"):
    return run.nbformat.v4.new_output("stream", name=name, text=words)


def html(words):
    return run.nbformat.v4.new_output("display_data", data={"text/html": words})


def test_the_run_tool_saves_a_notebook_that_keeps_every_rule(nb, saved):
    for check in (rules.freshness_problems, rules.output_problems, rules.source_problems, rules.exercise_problems):
        assert check(nb) == []
    assert "gc-player" in str(cell(nb, "explore")["outputs"])
    assert set(nb["metadata"]["gencourse"]["minutes"]) == {"smoke"}


def test_a_second_run_changes_nothing_but_the_minutes(nb, saved):
    assert run.run(saved) == []
    again = solving.read(saved)
    again["metadata"]["gencourse"]["minutes"] = nb["metadata"]["gencourse"]["minutes"]
    assert again == nb


REFUSED = {
    "absolute path": "print('/home/ada/course/x.py')",
    "stderr": "import warnings; warnings.warn('mind the gap')",
    "bare image": "import matplotlib.pyplot as plt; plt.plot([1, 2]);",
    "widget": "import ipywidgets; ipywidgets.IntSlider()",
    "bytes": "print(('x' * 99 + chr(10)) * 41_000)",
}


@pytest.mark.parametrize("fails", [False, True], ids=["poor outputs", "a cell that fails"])
def test_the_run_tool_refuses_to_save(fails, tmp_path):
    path = tmp_path / "bad.ipynb"
    sources = ["1 / 0"] if fails else list(REFUSED.values())
    run.nbformat.write(run.nbformat.v4.new_notebook(cells=[run.nbformat.v4.new_code_cell(s) for s in sources]), path)
    before = path.read_text()
    said = "\n".join(run.run(path))
    for reason in ["ZeroDivisionError"] if fails else REFUSED:
        assert reason in said
    assert path.read_text() == before
    kept = tmp_path / ".refused" / "bad.ipynb"  # what it took minutes to make, unless a cell failed
    assert kept.exists() == (not fails)


def test_the_weights_of_a_run_replace_those_of_the_last_one(tmp_path, nb):
    made, weights = tmp_path / "made" / "02_gan", tmp_path / "weights"
    for folder, names in {made: ["b", "a"], weights / "02_gan": ["old"], weights / "03_dcgan": ["other"]}.items():
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.pt.xz").write_bytes(name.encode())
    (weights / "SHA256SUMS").write_text("1  02_gan/old.pt.xz\n2  03_dcgan/other.pt.xz\n")
    run.keep(made, weights, nb)
    assert sorted(file.name for file in (weights / "02_gan").iterdir()) == ["a.pt.xz", "b.pt.xz"]
    assert (weights / "SHA256SUMS").read_text() == "".join(
        f"{hashlib.sha256(name.encode()).hexdigest()}  02_gan/{name}.pt.xz\n" for name in ("a", "b")
    ) + "2  03_dcgan/other.pt.xz\n"
    assert nb["metadata"]["gencourse"]["weights"] == rules.weights_digest(weights, "02_gan")
    run.keep(tmp_path / "none" / "02_gan", weights, nb)
    assert not (weights / "02_gan").exists() and "weights" not in nb["metadata"]["gencourse"]
    assert (weights / "SHA256SUMS").read_text() == "2  03_dcgan/other.pt.xz\n"


def drop_alt(nb):
    cell(nb, "explore")["outputs"].append(html('<img src="data:image/png;base64,AAAA" alt="">'))


def source(text):
    return lambda nb: cell(nb, "setup").update(source=text)


STALE = {
    "code has changed": source("import torch"),
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
    "lines, at most": source("x = 1\n" * 41),
    "syntax nodes a line": source("# A comment.\n\nz = {k: [f(a * b + c) for a, b in d] for k, (c, d) in zip(u, v)}"),
    "inside a comprehension": source("kept = [\n    y\n    for x in data\n    if (y := f(x))\n]"),
    "lambda with default": source("act = lambda x, a=2: a * x"),
    "by a comma": source("draw(x), show(x)\ny = 1"),
    "without an assertion": lambda nb: cell(nb, "check").update(source="# NBVAL_CHECK_OUTPUT\nprint(1)"),
    "has no # NBVAL": lambda nb: cell(nb, "check").update(source="print(1)"),
    "path": source("open('/home/ada/x')"),
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


@pytest.mark.parametrize(
    "plain",
    [
        "# Comments do not count,\n\n# nor do empty lines.\nx = f(y)",
        "x = [f(y) for y in data if y]",
        "half = lambda x: x / 2",
        "a, b = f(x), g(x)",
        "(x, y)",
    ],
)
def test_plain_code_is_no_puzzle(plain):
    assert rules.puzzles(plain) == []


BUDGETS = [
    ("fit(gc.by_profile(smoke=3, laptop=90, gpu=7), 'é', gc.by_profile(smoke=1, laptop=2, gpu=3))", True),
    ("fit(gc.by_profile(smoke=5, laptop=90, gpu=9), 'é', gc.by_profile(\n    smoke=1, laptop=2, gpu=8))", True),
    ("fit(90, 'é', 2)", True),
    ("fit(gc.by_profile(smoke=3, laptop=91, gpu=7), 'é', 2)", False),
    ("fit(other.by_profile(smoke=3, laptop=90, gpu=7), 'é', 2)", False),
]


@pytest.mark.parametrize(("code", "same"), BUDGETS)
def test_budgets_of_other_profiles_do_not_make_outputs_stale(code, same, nb):
    hashes = []
    for variant in (BUDGETS[0][0], code):
        cell(nb, "setup")["source"] = f"# ümlauts before it\n{variant}"
        hashes.append(rules.code_hash(nb, "laptop"))
    assert (hashes[0] == hashes[1]) == same


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
