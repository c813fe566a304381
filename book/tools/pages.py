"""Pages of the book that are made from the notebooks and the library, so that nothing on them is typed twice.

    bugs.md   every "find the bug", and the check that catches it
    api.md    the library, from its docstrings
"""

import ast
import importlib
import re
from pathlib import Path

import nbformat
import rules

ROOT = Path(__file__).resolve().parents[2]
BUG = re.compile(r"(?ms)^(`{3,}|:{3,})\{exercise\} (Find the bug[^\n]*)\n:label: ([\w-]+)\n(.*?)^\1\s*$")
ROLE = re.compile(r"\{eq\}`[\w-]+`")
MADE = "<!-- made by book/tools/pages.py: edit the notebooks instead -->\n"
MODULES = {
    "Running": ("runtime", "errors"),
    "Data": ("data",),
    "Training": ("train", "progress", "weights"),
    "Losses, likelihoods and distances": ("losses", "likelihoods", "distances"),
    "Diffusion and autoregression": ("diffusion", "samplers", "autoregressive"),
    "Networks": ("nets",),
    "Measures": ("classifier", "metrics"),
    "Pictures, tables, animations": ("plot",),
    "Exercises": ("check",),
}


def functions(nb):
    """name -> source of every function that a notebook's cells define at their top level; the first of each name."""
    found = {}
    for cell in rules.code_cells(nb):
        source = rules.text(cell["source"])
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in tree.body:
            if isinstance(node, ast.FunctionDef):
                found.setdefault(node.name, ast.get_source_segment(source, node))
    return found


def verdict(cell):
    """What the check says of the planted bug, from the committed output; the hint left out."""
    shown = [rules.text(out["data"]["text/plain"]) for out in cell["outputs"] if "text/plain" in out.get("data", {})]
    return shown[-1].split("\n  Hint:")[0].strip() if shown else ""


def bugs_of(nb):
    """(title, label, text, code with the bug, its check, the check's verdict, helpers of the check) of each."""
    known = functions(nb)
    for before, cell in zip(nb["cells"], nb["cells"][1:]):
        match = BUG.search(rules.text(before["source"])) if before["cell_type"] == "markdown" else None
        if match and "exercise" in cell["metadata"].get("tags", []):
            source = rules.text(cell["source"])
            at = source.index("gc.check.")
            names = re.findall(r"\b(\w+)\b", source[at:])
            helpers = [known[name] for name in dict.fromkeys(names) if name in known and name not in source[:at]]
            yield match[2], match[3], match[4].strip(), source[:at].strip(), source[at:].strip(), verdict(cell), helpers


def cage(title, label, text, code, check, said, helpers):
    """One bug: its name, what it does, its code, what the check says, and the check, folded."""
    culprit = re.search(r"(?m)^(?:def|class) (\w+)", code)[1]
    name = re.sub(r"^(Find the bug)?[:, ]*[IVX]*[:, ]*", "", title)
    return [
        f"### {name[:1].upper() + name[1:]} (`{culprit}`)\n" if name else f"### `{culprit}`\n",
        ROLE.sub("the notebook's equation", text) + "\n",
        f"```python\n{code}\n```\n",
        f"To fix it, with an instant check: {{ref}}`the exercise <{label}>`.\n",
        f"````{{dropdown}} What its check says\n```text\n{said}\n```\n````\n" if said else "",
        "````{dropdown} The check (it tells more than a hint)\n```python\n"
        + "\n\n".join([*helpers, check]) + "\n```\n````\n",
    ]  # fmt: skip


def bug_page(notebooks):
    """The bug zoo."""
    kinds = sum(len(list(bugs_of(nb))) for nb in notebooks)
    parts = [
        MADE + "# The bug zoo\n",
        f"All {kinds} planted bugs of the course on one page. Each of them runs, and none does what it is meant to. "
        "What is wrong, how would you notice, and which test would catch it? Decide, then unfold what its check "
        "says. The fixed lines are in the notebooks, folded under each exercise.\n",
    ]
    for nb in notebooks:
        bugs = list(bugs_of(nb))
        if bugs:
            parts.append(f"## {rules.title(nb)}\n")
        for title, label, text, code, check, said, helpers in bugs:
            parts += cage(title, label, text, code, check, said, helpers)
    return "\n".join(parts)


def api_page():
    """The library, module by module."""
    parts = [
        MADE + "# The library\n",
        "`import gencourse as gc`. The notebooks own the mathematics; this owns the plumbing. Shapes, units and errors "
        "stand with each function, and its source with the derivation it belongs to.\n",
    ]
    for title, modules in MODULES.items():
        parts.append(f"## {title}\n")
        for name in modules:
            parts.append(f"### `gencourse.{name}`\n")
            gathers = hasattr(importlib.import_module(f"gencourse.{name}"), "__all__")  # its functions live elsewhere
            imported = "   :imported-members:\n" if gathers else ""
            parts.append(f"```{{eval-rst}}\n.. automodule:: gencourse.{name}\n   :members:\n{imported}```\n")
    return "\n".join(parts)


def write(root=ROOT):
    """Write both into the folder of the book."""
    notebooks = [nbformat.read(path, as_version=4) for path in sorted((root / "notebooks").glob("*.ipynb"))]
    for name, text in {"bugs": bug_page(notebooks), "api": api_page()}.items():
        (root / "book" / f"{name}.md").write_text(text, encoding="utf-8")
