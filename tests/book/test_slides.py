"""Slides: every deck shows what its notebook shows, fits its screen, and says how long it takes."""

import browsing
import looking
import nbformat
import pytest
import run
import slides

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("slides")]
NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
SOURCE = "\n".join(
    ["# T", "```{prf:theorem} A name", ":label: thm-a", "If $x$, then", "$$", "y = {i}", "$$ (eq-a)", "```"]
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the decks of all notebooks are served."""
    out = tmp_path_factory.mktemp("slides") / "slides"
    slides.build(NOTEBOOKS, out)
    with browsing.serve(out) as served:
        yield served


def made(slide, code=False):
    """A notebook with a title, one cell and one slide of it."""
    cell = nbformat.v4.new_code_cell("a = 1\nif a:\n    b = 2") if code else nbformat.v4.new_markdown_cell(SOURCE)
    if code:
        cell["outputs"] = [nbformat.v4.new_output("stream", text="<1>")]
    cell["id"] = "x"
    cell["metadata"]["gencourse"] = {"slides": [{"title": "One", "notes": "Say it.", "minutes": 2, **slide}]}
    first = nbformat.v4.new_markdown_cell("# Title\n\n**The question.** Why $x$?")
    return nbformat.v4.new_notebook(cells=[first, cell])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_deck_is_planned(path):
    nb = nbformat.read(path, as_version=4)
    assert slides.problems(nb) == []
    planned = slides.slides_of(nb)
    assert 40 <= sum(slide["minutes"] for _, slide in planned) <= 90
    assert all(slide["notes"].strip() for _, slide in planned)
    for cell in nb["cells"]:
        shown = "slides" in cell["metadata"].get("gencourse", {})
        assert cell["metadata"]["slideshow"]["slide_type"] == ("slide" if shown else "skip"), cell["id"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_nothing_on_a_slide_is_cut_off_or_asks_the_network(path, address, tab):
    assert looking.slide_problems(tab, f"{address}/{path.stem}.html") == []


def test_animations_play_and_notes_open(address, tab):
    tab.visit(f"{address}/06_ddpm.html", 1280, 720)
    tab.page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    at = tab.page.evaluate("Reveal.getSlides().findIndex((s) => s.querySelector('.gc-player'))")
    tab.page.evaluate(f"Reveal.slide({at})")
    assert looking.player_problems(tab.page.locator("section.present .gc-player").first) == []
    tab.page.evaluate("document.activeElement.blur()")
    with tab.page.context.expect_page() as notes:
        tab.page.keyboard.press("s")
    notes.value.wait_for_selector(".speaker-controls-notes", timeout=20_000)
    notes.value.close()


def shown(slide, code=False):
    """The HTML of the one slide of a small notebook."""
    cell, planned = slides.slides_of(made(slide, code))[0]
    return "".join(slides.parts(cell, planned))


def test_parts_of_a_cell():
    statement, equation = shown({"statement": True}), shown({"equations": [0]})
    assert "Theorem: A name" in statement and r"\[" in statement and "eq-a" not in statement
    assert "y = {i}" in equation and "If" not in equation
    assert r"\(a&lt;b\)" in shown({"points": ["$a<b$"]})
    code = shown({"code": [3, 3]}, code=True)
    assert "    b" not in code and ">b<" in code and "if" not in code
    assert "&lt;1&gt;" in shown({"output": 0}, code=True)


@pytest.mark.parametrize(
    ("slide", "said"),
    [
        ({"output": 5}, "no number 5"),
        ({"output": -1}, "no number -1"),
        ({"equations": [1]}, "no number 1"),
        ({"code": [0, 1]}, "no lines 0 to 1"),
        ({"code": [2, 9]}, "no lines 2 to 9"),
        ({"picture": 1}, "unknown"),
        ({}, "shows nothing"),
    ],
)
def test_a_wrong_plan_is_reported(slide, said):
    nb = made(slide, code="output" in slide)
    assert said in slides.problems(nb)[0]
    del nb["cells"][1]["metadata"]["gencourse"]["slides"][0]["notes"]
    assert "notes" in " ".join(slides.problems(nb))


def test_a_number_that_no_cell_printed_is_reported():
    assert slides.problems(made({"points": ["an FID of 3.14"]})) == ["slide 'One' of cell x: no cell prints 3.14"]


def test_faults_of_slides_are_seen(tab, tmp_path):
    nb = made({"points": ["long $" + "x + " * 60 + "x$"] + ["line"] * 20})
    path = tmp_path / "faulty.ipynb"
    nbformat.write(nb, path)
    slides.build([path], tmp_path / "out")
    with browsing.serve(tmp_path / "out") as address:
        found = " ".join(looking.slide_problems(tab, f"{address}/faulty.html"))
    assert "high: cut off" in found and "does not hold" in found
