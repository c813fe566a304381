"""Becomes the conftest.py of a folder in which nbval runs a notebook: saves what its cells showed, as ran.ipynb."""

import nbformat


def pytest_sessionfinish(session):
    ran = [item for item in session.items if getattr(item, "test_outputs", None) is not None]
    for item in ran:
        item.cell.outputs = item.test_outputs
    if ran:
        nbformat.write(ran[0].parent.nb, session.config.rootpath / "ran.ipynb")
