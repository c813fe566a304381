"""The book: it builds with warnings as errors, and a real browser with no network shows every page whole.

Each page is visited once: all of it is drawn, it fits a phone, it is light, and its players play.
"""

import re
import shutil
import subprocess

import browsing
import looking
import pytest
import run
import solving
from axe_playwright_python.sync_playwright import Axe

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("book")]
BOOK = run.ROOT / "book"
PAGES = looking.pages(BOOK / "_toc.yml")
ONE_OF_EACH_KIND = ("book/intro", "notebooks/00_start_here", "book/glossary", "book/numbers")
IN_THE_DARK = ("book/intro", "notebooks/00_start_here", "book/bugs")
SHADES = "() => getComputedStyle(document.body).backgroundColor"
STRAY = """
<article><p>Costs $5, or \\begin{x}.</p><span class="math">\\(x\\)</span><mjx-merror>Undefined</mjx-merror>
<img src="missing.png" alt="gone"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" alt="">
<div style="width:3000px">wide</div>
<div class="gc-player"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" alt="still">
<button>Play</button><input type="range"><select><option>a</option><option>b</option></select></div>
<script src="https://example.org/far.js"></script><script>undefinedName</script></article>
"""


@pytest.fixture(scope="module")
def address(built):
    with browsing.serve(built) as served:
        yield served


def violations(browser, address, scheme="light"):
    """axe-core's serious and critical violations, as sentences. Typeset formulas are MathJax's own affair."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.goto(address, wait_until="load")
    page.evaluate(looking.TYPESET)
    page.add_style_tag(content="* { transition: none !important }")  # colours that are on their way are not the page's
    shade = sum(map(int, re.findall(r"\d+", page.evaluate(SHADES))[:3]))
    report = Axe().run(page, context={"exclude": [["mjx-container"]]}).response
    context.close()
    assert len(report["passes"]) > 5
    found = [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in report["violations"]
             if v["impact"] in ("serious", "critical")]  # fmt: skip
    return found + ["shade: is not dark"] * (scheme == "dark" and shade > 150)


def some(pages, quick):
    """Parameters: every page, all but the ``quick`` ones marked as slow."""
    return [pytest.param(page, marks=[] if page in quick else pytest.mark.slow) for page in pages]


def test_the_contents_name_every_notebook_in_order():
    named = [page.removeprefix("notebooks/") for page in PAGES if page.startswith("notebooks/")]
    assert named == [path.stem for path in sorted(run.NOTEBOOKS.glob("*.ipynb"))]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(page, address, tab):
    assert looking.page_problems(tab, f"{address}/{page}.html") == []
    if page.startswith("notebooks/"):
        assert looking.box_problems(tab.page, solving.read(run.ROOT / f"{page}.ipynb")) == []


@pytest.mark.parametrize("page", some([*PAGES, "genindex", "search"], ONE_OF_EACH_KIND))
def test_a_page_has_no_serious_violation(page, address, tab):
    assert violations(tab.page.context.browser, f"{address}/{page}.html") == []


@pytest.mark.parametrize("page", some(IN_THE_DARK, IN_THE_DARK[:1]))
def test_the_dark_page_is_dark_and_has_none_either(page, address, tab):
    assert violations(tab.page.context.browser, f"{address}/{page}.html", "dark") == []


def test_the_front_door_leads_to_the_landing_page(address, tab):
    tab.page.goto(address)
    tab.page.wait_for_url(f"{address}/{PAGES[0]}.html")


def test_search_finds_a_word_without_a_network(address, tab):
    tab.visit(f"{address}/search.html?q=reparameterization")
    tab.page.wait_for_selector("#search-results li a", timeout=20_000)
    assert "05_vae" in " ".join(a.get_attribute("href") for a in tab.page.locator("#search-results li a").all())
    assert tab.complaints == []


def test_a_faulty_page_is_reported_in_every_respect(tab, tmp_path, monkeypatch):
    (tmp_path / "stray.html").write_text("<!doctype html><title>x</title>" + STRAY)
    monkeypatch.setattr(looking, "MOST_BYTES", 100)
    with browsing.serve(tmp_path) as served:
        found = "\n".join(looking.page_problems(tab, f"{served}/stray.html"))
    for fault in (
        "math is not typeset", "MathJax: Undefined", "does not load", "no alternative text", "raw markup is visible",
        "at 1280 pixels", "at 390 pixels", "slider 1 does not", "list 1 does not", "play button does not",
        "asked the network", "script error", "404 for", "bytes, at most",
    ):  # fmt: skip
        assert fault in found
    missing = looking.box_problems(tab.page, run.nbformat.v4.new_notebook())
    assert missing == ["1 players for 0 in the notebook"]


def test_violations_are_found(tab, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html lang='en'><title>x</title><body style='background:#fff'><main><h1>x</h1><img src='a.png'>"
        "<p style='color:#999'>pale</p><button></button></main>"
    )
    with browsing.serve(tmp_path) as served:
        found = "\n".join(violations(tab.page.context.browser, f"{served}/bad.html", "dark"))
    for name in ("image-alt", "color-contrast", "button-name", "shade"):
        assert name in found


def test_a_fault_on_a_page_fails_the_build(tmp_path):
    shutil.copytree(BOOK, tmp_path / "book", ignore=shutil.ignore_patterns("_build", "__pycache__"))
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    page = tmp_path / "book" / "page.md"
    page.write_text("# Faulty\n\nSee {ref}`thm-none`.\n")
    assert run.build(tmp_path) != 0


def test_without_a_browser_tests_are_skipped_with_a_reason_or_fail_under_ci():
    with pytest.raises(pytest.skip.Exception, match="no Chromium browser found"):
        browsing.require_browser(None, None)
    with pytest.raises(pytest.fail.Exception, match="no Chromium browser found"):
        browsing.require_browser(None, "true")
    assert browsing.require_browser("/bin/chromium", "true") == "/bin/chromium"


def test_the_book_is_not_committed():
    listed = subprocess.run(["git", "ls-files", "book/_build"], cwd=run.ROOT, capture_output=True, text=True)
    assert listed.stdout == ""
