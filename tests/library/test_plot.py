"""Figures: what is drawn is what was given, and alternative text reaches the page."""

import base64
import io
import sys
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from gencourse import plot
from gencourse.plot.curves import _running_mean
from gencourse.plot.style import PALETTE, colors_for

IMAGES = -torch.ones(6, 1, 8, 8)


def shown_figure(*, alt):
    fig, ax = plt.subplots(figsize=(4, 2))
    ax.plot([0, 1])
    return plot.show(fig, alt=alt)


# One good call of each function that makes a picture.
GOOD = {
    "show": shown_figure,
    "image_grid": lambda **kw: plot.image_grid(IMAGES, cols=3, title="A title", **kw),
    "curves": lambda **kw: plot.curves({"d_loss": [3.0, 2.0, 1.0], "g_loss": [1.0, 1.0, 2.0]}, **kw),
    "diagram": lambda **kw: plot.diagram({"z": (0, 0), "G": (1, 0)}, [("z", "G")], **kw),
}


class Images(HTMLParser):
    """The attributes of every <img>."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            self.found.append(dict(attrs))


def image_of(html):
    """The attributes and the pixels of the one picture in ``html``."""
    (attributes,) = Images(html).found
    data = base64.b64decode(attributes["src"].partition(",")[2])
    return attributes, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures of curves that became pictures during the test."""
    module, made = sys.modules["gencourse.plot.curves"], []
    real = module.show
    monkeypatch.setattr(module, "show", lambda fig, alt: (made.append(fig), real(fig, alt=alt))[1])
    return made


@pytest.mark.parametrize("name", GOOD)
def test_every_figure_is_an_img_with_its_alternative_text(name):
    picture = GOOD[name](alt='Left: 5 < 6 & "q".\n  Right: nothing.')
    attributes, pixels = image_of(picture._repr_mimebundle_()["text/html"])
    assert attributes["alt"] == 'Left: 5 < 6 & "q". Right: nothing.'
    assert repr(picture) == "Picture: " + attributes["alt"]
    assert attributes["src"].startswith("data:image/webp;base64,")
    assert pixels.shape[1] == 2 * int(attributes["width"])  # two device pixels for each CSS pixel
    assert pixels.min() < 128 < pixels.max()


@pytest.mark.parametrize("name", GOOD)
def test_alternative_text_is_required(name):
    for alt in ("", "  \n", None):
        with pytest.raises(ValueError, match="alt="):
            GOOD[name](alt=alt)
    with pytest.raises(TypeError, match="alt"):
        GOOD[name]()
    plt.close("all")


def test_a_pyplot_figure_is_closed_and_has_the_asked_size_in_the_course_style():
    with plt.style.context(plot.STYLE):
        fig, ax = plt.subplots(figsize=(6, 2.5))
        ax.set(xlabel="a label below")
        picture = plot.show(fig, alt="A line.")
    assert picture.size == (576, 240) and picture.image.size == (1152, 480)
    assert plt.get_fignums() == []
    assert ax.xaxis.label.get_window_extent().y0 > 0  # the constrained layout leaves room for it


def test_pixels_that_are_none_are_refused():
    for images in (torch.zeros(2, 5, 8, 8), torch.zeros(2, 1, 1, 8, 8), torch.full((2, 1, 8, 8), torch.nan)):
        with pytest.raises(ValueError, match="images="):
            plot.image_grid(images, alt="Nothing.")
    for texts in ({"labels": ["one"]}, {"heads": "ab"}):
        with pytest.raises(ValueError, match="texts"):
            plot.image_grid(IMAGES, 3, alt="Black.", **texts)


def shows(picture, images, cols, zoom):
    """Whether every pixel of every image is a square of ``zoom`` pixels of its grey, in its place of the grid."""
    _, pixels = image_of(picture.html())
    n, _, height, width = images.shape
    for i in range(n):
        top, left = i // cols * (height + 1) * zoom, i % cols * (width + 1) * zoom
        cell = pixels[top : top + height * zoom, left : left + width * zoom, 0]
        wanted = ((images[i, 0].numpy() + 1) * 127.5).repeat(zoom, 0).repeat(zoom, 1)
        if cell.shape != wanted.shape or np.abs(cell - wanted).max() > 1:
            return False
    return True


@pytest.mark.parametrize(("height", "width", "count"), [(28, 28, 6), (28, 14, 5)])
def test_image_grid_shows_each_pixel_where_it_belongs(height, width, count):
    images = torch.rand(count, 1, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = plot.image_grid(images, 3, alt="Noise.")
    zoom = round(picture.image.width / (3 * (width + 1) - 1))
    assert shows(picture, images, 3, zoom)
    assert not shows(picture, images.flip(0), 3, zoom)  # broken twins: another order, another orientation, a negative
    assert not shows(picture, images.mT, 3, zoom)
    assert not shows(picture, -images, 3, zoom)
    assert plot.image_grid(images, 3, alt="Noise.", scale=0.5).image.width < 0.7 * picture.image.width


@pytest.mark.parametrize("label", ["WGAN-GP", "WWWWWWWWWW", "$W_1$", "i", "two\nlines", ""])
def test_image_grid_makes_room_for_every_label(label):
    grid = plot.image_grid(torch.zeros(4, 1, 28, 28), 2, alt="Grey.", labels=[label, ""])
    sheet = np.asarray(grid.image.convert("L"))
    assert (sheet[:, :3] == 255).all() and sheet.shape[1] < 342 + 24 + 60 * (len(label) + 1)


def test_image_grid_clips_keeps_colour_and_leaves_the_images_as_they_are_beside_labels():
    red = torch.stack([torch.ones(8, 8), -torch.ones(8, 8), -torch.ones(8, 8)])[None] * 5
    _, pixels = image_of(plot.image_grid(red, alt="Red.").html())
    assert (pixels == [255, 0, 0]).all()
    plain = plot.image_grid(IMAGES, 3, alt="Black.")
    labelled = plot.image_grid(IMAGES, 3, alt="Black.", labels=["first", "second"], heads="abc", title="T")
    assert labelled.size[0] > plain.size[0] and labelled.size[1] > plain.size[1]
    width, height = plain.image.size
    assert np.array_equal(np.asarray(labelled.image)[-height:, -width:], np.asarray(plain.image))


def test_colours_follow_meaning_and_stay_apart():
    chosen = colors_for(["D on data", "p_g", "data", "reverse KL", "model", "noise"])
    assert chosen["D on data"] == PALETTE["discriminator"] and chosen["data"] == PALETTE["data"]
    assert chosen["p_g"] == PALETTE["model"] != chosen["model"]  # the first of two with one meaning has its colour
    assert chosen["noise"] == PALETTE["latent"]
    assert len(set(chosen.values())) == len(chosen)
    assert len(colors_for([f"series {i}" for i in range(20)])) == 20


def test_running_mean_agrees_with_the_plain_one_and_leaves_out_what_is_not_finite():
    y = np.random.default_rng(0).normal(size=50)
    y[[7, 30]] = np.nan, np.inf

    def plain(window):
        after = (window - 1) // 2
        near = [y[max(0, i - (window - 1 - after)) : i + after + 1] for i in range(50)]
        return np.array([part[np.isfinite(part)].mean() for part in near])

    for window in (3, 8, 15):
        np.testing.assert_allclose(_running_mean(y, window), plain(window))
    assert np.abs(_running_mean(y, 8) - plain(9)).max() > 0.01  # broken twin
    assert np.array_equal(_running_mean(y, 1)[:7], y[:7])


def test_curves_draw_raw_and_smoothed_in_panels(figures):
    history = {"d_loss": list(range(100)), "g_loss": [1.0] * 100, "acc": ([10, 20], torch.tensor([0.5, 0.7]))}
    plot.curves(history, [["d_loss", "g_loss"], ["acc"]], smooth=5, hlines={"half": 0.5}, alt="Three curves.")
    left, right = figures[0].axes
    raw, smooth = left.lines[:2]
    assert raw.get_color() == smooth.get_color() == PALETTE["discriminator"]
    assert list(raw.get_ydata()) == history["d_loss"] and raw.get_alpha() < 0.5
    assert smooth.get_ydata()[50] == 50 and smooth.get_ydata()[0] == 1.0
    assert list(right.lines[-2].get_xdata()) == [10, 20]
    assert [t.get_text() for t in left.get_legend().get_texts()] == ["d_loss", "g_loss", "half"]
    plot.curves(history, "acc", smooth=1, alt="One curve.")
    assert [line.get_label() for line in figures[1].axes[0].lines] == ["acc"]
    with pytest.raises(ValueError, match="first dimension"):
        plot.curves({"loss": ([1, 2], [1.0])}, alt="A curve.")


def test_a_long_legend_stands_beside_the_panel(figures):
    plot.curves({f"run {n}": [1.0 * n] * 50 for n in range(5)}, alt="Level lines.")
    panel, box = figures[0].axes[0].get_window_extent(), figures[0].axes[0].get_legend().get_window_extent()
    assert panel.x1 - 1 <= box.x0 and box.x1 <= figures[0].bbox.x1 + 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
def test_tensors_of_every_kind_are_accepted(dtype, figures):
    plot.curves({"loss": torch.tensor([0, 1, 1]).to(dtype)}, alt="A curve.")
    assert list(figures[0].axes[0].lines[-1].get_ydata()) == [0, 1, 1]
    plot.curves({"loss": torch.ones(3, requires_grad=True)}, alt="A curve.")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_the_gpu_are_accepted():
    plot.image_grid(IMAGES.cuda(), alt="Black.")
    plot.curves({"loss": torch.ones(3, device="cuda")}, alt="A curve.")


def test_an_export_without_html_has_the_picture_too():
    """LaTeX reads no HTML: beside it comes a PNG of the size on the page, well below a tenth of a megabyte."""
    fig, ax = plt.subplots(figsize=(6, 3))
    ax.plot(range(9))
    picture = plot.show(fig, alt="A line.")
    player = plot.animate(lambda i: picture, range(3), alt="It stays.")
    for shown in (picture, player):
        data = shown._repr_mimebundle_()
        assert list(data) == ["text/plain", "text/html", "image/png"]
        png = base64.b64decode(data["image/png"])
        image = Image.open(io.BytesIO(png)).convert("RGB")
        assert image.size == shown.size == (576, 288) and len(png) < 60_000
        difference = np.abs(np.asarray(image).astype(int) - np.asarray(picture.image.resize(image.size)).astype(int))
        assert difference.mean() < 2
