"""A headless Chromium for the tests: found, or its absence said aloud."""

import contextlib
import os
import shutil
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@contextlib.contextmanager
def open_browser():
    """A playwright browser; without one the test is skipped with the reason, and fails under ``CI=true``."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _give_up("playwright is not installed")
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, NAMES)), None)
        own = playwright.chromium.executable_path
        path = path or (own if Path(own).exists() else None)
        if path is None:
            _give_up(f"no Chromium: none of {', '.join(NAMES)} on the PATH, and playwright has not installed its own")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


def _give_up(reason):
    if os.environ.get("CI") == "true":
        pytest.fail(f"browser tests must run under CI=true, but {reason}")
    pytest.skip(f"browser test not run: {reason}")
