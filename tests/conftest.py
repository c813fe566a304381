"""Every test runs under the smoke profile, also the kernels that nbval and the run tool start."""

import os
import tempfile

import pytest

os.environ.setdefault("GENCOURSE_PROFILE", "smoke")
# The networks of the smoke profile are so small that several threads mostly wait for each other: on a busy machine
# with two cores a notebook was seven times slower with two threads than with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
os.environ.pop("GENCOURSE_FRAMES", None)
os.environ.pop("GENCOURSE_LECTURE", None)
os.environ["GENCOURSE_MODELS"] = tempfile.mkdtemp(prefix="gencourse-models-")  # not the user's own


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
    """The whole book, built afresh; the folder of its pages."""
    import run

    out = tmp_path_factory.mktemp("book")
    assert run.build(out=out) == 0, "the book has warnings: see the lines above"
    return out / "_build" / "html"


@pytest.fixture(scope="session")
def decks(tmp_path_factory):
    """The slides of all notebooks; the folder of their pages."""
    import run
    import slides

    out = tmp_path_factory.mktemp("slides") / "slides"
    slides.build(sorted(run.NOTEBOOKS.glob("*.ipynb")), out)
    return out


@pytest.fixture(scope="module")
def tab():
    """A browser with one watched page."""
    import browsing

    with browsing.open_tab() as opened:
        yield opened
