"""The frame player: each control position shows the frame drawn for it, with a kernel, without, and in a browser."""

import io
import itertools
import json
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from browsing import open_browser
from PIL import Image

from gencourse import plot
from gencourse.plot import Picture

ALT = 'A square of one grey: 5 < 6 & "q" </script>.'


def grey(level, size=(80, 40)):
    buffer = io.BytesIO()
    Image.new("RGB", size, (level, level, level)).save(buffer, "PNG")
    return Picture(buffer.getvalue(), f"Grey {level}.")


def level_of(frame):
    return round(np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")).mean())


def spec_of(html):
    return json.loads(re.search(r"const spec = (.*);\n", html).group(1))


@pytest.fixture
def stored(monkeypatch):
    monkeypatch.setenv("GENCOURSE_FRAMES", "1")


@pytest.fixture
def live(monkeypatch):
    monkeypatch.delenv("GENCOURSE_FRAMES", raising=False)


def test_animate_holds_every_frame_in_order():
    player = plot.animate(grey, range(0, 250, 50), alt=ALT, labels=[f"step {i}" for i in range(5)])
    assert [level_of(frame) for frame in player.frames] == [0, 50, 100, 150, 200]
    assert {Image.open(io.BytesIO(frame)).format for frame in player.frames} == {"WEBP"}
    spec = spec_of(player.html())
    assert spec["dims"] == [{"name": "frame", "labels": [f"step {i}" for i in range(5)], "kind": "range"}]
    assert spec["start"] == [4] and spec["alt"] == ALT
    assert len(spec["frames"]) == 5 and spec["frames"].count("") == 1  # the last one stands in the <img>


def test_a_player_needs_nothing_from_outside_and_is_the_same_every_time():
    html = plot.animate(grey, [0, 9], alt=ALT).html()
    assert html == plot.animate(grey, [0, 9], alt=ALT).html()
    assert html != plot.animate(grey, [0, 8], alt=ALT).html()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", html)
    assert html.count("</script>") == 1 and "<b" not in html.replace("<button", "")
    assert 'alt="A square of one grey: 5 &lt; 6 &amp; &quot;q&quot; &lt;/script&gt;."' in html
    assert repr(plot.animate(grey, [0, 9], alt=ALT)) == f"Animation (2 frames): {ALT}"


def test_frames_of_plots_stay_sharp_and_small():
    x = torch.linspace(-3, 3, 200)

    def draw(mu):
        with plt.style.context(plot.STYLE):
            fig, ax = plt.subplots(figsize=(7, 3))
            ax.fill_between(x, torch.exp(-((x - mu) ** 2)), color=plot.color("data"), alpha=0.5)
            return plot.show(fig, alt="A bump.")

    player = plot.animate(draw, [-1.0, 0.0, 1.0], alt="A bump moves.")
    assert len(player.html()) < 3 * 15_000 * 4 / 3 + 10_000  # at this rate 40 frames stay under 600 kB
    shown = np.asarray(Image.open(io.BytesIO(player.frames[1]))).astype(int)
    drawn = np.asarray(draw(0.0).image).astype(int)
    assert shown.shape == drawn.shape and np.abs(shown - drawn).mean() < 0.1
    assert np.abs(shown - np.asarray(draw(1.0).image)).mean() > 1  # broken twin: another frame
    small = plot.animate(draw, [-1.0, 0.0, 1.0], alt="A bump moves.", kilobytes=15)
    assert sum(map(len, small.frames)) < 15_000 < sum(map(len, player.frames))
    assert small.size == player.size  # less sharp, not smaller on the page


def test_what_would_be_shown_wrong_is_refused(stored):
    for changes, named in (
        ({"alt": " "}, "alt=' '"),
        ({"labels": ["one"]}, "one label for each of the 2 frames"),
        ({"draw": lambda level: grey(9, (80, 40 + 10 * level))}, "one size"),
    ):
        with pytest.raises(ValueError, match=named):
            plot.animate(**{"draw": grey, "frames": [1, 2], "alt": ALT, **changes})
    for changes in ({"alt": ""}, {"start": {"level": 7}}, {"draw": lambda level: grey(9, (80, 40 + 10 * level))}):
        with pytest.raises(ValueError, match=r"alt=|'7' is not|one size"):
            plot.explore(**{"draw": grey, "level": [1, 2], "alt": ALT, **changes})


def mixed(a, b, c):
    return grey(100 * a + 30 * ("x", "y", "z").index(b) + 7 * c)


def test_explore_stores_one_frame_for_each_combination_and_finds_it_again(stored):
    values = {"a": [0, 1], "b": ["x", "y", "z"], "c": torch.arange(3)}
    player = plot.explore(mixed, alt=ALT, start={"b": "z", "c": 2}, **values)
    assert len(player.frames) == 2 * 3 * 3
    twin = 0
    for i, j, k in itertools.product(range(2), range(3), range(3)):
        assert level_of(player.frames[player.index([i, j, k])]) == 100 * i + 30 * j + 7 * k
        twin += level_of(player.frames[i + 2 * j + 6 * k]) == 100 * i + 30 * j + 7 * k  # first control fastest
    assert twin < 18
    spec = spec_of(player.html())
    assert spec["start"] == [0, 2, 2] and spec["fps"] == 0
    assert [dim["kind"] for dim in spec["dims"]] == ["range", "select", "range"]


def test_explore_live_draws_with_the_values_of_the_controls(live):
    asked = []

    def draw(theta, kind):
        asked.append((theta, kind))
        return grey(int(100 * theta) + len(kind))

    *controls, shown = plot.explore(draw, alt=ALT, theta=torch.linspace(0, 1, 5), kind=["KL", "JSD"]).children
    slider, menu = controls
    assert (type(slider).__name__, type(menu).__name__) == ("SelectionSlider", "Dropdown")
    assert (slider.description, menu.description) == ("theta", "kind")
    assert asked == [(0.5, "KL")] and 'alt="Grey 52."' in shown.value
    slider.value = 0.75
    assert asked[-1] == (0.75, "KL") and 'alt="Grey 77."' in shown.value
    menu.value = "JSD"
    assert asked[-1] == (0.75, "JSD") and 'alt="Grey 78."' in shown.value


def test_explore_live_shows_what_goes_wrong_and_goes_on(live):
    def draw(theta):
        if theta > 1:
            raise ValueError("theta <b>too</b> large")
        return grey(theta)

    slider, shown = plot.explore(draw, alt=ALT, theta=[0, 1, 2]).children
    slider.value = 2
    assert "ValueError: theta &lt;b&gt;too&lt;/b&gt; large" in shown.value and "<img" not in shown.value
    slider.value = 0
    assert 'alt="Grey 0."' in shown.value
    with pytest.raises(ValueError, match="too"):  # at the start the cell fails like any other
        plot.explore(draw, alt=ALT, theta=[0, 1, 2], start={"theta": 2})


# ---- in a browser

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>players</title><body style="font-family:sans-serif">{}</body></html>"""
# The grey that is really on the screen: what a reader sees, whatever the script says.
# decode() is refused when the film moves on in the middle of it: then the next frame is as good.
GREY = """async (img) => { for (let tries = 0; ; tries++) { try { await img.decode(); break; }
catch (refused) { if (tries > 20) throw refused; } } const c = document.createElement("canvas").getContext("2d");
c.drawImage(img, 0, 0, 1, 1); return c.getImageData(0, 0, 1, 1).data[0]; }"""


@pytest.fixture(scope="module")
def browser():
    with open_browser() as found:
        yield found


@pytest.fixture
def show(browser, tmp_path):
    """Open players in a page from which every request is refused; an error in the page fails the test."""
    contexts, faults = [], []

    def opened(*players, **options):
        context = browser.new_context(viewport={"width": 800, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: r.url.startswith(("file:", "data:")) or faults.append(r.url))
        (tmp_path / "page.html").write_text(PAGE.format("\n".join(p.html() for p in players)), encoding="utf-8")
        page.goto((tmp_path / "page.html").as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


def animation():
    return plot.animate(grey, range(0, 100, 10), alt=ALT, fps=20, labels=[f"step {i}" for i in range(10)])


@pytest.mark.browser
def test_browser_sliders_choose_the_frame(show, stored):
    page = show(plot.explore(mixed, alt=ALT, a=[0, 1], b=["x", "y", "z"], c=[0, 1, 2]))
    img, a, b, c = (page.locator(s) for s in ("img", "[aria-label=a]", "[aria-label=b]", "[aria-label=c]"))
    assert img.evaluate(GREY) == 37 and page.get_by_text("Run this cell").count() == 0
    c.press("ArrowRight")
    assert img.evaluate(GREY) == 44
    b.select_option("z")
    assert img.evaluate(GREY) == 74
    a.press("End")
    assert img.evaluate(GREY) == 174
    assert img.get_attribute("alt") == ALT + " (a = 1, b = z, c = 2)"
    assert [o.inner_text() for o in page.locator("output").all()] == ["1", "2"]
    assert a.get_attribute("aria-valuetext") == "1"
    assert page.get_by_role("slider", name="a").count() == page.get_by_role("combobox", name="b").count() == 1


@pytest.mark.browser
def test_browser_animation_waits_plays_loops_and_pauses(show):
    page = show(animation())
    img, button, slider = page.locator("img"), page.get_by_role("button"), page.get_by_role("slider")
    page.wait_for_timeout(200)
    assert img.evaluate(GREY) == 90 and "Play" in button.inner_text()  # nothing moves unasked
    button.press("Enter")
    assert "Pause" in button.inner_text()
    seen = set()
    page.wait_for_function("document.querySelector('.gc-player').dataset.frame === '9'")
    page.wait_for_function("document.querySelector('.gc-player').dataset.frame === '2'")  # it went round
    for _ in range(8):
        seen.add(img.evaluate(GREY))
        page.wait_for_timeout(60)
    assert len(seen) >= 3
    button.click()
    still = img.evaluate(GREY)
    page.wait_for_timeout(200)
    assert img.evaluate(GREY) == still and "Play" in button.inner_text()
    button.click()
    slider.fill("3")  # taking the slider stops the film
    page.wait_for_timeout(200)
    assert img.evaluate(GREY) == 30 and "Play" in button.inner_text()
    assert page.locator("output").inner_text() == "step 3"


@pytest.mark.browser
def test_browser_plays_once_and_slowly_where_less_motion_is_wanted(show):
    page = show(plot.animate(grey, [10, 20, 30], alt=ALT, fps=30), reduced_motion="reduce")
    page.get_by_role("button").click()
    page.wait_for_timeout(200)
    assert page.locator("img").evaluate(GREY) == 10
    page.wait_for_function("document.querySelector('button').textContent.includes('Play')", timeout=5000)
    assert page.locator("img").evaluate(GREY) == 30


@pytest.mark.browser
def test_browser_players_on_one_page_are_independent(show, stored):
    other = plot.explore(grey, alt="Another.", level=[5, 6, 7])
    page = show(animation(), animation(), other)  # one of them twice: the same id, as in a second view of an output
    first, second, third = page.locator(".gc-player").all()
    assert page.get_by_role("button").count() == 2 and page.get_by_role("slider").count() == 3
    second.locator("input").press("Home")
    third.locator("input").press("End")
    assert [p.locator("img").evaluate(GREY) for p in (first, second, third)] == [90, 0, 7]
