"""Texts: the split, the vocabulary, downloads that fail, and the prose that needs no network."""

import hashlib
import warnings

import pytest
from archive_server import ArchiveServer

from gencourse import DataError, data
from gencourse.data import download, texts

PLAY = "".join(f"SPEAKER {i}:\nLine number {i} is spoken.\n\n" for i in range(100)).encode()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An empty data folder, and a server that hands out a small play as "shakespeare"."""
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(download.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    with ArchiveServer({"input.txt": PLAY}) as server:
        md5 = hashlib.md5(PLAY).hexdigest()
        monkeypatch.setitem(texts.DOWNLOADS, "shakespeare", ("text/play.txt", md5, [server.url + "input.txt"]))
        yield server, tmp_path / "text" / "play.txt"


def check_whole(got):
    assert got.name == "shakespeare"
    assert got.decode(got.train) + got.decode(got.test) == PLAY.decode()
    assert 0.85 < len(got.train) / len(PLAY) < 0.95 and got.decode(got.train)[-1] == "\n"
    assert got.characters == "".join(sorted(set(PLAY.decode()))) and got.train.max() < len(got.characters)


def test_downloaded_once_and_kept(served):
    server, kept = served
    check_whole(data.text("shakespeare"))
    assert kept.read_bytes() == PLAY
    asked = len(server.asked)
    check_whole(data.text())
    assert len(server.asked) == asked  # nothing is fetched twice


def test_a_damaged_copy_is_fetched_again(served):
    server, kept = served
    kept.parent.mkdir(parents=True)
    kept.write_bytes(PLAY[:-1])
    check_whole(data.text())
    assert kept.read_bytes() == PLAY and server.asked


def test_without_a_network_a_novel_stands_in(served, monkeypatch):
    file, md5, _ = texts.DOWNLOADS["shakespeare"]
    monkeypatch.setitem(texts.DOWNLOADS, "shakespeare", (file, md5, ["http://127.0.0.1:9/input.txt"]))
    with pytest.warns(UserWarning, match="shakespeare could not be loaded, so a part of Pride and Prejudice"):
        got = data.text()
    assert got.name == "austen"


def test_another_text_under_that_address_is_refused(served, monkeypatch):
    file, _, address = texts.DOWNLOADS["shakespeare"]
    monkeypatch.setitem(texts.DOWNLOADS, "shakespeare", (file, "0" * 32, address))
    with pytest.warns(UserWarning, match="could not be loaded"):
        assert data.text().name == "austen"


def test_names_come_in_another_order_the_same_each_time(tmp_path, monkeypatch):
    names = [f"name{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200)]
    whole = "\n".join(names).encode()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "names.txt").write_bytes(whole)
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setitem(texts.DOWNLOADS, "names", ("text/names.txt", hashlib.md5(whole).hexdigest(), []))
    got = data.text("names")
    lines = (got.decode(got.train) + got.decode(got.test)).splitlines()
    assert sorted(lines) == sorted(names) and lines != names
    assert len(got.decode(got.test).splitlines()) in (19, 20)
    assert data.text("names").train.equal(got.train)


def test_the_novel_needs_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = data.text("austen")
    whole = got.decode(got.train) + got.decode(got.test)
    assert "a truth universally acknowledged" in whole and 100_000 < len(whole)
    assert all(c == "\n" or " " <= c <= "~" for c in whole)


def test_encoding():
    got = data.text("austen")
    assert got.decode(got.encode("the end")) == "the end"
    with pytest.raises(ValueError, match="string='déjà': must be made of"):
        got.encode("déjà")


def test_a_text_of_your_own(tmp_path):
    path = tmp_path / "verses.txt"
    path.write_text("Über allen Gipfeln\n" * 100, encoding="utf-8")
    got = data.text(path)
    assert got.name == "verses" and got.decode(got.train) + got.decode(got.test) == path.read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read .*Is it there"),
        (b"\xff\xfe" * 999, "saved as UTF-8"),
        (b"short", "longer text"),
    ],
)
def test_a_file_that_is_no_text_to_learn_from_is_refused(content, said, tmp_path):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        data.text(path)
