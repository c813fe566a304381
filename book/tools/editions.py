"""Other editions of the same notebooks: for students, without solutions; and on paper.

    python book/tools/run.py student     notebooks without solutions and outputs, into book/_build/student
    python book/tools/run.py pdf         the pages of the book on paper, into book/_build/pdf
"""

import re
import sys

import nbformat
import rules
from doctor import find_chromium

SOLUTION = re.compile(r"(?ms)^(`{3,}|:{3,})\{solution\}.*?^\1[ \t]*$\n?")


def without_solutions(source):
    """A markdown cell's source without its solutions, and whether there were any."""
    kept, count = SOLUTION.subn("", source)
    return kept.strip(), bool(count)


def for_students(nb):
    """A notebook without solutions, outputs and slides; the exercises with their stubs and hints stay."""
    made, cells = nbformat.from_dict(nb), []
    for cell in made["cells"]:
        cell["metadata"].pop("slideshow", None)
        cell["metadata"].pop("gencourse", None)
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
        else:
            source, had = without_solutions(rules.text(cell["source"]))
            if had and not source:
                continue
            cell["source"] = source
        cells.append(cell)
    made["cells"] = cells
    made["metadata"]["gencourse"] = {"edition": "student"}
    return made


def student_edition(notebooks, out):
    """Write the students' notebooks into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    for path in notebooks:
        nb = for_students(nbformat.read(path, as_version=4))
        (out / path.name).write_text(nbformat.writes(nb) + "\n", encoding="utf-8")


def printed(notebooks, out):
    """Print pages of the built book into PDF files through Chromium; solutions stand open: paper does not unfold."""
    from playwright.sync_api import sync_playwright

    browser = find_chromium()
    if not browser:
        sys.exit("No Chromium was found. Install chromium or Chrome, then call this again.")
    html = out.parent / "html" / "notebooks"
    if missing := [path.stem for path in notebooks if not (html / f"{path.stem}.html").exists()]:
        sys.exit(f"Not built yet: {', '.join(missing)}. Call `make book` first, then this again.")
    out.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(color_scheme="light")
        for path in notebooks:
            page.goto((html / f"{path.stem}.html").as_uri(), wait_until="load")
            page.evaluate("() => window.MathJax?.startup?.promise")
            page.pdf(path=out / f"{path.stem}.pdf", format="A4", print_background=True, prefer_css_page_size=True,
                     margin=dict.fromkeys(("top", "bottom", "left", "right"), "15mm"))  # fmt: skip
        chromium.close()
