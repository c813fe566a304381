"""Pictures that people really have: every mode and size, arrays, tables; what cannot be read is named."""

import numpy as np
import pytest
import torch
from PIL import Image
from twins import must_fail

import gencourse as gc
from gencourse.data import folder

RED = (200, 40, 20)
LEVEL = {1: round(0.299 * 200 + 0.587 * 40 + 0.114 * 20) / 127.5 - 1}


def plain(mode, size=(40, 30)):
    """A picture of one colour, as far as the mode has it."""
    if mode == "I;16":
        return Image.fromarray(np.full(size[::-1], 200 * 256 + 7, np.uint16))
    if mode == "RGBA":
        return Image.new("RGBA", size, (*RED, 255))
    image = Image.new("RGB", size, RED)
    return image.quantize(4) if mode == "P" else image.convert(mode)


MODES = [("a.png", "RGB"), ("b.png", "RGBA"), ("c.png", "P"), ("d.webp", "RGB"), ("e.bmp", "RGB"), ("f.jpg", "CMYK"),
         ("g.JPEG", "RGB"), ("h.gif", "P"), ("i.tiff", "RGB")]  # fmt: skip


def check_red(read, path):
    for split in ("train", "test"):
        images = read(path, split, size=16)
        assert images.x.shape[1:] == (3, 16, 16) and images.x.dtype == torch.float32
        expected = torch.tensor(RED).view(3, 1, 1) / 127.5 - 1
        assert (images.x - expected).abs().max() < 0.05
    assert images.name == "mine"


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine").mkdir()
    return tmp_path / "mine"


def test_every_kind_of_file(mine):
    for i, (name, mode) in enumerate(MODES):
        plain(mode, (40 + i, 30 + 3 * i)).save(mine / name)
    (mine / "notes.txt").write_text("no picture")
    check_red(folder, mine)
    grey = folder(mine, size=8, channels=1)
    assert grey.x.shape == (8, 1, 8, 8) and (grey.x - LEVEL[1]).abs().max() < 0.05
    must_fail(lambda read: check_red(read, mine), lambda *a, **k: folder(*a, **k)._replace(x=-folder(*a, **k).x))


@pytest.mark.parametrize(("mode", "level"), [("L", None), ("1", 1.0), ("I;16", 200 / 127.5 - 1), ("LA", None)])
def test_grey_of_every_depth(mine, mode, level):
    picture = Image.new("1", (9, 9), 1) if mode == "1" else plain(mode)
    picture.save(mine / "a.png")
    x = folder(mine, "test", size=9, channels=1).x
    assert (x - (LEVEL[1] if level is None else level)).abs().max() < 0.02


def test_what_is_transparent_is_white_and_the_middle_is_kept(mine):
    image = Image.new("RGBA", (60, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (30, 0, 40, 20))
    image.save(mine / "a.png")
    x = folder(mine, "test", size=20, channels=1).x[0, 0]
    assert (x[:, :9] > 0.9).all() and (x[:, 11:] < -0.9).all()  # columns 20 to 40


def test_a_photograph_is_turned_as_its_camera_was(mine):
    image = Image.fromarray(np.repeat([[0], [255]], 8, 0).repeat(16, 1).astype(np.uint8))  # black above white
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image.save(mine / "a.png", exif=exif)
    x = folder(mine, "test", size=16, channels=1).x[0, 0]
    assert x[0].mean() > 0.9 and x[-1].mean() < -0.9


def test_subfolders_are_classes(mine):
    for kind, count in (("cats", 12), ("dogs", 9)):
        (mine / kind).mkdir()
        for i in range(count):
            plain("RGB").save(mine / kind / f"{i:02d}.png")
    train, test = folder(mine), folder(mine, "test")
    assert len(train.x) == 18 and len(test.x) == 3
    assert torch.cat([train.y, test.y]).bincount().tolist() == [12, 9]
    assert train.y.dtype == torch.int64


GRADIENT = np.linspace(0, 255, 30 * 12 * 12).reshape(30, 12, 12).astype(np.uint8)
SHAPES = {
    "(N, H, W)": GRADIENT,
    "(N, H, W, 1)": GRADIENT[..., None],
    "(N, H, W, 3)": GRADIENT[..., None].repeat(3, 3),
    "(N, C, H, W)": GRADIENT[:, None].repeat(3, 1),
    "[0, 1]": GRADIENT / 255,
    "[-1, 1]": (GRADIENT / 127.5 - 1).astype(np.float32),
    "floats to 255": GRADIENT.astype(np.float64),
}


@pytest.mark.parametrize("name", SHAPES)
def test_arrays(tmp_path, name):
    np.save(tmp_path / "mine.npy", SHAPES[name])
    np.savez(tmp_path / "mine.npz", digits=SHAPES[name], classes=np.arange(30) % 10)
    expected = torch.tensor(GRADIENT[::10], dtype=torch.float32)[:, None] / 127.5 - 1
    for suffix in ("npy", "npz"):
        images = folder(tmp_path / f"mine.{suffix}", "test", size=12, channels=1)
        assert (images.x - expected).abs().max() < 1e-5
    assert images.y.tolist() == [0, 0, 0] and folder(tmp_path / "mine.npz").y.tolist()[:3] == [1, 2, 3]
    assert folder(tmp_path / "mine.npy", size=28).x.shape == (27, 3, 28, 28)


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("labelled", [True, False])
def test_tables(tmp_path, head, labelled):
    rows = GRADIENT.reshape(30, 144)
    rows = np.concatenate([np.arange(30)[:, None] % 7, rows], 1) if labelled else rows
    names = (["label"] if labelled else []) + [f"pixel{i}" for i in range(144)]
    lines = ([",".join(names)] if head else []) + [",".join(map(str, row)) for row in rows]
    (tmp_path / "train.csv").write_text("\n".join(lines), "utf-8")
    images = folder(tmp_path / "train.csv", "test", size=12, channels=1)
    assert (images.x[:, 0] - (torch.tensor(GRADIENT[::10]) / 127.5 - 1)).abs().max() < 1e-5
    assert images.y.tolist() == ([0, 3, 6] if labelled else [0, 0, 0])


def test_what_cannot_be_read_is_named(mine, tmp_path):
    with pytest.raises(gc.DataError, match=r"no pictures in .*mine"):
        folder(mine)
    plain("RGB").save(mine / "a.png")
    (mine / "broken one.jpg").write_bytes(b"\xff\xd8 this is no picture")
    with pytest.raises(gc.DataError, match=r"broken one\.jpg cannot be read"):
        folder(mine)
    whole = (mine / "a.png").read_bytes()
    (mine / "broken one.jpg").unlink()
    (mine / "cut.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(gc.DataError, match=r"cut\.png cannot be read"):
        folder(mine)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npy", b"nothing", "cannot be read as arrays"),
        ("a.csv", b"1,2,x\n3,4,y\n5,z,1", "cannot be read as a table"),
        ("a.csv", b"1,2,3\n4,5,6", "3 columns"),
        ("a.txt", b"", "no file .npy"),
        ("b.npy", np.full((3, 4, 4), 300.0), "values from 300 to 300"),
        ("b.npy", np.zeros((3, 4)), "holds no pictures: shape"),
        ("b.npy", np.full((3, 4, 4), np.nan), "values from nan"),
    ],
)
def test_files_that_hold_no_pictures(name, content, said, tmp_path):
    path = tmp_path / name
    np.save(path, content) if isinstance(content, np.ndarray) else path.write_bytes(content)
    with pytest.raises(gc.DataError, match=said):
        folder(path)


def test_what_is_not_there(tmp_path):
    with pytest.raises(gc.DataError, match=r"no folder, and no file"):
        folder(tmp_path / "nothing")
    with pytest.raises(ValueError, match="split='valid'"):
        folder(tmp_path, "valid")
    with pytest.raises(ValueError, match="channels=2"):
        folder(tmp_path, channels=2)
