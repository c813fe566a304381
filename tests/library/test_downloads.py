"""Downloads that fail in every way: the course gets intact data, or goes on with the digits and says why."""

import errno
import gzip
import http.client
import os
import socket
import urllib.request
import warnings
from pathlib import Path

import pytest
import torchvision
import torchvision.datasets.utils as torchvision_utils
from archive_server import NAMES, ArchiveServer, checksums, small_archives

from gencourse import data, weights
from gencourse.data import download, images

GOOD = small_archives()
IMAGES = NAMES[0]


def tampered(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def truncated(content):
    return content[: len(content) // 2]


DAMAGE = {"truncated": truncated, "tampered": tampered, "empty": lambda content: b"", "a web page": lambda c: b"<html>"}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty data folder, MNIST's list of checksums replaced by that of the small archives, no mirrors."""
    monkeypatch.setenv("GENCOURSE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(torchvision.datasets.MNIST, "resources", checksums(GOOD))
    contents = checksums({name.removesuffix(".gz"): gzip.decompress(content) for name, content in GOOD.items()})
    monkeypatch.setitem(images.CONTENT, "MNIST", dict(contents))
    images._why_not.cache_clear()
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # where nobody answers
    monkeypatch.setattr(download.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    return tmp_path / "data" / "MNIST" / "raw"


@pytest.fixture
def mirrors(folder, monkeypatch):
    """Set the mirrors to servers that hand out these files."""
    servers = []

    def start(*contents, **options):
        servers.extend(ArchiveServer(files, **options).__enter__() for files in contents)
        monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", [server.url for server in servers])
        return servers

    yield start
    for server in servers:
        server.__exit__()


def check_real(got):
    assert got.name == "MNIST" and got.x.shape == (20, 1, 28, 28)
    assert got.y.tolist() == [*range(10), *range(10)]


def check_fallback(*reasons, split="train", network=True):
    """The digits come instead, and the warning holds the reasons."""
    with pytest.warns(UserWarning, match="could not be loaded") as caught:
        got = data.mnist(split)
    assert got.name == "digits" and len(got.x) == {"train": 1500, "test": 297}[split]
    text = str(caught[-1].message)
    assert all(reason in text for reason in ("scikit-learn", *reasons)), text
    assert ("Connect to a network" in text) == network
    return text


def put(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


# ---- what works ----


def test_good_download_is_kept(folder, mirrors):
    (server,) = mirrors(GOOD)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not data.found("MNIST")
        check_real(data.mnist())
        assert data.found("MNIST")
        assert len(data.mnist("test").x) == 10
        asked = len(server.asked)
        check_real(data.mnist())
    assert len(server.asked) == asked  # nothing is fetched twice
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == GOOD


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_replaced(folder, mirrors, damage):
    mirrors(GOOD)
    put(folder, IMAGES, DAMAGE[damage](GOOD[IMAGES]))
    check_real(data.mnist())
    assert (folder / IMAGES).read_bytes() == GOOD[IMAGES]


@pytest.mark.parametrize("damage", DAMAGE)
def test_second_mirror_stands_in(folder, mirrors, damage):
    mirrors({**GOOD, IMAGES: DAMAGE[damage](GOOD[IMAGES])}, GOOD)
    check_real(data.mnist())
    assert (folder / IMAGES).read_bytes() == GOOD[IMAGES]


# ---- what does not ----


def test_no_network_and_no_data(folder):
    check_fallback(IMAGES, "is not in the data folder", "127.0.0.1:9")
    check_fallback(IMAGES, split="test")
    assert not any(folder.iterdir())


def test_sockets_blocked(folder, monkeypatch):
    def blocked(*args, **options):
        raise OSError("network is unreachable")

    monkeypatch.setattr(socket.socket, "connect", blocked)
    monkeypatch.setattr(torchvision.datasets.MNIST, "mirrors", ["https://127.0.0.1/mnist/"])
    check_fallback("network is unreachable")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_download_is_removed(folder, mirrors, damage):
    mirrors({**GOOD, IMAGES: DAMAGE[damage](GOOD[IMAGES])})
    check_fallback("corrupted")
    assert not any(folder.iterdir())


def test_connection_breaks_off(folder, mirrors):
    """The server promises more than it sends: the part that came is not taken for the whole."""
    mirrors({**GOOD, IMAGES: truncated(GOOD[IMAGES])}, announce=1000)
    check_fallback("127.0.0.1")
    assert not any(folder.iterdir())


def test_file_that_the_mirror_lacks(folder, mirrors):
    mirrors({name: GOOD[name] for name in NAMES[1:]})
    check_fallback("404")


def test_damaged_and_no_network(folder):
    put(folder, IMAGES, tampered(GOOD[IMAGES]))
    check_fallback(f"{IMAGES} is damaged")


@pytest.mark.parametrize(
    "error", [http.client.BadStatusLine("?!"), http.client.IncompleteRead(b""), TimeoutError(), socket.gaierror(-2)]
)
def test_every_kind_of_network_failure(folder, monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    before = socket.getdefaulttimeout()
    check_fallback(str(error) or type(error).__name__)
    assert socket.getdefaulttimeout() == before


def test_interrupted_download_leaves_nothing(folder, mirrors, monkeypatch):
    mirrors(GOOD)

    def half(url, path, **options):
        path = str(path)
        with open(path, "wb") as file:
            file.write(truncated(GOOD[IMAGES]))
        raise KeyboardInterrupt

    monkeypatch.setattr(torchvision_utils, "_urlretrieve", half)
    with pytest.raises(KeyboardInterrupt):
        data.mnist()
    assert not any(folder.iterdir())


# ---- folders that refuse ----


def test_full_disk(folder, mirrors, monkeypatch):
    mirrors(GOOD)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torchvision_utils, "_urlretrieve", full)
    check_fallback("No space left on device")
    assert not any(folder.iterdir())


def read_only(monkeypatch, *roots):
    """Let the folders under these roots refuse to be written (permissions do not bind a superuser)."""
    original = download.os.access

    def refuse(path, mode):
        below = any(str(path).startswith(str(root)) for root in roots)
        return original(path, mode) and not (below and mode == download.os.W_OK)

    monkeypatch.setattr(download.os, "access", refuse)


def test_read_only_folder(folder, mirrors, monkeypatch):
    """The set goes to a temporary folder, with a warning, and is fetched once."""
    (server,) = mirrors(GOOD)
    folder.mkdir(parents=True)
    read_only(monkeypatch, folder)
    with pytest.warns(UserWarning, match="cannot be written.*GENCOURSE_DATA"):
        check_real(data.mnist())
    asked = len(server.asked)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_real(data.mnist())
    assert len(server.asked) == asked and not any(folder.iterdir())


def test_folder_that_is_a_file(folder, mirrors):
    mirrors(GOOD)
    folder.parents[1].write_text("not a folder")
    with pytest.warns(UserWarning, match="cannot be written"):
        check_real(data.mnist())


def test_no_folder_anywhere(folder, mirrors, monkeypatch):
    mirrors(GOOD)
    read_only(monkeypatch, "/")
    check_fallback("No folder for data can be written", network=False)


def test_file_that_may_not_be_read(folder, mirrors, monkeypatch):
    put(folder, IMAGES, GOOD[IMAGES])
    mirrors(GOOD)
    original_access, original_read, closed = download.os.access, Path.read_bytes, [folder / IMAGES]

    def access(path, mode):
        return original_access(path, mode) and (mode != download.os.R_OK or path not in closed)

    def read(path):
        if path in closed:
            raise PermissionError(13, "Permission denied")
        return original_read(path)

    monkeypatch.setattr(download.os, "access", access)
    monkeypatch.setattr(Path, "read_bytes", read)
    monkeypatch.setattr(Path, "replace", lambda path, target: closed.clear() or os.replace(path, target) or target)
    assert not data.found("MNIST")
    check_real(data.mnist())


# ---- the reader's own files ----


def test_unpacked_and_packed_again(folder):
    """As torchvision may leave them, and as another program packs them: the content counts."""
    for i, (name, content) in enumerate(GOOD.items()):
        raw = gzip.decompress(content)
        put(folder, *((name.removesuffix(".gz"), raw) if i % 2 else (name, gzip.compress(raw, 1, mtime=7))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.found("MNIST")
        check_real(data.mnist())


def check_one_world():
    """Training and test digits are from one data set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert data.mnist("train").name == data.mnist("test").name


@pytest.mark.parametrize("missing", NAMES)
def test_all_or_nothing(folder, missing):
    for name, content in GOOD.items():
        put(folder, name, tampered(content) if name == missing else content)
    check_one_world()
    check_fallback(missing)


def test_once_a_session(folder, mirrors):
    """A network that comes back between the two splits changes nothing until the kernel is started again."""
    check_fallback("until the kernel is started again")
    mirrors(GOOD)
    check_one_world()
    images._why_not.cache_clear()
    check_real(data.mnist())


def test_twin_that_takes_what_is_there(folder, monkeypatch):
    for name in NAMES[:2]:
        put(folder, name, GOOD[name])
    monkeypatch.setattr(images, "_why_not", lambda name, folder: "")
    with pytest.raises((AssertionError, data.images.DataError)):
        check_one_world()


# ---- folders that are no folders ----


def test_no_home(monkeypatch, tmp_path):
    """A user without an entry in the password file, and HOME unset."""
    monkeypatch.delenv("GENCOURSE_DATA", raising=False)
    monkeypatch.setattr(download, "user_cache_path", lambda *a, **k: Path("~/.cache/gencourse"))
    monkeypatch.setattr(download.tempfile, "gettempdir", lambda: str(tmp_path))
    with pytest.warns(UserWarning, match="no home folder.*GENCOURSE_DATA"):
        assert data.root() == tmp_path / "gencourse"


@pytest.mark.parametrize("variable", ["GENCOURSE_DATA", "GENCOURSE_WEIGHTS"])
def test_relative_folders_are_refused(variable, monkeypatch):
    look = {"GENCOURSE_DATA": data.root, "GENCOURSE_WEIGHTS": weights.folder}[variable]
    monkeypatch.setenv(variable, "data")
    with pytest.raises(ValueError, match=f"{variable}='data': must be an absolute path"):
        look()
    monkeypatch.setenv(variable, "~/data")
    assert look() == Path.home() / "data"


# ---- broken twins: without the checksums these tests fail ----


def test_twin_that_trusts_the_disk(folder, mirrors, monkeypatch):
    monkeypatch.setattr(download, "intact", lambda path, md5: path.exists())
    trusting = lambda name, file, folders: gzip.decompress((folder / f"{file}.gz").read_bytes())
    monkeypatch.setattr(images, "_at_hand", trusting)
    for damage in DAMAGE:
        with pytest.raises((AssertionError, OSError, EOFError, ValueError, IndexError)):
            test_damaged_file_is_replaced(folder, mirrors, damage)


def test_twin_that_trusts_the_download(folder, mirrors, monkeypatch):
    fetch = torchvision_utils.download_url
    trusting = lambda url, folder, filename, md5: fetch(url, folder, filename)
    monkeypatch.setattr(torchvision_utils, "download_url", trusting)
    for damage in ("tampered", "truncated"):
        with pytest.raises((AssertionError, OSError, EOFError, ValueError, pytest.fail.Exception)):
            test_damaged_download_is_removed(folder, mirrors, damage)
