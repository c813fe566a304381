"""What is written in the built book: links, tags for search engines, notebooks to download, the made pages.

No browser is needed here.
"""

import re

import links
import looking
import nbformat
import pages
import pytest
import run

import gencourse

pytestmark = pytest.mark.xdist_group("book")
PAGES = looking.pages(run.ROOT / "book" / "_toc.yml")
NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
HOME = links.HOME


def test_the_course_lives_at_one_address():
    """The configuration names it; what repeats it, where no variable can stand, agrees."""
    front = (run.ROOT / "book" / "intro.md").read_text(encoding="utf-8")
    assert f"git clone {links.REPOSITORY}\n" in front
    assert set(re.findall(r"https://github\.com/[\w-]+/[\w-]+", front)) == {links.REPOSITORY}
    sphinx = links.CONFIG["sphinx"]["config"]
    assert sphinx["ogp_site_url"] == HOME and sphinx["ogp_image"].startswith(HOME)


def test_no_link_inside_the_book_is_broken(built):
    assert links.broken(built) == []
    assert links.outside(built)


def test_broken_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text("<a href='b.html'>1</a><a href='a.html#no'>2</a><a href='#yes' id='yes'>3</a>")
    assert [line.split(": ")[1] for line in links.broken(tmp_path)] == [
        "b.html does not exist", "a.html#no has no such anchor",
    ]  # fmt: skip


def test_every_page_says_what_it_is_and_whose(built):
    sitemap = (built / "sitemap.xml").read_text(encoding="utf-8")
    for page in PAGES:
        source = (built / f"{page}.html").read_text(encoding="utf-8")
        for tag in (
            f'rel="canonical" href="{HOME}{page}.html"', f'property="og:url" content="{HOME}{page}.html"',
            'property="og:title"', f'property="og:image" content="{HOME}_static/preview.png"', 'rel="icon"',
            'rel="license"', 'name="citation_title"',
        ):  # fmt: skip
            assert tag in source, (page, tag)
        assert f"<loc>{HOME}{page}.html</loc>" in sitemap
    assert (built / "_static" / "preview.png").exists()


def test_every_notebook_can_be_downloaded_and_launched(built):
    for path in NOTEBOOKS:
        source = (built / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8")
        assert f"/blob/main/notebooks/{path.name}" in source and "colab.research.google.com/github/" in source
        assert f"urlpath=lab/tree/notebooks/{path.name}" in source and "mybinder.org" in source
        assert f'href="../_sources/notebooks/{path.name}"' in source
        assert (built / "_sources" / "notebooks" / path.name).exists()


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
    for path in NOTEBOOKS:
        nb = nbformat.read(path, as_version=4)
        planted = len(re.findall(r"\{exercise\} Find the bug", run.rules.markdown(nb)))
        found = list(pages.bugs_of(nb))
        assert len(found) == planted >= 1
        for _, label, _, code, check, said, _ in found:
            assert f"#{label}" in source and check.startswith("gc.check.") and "gc.check" not in code
            assert said.startswith("✗"), f"{label}: the check does not catch the planted bug"
