"""Every test runs under the smoke profile, also the kernels that nbval starts."""

import os

import pytest

os.environ.setdefault("GENCOURSE_PROFILE", "smoke")
os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")
os.environ.pop("GENCOURSE_FRAMES", None)


@pytest.fixture
def one_thread():
    """Torch on one thread: on a busy machine the threads of small operations wait for each other for a long time."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
