"""What a reader sees on a page of the book, as functions that return sentences: an empty list is a pass."""

import re
from functools import partial

import rules

WIDTHS = (1280, 390)
TYPESET = "() => document.readyState === 'complete' && (window.MathJax?.startup?.promise ?? Promise.resolve())"
LOOK = r"""
() => {
  const found = [], article = document.querySelector("article") ?? document.body;
  for (const math of article.querySelectorAll(".math"))
    if (!math.querySelector("mjx-container")) found.push("math is not typeset: " + math.textContent.slice(0, 80));
  for (const bad of article.querySelectorAll("mjx-merror, [data-mjx-error]"))
    found.push("MathJax: " + (bad.getAttribute("data-mjx-error") ?? bad.textContent).slice(0, 80));
  for (const img of article.querySelectorAll("img")) {
    if (!img.complete || !img.naturalWidth) found.push("a picture does not load: " + (img.src || "").slice(0, 80));
    if (!(img.alt ?? "").trim()) found.push("a picture has no alternative text: " + (img.src || "").slice(0, 80));
  }
  const words = article.cloneNode(true);
  words.querySelectorAll("pre, code, script, style, mjx-container, .gc-player").forEach((node) => node.remove());
  for (const raw of words.textContent.match(/.{0,40}(\$|\\begin|\\\(|\\\[|\{prf:|\{exercise|\{solution).{0,40}/g) ?? [])
    found.push("raw markup is visible: " + raw.trim());
  return found;
}
"""
WIDE = """
() => {
  const page = document.documentElement, room = page.clientWidth + 1;
  if (page.scrollWidth <= room) return [];
  const inside = (node) => node && (getComputedStyle(node).overflowX !== "visible" || inside(node.parentElement));
  const wide = [...document.querySelectorAll("article *, body > *")].filter((node) =>
    node.getBoundingClientRect().right > room && !inside(node.parentElement));
  const names = wide.slice(0, 3).map((node) => node.outerHTML.slice(0, 90));
  return ["the page is " + page.scrollWidth + " wide: " + names.join(" | ")];
}
"""


def page_problems(tab, address):
    """Open a page and say what is wrong with it: mathematics, pictures, width, players, network, scripts."""
    page, found = tab.page, []
    del tab.complaints[:]
    page.set_viewport_size({"width": WIDTHS[0], "height": 900})
    page.goto(address, wait_until="load")
    page.evaluate(TYPESET)
    found += page.evaluate(LOOK)
    players = page.locator(".gc-player")
    for i in range(players.count()):
        found += [f"player {i + 1}: {problem}" for problem in player_problems(players.nth(i))]
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(150)
        found += [f"at {width} pixels {problem}" for problem in page.evaluate(WIDE)]
    return found + tab.complaints


def picture_of(player):
    return player.locator("img").first.get_attribute("src")


def changes(player, act):
    """Whether the shown picture is another one after any of these actions."""
    seen = {picture_of(player)}
    for step in act:
        step()
        seen.add(picture_of(player))
    return len(seen) > 1


def blind_problems(test):
    """What does not work in a blind test: an answer must get a word, and be counted."""
    test.get_by_role("button", name="Real").click()
    said, counted = test.locator("output").inner_text(), test.locator("td").all_inner_texts()
    return [] if said and "of 1" in " ".join(counted) else ["an answer is not counted"]


def player_problems(player):
    """What does not move in a player: sliders, lists and the play button must change the picture."""
    if (player.get_attribute("id") or "").startswith("gc-blind"):
        return blind_problems(player)
    found = []
    sliders, lists, buttons = (player.locator(kind) for kind in ("input[type=range]", "select", "button"))
    if sliders.count() + lists.count() == 0:
        return ["no slider or list"]
    for i, slider in enumerate(sliders.all()):
        if not changes(player, [partial(slider.press, key) for key in ("Home", "End")]):
            found.append(f"slider {i + 1} does not change the picture")
    for i, choice in enumerate(lists.all()):
        options = range(choice.locator("option").count())
        if not changes(player, [partial(choice.select_option, index=k) for k in options]):
            found.append(f"list {i + 1} does not change the picture")
    for button in buttons.all():
        button.click()
        if not changes(player, [partial(player.page.wait_for_timeout, 250)] * 8):
            found.append("the play button does not change the picture")
        button.click()
    return found


BOXES = {"prf:": "div.proof", "exercise": "div.exercise", "solution": "div.solution"}


def box_problems(page, nb):
    """Whether the open page has a box for each theorem, exercise and solution of its notebook, solutions folded."""
    kinds, found = [kind for _, kind, _, _ in rules.directives(nb)], []
    for kind, selector in BOXES.items():
        wanted, there = sum(k.startswith(kind) for k in kinds), page.locator(f"article {selector}").count()
        if wanted != there:
            found.append(f"{there} boxes {selector} for {wanted} directives {kind}")
    wanted = len([o for cell in rules.code_cells(nb) for o in cell["outputs"] if "gc-player" in str(o.get("data", ""))])
    if (there := page.locator(".gc-player").count()) != wanted:
        found.append(f"{there} players for {wanted} in the notebook")
    open_solutions = page.locator("div.solution:not(.toggle-hidden)").count()
    if open_solutions:
        found.append(f"{open_solutions} solutions are not folded")
    return found


def pages(toc):
    """The documents that a table of contents names, in its order."""
    return re.findall(r"(?:root|file): (\S+)", toc.read_text(encoding="utf-8"))
