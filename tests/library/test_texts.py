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


VERSES = "Über allen Gipfeln\nist Ruh.\n" * 120


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_text_of_your_own(encoding, ends, tmp_path):
    path = tmp_path / "verses.txt"
    path.write_bytes(VERSES.replace("\n", ends).encode(encoding))
    got = data.text(path)
    assert got.name == "verses" and got.decode(got.train) + got.decode(got.test) == VERSES


def check_held_out(whole, path):
    """At least a twentieth is held out, and a model can begin after a line break."""
    path.write_text(whole, "utf-8")
    got = data.text(path)
    assert len(got.test) >= len(whole) // 20
    assert got.encode("\n").shape == (1,)


@pytest.mark.parametrize(
    "whole",
    ["床前明月光疑是地上霜" * 400, "one long line " * 400, "a" * 3950 + "\n" + "b" * 49, "a\n" * 2000],
    ids=["Chinese", "one line", "one break near the end", "short lines"],
)
def test_whatever_the_lines(whole, tmp_path, monkeypatch):
    check_held_out(whole, tmp_path / "mine.txt")


def test_twin_that_cuts_at_the_last_line(tmp_path, monkeypatch):
    split = texts._split
    monkeypatch.setattr(texts, "_split", lambda whole, *a: split(whole, *a)._replace(test=split(whole, *a).test[-49:]))
    with pytest.raises(AssertionError):
        check_held_out("a" * 3950 + "\n" + "b" * 49, tmp_path / "mine.txt")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read .*Is it there"),
        (VERSES.encode("latin-1"), "not saved as UTF-8.*'latin-1' if Western European.*mine.txt"),
        (("床前明月光\n" * 600).encode("gbk"), "not saved as UTF-8.*'gb18030' if Chinese"),
        (b"short", "has 5 characters; at least 3,000.*longer text"),
        (b"", "has 0 characters"),
        (b"\0\0\0\0" * 999, "bytes that are no text"),
    ],
)
def test_a_file_that_is_no_text_to_learn_from_is_refused(content, said, tmp_path):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        data.text(path)
