"""A training process that dies at any moment leaves a checkpoint that can be read, and that it goes on from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import rehearsal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork a process")
KILLED = 9


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    command = [sys.executable, Path(rehearsal.__file__), tmp_path_factory.mktemp("killed")]
    return json.loads(subprocess.run(command, capture_output=True, check=True, timeout=300).stdout)


def test_random_moments(report):
    found = report["random"]
    assert all(type(steps) is int for steps in found["steps"]), found["steps"]  # always readable
    assert found["status"].count(KILLED) >= 3 and set(found["status"]) <= {0, KILLED}
    assert max(found["files"]) <= 2  # the checkpoint and at most one temporary file, however many deaths
    assert found["equal"]  # with the run that never died
    assert found["left"] == ["killed", "whole"]


def test_during_a_write(report):
    """Until the new file takes its name, the old one stands."""
    expected = {"opened": [KILLED, 2], "half": [KILLED, 2], "written": [KILLED, 2], "renamed": [KILLED, 3]}
    assert report["chosen"] == expected


def test_twin_that_overwrites_the_file(report):
    assert all(status == KILLED and type(steps) is str for status, steps in report["twin"].values())  # torn
