"""JupyterLab as a reader meets it: boxes render, cells run from the menu, the live slider draws anew."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import browsing
import looking
import pytest
import rules
import run
import sample
import solving

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("lab")]
TOKEN = "sample"
FIRST = "00_start_here"
NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
HEAVIEST = max(NOTEBOOKS, key=lambda path: path.stat().st_size).stem
STILL = (  # nothing is asked of any network, not even by the server
    "--no-browser", "--allow-root", f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate", "--LabApp.news_url=None",
    "--LabApp.extension_manager=readonly", "--ServerApp.port_retries=0",
)  # fmt: skip
SETTINGS = {  # every cell in the document at once, also those out of sight
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
READY = "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
RUN_ALL = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells') }"
DONE = """() => {
  const prompts = [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")]
    .map((prompt) => prompt.textContent.trim());
  return prompts.length > 10 && prompts.every((text, i) => text === "[" + (i + 1) + "]:");
}"""
CLEARED = """() => [...document.querySelectorAll(".jp-Notebook .jp-CodeCell .jp-InputArea-prompt")]
  .some((prompt) => ["[ ]:", "[*]:"].includes(prompt.textContent.trim()))"""
BOXES = {"prf:": "aside.myst-proof", "exercise": "aside.myst-exercise", "solution": "details.myst-exercise:not([open])"}
WITHOUT_CODE = """(nodes) => nodes.map((node) => {
  const words = node.cloneNode(true);
  words.querySelectorAll("code, pre, .katex").forEach((part) => part.remove());
  return words.textContent;
})"""
RAW = re.compile(r"\{(prf:\w+|exercise|solution|math)\}|\$")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for_server(address, process):
    for _ in range(240):
        if process.poll() is not None:
            break
        try:
            return urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=5).close()
        except OSError:
            time.sleep(0.5)
    pytest.fail("JupyterLab does not answer")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab with fresh settings, in a folder that holds the course and the sample notebook."""
    browsing.require_browser(browsing.find_chromium(), os.environ.get("CI"))
    folder, port = tmp_path_factory.mktemp("lab"), free_port()
    run.nbformat.write(sample.notebook(), folder / "sample.ipynb")
    for path in NOTEBOOKS:
        shutil.copy(path, folder)
    for name, values in SETTINGS.items():
        path = folder / ".SETTINGS" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))
    own = {f"JUPYTER_{name}_DIR": str(folder / f".{name}") for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / f".{name}") for name in ("SETTINGS", "WORKSPACES")}
    log = open(folder / ".log", "w")
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}", f"--ServerApp.root_dir={folder}", *STILL]
    process = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_for_server(address, process)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def open_notebook(tab, lab, name):
    """Open a notebook and wait until its cells are drawn and its kernel answers."""
    tab.visit(f"{lab}/lab/tree/{name}.ipynb?token={TOKEN}&reset")
    tab.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    tab.page.wait_for_function(READY, timeout=90_000)


def choose(page, menu, item):
    """Click an entry of JupyterLab's menu bar."""
    page.locator(".lm-MenuBar-itemLabel", has_text=menu).first.click()
    page.locator(".lm-Menu-itemLabel").filter(has_text=item).first.click()


def slide(page):
    """Move the first live slider to both ends; returns the pictures seen."""
    live = page.locator(".jp-OutputArea:has(.noUi-handle)").first
    live.scroll_into_view_if_needed()
    handle, picture = live.locator(".noUi-handle").first, live.locator("img").first
    seen = [picture.get_attribute("src")]
    for key in ("End", "Home"):
        handle.press(key)
        deadline = time.monotonic() + 20
        while picture.get_attribute("src") == seen[-1] and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        seen.append(picture.get_attribute("src"))
    return set(seen)


def errors(page):
    return page.locator(".jp-Notebook [data-mime-type='application/vnd.jupyter.error']").all_inner_texts()


def network(tab):
    return [complaint for complaint in tab.complaints if "asked the network" in complaint]


def box_problems(page, nb):
    """What JupyterLab did not draw of a notebook's directives and mathematics."""
    kinds = [kind for _, kind, _, _ in rules.directives(nb)]
    wanted = {box: sum(k.startswith(kind) for k in kinds) for kind, box in BOXES.items()}
    there = {box: page.locator(f".myst {box}").count() for box in wanted}
    found = [f"{there[box]} {box} for {n} directives" for box, n in wanted.items() if there[box] != n]
    found += [f"formula: {bad.inner_text()[:80]}" for bad in page.locator(".katex-error").all()]
    words = page.eval_on_selector_all(".myst", WITHOUT_CODE)
    return found + [f"raw markup is visible: {text[:80]!r}" for text in words if RAW.search(text)]


def lasting_problems(page, nb):
    """The problems that are still there when JupyterLab has had half a minute to draw."""
    deadline = time.monotonic() + 30
    while (found := box_problems(page, nb)) and time.monotonic() < deadline:
        page.wait_for_timeout(200)
    return found


QUICK = (FIRST, HEAVIEST)
EACH = [pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow, id=path.stem) for path in NOTEBOOKS]


@pytest.mark.parametrize("path", EACH)
def test_a_notebook_renders_its_boxes_and_formulas(path, lab, tab):
    open_notebook(tab, lab, path.stem)
    assert tab.page.locator(".jp-Dialog").count() == 0, "it opens without a question"
    assert lasting_problems(tab.page, solving.read(path)) == []
    assert network(tab) == []


def test_the_first_notebook_runs_from_the_menu_and_its_slider_draws(lab, tab):
    open_notebook(tab, lab, FIRST)
    choose(tab.page, "Run", "Run All Cells")
    tab.page.wait_for_function(DONE, timeout=240_000)
    assert errors(tab.page) == []
    assert len(slide(tab.page)) == 3
    assert network(tab) == []


@pytest.mark.slow
def test_the_kernel_restarts_and_everything_runs_again(lab, tab):
    open_notebook(tab, lab, FIRST)
    choose(tab.page, "Kernel", "Restart Kernel and Run All Cells")
    tab.page.locator(".jp-Dialog .jp-mod-accept").click(timeout=20_000)
    tab.page.wait_for_function(CLEARED, timeout=60_000)
    tab.page.wait_for_function(DONE, timeout=240_000)
    assert errors(tab.page) == []


@pytest.mark.slow
def test_the_table_of_contents_names_the_headings(lab, tab):
    open_notebook(tab, lab, FIRST)
    tab.page.locator("[data-id='table-of-contents'], [title^='Table of Contents']").first.click()
    tab.page.wait_for_selector(".jp-TableOfContents-content .jp-tocItem", timeout=20_000)
    shown = tab.page.locator(".jp-TableOfContents-content").first.inner_text()
    headings = re.findall(r"(?m)^## ([\w ,]+)$", rules.markdown(solving.read(run.NOTEBOOKS / f"{FIRST}.ipynb")))
    assert headings and all(heading in shown for heading in headings)


@pytest.mark.slow
def test_the_sample_runs_slides_and_plays_and_its_faults_are_seen(lab, tab):
    open_notebook(tab, lab, "sample")
    page = tab.page
    assert lasting_problems(page, sample.notebook()) == []
    page.evaluate(RUN_ALL)
    page.wait_for_function("() => document.querySelectorAll('[role=status]').length >= 4", timeout=90_000)
    assert len(slide(page)) == 3
    assert looking.player_problems(page.locator(".gc-player[data-ready]").first) == []
    assert len(box_problems(page, run.nbformat.v4.new_notebook())) == 3
    page.evaluate("() => document.querySelector('.myst').append('{prf:theorem} $x$')")
    assert "raw markup is visible" in "".join(box_problems(page, sample.notebook()))
