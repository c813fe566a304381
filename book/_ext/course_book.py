"""What the book adds to jupyter-book: outputs of notebooks on other pages, links to the glossary, an index, and the
tags that others read.

The first use of each word of the glossary on a page becomes a link to its entry, and both go into the index, as
do theorems and definitions.
"""

import html
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective

OPAQUE = (nodes.title, nodes.reference, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.raw,
          addnodes.pending_xref, nodes.comment, nodes.caption, nodes.table)  # fmt: skip

# words of the glossary that mean other things as well: they are not linked by themselves
EVERYDAY = {"query", "key", "value", "rate", "distortion", "density", "density (of samples)", "recall", "coverage",
            "support", "floor", "feature", "profile", "score", "precision", "divergence", "batch"}  # fmt: skip


class NotebookOutput(SphinxDirective):
    """What a cell of a notebook shows, on another page: ```{notebook-output} 06_ddpm sample-film```."""

    required_arguments = 2

    def run(self):
        notebook, name = self.arguments
        path = Path(self.env.srcdir) / "notebooks" / f"{notebook}.ipynb"
        self.env.note_dependency(str(path))
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = next((cell["outputs"] for cell in cells if cell["id"] == name), None)
        if not outputs:
            raise self.error(f"{notebook} has no cell {name!r} with outputs")
        made = []
        for output in outputs:
            if output["output_type"] == "stream":
                printed = "".join(output["text"]).rstrip()
                made.append(nodes.literal_block(printed, printed, language="text"))
            elif "text/html" in output.get("data", {}):
                shown = "".join(output["data"]["text/html"])
                made.append(nodes.raw("", f'<div class="cell_output">{shown}</div>', format="html"))
        return made


def _pattern(word):
    plural = "" if word.endswith("s") else "s?"
    return re.compile(rf"(?<![\w-]){re.escape(word)}{plural}(?![\w-])", 0 if word.isupper() else re.I)


def _words(env):
    """Every word of the glossary: (pattern, document, anchor, word), longest first."""
    found = []
    for (kind, word), (docname, anchor) in env.get_domain("std").objects.items():
        if kind == "term" and word.lower() not in EVERYDAY:
            found.append((_pattern(word), docname, anchor, word))
    return sorted(found, key=lambda entry: -len(entry[3]))


def _opaque(text):
    node = text.parent
    while node is not None:
        if isinstance(node, OPAQUE) or "cell_output" in getattr(node, "attributes", {}).get("classes", []):
            return True
        node = node.parent
    return False


def _cells(env, stem):
    path = Path(env.srcdir) / "notebooks" / f"{stem}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


class CellLinks(SphinxPostTransform):
    """On the page of lesson plans, the name of a cell becomes a link to that cell, or to the first one after it."""

    default_priority = 900
    builders = ("html",)

    def run(self, **kwargs):
        if self.env.docname != "book/lessons":
            return
        notebooks = {path.stem[:2]: path.stem for path in (Path(self.env.srcdir) / "notebooks").glob("*.ipynb")}
        for section in list(self.document.findall(nodes.section)):
            stem = notebooks.get(section.next_node(nodes.title).astext()[:2])
            for literal in list(section.findall(nodes.literal)) if stem else []:
                self._link(literal, stem)

    def _link(self, literal, stem):
        cells = _cells(self.env, stem)
        at = next((i for i, cell in enumerate(cells) if cell["id"] == literal.astext()), None)
        code = [cell["id"] for cell in cells[at:] if cell["cell_type"] == "code"] if at is not None else []
        if code and not isinstance(literal.parent, nodes.reference):
            uri = self.app.builder.get_relative_uri("book/lessons", f"notebooks/{stem}") + f"#cell-{code[0]}"
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=uri))


class FirstUses(SphinxPostTransform):
    """Links the first use of each word of the glossary, on the pages of the course."""

    default_priority = 900
    builders = ("html",)

    def run(self, **kwargs):
        docname = self.env.docname
        if not docname.startswith("notebooks/"):
            return
        missing = _words(self.env)
        for text in list(self.document.findall(nodes.Text)):
            if missing and not _opaque(text):
                self._link(text, docname, missing)

    def _link(self, text, docname, missing):
        """Replace the earliest missing word of this text by a link, and go on with what stands after it."""
        hits = [(m, entry) for entry in missing if (m := entry[0].search(text))]
        if not hits:
            return
        match, entry = min(hits, key=lambda hit: (hit[0].start(), -len(hit[1][3])))
        missing.remove(entry)
        _, target, anchor, word = entry
        uri = self.app.builder.get_relative_uri(docname, target) + "#" + anchor
        link = nodes.reference("", match[0], internal=True, refuri=uri, classes=["glossary-word"],
                               reftitle=f"{word}: see the glossary")  # fmt: skip
        before, after = nodes.Text(text[: match.start()]), nodes.Text(text[match.end() :])
        text.parent.replace(text, [before, link, after])
        self._link(after, docname, missing)


class Index(SphinxTransform):
    """Puts each theorem, definition and so on into the index, and the first use of each word of the glossary."""

    default_priority = 840  # just before Sphinx collects the entries

    def apply(self, **kwargs):
        if self.env.docname == "book/api":  # functions have the page itself, and the search
            for node in list(self.document.findall(addnodes.index)):
                node.parent.remove(node)
        if self.env.docname.startswith("notebooks/"):
            cells = _cells(self.env, self.env.docname.removeprefix("notebooks/"))
            for node in self.document.findall(lambda n: isinstance(n, nodes.container) and "cell_index" in n):
                node["ids"].append(f"cell-{cells[node['cell_index']]['id']}")
            self._statements()
            self._words()

    def _statements(self):
        for node in list(self.document.findall(nodes.Element)):
            if "proof" in node.get("classes", []) and node.get("title") and node.get("ids"):
                name = re.sub(r"[$\\{}]", "", str(node["title"])).strip("() ")
                name = re.sub(r"^(?:An?|The) (.)", lambda match: match[1].upper(), name)
                self._enter([name], node["ids"][0], node)

    def _words(self):
        glossary = (Path(self.env.srcdir) / "book" / "glossary.md").read_text(encoding="utf-8")
        listed = re.search(r"(?s)```\{glossary\}\n(.*?)```", glossary)[1]
        missing = [word for word in re.findall(r"(?m)^(\S.*)$", listed) if word.lower() not in EVERYDAY]
        for i, paragraph in enumerate(list(self.document.findall(nodes.paragraph))):
            text = paragraph.astext()
            found = [word for word in missing if _pattern(word).search(text)]
            if found and not _opaque(paragraph):
                paragraph["ids"].append(f"words-{i}")
                self._enter(found, f"words-{i}", paragraph)
                missing = [word for word in missing if word not in found]

    def _enter(self, names, anchor, node):
        entry = addnodes.index(entries=[("single", name, anchor, "", None) for name in names])
        node.parent.insert(node.parent.index(node), entry)


def add_tags(app, pagename, templatename, context, doctree):
    """What search engines and reference managers read: the licence, and how to cite the page."""
    title = html.unescape(re.sub("<[^>]+>", "", context.get("title") or app.config.html_title))
    tags = {
        "citation_title": title,
        "citation_author": app.config.author,
        "citation_publication_date": str(app.config.copyright),
        "dcterms.license": app.config.course_licence,
    }
    lines = [f'<meta name="{name}" content="{html.escape(value)}">' for name, value in tags.items()]
    lines.append(f'<link rel="license" href="{app.config.course_licence}">')
    context["metatags"] = context.get("metatags", "") + "\n".join(lines) + "\n"


def escape_formulas(app, what, name, obj, options, lines):
    """Formulas in docstrings are plain text: |p - q| is no substitution, and *shape no emphasis."""
    for i, line in enumerate(lines):
        parts = re.split("(``.*?``)", line)
        lines[i] = "".join(p if p.startswith("``") else re.sub(r"(\||\*(?=\w)(?!\*))", r"\\\1", p) for p in parts)


def skip_fields(app, what, name, obj, skip, options):
    """Leave out the fields of named tuples, whose docstrings only count them."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.setup_extension("sphinx.ext.autodoc")
    app.add_config_value("course_licence", "https://creativecommons.org/licenses/by/4.0/", "html")
    app.add_directive("notebook-output", NotebookOutput)
    app.add_transform(Index)
    app.add_post_transform(FirstUses)
    app.add_post_transform(CellLinks)
    app.connect("autodoc-process-docstring", escape_formulas, priority=400)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("html-page-context", add_tags, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
