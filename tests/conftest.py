"""What all tests share: the smoke profile, the order in which two workers take them, and the built book."""

import os

import pytest

os.environ.setdefault("GENCOURSE_PROFILE", "smoke")
# The networks of the smoke profile are so small that several threads mostly wait for each other: on a busy machine
# with two cores a notebook was seven times slower with two threads than with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
for name in ("GENCOURSE_FRAMES", "GENCOURSE_LECTURE", "GENCOURSE_SAVE_WEIGHTS", "GENCOURSE_WEIGHTS"):
    os.environ.pop(name, None)

FIRST = ("test_book.py", "test_published.py", "test_solved.py", "test_lab.py", "test_slides.py", "test_notebooks.py")


def pytest_collection_modifyitems(items):
    """What takes long starts first. The tests of one file stay on one worker, where nothing else was asked."""
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture
def one_thread():
    """Torch on one thread, whatever the environment says."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The whole book, built afresh; the folder of its pages. Only for tests of the group "book"."""
    import run

    out = tmp_path_factory.mktemp("book")
    assert run.build(out=out) == 0, "the book has warnings: see the lines above"
    return out / "_build" / "html"


@pytest.fixture(scope="module")
def tab():
    """A browser with one watched page."""
    import browsing

    with browsing.open_tab() as opened:
        yield opened
