"""What real people bring: NumPy's integers, other encodings, two kernels at once, a course that is not installed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import gencourse as gc
from gencourse import train

ROOT = Path(gc.__file__).parents[1]
N = np.int64
SCHEDULE = gc.diffusion.cosine_schedule(100)


def same(x, t):
    return x


CALLS = {
    "batches": lambda: next(gc.batches(torch.arange(10), N(3), N(1))),
    "fit": lambda: gc.fit(lambda x: {"a": 1.0}, iter(range(9)), N(5), snapshot=time.time, snapshots=N(3), quiet=True),
    "toys": lambda: [gc.data.toy(name, N(9), seed=N(1)) for name in gc.data.TOY_SETS],
    "mixtures": lambda: [gc.data.ring_of_gaussians(N(3)), gc.data.grid_of_gaussians(N(3))],
    "binarize": lambda: gc.data.binarize(torch.zeros(1, 2), seed=N(3)),
    "schedules": lambda: [gc.diffusion.linear_schedule(N(100)), gc.diffusion.cosine_schedule(N(100))],
    "q_sample": lambda: gc.diffusion.q_sample(torch.zeros(2, 2), N(5), torch.zeros(2, 2), SCHEDULE),
    "ddpm": lambda: list(gc.samplers.ddpm(same, torch.zeros(2, 2), SCHEDULE, steps=N(5))),
    "ddim": lambda: list(gc.samplers.ddim(same, torch.zeros(2, 2), SCHEDULE, steps=N(5))),
    "euler": lambda: list(gc.samplers.euler(same, torch.zeros(2, 2), N(5))),
    "kid": lambda: gc.metrics.kid(torch.randn(9, 2), torch.randn(9, 2), subsets=N(2), subset_size=N(5), seed=N(1)),
    "prdc": lambda: gc.metrics.prdc(torch.randn(9, 2), torch.randn(9, 2), k=N(2)),
    "all images": lambda: gc.autoregressive.total_probability(torch.zeros_like, N(2), N(2)),
    "generate": lambda: gc.autoregressive.generate(gc.nets.GPT(N(5), N(8)), torch.tensor([[0]]), N(3), top_k=N(2)),
    "image_grid": lambda: gc.plot.image_grid(torch.zeros(4, 8, 8), N(2), alt="Black."),
    "curves": lambda: gc.plot.curves({"a": [1, 2, 3]}, alt="A line.", smooth=N(2)),
    "table": lambda: gc.plot.table([{"a": N(2)}]),
}


@pytest.mark.parametrize("name", CALLS)
def test_integers_of_numpy(name):
    CALLS[name]()


def test_what_a_cell_keeps_of_a_picture_is_small():
    """IPython keeps the value of each cell that was run: unpacked, this one takes 3.3 MB."""
    fig, ax = plt.subplots(figsize=(10, 6))
    ax.plot(range(10))
    picture = gc.plot.show(fig, alt="A line.")
    assert np.asarray(picture.image).nbytes > 3e6
    assert sum(len(v) for v in vars(picture).values()) < 3e5


def test_marks_in_a_terminal_that_lacks_them():
    script = "import gencourse as gc; print(gc.check.close(1.0, 1.0)); print(gc.check.close(2.0, 1.0))"
    for encoding, marks in (("cp1252", "OK NO"), ("utf-8", "✓ ✗")):
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment, check=True)
        lines = done.stdout.decode(encoding).splitlines()
        assert [line.split()[0] for line in lines] == marks.split()


def test_two_kernels_write_the_same_file(tmp_path, monkeypatch):
    """Each writes aside under a name of its own, and what the other is writing stays."""
    path = tmp_path / "file"

    def write(file):
        with monkeypatch.context() as patch:
            patch.setattr(train.os, "getpid", os.getppid)
            train.replace_file(path, lambda theirs: theirs.write(b"theirs"))
        file.write(b"ours")

    train.replace_file(path, write)
    assert path.read_bytes() == b"ours" and list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_leave_is_cleared_away(tmp_path):
    gone, alive = tmp_path / f"file.{2**22 + 1}.new", tmp_path / f"file.{os.getppid()}.new"
    for left in (gone, alive):
        left.write_bytes(b"half")
    train.replace_file(tmp_path / "file", lambda file: file.write(b"whole"))
    assert not gone.exists() and alive.exists()


NOT_INSTALLED = """
from importlib import metadata
known = metadata.version
def version(name):
    if name == "gencourse":
        raise metadata.PackageNotFoundError(name)
    return known(name)
metadata.version = version
import gencourse as gc
print(gc.environment()["gencourse"])
"""


def test_a_plain_clone_that_is_not_installed(tmp_path):
    """On ``sys.path``, with no metadata of the package."""
    script = f"import sys; sys.path[:0] = [{str(ROOT)!r}]\n" + NOT_INSTALLED
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "not installed"
