"""The run tool: runs notebooks and saves their outputs, measures minutes, builds the book.

    python book/tools/run.py run 02_gan         run on the best profile and save the outputs
    python book/tools/run.py measure 02_gan     run (set GENCOURSE_PROFILE) and record only how long it took
    python book/tools/run.py map                carry the measured minutes into README.md and the notebooks
    python book/tools/run.py book               build the book into book/_build/html
    python book/tools/run.py pdf [02_gan]       print its pages (or some) into book/_build/pdf
    python book/tools/run.py links              list the links that lead out of the book, and ask whether they answer
    python book/tools/run.py slides             a deck of slides for each notebook, into book/_build/slides
    python book/tools/run.py student            the notebooks without solutions, into book/_build/student
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import editions
import links
import nbformat
import pages
import rules
import slides
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"
PROFILES = ("laptop", "gpu")
TIME = re.compile(r"(?m)^\*\*Time to run\.\*\*.*$")
MAP = re.compile(r"(?s)(<!-- map:.*?-->\n).*?(<!-- end of map -->)")


def execute(nb, folder, frames=True, **environment):
    """Run all cells in order, in place, in a fresh kernel; returns seconds. Raises when a cell raises."""
    usual = {"GENCOURSE_FRAMES": "1" if frames else "0", "GENCOURSE_LECTURE": "0", "GENCOURSE_SAVE_WEIGHTS": ""}
    started = time.monotonic()
    NotebookClient(
        nb, timeout=None, kernel_name="python3", record_timing=False, coalesce_streams=True,
        store_widget_state=False, resources={"metadata": {"path": str(folder)}},
    ).execute(env={**os.environ, **usual, **environment})  # fmt: skip
    return time.monotonic() - started


def tidy(nb):
    """Remove what differs from run to run or from machine to machine, apart from the results."""
    slides.mark(nb)
    nb["metadata"].pop("widgets", None)
    nb["metadata"]["language_info"] = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}
    nb["metadata"]["kernelspec"] = {
        "display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3",
    }  # fmt: skip
    for cell in nb["cells"]:
        cell["metadata"].pop("execution", None)
        for output in cell.get("outputs", []):
            output.pop("transient", None)


def record(nb, seconds, outputs=True):
    """Write into the metadata what was run, where, and how long it took."""
    from gencourse import environment, profile

    known = nb["metadata"].setdefault("gencourse", {})
    known["minutes"] = {**known.get("minutes", {}), profile(): max(0.1, round(seconds / 60, 1))}
    if outputs:
        known.update(profile=profile(), device=environment()["device"], hash=rules.code_hash(nb, profile()))


def run(path):
    """Run one notebook and save its outputs; returns what forbids it (the run is then kept in .refused).

    On the laptop profile the networks that the run trains become the finished weights of the course.
    """
    from gencourse import profile

    nb = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as made:
        try:
            seconds = execute(nb, path.parent, GENCOURSE_SAVE_WEIGHTS=made)
        except CellExecutionError as error:
            return [str(error)]
        tidy(nb)
        record(nb, seconds)
        problems = rules.output_problems(nb)
        if (size := len(nbformat.writes(nb).encode())) > rules.MOST_BYTES:
            problems.append(f"{size:,} bytes, at most {rules.MOST_BYTES:,} are allowed")
        if profile() == "laptop" and not problems:
            keep(Path(made) / path.stem, path.parent / "weights", nb)
        if problems:  # twenty minutes of work are not thrown away
            path = path.parent / ".refused" / path.name
            shutil.copytree(made, path.parent, dirs_exist_ok=True)
    if problems:
        problems.append(f"The run itself is kept in {path.parent.name}/{path.name}, beside the notebooks.")
    path.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
    return problems


def keep(made, weights, nb):
    """Replace the finished weights of a notebook by those that its run made, and tie them to it."""
    from experiments.results import write_checksums

    stem, known = made.name, nb["metadata"]["gencourse"]
    shutil.rmtree(weights / stem, ignore_errors=True)
    known.pop("weights", None)
    if made.is_dir():
        shutil.copytree(made, weights / stem)
    write_checksums(weights, stem)
    if made.is_dir():
        known["weights"] = rules.weights_digest(weights, stem)


def measure(path):
    """Run one notebook and save only the minutes, for this profile."""
    nb, saved = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
    try:
        seconds = execute(nb, path.parent)
    except CellExecutionError as error:
        return [str(error)]
    record(saved, seconds, outputs=False)
    path.write_text(nbformat.writes(saved) + "\n", encoding="utf-8")
    return []


def times(nb):
    """Minutes per profile, in words."""
    minutes = nb["metadata"].get("gencourse", {}).get("minutes", {})
    return [f"{minutes[p]:g} min" if p in minutes else "not measured" for p in PROFILES]


def headed(nb):
    """The first cell's source with the measured minutes in its line about time."""
    laptop, gpu = times(nb)
    line = f"**Time to run.** On two cores without a GPU: {laptop}."
    line += f" On a GPU: {gpu}." if gpu.endswith("min") else ""
    return TIME.sub(line, rules.text(nb["cells"][0]["source"]))


def course_map(notebooks=NOTEBOOKS):
    """The README's table: each notebook with its title and its minutes, from what the run tool measured."""
    rows = ["| notebook | laptop | GPU |", "|---|--:|--:|"]
    for path in sorted(notebooks.glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        rows.append(f"| [{path.stem}](notebooks/{path.name}): {rules.title(nb)} | {' | '.join(times(nb))} |")
    return "\n".join(rows) + "\n"


def write_map():
    """Carry the measured minutes into the README and into the first cell of each notebook; mark the slides."""
    for path in NOTEBOOKS.glob("*.ipynb"):
        nb, before = nbformat.read(path, as_version=4), nbformat.read(path, as_version=4)
        nb["cells"][0]["source"] = headed(nb)
        slides.mark(nb)
        if nb != before:
            path.write_text(nbformat.writes(nb) + "\n", encoding="utf-8")
    readme = ROOT / "README.md"
    text = MAP.sub(lambda m: m[1] + course_map() + m[2], readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")


def build(root=ROOT, out=None):
    """Build the book into out/_build/html; returns the exit code, not 0 when any page has a warning."""
    if (root / "notebooks").is_dir():
        pages.write(root)
    jupyter_book = [sys.executable, "-c", "from jupyter_book.cli.main import main; main()"]
    where = ["--config", "book/_config.yml", "--toc", "book/_toc.yml", "--path-output", str(out or root / "book")]
    return subprocess.call([*jupyter_book, "build", ".", *where, "--all", "-W", "--keep-going"], cwd=root)


def main():
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("command", choices=("run", "measure", "map", "book", "pdf", "links", "slides", "student"))
    parser.add_argument("names", nargs="*", help="notebooks, such as 02_gan; none means all")
    chosen = parser.parse_args()
    known = {path.stem: path for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    names = [Path(name).stem for name in chosen.names] or list(known)
    if missing := [name for name in names if name not in known]:
        sys.exit(f"No notebook is called {', '.join(missing)}. There are: {', '.join(known)}")
    paths = [known[name] for name in names]
    if chosen.command in ("book", "map"):
        sys.exit(build() if chosen.command == "book" else write_map())
    if chosen.command == "links":  # never fails: other people's pages come and go
        out = ROOT / "book" / "_build" / "links.txt"
        silent = links.check(out.parent / "html", out)
        sys.exit(print(f"{silent} links did not answer with 200; all are listed in {out.relative_to(ROOT)}."))
    if chosen.command in ("pdf", "slides", "student"):
        make = {"pdf": editions.printed, "slides": slides.build, "student": editions.student_edition}[chosen.command]
        out = ROOT / "book" / "_build" / chosen.command
        make(paths, out)
        sys.exit(print(f"{len(list(out.glob('[0-9]*.*')))} files are in {out.relative_to(ROOT)}."))
    failed = False
    for name in names:
        problems = {"run": run, "measure": measure}[chosen.command](known[name])
        print("\n".join([f"{name}: {'not saved' if problems else 'saved'}", *problems]), flush=True)
        failed = failed or bool(problems)
    write_map()
    sys.exit(failed)


if __name__ == "__main__":
    main()
