"""The links of the built book: inside it every page and anchor must be there; those that lead out are listed.

    python book/tools/run.py links      writes book/_build/links.txt, and asks each whether it answers (needs a network)
"""

import sys
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml

CONFIG = yaml.safe_load((Path(__file__).resolve().parent.parent / "_config.yml").read_text(encoding="utf-8"))
HOME, REPOSITORY = CONFIG["html"]["baseurl"], CONFIG["repository"]["url"]
LAUNCH = ("https://mybinder.org/", "https://colab.research.google.com/")


class Page(HTMLParser):
    """What a page points at, and the anchors that it has."""

    def __init__(self, text):
        super().__init__()
        self.targets, self.anchors = [], {"", "top"}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given.get("id"), given.get("name")} - {None}
        for name in ("href", "src", "xlink:href"):
            if given.get(name) is not None and tag != "base":
                self.targets.append(given[name])


def read(html):
    """path relative to the book -> Page, for every page of the built book."""
    return {path.relative_to(html): Page(path.read_text(encoding="utf-8")) for path in sorted(html.rglob("*.html"))
            if "_static" not in path.parts}  # fmt: skip


def broken(html):
    """Every link inside the book that leads nowhere, as a sentence."""
    pages, found = read(html), []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target.startswith("data:"):
                continue
            there = (html / path.parent / unquote(parts.path)).resolve() if parts.path else (html / path).resolve()
            there = there / "index.html" if there.is_dir() else there
            if not there.exists():
                found.append(f"{path}: {target} does not exist")
            elif there.suffix == ".html" and "_static" not in there.parts:
                anchors = pages[there.relative_to(html.resolve())].anchors
                if unquote(parts.fragment) not in anchors:
                    found.append(f"{path}: {target} has no such anchor")
    return found


def outside(html):
    """address -> the pages that point to it, for every link out of the book, its own address left out."""
    found = {}
    for path, page in read(html).items():
        for target in page.targets:
            if target.startswith(("http://", "https://")) and not target.startswith((HOME, REPOSITORY, *LAUNCH)):
                found.setdefault(target.split("#")[0], set()).add(str(path))
    return dict(sorted(found.items()))


def answers(address):
    """What an address says: its status, or why there was none."""
    request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check of a course)"})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return str(response.status)
    except urllib.error.HTTPError as error:
        return str(error.code)
    except (OSError, ValueError, HTTPException) as error:
        return str(error)


def check(html, out):
    """Write all external links with their answers into the file ``out``; returns how many did not answer with 200."""
    if not html.is_dir():
        sys.exit("The book is not built yet. Call `make book` first, then this again.")
    found = outside(html)
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(answers, found))
    rows = zip(said, found, (", ".join(sorted(pages)) for pages in found.values()))
    lines = ["\t".join(row) for row in rows]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return sum(status != "200" for status in said)
