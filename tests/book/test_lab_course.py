"""JupyterLab on the real course, by hand as it were: from the menu, with the slider, restarted and run again."""

import pytest
from test_lab import lab, open_notebook, slide  # noqa: F401 (the first is a fixture)

pytestmark = pytest.mark.browser
FIRST = "00_start_here"
DONE = """() => {
  const prompts = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")]
    .map((prompt) => prompt.textContent.trim());
  return prompts.length > 20 && prompts.every((text, i) => text === "[" + (i + 1) + "]:");
}"""
CLEARED = """() => [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")]
  .some((prompt) => ["[ ]:", "[*]:"].includes(prompt.textContent.trim()))"""


def choose(page, menu, item):
    """Click an entry of JupyterLab's menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=menu).first.click()
    page.locator(".lm-Menu-itemLabel").filter(has_text=item).first.click()


def errors(page):
    return page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']").all_inner_texts()


@pytest.fixture(scope="module")
def page(lab, tab):  # noqa: F811
    open_notebook(tab, lab, FIRST)
    return tab.page


def test_it_opens_without_a_question(page):
    assert page.locator(".jp-Dialog").count() == 0
    assert page.locator(".myst aside.myst-proof").count() > 0


def test_the_table_of_contents_names_the_headings(page):
    page.locator("[data-id='table-of-contents'], [title^='Table of Contents']").first.click()
    page.wait_for_selector(".jp-TableOfContents-content .jp-tocItem", timeout=20_000)
    shown = page.locator(".jp-TableOfContents-content").first.inner_text()
    for heading in ("Failure lab", "How to use the course", "What to remember"):
        assert heading in shown


def test_solutions_are_folded_and_exercises_tagged(page):
    folded = page.locator(".myst details.myst-exercise")
    folded.nth(3).wait_for(state="attached", timeout=60_000)  # markdown is rendered cell by cell
    assert folded.evaluate_all("(nodes) => nodes.every((node) => !node.open)")
    tags = "() => window.jupyterapp.shell.currentWidget.content.widgets.map((cell) => cell.model.getMetadata('tags'))"
    assert sum(bool(given and "exercise" in given) for given in page.evaluate(tags)) >= 4


def test_it_runs_from_the_menu_and_its_slider_draws(page):
    choose(page, "Run", "Run All Cells")
    page.wait_for_function(DONE, timeout=240_000)
    assert errors(page) == []
    live = page.locator(".jp-OutputArea:has(.noUi-handle)").first
    live.scroll_into_view_if_needed()
    assert len(set(slide(page, live.locator(".noUi-handle").first, live.locator("img").first))) == 3


def test_the_kernel_restarts_and_everything_runs_again(page):
    choose(page, "Kernel", "Restart Kernel and Run All Cells")
    page.locator(".jp-Dialog .jp-mod-accept").click(timeout=20_000)
    page.wait_for_function(CLEARED, timeout=60_000)
    page.wait_for_function(DONE, timeout=240_000)
    assert errors(page) == []


def test_no_network_was_asked(page, tab):
    assert [complaint for complaint in tab.complaints if "asked the network" in complaint] == []
