"""What a reader sees on a page of the book, as functions that return sentences: an empty list is a pass."""

import re
from functools import partial

import rules

WIDTHS = (1280, 390)
MOST_BYTES = 5_000_000
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
    """Visit a page once: mathematics, pictures, width, weight, players, network, scripts."""
    page = tab.page
    tab.visit(address, WIDTHS[0])
    page.evaluate(TYPESET)
    found = page.evaluate(LOOK)
    if (weight := tab.weight()) > MOST_BYTES:
        found.append(f"{weight:,} bytes, at most {MOST_BYTES:,} are allowed")
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
    before = picture_of(player)
    for step in act:
        step()
        if picture_of(player) != before:
            return True
    return False


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
        if not changes(player, [partial(slider.press, key) for key in ("End", "Home")]):
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


SLIDE = r"""
() => {
  const found = [], section = Reveal.getCurrentSlide(), slide = section.querySelector(".slide");
  const frame = slide.getBoundingClientRect(), scale = frame.width / 1280;
  if (slide.scrollHeight > 721) found.push("is " + slide.scrollHeight + " high: cut off");
  if (slide.scrollWidth > 1281) found.push("is " + slide.scrollWidth + " wide: cut off");
  for (const node of slide.querySelectorAll("p, li, h2, mjx-container, pre, td, th, img, button")) {
    const box = node.getBoundingClientRect();
    if (box.right > frame.right - 20 * scale || box.left < frame.left || box.bottom > frame.bottom - 8 * scale)
      found.push("does not hold " + node.tagName.toLowerCase() + " " + node.textContent.slice(0, 40));
    if (node.tagName === "PRE" && node.scrollWidth > node.clientWidth + 1) found.push("cuts off code");
  }
  for (const part of section.querySelectorAll(".statement, .math"))
    if (part.scrollWidth > part.clientWidth + 1) found.push("cuts off mathematics");
  for (const node of section.querySelectorAll(".output td, .output th, .output pre, .output button, .output label")) {
    const zoom = node.closest(".output").firstElementChild.style.zoom || 1;
    const size = parseFloat(getComputedStyle(node).fontSize) * zoom;
    if (size < 16) found.push("has letters of " + size.toFixed(0) + " pixels in its output");
  }
  for (const img of section.querySelectorAll("img")) {
    if (!img.naturalWidth) found.push("a picture does not load");
    const box = img.getBoundingClientRect();
    if (img.closest(".output") && box.height < 150 * scale && box.width < 900 * scale)
      found.push("leaves a picture " + box.height.toFixed(0) + " pixels of height");
  }
  for (const bad of section.querySelectorAll("mjx-merror, [data-mjx-error]")) found.push("MathJax: " + bad.textContent);
  const words = section.cloneNode(true);
  words.querySelectorAll("pre, code, script, style, mjx-container, .gc-player").forEach((node) => node.remove());
  for (const raw of words.textContent.match(/.{0,40}(\$|\\begin|\\\(|\\\[|\{prf:|\{eq\}|\*\*).{0,40}/g) ?? [])
    found.push("raw markup is visible: " + raw.trim());
  if (slide.querySelector("h2").getBoundingClientRect().height > 100 * scale && !slide.classList.contains("front"))
    found.push("has a title of more than two lines");
  return [...new Set(found)];
}
"""


def slide_problems(tab, address, pictures=None):
    """Go through a deck and say what is wrong with each slide; save a picture of each into the folder, if any."""
    page, found = tab.page, []
    tab.visit(address, 1280, 720)
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    for i in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate(f"Reveal.slide({i})")
        page.wait_for_timeout(60)
        found += [f"slide {i + 1} {problem}" for problem in page.evaluate(SLIDE)]
        if pictures is not None:
            page.screenshot(path=pictures / f"{i + 1:02}.png")
    return found + tab.complaints
