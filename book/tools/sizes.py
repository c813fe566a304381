"""How large the course is: code lines by module, density of the notebooks' code, and names that no notebook meets.

    python book/tools/sizes.py
"""

import ast
import inspect
import io
import re
import tokenize
from pathlib import Path

import nbformat
import rules

ROOT = Path(__file__).resolve().parents[2]
SILENT = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


def docstrings(tree):
    """The nodes of all docstrings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            yield node.body[0]


def code_lines(source):
    """How many lines hold code: no docstrings, comments, empty lines."""
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in docstrings(ast.parse(source)):
        lines.difference_update(range(node.lineno, node.end_lineno + 1))
    return len(lines)


def by_module(package):
    """Path below the package -> code lines."""
    return {path.relative_to(package).as_posix(): code_lines(path.read_text(encoding="utf-8"))
            for path in sorted(package.rglob("*.py"))}  # fmt: skip


def density(nb):
    """Syntax nodes a line over all code cells of a notebook."""
    sources = [rules.text(cell["source"]) for cell in rules.code_cells(nb)]
    nodes = sum(sum(1 for _ in ast.walk(ast.parse(source))) for source in sources)
    lines = sum(len([x for x in s.splitlines() if x.strip() and not x.strip().startswith("#")]) for s in sources)
    return nodes / lines


def public_names():
    """"gc.fit", "gc.plot.curves", ...: every public name of the library, modules apart."""
    import gencourse

    for top in gencourse.__all__:
        module = getattr(gencourse, top)
        if not inspect.ismodule(module):
            yield f"gc.{top}"
            continue
        own = [k for k, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__ and k[0] != "_"]
        yield from (f"gc.{top}.{name}" for name in getattr(module, "__all__", own))


def main():
    for package in ("gencourse", "experiments"):
        lines = by_module(ROOT / package)
        print(*(f"{count:6} {package}/{name}" for name, count in lines.items()), sep="\n")
        print(f"{sum(lines.values()):6} code lines in {package}\n")
    sources = ""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        sources += "\n".join(rules.text(cell["source"]) for cell in nb["cells"])
        print(f"{density(nb):6.1f} syntax nodes a line in {path.stem}")
    names = list(public_names())
    unmet = [name for name in names if not re.search(re.escape(name) + r"\b", sources)]
    print(f"\n{len(names)} public names, of which no notebook meets {len(unmet)}: {', '.join(unmet)}")


if __name__ == "__main__":
    main()
