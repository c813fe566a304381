"""Texts: the split, the vocabulary, downloads that fail, and the prose that needs no network."""

import hashlib
import warnings

import pytest
from archive_server import ArchiveServer

from gencourse import ArgumentError, DataError, archives, data, texts

PLAY = "".join(f"SPEAKER {i}:\nLine number {i} is spoken.\n\n" for i in range(100)).encode()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """An empty data folder, and a server that hands out a small play as "shakespeare"."""
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setattr(archives, "_session_folders", [])
    with ArchiveServer({"input.txt": PLAY}) as server:
        md5 = hashlib.md5(PLAY).hexdigest()
        monkeypatch.setitem(texts.TEXTS, "shakespeare", ("play.txt", md5, server.url + "input.txt"))
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


def test_without_a_network_the_prose_stands_in(served, monkeypatch):
    file, md5, _ = texts.TEXTS["shakespeare"]
    monkeypatch.setitem(texts.TEXTS, "shakespeare", (file, md5, "http://127.0.0.1:9/input.txt"))
    with pytest.warns(UserWarning, match="shakespeare could not be loaded, so the prose of this course stands in"):
        got = data.text()
    assert got.name == "prose"


def test_another_text_under_that_address_is_refused(served, monkeypatch):
    file, _, address = texts.TEXTS["shakespeare"]
    monkeypatch.setitem(texts.TEXTS, "shakespeare", (file, "0" * 32, address))
    with pytest.warns(UserWarning, match="could not be loaded"):
        assert data.text().name == "prose"


def test_names_come_in_another_order_the_same_each_time(tmp_path, monkeypatch):
    names = [f"name{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(200)]
    whole = "\n".join(names).encode()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "names.txt").write_bytes(whole)
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    monkeypatch.setitem(texts.TEXTS, "names", ("names.txt", hashlib.md5(whole).hexdigest(), "http://127.0.0.1:9/x"))
    got = data.text("names")
    lines = (got.decode(got.train) + got.decode(got.test)).splitlines()
    assert sorted(lines) == sorted(names) and lines != names
    assert len(got.decode(got.test).splitlines()) in (19, 20)
    assert data.text("names").train.equal(got.train)


@pytest.mark.parametrize("installed", [False, True])
def test_prose_needs_nothing(installed, monkeypatch, tmp_path):
    """In the repository it is the text of the notebooks, elsewhere that of the library."""
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path))
    if installed:
        monkeypatch.setattr(texts, "__file__", str(tmp_path / "gencourse" / "texts.py"))
        (tmp_path / "gencourse").mkdir()
        (tmp_path / "gencourse" / "one.py").write_text('"""The likelihood of a model – its best words."""\n' * 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = data.text("prose")
    whole = got.decode(got.train) + got.decode(got.test)
    assert "likelihood" in whole and all(c == "\n" or " " <= c <= "~" for c in whole)
    assert installed or (len(whole) > 100_000 and "**Predict.**" in whole)


def test_encoding():
    got = data.text("prose")
    assert got.decode(got.encode("the end")) == "the end"
    with pytest.raises(ArgumentError, match="string='déjà': must be made of"):
        got.encode("déjà")


def test_a_text_of_your_own(tmp_path):
    path = tmp_path / "verses.txt"
    path.write_text("Über allen Gipfeln\n" * 100, encoding="utf-8")
    got = data.text(path)
    assert got.name == "verses" and got.decode(got.train) + got.decode(got.test) == path.read_text("utf-8")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read as text .*Check where"),
        (b"\xff\xfe" * 999, "save it as UTF-8"),
        (b"short", "longer text"),
    ],
)
def test_a_file_that_is_no_text_to_learn_from_is_refused(content, said, tmp_path):
    path = tmp_path / "mine.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=said):
        data.text(path)
