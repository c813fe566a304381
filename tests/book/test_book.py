"""The book: it builds with warnings as errors, and a real browser with no network shows every page whole."""

import shutil
import subprocess

import browsing
import looking
import pytest
import run
import solving

pytestmark = pytest.mark.browser
BOOK = run.ROOT / "book"
PAGES = looking.pages(BOOK / "_toc.yml")
STRAY = """
<article><p>Costs $5, or \\begin{x}.</p><span class="math">\\(x\\)</span><mjx-merror>Undefined</mjx-merror>
<img src="missing.png" alt="gone"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" alt="">
<div style="width:3000px">wide</div>
<div class="gc-player"><img src="data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA=" alt="still">
<button>Play</button><input type="range"><select><option>a</option><option>b</option></select></div>
<script src="https://example.org/far.js"></script><script>undefinedName</script></article>
"""


def test_the_contents_name_every_notebook_in_order():
    named = [page.removeprefix("notebooks/") for page in PAGES if page.startswith("notebooks/")]
    assert named == [path.stem for path in sorted(run.NOTEBOOKS.glob("*.ipynb"))]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole(page, built, tab):
    with browsing.serve(built) as address:
        assert looking.page_problems(tab, f"{address}/{page}.html") == []
        if page.startswith("notebooks/"):
            assert looking.box_problems(tab.page, solving.read(run.ROOT / f"{page}.ipynb")) == []


def test_the_front_door_leads_to_the_landing_page(built, tab):
    with browsing.serve(built) as address:
        tab.page.goto(address)
        tab.page.wait_for_url(f"{address}/{PAGES[0]}.html")


def test_a_faulty_page_is_reported_in_every_respect(tab, tmp_path):
    (tmp_path / "stray.html").write_text("<!doctype html><title>x</title>" + STRAY)
    with browsing.serve(tmp_path) as address:
        found = "\n".join(looking.page_problems(tab, f"{address}/stray.html"))
    for fault in (
        "math is not typeset", "MathJax: Undefined", "does not load", "no alternative text", "raw markup is visible",
        "at 1280 pixels", "at 390 pixels", "slider 1 does not", "list 1 does not", "play button does not",
        "asked the network", "script error", "404 for",
    ):  # fmt: skip
        assert fault in found
    missing = looking.box_problems(tab.page, run.nbformat.v4.new_notebook())
    assert missing == ["1 players for 0 in the notebook"]


def test_a_fault_on_a_page_fails_the_build(tmp_path):
    shutil.copytree(BOOK, tmp_path / "book", ignore=shutil.ignore_patterns("_build", "__pycache__"))
    (tmp_path / "book" / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    page = tmp_path / "book" / "page.md"
    page.write_text("# Sound\n\nNothing is wrong here.\n")
    assert run.build(tmp_path) == 0
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
