"""The blind test: what it holds, and that it counts as it says, in a browser without any network."""

import json
import re

import pytest
import torch
from browsing import open_browser

from experiments.blind import blind_test

WHITE, BLACK = torch.ones(1, 1, 28, 28), -torch.ones(1, 1, 28, 28)


def test_it_needs_nothing_from_outside_and_is_the_same_every_time():
    html = blind_test(WHITE, {"<b>": BLACK}, {"<b>": 0.25}).html()
    assert html == blind_test(WHITE, {"<b>": BLACK}, {"<b>": 0.25}).html()
    assert html != blind_test(WHITE, {"<b>": BLACK}, {"<b>": 0.26}).html()
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", html)
    assert "<b>" not in html
    assert html.count("</script>") == 1


def test_pixels_are_packed_in_the_order_in_which_they_are_drawn():
    x = BLACK.clone()
    x[0, 0, 0, 3] = x[0, 0, 27, 27] = 1
    spec = json.loads(re.search(r"const spec = (.*);\n", blind_test(x, {"a": WHITE}, {"a": 0.5}).html()).group(1))
    packed = bytes.fromhex(spec["real"][0])
    on = [i for i in range(784) if packed[i >> 3] >> (i & 7) & 1]
    assert on == [3, 783]
    assert spec["fake"] == [["ff" * 98]]


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="real="):
        blind_test(WHITE[0], {"a": WHITE}, {"a": 0.5})


@pytest.mark.browser
def test_in_a_browser_it_shows_asks_and_counts(tmp_path):
    page_file = tmp_path / "page.html"
    test = blind_test(WHITE, {"dark": BLACK}, {"dark": 0.25})
    page_file.write_text(f"<!doctype html>{test.html()}", encoding="utf-8")
    with open_browser() as browser:
        page, faults = browser.new_page(), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(page_file.as_uri())
        assert page.get_by_text("Run this cell").count() == 0
        shown, wrong, seen = 0, 0, set()
        for i in range(24):
            level = page.evaluate("document.querySelector('canvas').getContext('2d').getImageData(9, 9, 1, 1).data[0]")
            seen.add(level)
            real = level == 255  # the real ones are white, the others black
            say = real if i % 3 else not real
            page.get_by_role("button", name="Real" if say else "Generated").click()
            said = page.locator("output").inner_text()
            assert said.startswith("Right" if say == real else "No")
            assert said.endswith("a real digit." if real else "drawn by dark.")
            shown, wrong = shown + 1, wrong + (say != real)
        cells = page.locator("td").all_inner_texts()
        assert cells[:2] == [f"{round(100 * wrong / shown)} % of {shown}", "25 %"]
        assert seen == {0, 255}
        assert not faults
