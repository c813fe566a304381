"""Each notebook runs in a folder of its own, where nothing of the repository is but what a wheel brings."""

import os
import shutil
import subprocess
import sys
import zipfile

import nbformat
import pytest
import run
from nbformat.v4 import new_code_cell

pytestmark = pytest.mark.slow
NOTEBOOKS = sorted(run.NOTEBOOKS.glob("*.ipynb"))
NEEDED = ["gencourse", "experiments", "pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which a wheel was unpacked, which pip does too."""
    source, site = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in NEEDED:
        copy = shutil.copytree if (run.ROOT / name).is_dir() else shutil.copy
        copy(run.ROOT / name, source / name)
    shutil.rmtree(source / "experiments" / "marathon", ignore_errors=True)
    build = "import setuptools.build_meta, sys; print(setuptools.build_meta.build_wheel(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", build, str(site)], cwd=source, check=True, capture_output=True)
    (wheel,) = site.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return site


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_the_wheel(path, site, tmp_path):
    nb = nbformat.read(path, as_version=4)
    nb.cells.append(new_code_cell(f"assert gc.__file__.startswith({str(site)!r}), gc.__file__", id="whence"))
    nbformat.write(nb, tmp_path / path.name)
    settings = {**os.environ, "PYTHONPATH": str(site), "GENCOURSE_PROFILE": "smoke"}
    ran = subprocess.run([sys.executable, "-m", "jupyter", "execute", path.name], cwd=tmp_path, env=settings,
                         capture_output=True, encoding="utf-8")  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
