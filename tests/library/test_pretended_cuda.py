"""The tests of steps, samplers and measures once more, on a CUDA device that is pretended.

``$GENCOURSE_PRETEND_CUDA`` names the folder of ``pretend_cuda.py``, a plugin of pytest from elsewhere.
Tensors on the CPU pose as CUDA's, and what CUDA would refuse is refused: mixed devices, generators of another device,
operators without a kernel.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FOLDER = os.environ.get("GENCOURSE_PRETEND_CUDA")
NAMES = ("losses", "critic_losses", "likelihoods", "train", "accelerator", "checkpoints", "weights",
         "diffusion", "samplers", "autoregressive", "metrics")  # fmt: skip
pytestmark = [
    pytest.mark.skipif(not FOLDER, reason="GENCOURSE_PRETEND_CUDA names no folder with a pretended CUDA device"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="the pretended CUDA device needs g++"),
]


def run(*arguments):
    path = os.pathsep.join([os.path.abspath(FOLDER or ""), str(HERE), str(HERE.parent.parent)])
    command = [sys.executable, "-m", "pytest", "-q", "-p", "pretend_cuda", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=HERE.parent.parent, env={**os.environ, "PRETEND_CUDA": "1", "PYTHONPATH": path},
        capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


def test_steps_samplers_and_measures():
    done = run(*(str(HERE / f"test_{name}.py") for name in NAMES))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert " passed" in done.stdout


def test_a_mistake_is_seen(tmp_path):
    """Noise from the CPU beside images on the device."""
    (tmp_path / "test_mixed.py").write_text(
        "import torch, gencourse as gc\n"
        "def test_mixed():\n"
        "    x = torch.zeros(2, 3, device=gc.device())\n"
        "    assert x.device.type == 'cuda'\n"
        "    x + torch.randn(2, 3)\n"
    )
    done = run(str(tmp_path))
    assert done.returncode == 1 and "Expected all tensors to be on the same device" in done.stdout
