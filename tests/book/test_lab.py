"""JupyterLab as a reader meets it: boxes render, cells run, the live slider draws anew, the animation plays."""

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

pytestmark = pytest.mark.browser
TOKEN = "sample"
NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
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
    """The address of a JupyterLab with fresh settings, in a folder that holds the sample notebook."""
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


def slide(page, handle, picture):
    """Move the live slider to both ends; returns the pictures seen."""
    seen = [picture.get_attribute("src")]
    for key in ("End", "Home"):
        handle.press(key)
        deadline = time.monotonic() + 20
        while picture.get_attribute("src") == seen[-1] and time.monotonic() < deadline:
            page.wait_for_timeout(100)
        seen.append(picture.get_attribute("src"))
    return seen


def open_notebook(tab, lab, name):
    """Open a notebook and wait until its cells are drawn and its kernel answers."""
    tab.page.goto(f"{lab}/lab/tree/{name}.ipynb?token={TOKEN}&reset", wait_until="load")
    tab.page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=90_000)
    tab.page.wait_for_function(READY, timeout=90_000)


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


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_of_the_course_renders_its_boxes_and_formulas(path, lab, tab):
    open_notebook(tab, lab, path.stem)
    assert lasting_problems(tab.page, solving.read(path)) == []


def test_cells_run_sliders_draw_live_and_animations_play(lab, tab):
    open_notebook(tab, lab, "sample")
    page = tab.page
    assert lasting_problems(page, sample.notebook()) == []
    page.evaluate(RUN_ALL)
    page.wait_for_function("() => document.querySelectorAll('[role=status]').length >= 4", timeout=90_000)
    live = page.locator(".jp-OutputArea:has(.noUi-handle)").first
    assert len(set(slide(page, live.locator(".noUi-handle").first, live.locator("img").first))) == 3
    assert looking.player_problems(page.locator(".gc-player[data-ready]").first) == []
    assert [complaint for complaint in tab.complaints if "asked the network" in complaint] == []


def test_missing_boxes_and_raw_markup_are_reported(lab, tab):
    open_notebook(tab, lab, "sample")
    assert lasting_problems(tab.page, sample.notebook()) == []
    empty = run.nbformat.v4.new_notebook()
    assert len(box_problems(tab.page, empty)) == 3
    tab.page.evaluate("() => document.querySelector('.myst').append('{prf:theorem} $x$')")
    assert "raw markup is visible" in "".join(box_problems(tab.page, sample.notebook()))


def test_the_lab_command_opens_a_notebook_that_is_there():
    opened = re.search(r"notebooks/\w+\.ipynb", (run.ROOT / "course.py").read_text(encoding="utf-8"))[0]
    assert solving.read(run.ROOT / opened)["cells"]
