"""Figures: what is drawn is what was given, alternative text reaches the page, bad arguments are named."""

import base64
import functools
import io
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

import gencourse.picture
from gencourse import ArgumentError, plot
from gencourse.grids import tile
from gencourse.picture import PALETTE, colors_for
from gencourse.plane import _field
from gencourse.plot import _smoothed

X = torch.linspace(-3, 3, 61)
IMAGES = -torch.ones(6, 1, 8, 8)
POINTS = torch.tensor([[0.0, 1.0], [2.0, -1.0], [1.0, 1.0]])

# One good call of each function that makes a picture; tests add keywords to break it.
GOOD = {
    "image_grid": (plot.image_grid, {"images": IMAGES, "cols": 3}),
    "curves": (plot.curves, {"history": {"d_loss": [3.0, 2.0, 1.0], "g_loss": [1.0, 1.0, 2.0]}}),
    "densities": (plot.densities, {"x": X, "series": {"data": torch.exp(-(X**2)), "model": torch.cos}}),
    "histograms": (plot.histograms, {"series": {"z": X}, "lim": 3, "curves": {"normal": lambda x: 0 * x}}),
    "scatter": (plot.scatter, {"series": {"data": POINTS}, "lim": 3, "field": lambda xy: xy[:, 0]}),
    "bars": (plot.bars, {"values": {"a": 1.0, "b": (2.0, 0.5)}, "hlines": {"best": 0.5}}),
}


def call(name, **changes):
    function, given = GOOD[name]
    return function(**{"alt": "What it shows.", **given, **changes})


accepted = functools.cache(call)


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
    """The matplotlib figures that became pictures during the test."""
    made, real = [], gencourse.picture.picture
    monkeypatch.setattr(gencourse.picture, "picture", lambda fig, alt: (made.append(fig), real(fig, alt))[1])
    return made


@pytest.mark.parametrize("name", GOOD)
def test_every_figure_is_an_img_with_its_alternative_text(name):
    alt = 'Left: 5 < 6 & "q".\n  Right: nothing.'
    bundle = call(name, alt=alt, title="A title")._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    attributes, pixels = image_of(bundle["text/html"])
    assert attributes["alt"] == 'Left: 5 < 6 & "q". Right: nothing.'
    assert bundle["text/plain"] == "Picture: " + attributes["alt"]
    assert attributes["src"].startswith("data:image/png;base64,")
    assert pixels.shape[1] == 2 * int(attributes["width"])
    assert pixels.min() < 128 < pixels.max()
    assert plt.get_fignums() == []


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("alt", ["", "  \n", None, 3])
def test_alternative_text_is_required(name, alt):
    with pytest.raises(ArgumentError, match="alt="):
        call(name, alt=alt)
    function, given = GOOD[name]
    with pytest.raises(TypeError, match="alt"):
        function(**given)


BAD = [
    ("image_grid", {"images": torch.zeros(3)}, "images=", "(N, H, W)"),
    ("image_grid", {"images": torch.zeros(2, 5, 8, 8)}, "images=", "(N, 3, H, W)"),
    ("image_grid", {"images": torch.full((2, 1, 8, 8), torch.nan)}, "images=", "[-1, 1]"),
    ("image_grid", {"images": "cat.png"}, "images='cat.png'", "(N, H, W)"),
    ("image_grid", {"cols": 0}, "cols=0", "at least 1"),
    ("image_grid", {"scale": -1}, "scale=-1", "above 0"),
    ("image_grid", {"labels": ["one"]}, "labels=['one']", "2 texts"),
    ("image_grid", {"heads": [1, 2]}, "heads=[1, 2]", "3 texts"),
    ("curves", {"history": {}}, "history={}", "{name: values}"),
    ("curves", {"history": {"loss": ["a"]}}, "loss=['a']", "numbers"),
    ("curves", {"history": {"loss": ([1, 2], [1.0])}}, "loss=", "as many steps as values"),
    ("curves", {"keys": ["loss"]}, "keys='loss'", "d_loss, g_loss"),
    ("curves", {"smooth": 0}, "smooth=0", "at least 1"),
    ("densities", {"x": torch.zeros(2, 2)}, "x=", "(N,)"),
    ("densities", {"series": [1, 2]}, "series=[1, 2]", "{name: values}"),
    ("densities", {"series": {"data": [1, 2]}}, "data=", "(61,)"),
    ("histograms", {"lim": -1}, "lim=-1", "low < high"),
    ("histograms", {"lim": (1, 2, 3)}, "lim=(1, 2, 3)", "low < high"),
    ("histograms", {"bins": 0}, "bins=0", "1 to 2000"),
    ("histograms", {"series": {"z": []}}, "z=[]", "numbers"),
    ("histograms", {"series": {"z": [torch.nan]}, "lim": None}, "series=", "not all NaN"),
    ("scatter", {"series": {"data": torch.zeros(3, 3)}}, "data=", "(N, 2)"),
    ("scatter", {"series": {"data": torch.full((3, 2), torch.nan)}, "lim": None}, "series=", "finite"),
    ("scatter", {"field": 3}, "field=3", "(xx, yy, values)"),
    ("scatter", {"field": lambda xy: xy[:5, 0]}, "field=", "(14641,)"),
    ("scatter", {"field": (X, X, X)}, "field=", "(H, W)"),
    ("scatter", {"field_color": "no colour"}, "field_color='no colour'", "a colour"),
    ("bars", {"values": {"a": (1, 2, 3)}}, "a=(1, 2, 3)", "(mean, sd)"),
    ("bars", {"values": {"a": "high"}}, "a='high'", "a number"),
]


@pytest.mark.parametrize(("name", "changes", "named", "allowed"), BAD)
def test_bad_arguments_are_named_with_their_value_and_what_is_allowed(name, changes, named, allowed):
    accepted(name)  # the same call without the change is fine
    with pytest.raises(ArgumentError) as caught:
        call(name, **changes)
    assert str(caught.value).startswith(named)
    assert ": must be " in str(caught.value) and allowed in str(caught.value)


def test_figure_picture_color_and_tile_refuse_bad_arguments():
    for refused, named in [
        (lambda: plot.figure(0, 3), "width=0"),
        (lambda: plot.figure(3, 300), "height=300"),
        (lambda: plot.figure(3, 3, rows=0), "rows=0"),
        (lambda: plot.picture("fig", "text"), "fig='fig'"),
        (lambda: plot.picture(plot.figure(1, 1)[0], ""), "alt=''"),
        (lambda: plot.color("colourless"), "name='colourless'"),
        (lambda: tile(IMAGES, gap=-1), "gap=-1"),
    ]:
        with pytest.raises(ArgumentError, match=re.escape(named)):
            refused()


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


def test_image_grid_shows_each_pixel_where_it_belongs():
    images = torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    picture = plot.image_grid(images, 3, alt="Noise.")
    zoom = round(picture.image.width / (3 * 29 - 1))
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


def test_image_grid_clips_keeps_colour_and_makes_room_for_labels():
    red = torch.stack([torch.ones(8, 8), -torch.ones(8, 8), -torch.ones(8, 8)])[None] * 5
    _, pixels = image_of(plot.image_grid(red, alt="Red.").html())
    assert (pixels == [255, 0, 0]).all()
    plain = plot.image_grid(IMAGES, 3, alt="Black.")
    told = plot.image_grid(IMAGES, 3, alt="Black.", labels=["first", "second"], heads="abc", title="T")
    assert told.size[0] > plain.size[0] and told.size[1] > plain.size[1]
    wide, high = plain.image.size
    kept = np.asarray(told.image)[-high:, -wide:]
    assert np.array_equal(kept, np.asarray(plain.image))


def test_colours_follow_meaning_and_stay_apart():
    chosen = colors_for(["D on data", "p_g", "data", "reverse KL", "model", "noise"])
    assert chosen["D on data"] == PALETTE["discriminator"] and chosen["data"] == PALETTE["data"]
    assert chosen["p_g"] == PALETTE["model"] != chosen["model"]  # the first of two with one meaning has its colour
    assert chosen["noise"] == PALETTE["latent"]
    assert len(set(chosen.values())) == len(chosen)
    assert colors_for(["data"], {"data": "#000000"}) == {"data": "#000000"}
    assert len(colors_for([f"series {i}" for i in range(20)])) == 20


def test_running_mean_agrees_with_the_plain_one_and_leaves_out_what_is_not_finite():
    y = np.random.default_rng(0).normal(size=50)
    y[[7, 30]] = np.nan, np.inf

    def plain(window):
        after = (window - 1) // 2
        near = [y[max(0, i - (window - 1 - after)) : i + after + 1] for i in range(50)]
        return np.array([part[np.isfinite(part)].mean() for part in near])

    for window in (3, 8, 15):
        np.testing.assert_allclose(_smoothed(y, window), plain(window))
    assert np.abs(_smoothed(y, 8) - plain(9)).max() > 0.01  # broken twin
    assert np.array_equal(_smoothed(y, 1)[:7], y[:7])


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


def test_a_long_legend_stands_beside_the_panel(figures):
    plot.curves({f"run {n}": [1.0 * n] * 50 for n in range(5)}, alt="Level lines.")
    panel, box = figures[0].axes[0].get_window_extent(), figures[0].axes[0].get_legend().get_window_extent()
    assert panel.x1 - 1 <= box.x0 and box.x1 <= figures[0].bbox.x1 + 1


def test_histograms_count_samples_beyond_the_limits(figures):
    samples = torch.cat([torch.zeros(30), torch.full((70,), 99.0)])
    plot.histograms({"z": samples}, lim=2, bins=4, alt="A bar.")
    bars, _ = figures[0].axes[0].patches
    values, edges, _ = bars.get_data()
    assert (values * np.diff(edges)).sum() == pytest.approx(0.3)
    narrow = np.histogram(samples.numpy(), edges, density=True)[0]  # broken twin: the shown part alone
    assert (narrow * np.diff(edges)).sum() == pytest.approx(1.0)


def test_densities_scatter_and_bars_draw_the_numbers_given(figures):
    plot.densities(X.double(), {"data": X**2, "model": torch.sin}, fill=["data"], alt="Two lines.")
    ax = figures[-1].axes[0]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), X.double().sin())
    assert len(ax.collections) == 1
    plot.scatter({"before": {"data": POINTS}, "after": {"data": POINTS, "model": POINTS + 1}}, alt="Points.")
    left, right = figures[-1].axes
    assert (left.get_title(), right.get_title()) == ("before", "after")
    np.testing.assert_allclose(right.collections[1].get_offsets(), POINTS + 1)
    assert left.get_xlim() == right.get_xlim() and left.get_xlim()[1] > 3
    plot.bars({"a": 1.0, "b": (2.0, 0.5), "c": -1.0}, alt="Bars.", hlines={"best": 0.5, "worst": 0.1})
    ax = figures[-1].axes[0]
    assert [line.get_linestyle() for line in ax.lines[-2:]] == ["--", ":"]
    assert [bar.get_height() for bar in ax.patches] == [1.0, 2.0, -1.0]
    assert [text.get_text() for text in ax.texts] == ["1.00", "2.00", "-1.00"]


def test_a_field_is_evaluated_at_the_point_where_it_is_drawn():
    xx, yy, values = _field(lambda xy: 10 * xy[:, 0] + xy[:, 1], (-1.0, 2.0))
    np.testing.assert_allclose(values, 10 * xx + yy, atol=1e-5)
    assert np.abs(values - (xx + 10 * yy)).max() > 1  # broken twin: axes exchanged
    assert (xx.min(), yy.max()) == (-1, 2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool])
def test_tensors_of_every_kind_are_accepted(dtype, figures):
    y = torch.tensor([0, 1, 1]).to(dtype)
    plot.curves({"loss": y}, alt="A curve.")
    assert list(figures[0].axes[0].lines[-1].get_ydata()) == [0, 1, 1]
    plot.curves({"loss": torch.ones(3, requires_grad=True)}, alt="A curve.")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_on_the_gpu_are_accepted():
    call("image_grid", images=IMAGES.cuda())
    call("scatter", series={"data": POINTS.cuda()})


def test_a_pyplot_figure_is_closed_so_that_it_is_not_shown_twice():
    fig, ax = plt.subplots()
    ax.plot([0, 1])
    assert plt.get_fignums() == [1]
    plot.picture(fig, "A line.")
    assert plt.get_fignums() == []


def test_figures_do_not_depend_on_nor_change_the_readers_settings():
    before = dict(plt.rcParams)
    first = call("densities").html()
    assert dict(plt.rcParams) == before
    with plt.rc_context({"font.size": 30, "axes.grid": False, "savefig.bbox": "tight", "axes.facecolor": "red"}):
        assert call("densities").html() == first
