"""A real browser on the built book, with every network but this machine cut off."""

import contextlib
import functools
import gzip
import http.server
import os
import threading
from urllib.parse import urlsplit

import pytest
from doctor import find_chromium

FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip
LOCAL = ("localhost", "127.0.0.1", "")


def require_browser(found, continuous_integration):
    """Skip the test where there is no browser, with a reason; under CI=true fail instead."""
    if found:
        return found
    reason = "no Chromium browser found: install chromium or Chrome to run the browser tests"
    (pytest.fail if continuous_integration == "true" else pytest.skip)(reason)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@contextlib.contextmanager
def serve(folder):
    """Serve a folder on this machine; gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class Tab:
    """A browser page that remembers what it was not allowed to fetch and what went wrong."""

    def __init__(self, page):
        self.page, self.complaints, self.came, self.sizes = page, [], [], {}
        page.on("console", lambda m: m.type == "error" and self.complaints.append(f"console error: {m.text}"))
        page.on("pageerror", lambda error: self.complaints.append(f"script error: {error}"))
        page.on("response", self.answered)
        page.route("**/*", self.guard)

    def answered(self, response):
        if response.status >= 400:
            self.complaints.append(f"{response.status} for {response.url}")
        elif response.status == 200 and response.url.startswith("http"):
            self.came.append(response)

    def visit(self, address, width=1280, height=900):
        """Open a page afresh."""
        self.complaints.clear()
        self.came.clear()
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.goto(address, wait_until="load")

    def weight(self):
        """What the open page weighs on its way to an empty cache: itself and all it loads, compressed as servers do."""
        for response in self.came:
            if response.url not in self.sizes:
                self.sizes[response.url] = len(gzip.compress(response.body(), 5))
        return sum(self.sizes[url] for url in {response.url for response in self.came})

    def guard(self, route):
        if urlsplit(route.request.url).hostname in LOCAL or route.request.url.startswith(("data:", "blob:")):
            return route.continue_()
        self.complaints.append(f"asked the network for {route.request.url}")
        return route.abort()


@contextlib.contextmanager
def open_browser():
    """A playwright browser with an empty profile and no way out; skips or fails where there is none."""
    path = require_browser(find_chromium(), os.environ.get("CI"))
    from playwright.sync_api import sync_playwright

    away = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=[*FLAGS, away])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def open_tab():
    """A browser with one watched page."""
    with open_browser() as browser:
        yield Tab(browser.new_page(viewport={"width": 1280, "height": 900}))
