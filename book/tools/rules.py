"""What every notebook of the course keeps to, as functions that return sentences: an empty list is a pass.

`run.py` asks them before it saves outputs; the tests also give them notebooks that break each rule.
"""

import ast
import hashlib
import re

MOST_BYTES = 4_000_000
MOST_CODE_LINES = 40
# A cell shall be read like minGPT, whose model has 11.6 nodes of the syntax tree on a line. The best cells of the
# course have 10 to 16; cells that nobody reads twice with pleasure, 20 to 28.
MOST_NODES_A_LINE = 20
LEAST_EXERCISES = 4
CHECKED = "# NBVAL_CHECK_OUTPUT"
FOLDERS = "home|Users|root|tmp|work|usr|opt|var|private|mnt|content|srv"
PATH = re.compile(rf"(?<![\w./:<-])/(?:{FOLDERS})/\w|\b[A-Z]:\\+\w")
WARNING = re.compile(r"\b(?:[A-Z][A-Za-z]*)?Warning\b")
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[\w+/=]+|\"frames\":\[[^]]*\]")
DIRECTIVE = re.compile(r"(?m)^(?:`{3,}|:{3,})\{([\w:-]+)\}[ \t]*(.*)$")


def text(part):
    """A cell's source or an output's text, which nbformat keeps as a string or a list of lines."""
    return part if isinstance(part, str) else "".join(part)


def code_cells(nb):
    return [cell for cell in nb["cells"] if cell["cell_type"] == "code"]


def markdown(nb):
    return "\n\n".join(text(cell["source"]) for cell in nb["cells"] if cell["cell_type"] == "markdown")


def as_run(source, profile):
    """The source with the value of one profile in the place of each ``gc.by_profile(...)``, statements on one line."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]  # columns are counted in bytes
    starts = [sum(map(len, lines[:i])) for i in range(len(lines))]
    whole = b"".join(lines)

    def place(node):
        return starts[node.lineno - 1] + node.col_offset, starts[node.end_lineno - 1] + node.end_col_offset

    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for node in sorted(calls, key=place, reverse=True):
        values = {keyword.arg: keyword.value for keyword in node.keywords}
        if ast.unparse(node.func) == "gc.by_profile" and profile in values:
            (first, last), (begin, end) = place(node), place(values[profile])
            whole = whole[:first] + whole[begin:end] + whole[last:]
    return on_one_line(whole.decode())


def on_one_line(source):
    """The source without the line breaks that a formatter puts into brackets."""
    source = re.sub(r"(?<=[(\[{])\n\s*|,?\n\s*(?=[)\]}])", "", source)
    return re.sub(r",\n\s*", ", ", source)


def code_hash(nb, profile):
    """The fingerprint of all code as a run under this profile reads it, which tells whether outputs belong to it.

    The budgets of other profiles do not count, nor does the cell that installs the course where it is missing.
    """
    cells = [cell for cell in code_cells(nb) if cell.get("id") != "install"]
    joined = "\0".join(as_run(text(cell["source"]), profile) for cell in cells)
    return hashlib.sha256(joined.encode()).hexdigest()


def title(nb):
    """The heading of a notebook."""
    return re.search(r"(?m)^# (.+)$", markdown(nb))[1]


def weights_digest(weights, stem):
    """The digest of a notebook's lines in weights/SHA256SUMS, which ties finished weights to a run; None without."""
    listed = weights / "SHA256SUMS"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.exists() else []
    lines = [line for line in lines if line.split()[1].startswith(f"{stem}/")]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def shown(output):
    """Every text that an output shows, as (mime type, text)."""
    if output["output_type"] == "stream":
        return [("text/plain", text(output["text"]))]
    if output["output_type"] == "error":
        return [("text/plain", "\n".join(output["traceback"]))]
    data = {mime: data for mime, data in output["data"].items() if isinstance(data, str | list)}
    if "text/html" in data:
        data.pop("image/png", None)  # for exports that read no HTML
    return [(mime, text(words)) for mime, words in data.items()]


def text_problems(words):
    """What an output must not say: where the machine keeps its files, and warnings."""
    plain = DATA_URI.sub("", words)
    kinds = (("an absolute path", PATH), ("a warning", WARNING))
    hits = [(what, m.start()) for what, pattern in kinds for m in pattern.finditer(plain)]
    return [f"holds {what}: {plain[at : at + 60]!r}" for what, at in hits]


def picture_problems(mime, data):
    """Pictures without alternative text."""
    if mime.startswith("image/"):
        return [f"is a bare {mime}: show a Picture, which carries its alternative text"]
    if mime != "text/html":
        return []
    tags = re.findall(r"<img\b[^>]*>", re.sub(r"(?s)<script.*?</script>", "", data))
    silent = [tag for tag in tags if not re.search(r"\balt=(\"[^\"]*\w[^\"]*\"|'[^']*\w[^']*')", tag)]
    return ["has a picture without alternative text"] * len(silent)


def output_problems(nb):
    """What is wrong with the saved outputs, whatever the code."""
    found = []
    for cell in code_cells(nb):
        for output in cell["outputs"]:
            here = []
            if output["output_type"] == "error":
                here.append(f"is an error: {output['ename']}: {output['evalue']}")
            if output.get("name") == "stderr":
                here.append(f"writes to stderr: {text(output['text'])[:120]!r}")
            for mime, data in shown(output):
                here += text_problems(data) + picture_problems(mime, data)
            if any("widget" in mime for mime in output.get("data", {})):
                here.append("is a widget, which needs a kernel")
            found += [f"output of cell {cell['id']} {problem}" for problem in here]
    return found


def freshness_problems(nb):
    """Whether the outputs are those of one clean run of exactly this code."""
    record, found = nb["metadata"].get("gencourse", {}), []
    missing = [key for key in ("profile", "device", "minutes", "hash") if not record.get(key)]
    if missing:
        return [f"metadata lack {', '.join(missing)}: never run by the run tool"]
    if record["hash"] != code_hash(nb, record["profile"]):
        found.append("code has changed since the outputs were made")
    counts = [cell["execution_count"] for cell in code_cells(nb)]
    if counts != list(range(1, len(counts) + 1)):
        found.append(f"execution counts are {counts}, not 1 to {len(counts)} in order")
    if any("execution" in cell["metadata"] for cell in nb["cells"]):
        found.append("cells carry the times at which they ran, which differ at every run")
    return found


def exercises(nb):
    """(label, index of the stub cell, code of the solution or None) for each exercise, in order."""
    solutions, found = {}, []
    for i, kind, argument, body in directives(nb):
        if kind == "solution":
            code = re.findall(r"(?ms)^```python\n(.*?)^```", body)
            solutions[argument] = code[0] if len(code) == 1 and ":class: dropdown" in body else None
        elif kind == "exercise":
            label = re.search(r":label:\s*(ex-\S+)", body)
            found.append((label[1] if label else "", i + 1))
    return [(name, i, solutions.get(name)) for name, i in found]


def directives(nb):
    """(index of the markdown cell, kind, argument, body) of every directive, in order."""
    for i, cell in enumerate(nb["cells"]):
        lines = text(cell["source"]).splitlines(keepends=True) if cell["cell_type"] == "markdown" else []
        for first, line in enumerate(lines):
            if opened := DIRECTIVE.match(line):
                fence = re.match(r"`+|:+", line)[0]
                rest = [later for later in range(first + 1, len(lines)) if lines[later].rstrip() == fence]
                yield i, opened[1], opened[2].strip(), "".join(lines[first + 1 : rest[0]]) if rest else ""


def split_stub(source):
    """A stub cell as (what the reader replaces, the check that follows it), or None when it has no check."""
    start = [m.start() for m in re.finditer(r"(?m)^gc\.check\.", source)]
    return (source[: start[-1]], source[start[-1] :]) if start else None


def exercise_problems(nb):
    """Whether each exercise has its stub, its check and its folded solution, where the tests find them."""
    found, known = [], exercises(nb)
    for name, i, solution in known:
        stub = nb["cells"][i] if i < len(nb["cells"]) else {"cell_type": "none", "metadata": {}}
        if not name:
            found.append("an exercise has no label of the form ex-name")
        if stub["cell_type"] != "code" or "exercise" not in stub["metadata"].get("tags", []):
            found.append(f"{name}: the next cell is no code cell tagged exercise")
        elif not split_stub(text(stub["source"])):
            found.append(f"{name}: the stub has no gc.check at the start of a line")
        if not solution:
            found.append(f"{name}: no folded solution with exactly one python block")
    tagged = [c for c in code_cells(nb) if "exercise" in c["metadata"].get("tags", [])]
    if len(tagged) != len(known):
        found.append(f"{len(tagged)} stub cells for {len(known)} exercises")
    if len(known) < LEAST_EXERCISES:
        found.append(f"{len(known)} exercises, at least {LEAST_EXERCISES} are wanted")
    if "find the bug" not in markdown(nb).lower():
        found.append('no exercise says "find the bug"')
    return found


def asserts(source, nb):
    """Whether a cell asserts something, itself or in a function of the notebook that it calls."""
    called = set(re.findall(r"\b(\w+)\(", source))
    functions = (node for cell in code_cells(nb) for node in ast.walk(ast.parse(text(cell["source"])))
                 if isinstance(node, ast.FunctionDef))  # fmt: skip
    return "assert" in source or any(f.name in called and "assert" in ast.unparse(f) for f in functions)


def source_problems(nb):
    """What is wrong with what the authors wrote, whatever the outputs."""
    found = []
    for cell in nb["cells"]:
        source, name = text(cell["source"]), f"cell {cell['id']}"
        found += [f"{name} {problem}" for problem in text_problems(source) if "path" in problem]
        if cell["cell_type"] == "code":
            found += [f"{name} {problem}" for problem in puzzles(source)]
            if CHECKED in source and not asserts(source, nb):
                found.append(f"{name} is a check without an assertion")
        elif re.search(r"!\[\s*\]\(", source) or picture_problems("text/html", source):
            found.append(f"{name} has a picture without alternative text")
    return found + unchecked_theorems(nb)


def nodes_a_line(source):
    """How dense code is: nodes of its syntax tree for each line that is neither blank nor a comment."""
    lines = [line for line in source.splitlines() if line.strip() and not line.strip().startswith("#")]
    return sum(1 for _ in ast.walk(ast.parse(source))) / max(len(lines), 1)


COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def puzzles(source):
    """What makes code slow to read: length, density, and three ways to hide a statement inside an expression."""
    found = []
    if (lines := len(source.splitlines())) > MOST_CODE_LINES:
        found.append(f"has {lines} lines, at most {MOST_CODE_LINES} are allowed")
    if (density := nodes_a_line(source)) > MOST_NODES_A_LINE:
        found.append(f"has {density:.1f} syntax nodes a line, at most {MOST_NODES_A_LINE} are allowed: name the parts")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, COMPREHENSIONS) and any(isinstance(part, ast.NamedExpr) for part in ast.walk(node)):
            found.append(f"assigns inside a comprehension (line {node.lineno}): write the loop")
        if isinstance(node, ast.Lambda) and (node.args.defaults or any(node.args.kw_defaults)):
            found.append(f"has a lambda with default arguments (line {node.lineno}): write a def")
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Tuple):
            if any(isinstance(part, ast.Call) for part in node.value.elts):
                found.append(f"separates statements by a comma (line {node.lineno}): give each its line")
    return found


def unchecked_theorems(nb):
    """Theorems after which no checked cell comes before the next theorem."""
    cells = enumerate(nb["cells"])
    checks = [i for i, cell in cells if cell["cell_type"] == "code" and CHECKED in text(cell["source"])]
    theorems = [(i, title) for i, kind, title, _ in directives(nb) if kind == "prf:theorem"]
    ends = [i for i, _ in theorems[1:]] + [len(nb["cells"])]
    return [
        f"theorem {title!r} has no {CHECKED} cell after it"
        for (start, title), end in zip(theorems, ends)
        if not any(start < i < end for i in checks)
    ]
