"""``make showdown``: run what is missing, two runs side by side, and write the data file. Kill it when you like."""

import argparse
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from ..archives import cache
from ..classifier import digit_classifier
from ..data import mnist
from ..runtime import device, profile
from .contest import FLOOR, plan, run
from .fingerprint import HERE, code
from .recipes import RECIPES
from .results import assemble

SLOW_FIRST = ("DDPM", "Transformer", "flow matching", "PixelCNN", "gated PixelCNN", "PixelRNN", "VAE", "beta-VAE")


def jobs():
    """(name, seed) of all runs: the slow ones first, so that no core waits at the end; seed 0 before the others."""
    names = [*SLOW_FIRST, *(name for name in RECIPES if name not in SLOW_FIRST), FLOOR]
    return [(name, seed) for seed in plan()["seeds"] for name in names]


def start(name, seed, folder):
    """One run in a process of its own, on one thread, so that each has its own memory and clock.

    It reads from a pipe of this process, and so learns when this one is gone, however it ended.
    """
    command = [sys.executable, "-m", "gencourse.showdown", "--folder", str(folder), "--watch", "--run", name, str(seed)]
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"} if device().type == "cpu" else {}
    with open(folder / f"{name} {seed}.log", "w") as log:
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, env=os.environ | one
        )


def stop_with_parent():
    """End this process as soon as nobody holds the other end of its standard input."""

    def watch():
        os.read(sys.stdin.fileno(), 1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def contest(folder, workers):
    """Run all that is missing in ``folder``, ``workers`` at a time."""
    digit_classifier()  # one ruler for all: made here if need be, not by two runs at once
    waiting = [job for job in jobs() if not (folder / f"{job[0]} {job[1]}.json").exists()]
    total, running, began, done = len(jobs()), {}, time.monotonic(), 0
    print(f"{total - len(waiting)} of {total} runs are there already, in {folder}", flush=True)
    missing = len(waiting)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                job = waiting.pop(0)
                running[job] = start(*job, folder)
            for job, process in list(running.items()):
                if process.poll() is None:
                    continue
                del running[job]
                if process.returncode:
                    sys.exit(f"The run {job[0]}, seed {job[1]} failed; see {folder / f'{job[0]} {job[1]}.log'}.\n"
                             "Mend it and start again: finished runs are kept.")  # fmt: skip
                done += 1
                left = (time.monotonic() - began) / done * (missing - done) / 60
                print(
                    f"{total - missing + done} of {total}: {job[0]}, seed {job[1]}; about {left:.0f} min left",
                    flush=True,
                )
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            process.wait()
    return time.monotonic() - began


def prepare(folder, out):
    """Refuse what would spoil the contest: other data, runs of other code, a place that cannot be written."""
    if {mnist(split).name for split in ("train", "test")} != {"MNIST"}:
        sys.exit("The contest needs MNIST, and it could not be had. Connect to a network, or put its files below "
                 "GENCOURSE_DATA; finished runs are kept.")  # fmt: skip
    made_by, now = folder / "made-by.txt", f"{profile()} {code()}\n"
    if made_by.exists() and made_by.read_text() != now:
        sys.exit(f"{folder} holds runs of other code or of another profile, which must not be mixed with new ones. "
                 "Name another folder, or delete that one.")  # fmt: skip
    made_by.write_text(now)
    if not os.access(out, os.W_OK):
        sys.exit(f"{out} cannot be written, and the data file would go there. Name another place with --out.")


def main():
    parser = argparse.ArgumentParser(prog="make showdown", description=__doc__)
    parser.add_argument("--folder", type=Path, help="where runs are kept (default: the course's cache)")
    parser.add_argument("--out", type=Path, help="where the data file goes (default: beside this module)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count()) if device().type == "cpu" else 1)
    parser.add_argument("--run", nargs=2, metavar=("NAME", "SEED"), help="one run only")
    parser.add_argument("--watch", action="store_true", help="end when standard input is closed")
    asked = parser.parse_args()
    folder = (asked.folder or cache() / "showdown" / f"{profile()}-{code()[:12]}").resolve()
    out = asked.out or (folder if profile() == "smoke" else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    if profile() != "smoke":
        prepare(folder, out)
    if asked.watch:
        stop_with_parent()
    if asked.run:
        run(asked.run[0], int(asked.run[1]), folder)
        return
    if profile() == "smoke":  # seconds of work each: a process for each would be most of the time
        began = time.monotonic()
        for job in jobs():
            run(*job, folder)
        minutes = (time.monotonic() - began) / 60
    else:
        minutes = contest(folder, asked.workers) / 60
    path = assemble(folder, out, asked.workers, minutes)
    print(f"{minutes:.1f} minutes; written to {path}")


if __name__ == "__main__":
    main()
