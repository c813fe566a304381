#!/usr/bin/env python3
"""The course's commands on every system: python3 course.py lab | lecture | test | test-all | book | pdf | links |
slides | student | run NB | showdown | marathon | doctor | lint.

`make lab` is the same as `python3 course.py lab`. Each command first makes `.venv` ready when it is missing
or stale: with uv where it is installed, which also fetches a Python when there is none, else with Python's own
venv and pip. Only the standard library is used here, in syntax that old Pythons read too, so that a wrong Python
gets a sentence instead of a traceback.
"""

import hashlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 14)
ANY = ">={}.{},<{}.{}".format(*OLDEST, NEWEST[0], NEWEST[1] + 1)  # as uv reads it
COMMANDS = ("lab", "lecture", "test", "test-all", "book", "pdf", "links", "slides", "student", "run", "showdown",
            "marathon", "doctor", "lint", "setup")  # fmt: skip
# Settings for other programs, which would bring other packages into the course or send its own elsewhere.
IGNORED = ("PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_REQUIREMENT", "PIP_CONSTRAINT")
FOLDERS = ("GENCOURSE_DATA", "GENCOURSE_WEIGHTS", "GENCOURSE_SAVE_WEIGHTS", "GENCOURSE_PRETEND_CUDA")
PARALLEL = ["-n", "2", "--dist", "loadgroup", "--no-loadscope-reorder", "--durations", "12"]


def supported(version):
    """Whether this (major, minor, ...) is a Python that the course runs on."""
    return OLDEST <= tuple(version[:2]) <= NEWEST


def other_python():
    """A supported Python elsewhere on the PATH, or None."""
    for minor in range(NEWEST[1], OLDEST[1] - 1, -1):
        found = shutil.which("python3." + str(minor))
        if found and subprocess.call([found, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            return found
    return None


def without_wheels(system, machine, bits):
    """What to say where no build of torch exists, or None."""
    if bits == 32:
        return "This is a Python for 32 bits, and torch has none such. Install a Python for 64 bits."
    if system == "Darwin" and machine == "x86_64":
        return (
            "torch is no longer built for Macs with an Intel processor. Read the course online, or run it on another\n"
            "machine, for example in a Codespace or on Colab. (On a Mac with an Apple processor this is a Python for\n"
            "Intel: install one for arm64.)"
        )
    if system == "Windows" and machine.upper() == "ARM64":
        return "torch on PyPI is not built for Windows on Arm. Install a Python for x64, which Windows translates."
    if system == "Linux" and machine not in ("x86_64", "aarch64"):
        return "torch is not built for Linux on " + machine + ", only on x86_64 and aarch64."
    return None


def fingerprint(root, version):
    """What the environment is made from: the lock, the project file, the Python version, and the course's place."""
    made_from = (root / "requirements.lock").read_bytes() + (root / "pyproject.toml").read_bytes()
    return hashlib.sha256(made_from + repr((tuple(version[:2]), str(root))).encode()).hexdigest()


def program(name):
    """The path of a program inside the environment."""
    return str(VENV / ("Scripts" if os.name == "nt" else "bin") / name)


def ready(venv, wanted):
    """Whether the environment there was finished, and from exactly these files."""
    stamp = venv / "gencourse.stamp"
    return stamp.is_file() and stamp.read_text().strip() == wanted


def makers(uv, version):
    """The two commands that make the environment: its Python, and all packages in it. uv finds or fetches a Python."""
    packages = ["-r", str(ROOT / "requirements.lock"), "-e", str(ROOT)]
    if uv:
        python = sys.executable if supported(version) else ANY
        return [
            [uv, "venv", "--quiet", "--python", python, str(VENV)],
            [uv, "pip", "install", "--python", program("python"), *packages],
        ]
    return [
        [sys.executable, "-m", "venv", str(VENV)],
        [program("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
    ]


def setup(uv=None):
    """Make `.venv` ready; does nothing when it already is."""
    wanted = fingerprint(ROOT, sys.version_info)
    if ready(VENV, wanted):
        return
    sentence = without_wheels(platform.system(), platform.machine(), 64 if sys.maxsize > 2**32 else 32)
    if sentence:
        sys.exit(sentence)
    print("Setting up .venv (once; some minutes; on Linux about 3 GB of downloads) ...", flush=True)
    shutil.rmtree(str(VENV), ignore_errors=True)  # of another Python, perhaps
    for command in makers(uv, sys.version_info):
        call(command)
    (VENV / "gencourse.stamp").write_text(wanted + "\n")


def absolute(environment, here):
    """Variables that name folders, as seen from the folder in which the command was given: name -> absolute path."""
    given = {name: os.path.expanduser(environment[name]) for name in FOLDERS if environment.get(name)}
    return {name: os.path.abspath(os.path.join(here, path)) for name, path in given.items()}


def outcome(command, **environment):
    """The exit code of a program, run in the course's folder. Ctrl-C is left to it: it may ask, or save its work."""
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.call(command, cwd=str(ROOT), env=dict(os.environ, **environment))
    finally:
        signal.signal(signal.SIGINT, before)


def call(command, **environment):
    """Run a program in the course's folder; stop with its exit code when it fails."""
    code = outcome(command, **environment)
    if code:
        sys.exit(code)


def main(arguments):
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if command not in COMMANDS:
        sys.exit("usage: python3 course.py " + " | ".join(COMMANDS) + "\nFor example: python3 course.py lab")
    os.environ.update(absolute(os.environ, os.getcwd()), JUPYTER_PREFER_ENV_PATH="1")  # the kernel in .venv
    ignored = [name for name in IGNORED if os.environ.pop(name, None)]
    if ignored:
        print("Ignored, since the course has packages of its own: " + ", ".join(ignored), flush=True)
    uv = shutil.which("uv")
    if not uv and not supported(sys.version_info):
        other = other_python()
        if other:
            sys.exit(outcome([other, str(ROOT / "course.py")] + arguments))  # noqa: RUF005
        sys.exit(
            "This is Python {}.{}, and the course needs Python 3.11, 3.12, 3.13 or 3.14. Install one of these, or uv,\n"
            "which brings its own; where a Python is not found by itself, name it: {}".format(
                *sys.version_info[:2],
                "py -3.12 course.py " + command if os.name == "nt" else "make " + command + " PYTHON=python3.12",
            )
        )
    setup(uv)
    python = program("python")
    lint = [python, "-m", "ruff", "check", "."]
    if command in ("lab", "lecture"):
        profile = os.environ.get("GENCOURSE_PROFILE") or "laptop"  # that of the finished weights
        lecture = {"GENCOURSE_LECTURE": "1", "GENCOURSE_PROFILE": profile} if command == "lecture" else {}
        call([python, "-m", "jupyterlab", *rest, "notebooks/00_start_here.ipynb"], **lecture)
    elif command in ("test", "test-all"):
        call(lint)
        everything = ["-m", ""] if command == "test-all" else []
        call([python, "-m", "pytest", *PARALLEL, *everything, *rest], GENCOURSE_PROFILE="smoke", OMP_NUM_THREADS="1")
    elif command in ("book", "pdf", "links", "slides", "student", "run"):
        call([python, "book/tools/run.py", command, *rest])
    elif command == "doctor":
        call([python, "book/tools/doctor.py", *rest])
    elif command == "showdown":
        call([python, "-m", "experiments.contest", *rest])
    elif command == "marathon":
        call([python, "-m", "experiments.marathon", *rest])
    elif command == "lint":
        call(lint)


if __name__ == "__main__":
    main(sys.argv[1:])
