"""Device, seeds, profiles, the table of the environment, and the errors."""

import os
import random
import re

import numpy as np
import pytest
import torch
from twins import must_fail

import gencourse as gc
from gencourse import runtime

# ---- device ----


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_order(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert gc.device() == torch.device(expected)


# ---- seeds ----


def numbers():
    return [random.random(), np.random.rand(), torch.rand(1).item()]  # noqa: NPY002


def check_seeds(seed_everything):
    runs = []
    for seed in (0, 0, 1):
        generator = seed_everything(seed)
        runs.append([*numbers(), torch.rand(1, generator=generator).item()])
    assert runs[0] == runs[1]
    assert all(a != b for a, b in zip(runs[0], runs[2]))


def test_seeds():
    check_seeds(gc.seed_everything)
    check_seeds(lambda seed: gc.seed_everything(np.int64(seed)))
    assert gc.seed_everything(2**32 - 1).initial_seed() == 2**32 - 1


@pytest.mark.parametrize("forgotten", ["random.seed", "numpy.random.seed", "torch.manual_seed"])
def test_seeds_twin_that_forgets_one(monkeypatch, forgotten):
    monkeypatch.setattr(forgotten, lambda seed: None)
    must_fail(check_seeds, gc.seed_everything)


def test_the_returned_generator_is_a_fresh_one():
    generator = gc.seed_everything(3)
    expected = torch.rand(2)
    gc.seed_everything(3)
    torch.rand(5, generator=generator)
    assert torch.equal(torch.rand(2), expected)  # drawing from it leaves the global state alone


# ---- profiles ----


@pytest.mark.parametrize(
    ("chosen", "cuda", "expected"),
    [
        ("smoke", True, "smoke"),
        ("laptop", True, "laptop"),
        ("gpu", False, "gpu"),
        (" smoke ", False, "smoke"),
        ("", True, "gpu"),
        ("", False, "laptop"),
        (None, True, "gpu"),
        (None, False, "laptop"),
    ],
)
def test_profile(monkeypatch, chosen, cuda, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    if chosen is None:
        monkeypatch.delenv("GENCOURSE_PROFILE", raising=False)
    else:
        monkeypatch.setenv("GENCOURSE_PROFILE", chosen)
    assert gc.profile() == expected
    assert gc.by_profile(smoke="smoke", laptop="laptop", gpu="gpu") == expected


def test_tests_run_under_smoke():
    assert gc.profile() == os.environ["GENCOURSE_PROFILE"]


def test_all_three_values_are_needed():
    with pytest.raises(TypeError, match="laptop"):
        gc.by_profile(smoke=1, gpu=3)


# ---- environment ----


def check_environment(settings):
    assert {"python", "torch", "torchvision", "gencourse", "device", "profile", "training"} <= set(settings)
    assert all(isinstance(value, str) and not re.search(r"[/\\]\w+[/\\]", value) for value in settings.values())


def test_environment(monkeypatch):
    check_environment(gc.environment())
    assert gc.environment()["training"] == "for real"
    monkeypatch.setenv("GENCOURSE_LECTURE", "1")
    assert "finished weights" in gc.environment()["training"]


def test_no_kernel_here(monkeypatch):
    assert runtime.in_kernel() is False
    shell = type("Shell", (), {})()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    assert runtime.in_kernel() is False  # IPython in a terminal shows no HTML
    shell.kernel = object()
    assert runtime.in_kernel() is True


# ---- errors ----


def test_one_base_for_all():
    assert issubclass(gc.DataError, gc.GencourseError) and issubclass(gc.TrainingDiverged, gc.GencourseError)


def test_a_profile_that_does_not_exist(monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "desktop")
    with pytest.raises(ValueError, match="smoke, laptop, gpu, or unset"):
        gc.profile()
