"""Slides from the notebooks: reveal.js, offline, with speaker notes. Called by `book/tools/run.py slides`.

A cell says in its metadata what of it is shown: `"gencourse": {"slides": [...]}`, each slide a dictionary with
    title      a heading, short enough for one line
    points     up to five short lines of markdown, with $math$
    statement  true: the theorem or definition of the cell, in a box
    equations  numbers of the displayed equations of the cell, from 0
    code       [first, last] lines of the cell, from 1
    output     number of the output that is shown, from 0
    notes      what to say, to ask and to run live
    minutes    how long that takes
The run tool sets `"slideshow": {"slide_type": ...}` from it, so that JupyterLab's own tool shows which are slides.
"""

import html
import importlib.util
import re
import shutil
import textwrap
from pathlib import Path

import jinja2
import nbformat
import rules
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments.formatters import HtmlFormatter

FIELDS = {"title", "points", "statement", "equations", "code", "output", "notes", "minutes"}
HERE = Path(__file__).resolve().parent.parent / "_slides"
KINDS = "theorem|definition|lemma|corollary|proposition|axiom"
STATEMENT = re.compile(rf"(?ms)^(`{{3,}}|:{{3,}})\{{prf:({KINDS})\}}(.*?)\n(.*?)^\1\s*$")
EQUATION = re.compile(r"(?ms)^\$\$\n(.*?)\n\$\$")
OPTION = re.compile(r"(?m)^:\w+:.*\n")
LABEL = re.compile(r"(?m)^(\$\$) \([\w-]+\)")
ROLE = re.compile(r"\(?\{(?:eq|prf:ref|ref|numref)\}`[^`]*`\)?")
DECIMAL = re.compile(r"(?<![\w.])\d+\.\d+")
LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")


def _math(content, options):
    left, right = (r"\[", r"\]") if options["display_mode"] else (r"\(", r"\)")
    return f"{left}{html.escape(content)}{right}"


def _highlight(code, language, attributes):
    from pygments import highlight
    from pygments.lexers import PythonLexer

    return highlight(code, PythonLexer(), HtmlFormatter(nowrap=True))


MARKDOWN = (
    MarkdownIt("commonmark", {"highlight": _highlight})
    .enable("table")
    .use(dollarmath_plugin, renderer=_math, allow_space=False, double_inline=True)
)


def plain(source):
    """MyST markdown as plain markdown: labels, references and links to other pages mean nothing on a slide."""
    return LINK.sub(r"\1", ROLE.sub("", LABEL.sub(r"\1", OPTION.sub("", source))))


def statement(source):
    """The first theorem or definition of a cell as HTML, its name above it."""
    _, kind, title, body = STATEMENT.search(source).groups()
    name = f"{kind.capitalize()}: {title.strip()}" if title.strip() else kind.capitalize()
    heading = f'<p class="kind">{MARKDOWN.renderInline(name)}</p>'
    return f'<div class="statement">{heading}{MARKDOWN.render(plain(body))}</div>'


def shown_outputs(cell):
    """What a code cell shows, as HTML: pictures, players and tables as they are, printed text in a box."""
    found = []
    for output in cell["outputs"]:
        if "text/html" in output.get("data", {}):
            found.append(rules.text(output["data"]["text/html"]))
        elif output["output_type"] == "stream":
            found.append(f"<pre>{html.escape(rules.text(output['text']))}</pre>")
    return found


def _at(found, i):
    if not 0 <= i < len(found):
        raise IndexError(f"the cell has no number {i}, it has {len(found)}")
    return found[i]


def parts(cell, slide):
    """The HTML of one slide, from top to bottom."""
    source = rules.text(cell["source"])
    yield f"<h2>{MARKDOWN.renderInline(slide['title'])}</h2>"
    if slide.get("points"):
        yield MARKDOWN.render("\n".join(f"- {point}" for point in slide["points"]))
    if slide.get("statement"):
        yield statement(source)
    for i in slide.get("equations", []):
        yield MARKDOWN.render(f"$$\n{_at(EQUATION.findall(source), i).rstrip(' ,;.')}\n$$")
    if "code" in slide:
        first, last = slide["code"]
        if not 1 <= first <= last <= len(source.splitlines()):
            raise IndexError(f"the cell has no lines {first} to {last}")
        lines = textwrap.dedent("\n".join(source.splitlines()[first - 1 : last]))
        yield MARKDOWN.render(f"```python\n{lines}\n```")
    if "output" in slide:
        yield f'<div class="output"><div>{_at(shown_outputs(cell), slide["output"])}</div></div>'


def slides_of(nb):
    """(cell, slide) in order."""
    return [(cell, slide) for cell in nb["cells"] for slide in cell["metadata"].get("gencourse", {}).get("slides", [])]


def mark(nb):
    """Tell JupyterLab's own tool which cells are slides."""
    for cell in nb["cells"]:
        shown = "slides" in cell["metadata"].get("gencourse", {})
        cell["metadata"]["slideshow"] = {"slide_type": "slide" if shown else "skip"}


def front(nb):
    """The first slide: the title and the question of the notebook."""
    source = plain(rules.text(nb["cells"][0]["source"]))
    title = rules.title(nb)
    question = re.search(r"(?m)^\*\*The question[^*]*\*\* (.+)$", source)[1]
    return title, [f"<h2>{title}</h2>", MARKDOWN.render(question)]


def deck(nb, name):
    """The whole deck of one notebook as an HTML page."""
    title, first = front(nb)
    total = sum(slide["minutes"] for _, slide in slides_of(nb))
    origin = f'<p class="origin">gencourse, notebook {name}. Text CC BY 4.0, code MIT.</p>'
    notes = f"{len(slides_of(nb))} slides, {total:g} minutes. Press S for these notes, F for the full screen."
    made, clock = [{"id": "front", "minutes": 0, "parts": [*first, origin], "notes": notes}], 0
    for i, (cell, slide) in enumerate(slides_of(nb), 1):
        timing = f"<p><b>{clock:g} to {clock + slide['minutes']:g} min of {total:g}</b></p>"
        clock += slide["minutes"]
        made.append({
            "id": f"{cell['id']}-{i}", "minutes": slide["minutes"], "parts": list(parts(cell, slide)),
            "notes": timing + MARKDOWN.render(slide["notes"]),
        })  # fmt: skip
    template = jinja2.Environment(autoescape=False).from_string((HERE / "deck.html.j2").read_text(encoding="utf-8"))
    return template.render(title=title, slides=made, code_css=HtmlFormatter().get_style_defs(".slide pre"))


def typed_numbers(nb, said):
    """Decimal numbers in a text about a notebook that stand nowhere in it: one may only say what a cell printed."""
    sources = [rules.text(cell["source"]) for cell in nb["cells"]]
    outputs = [words for cell in rules.code_cells(nb) for out in cell["outputs"] for _, words in rules.shown(out)]
    known = set(DECIMAL.findall(" ".join([*sources, *outputs])))
    return [number for number in DECIMAL.findall(said) if number not in known]


def problems(nb):
    """What is wrong with the slides of a notebook, as sentences."""
    found = []
    for cell, slide in slides_of(nb):
        where = f"slide {slide.get('title')!r} of cell {cell['id']}"
        if unknown := set(slide) - FIELDS:
            found.append(f"{where}: unknown fields {sorted(unknown)}")
        if not {"title", "notes", "minutes"} <= set(slide):
            found.append(f"{where}: needs a title, notes and minutes")
        elif not set(slide) & {"points", "statement", "equations", "code", "output"}:
            found.append(f"{where}: shows nothing")
        else:
            if typed := typed_numbers(nb, " ".join([slide["title"], *slide.get("points", []), slide["notes"]])):
                found.append(f"{where}: no cell prints {', '.join(typed)}")
            try:
                list(parts(cell, slide))
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                found.append(f"{where}: {error}")
    return found


def _package(name):
    return Path(importlib.util.find_spec(name).origin).parent


def build(notebooks, out):
    """Write a deck for each notebook, and what the decks need, into the folder ``out``."""
    static = out / "static"
    shutil.rmtree(static, ignore_errors=True)
    static.mkdir(parents=True)
    reveal = _package("sphinx_revealjs") / "_static" / "revealjs"
    shutil.copytree(reveal / "dist", static / "reveal" / "dist", ignore=shutil.ignore_patterns("*.map", "theme"))
    shutil.copytree(reveal / "plugin" / "notes", static / "reveal" / "plugin" / "notes")
    mathjax = _package("sphinx_revealjs").parent / "sphinx-mathjax-offline" / "static" / "mathjax"
    shutil.copytree(mathjax, static / "mathjax", ignore=shutil.ignore_patterns("a11y", "sre", "mml*", "*svg*"))
    for file in (HERE / "deck.css", HERE / "deck.js", HERE.parent / "_static" / "favicon.svg"):
        shutil.copy(file, static)
    for path in notebooks:
        (out / f"{path.stem}.html").write_text(deck(nbformat.read(path, as_version=4), path.stem), encoding="utf-8")
