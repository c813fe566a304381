"""What a stranger, a phone, a screen reader and a search engine find in the built book."""

import gzip
import re

import browsing
import links
import looking
import nbformat
import pace
import pages
import pytest
import run
from axe_playwright_python.sync_playwright import Axe

import gencourse

pytestmark = pytest.mark.browser
PAGES = looking.pages(run.ROOT / "book" / "_toc.yml")
EVERY = [*PAGES, "genindex", "search"]
HOME = links.HOME
MOST_BYTES, MOST_SECONDS = 5_000_000, 1.0
SHADES = "() => getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def address(built):
    with browsing.serve(built) as served:
        yield served


@pytest.fixture(scope="module")
def browser():
    with browsing.open_browser() as opened:
        yield opened


def fetched_bytes(tab, address):
    """What a page weighs on its way to an empty cache: itself and all that it loads, compressed as servers do."""
    came = []
    tab.on("response", lambda response: came.append(response))
    tab.goto(address, wait_until="load")
    return sum(len(gzip.compress(response.body(), 5)) for response in came if response.status == 200)


def seconds_to_text(browser, address):
    """How long until text stands there, in a fresh window."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    tab = context.new_page()
    tab.goto(address, wait_until="load")
    paint = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
    tab.wait_for_function(paint)
    seconds = tab.evaluate(paint) / 1000
    context.close()
    return seconds


def violations(browser, address, scheme="light"):
    """axe-core's serious and critical violations, as sentences. Typeset formulas are MathJax's own affair."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    tab.goto(address, wait_until="load")
    tab.evaluate(looking.TYPESET)
    report = Axe().run(tab, context={"exclude": [["mjx-container"]]}).response
    context.close()
    assert len(report["passes"]) > 5
    return [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in report["violations"]
            if v["impact"] in ("serious", "critical")]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_light_and_quick(page, address, browser):
    context = browser.new_context()
    size = fetched_bytes(context.new_page(), f"{address}/{page}.html")
    context.close()
    assert size <= MOST_BYTES
    assert any(pace.within(seconds_to_text(browser, f"{address}/{page}.html"), MOST_SECONDS) for _ in range(3))


@pytest.mark.parametrize("page", EVERY)
def test_a_page_has_no_serious_violation(page, address, browser):
    assert violations(browser, f"{address}/{page}.html") == []


@pytest.mark.parametrize("page", ["book/intro", "notebooks/00_start_here", "book/bugs"])
def test_the_dark_page_is_dark_and_has_none_either(page, address, browser):
    assert violations(browser, f"{address}/{page}.html", "dark") == []
    shades = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme)
        tab = context.new_page()
        tab.goto(f"{address}/{page}.html", wait_until="load")
        shades[scheme] = sum(map(int, re.findall(r"\d+", tab.evaluate(SHADES))[:3]))
        context.close()
    assert shades["dark"] < 150 < 600 < shades["light"]


def test_violations_are_found(browser, tmp_path):
    (tmp_path / "bad.html").write_text(
        "<!doctype html><html lang='en'><title>x</title><main><h1>x</h1><img src='a.png'>"
        "<p style='color:#999'>pale</p><button></button></main>"
    )
    with browsing.serve(tmp_path) as served:
        found = "\n".join(violations(browser, f"{served}/bad.html"))
    for name in ("image-alt", "color-contrast", "button-name"):
        assert name in found


def test_the_course_lives_at_one_address():
    """The configuration names it; what repeats it, where no variable can stand, agrees."""
    front = (run.ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    assert front.count(f"git clone {links.REPOSITORY}\n") == 1 and front.count(f"git+{links.REPOSITORY}`") == 1
    assert front.count("github.com") == 2
    sphinx = links.CONFIG["sphinx"]["config"]
    assert sphinx["ogp_site_url"] == HOME and sphinx["ogp_image"].startswith(HOME)


def test_no_link_inside_the_book_is_broken(built, tmp_path):
    assert links.broken(built) == []
    assert len(links.outside(built)) > 50
    (tmp_path / "a.html").write_text("<a href='b.html'>1</a><a href='a.html#no'>2</a><a href='#yes' id='yes'>3</a>")
    assert [line.split(": ")[1] for line in links.broken(tmp_path)] == [
        "b.html does not exist", "a.html#no has no such anchor",
    ]  # fmt: skip


@pytest.mark.parametrize("page", PAGES)
def test_a_page_says_what_it_is_and_whose(page, built):
    source = (built / f"{page}.html").read_text(encoding="utf-8")
    for tag in (
        f'rel="canonical" href="{HOME}{page}.html"', f'property="og:url" content="{HOME}{page}.html"',
        'property="og:title"', f'property="og:image" content="{HOME}_static/preview.png"', 'rel="icon"',
        'rel="license"', 'name="citation_title"', "CC BY 4.0", "To cite:",
    ):  # fmt: skip
        assert tag in source, tag
    assert (built / "_static" / "preview.png").exists()
    assert f"<loc>{HOME}{page}.html</loc>" in (built / "sitemap.xml").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", sorted(run.NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_can_be_downloaded_and_launched(path, built):
    source = (built / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
    assert f"/blob/main/notebooks/{path.name}" in source and "colab.research.google.com/github/" in source
    assert f"urlpath=lab/tree/notebooks/{path.name}" in source and "mybinder.org" in source
    assert f'href="../_sources/notebooks/{path.name}"' in source
    assert (built / "_sources" / "notebooks" / path.name).read_bytes() == path.read_bytes()


def test_words_of_the_glossary_are_linked_once_and_indexed(built):
    source = (built / "notebooks" / "02_gan.html").read_text(encoding="utf-8")
    assert source.count('href="../book/glossary.html#term-Discriminator"') == 1
    index = (built / "genindex.html").read_text(encoding="utf-8")
    entry = re.search(r"Mode collapse</strong></a>(.*?)</li>", index, re.S)[1]
    assert "notebooks/03_dcgan.html#words-" in entry
    assert "Importance-weighted bounds" in index


def test_the_library_page_has_everything_public(built):
    source = (built / "book" / "api.html").read_text(encoding="utf-8")
    modules = {name for name in gencourse.__all__ if type(getattr(gencourse, name)).__name__ == "module"}
    missing = [name for name in gencourse.__all__ if name not in modules and f'.{name}"' not in source]
    assert missing == []
    assert all(f"module-gencourse.{name}" in source for name in modules)


def test_the_zoo_has_every_planted_bug(built):
    source = (built / "book" / "bugs.html").read_text(encoding="utf-8")
    for path in sorted(run.NOTEBOOKS.glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        planted = len(re.findall(r"\{exercise\} Find the bug", run.rules.markdown(nb)))
        found = list(pages.bugs_of(nb))
        assert len(found) == planted >= 1
        for _, label, _, code, check, said, _ in found:
            assert f"#{label}" in source and check.startswith("gc.check.") and "gc.check" not in code
            assert said.startswith("✗"), f"{label}: the check does not catch the planted bug"


def test_search_finds_a_word_without_a_network(address, browser):
    tab = browsing.Tab(browser.new_page())
    tab.page.goto(f"{address}/search.html?q=reparameterization", wait_until="load")
    tab.page.wait_for_selector("#search-results li a", timeout=20_000)
    assert "05_vae" in " ".join(a.get_attribute("href") for a in tab.page.locator("#search-results li a").all())
    assert tab.complaints == []
