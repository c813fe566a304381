"""A small training run that uses every kind of state there is, for the tests of checkpoints.

Run as a program, it kills itself again and again while it trains, and reports what was found in the file.
"""

import io
import itertools
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from gencourse import batches, fit, train

STEPS = 24


class Rehearsal:
    """Dropout, Adam, a schedule, a generator of its own, batches, and the three global random states."""

    def __init__(self, seed=0, ballast=0):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        self.net = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.BatchNorm1d(16), nn.Linear(16, 1))
        self.net.register_buffer("ballast", torch.rand(ballast))  # makes a checkpoint as large as wanted
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=0.01)
        self.schedule = torch.optim.lr_scheduler.ExponentialLR(self.optimizer, 0.9)
        self.generator = torch.Generator().manual_seed(seed + 1)
        self.stream = batches(torch.randn(20, 4, generator=torch.Generator().manual_seed(5)), 6, seed=seed)
        self.state = {
            "net": self.net,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "generator": self.generator,
        }

    def step(self, x):
        noise = torch.randn(x.shape, generator=self.generator) + random.random() + np.random.rand()  # noqa: NPY002
        loss = (self.net(x + 0.1 * noise) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.schedule.step()
        return {"loss": loss, "rate": self.schedule.get_last_lr()[0]}

    def fit(self, path, steps=STEPS, step=None, **options):
        options = {"snapshot": lambda: self.net[0].weight.sum().item(), "snapshots": 5, **options}
        return fit(step or self.step, self.stream, steps, checkpoint=path, state=self.state, **options)

    def everything(self, history):
        """All that a run leaves behind, in a form that compares to the last bit."""
        ahead = [torch.rand(3), torch.rand(3, generator=self.generator), next(self.stream)]
        return {
            "parts": plain([part.state_dict() for part in (self.net, self.optimizer, self.schedule)]),
            "random": plain([random.random(), np.random.rand(), ahead]),  # noqa: NPY002
            "history": [dict(history), history.steps, history.snapshots, history.snapshot_steps],
        }


def plain(value):
    """Tensors as lists, at any depth, so that == compares to the last bit."""
    if isinstance(value, torch.Tensor):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list | tuple) else value


# ---- a program: killed at many moments ----

BALLAST = 50_000


def in_child(work):
    """Run ``work`` in a forked process (torch is imported only once); its exit status, 0 when it was not killed."""
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return pid


def train_saving_each_step(path):
    train.CHECKPOINT_SECONDS = -1.0  # after every step
    Rehearsal(ballast=BALLAST).fit(path)


def killed_after(path, seconds):
    pid = in_child(lambda: train_saving_each_step(path))
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]


def killed_at(path, stage, save):
    """Let the process kill itself in the ``save``-th write: at its opening, half way, before or after renaming."""
    original_open, original_fsync, original_replace = open, os.fsync, os.replace
    calls = itertools.count(1)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def opened(name, *args, **options):
        file = original_open(name, *args, **options)
        if next(calls) == save:
            if stage == "opened":
                die()
            if stage == "half":
                file.write = lambda content, write=file.raw.write: (write(content[: len(content) // 2]), die())
            if stage == "written":
                os.fsync = lambda number: (original_fsync(number), die())
            if stage == "renamed":
                os.replace = lambda *names: (original_replace(*names), die())
        return file

    def work():
        train.open = opened
        train_saving_each_step(path)

    return os.waitpid(in_child(work), 0)[1]


def load(path):
    return torch.load(path, weights_only=True)


def readable(path):
    """The number of steps in the file, 0 if there is none, or the reason why it cannot be read."""
    try:
        return load(path)["progress"]["steps"] if path.exists() else 0
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def in_place(path, write):
    """A broken twin of train.replace_file, which overwrites the file."""
    with train.open(path, "wb") as file:
        write(file)


def warm_up():
    """Load what torch loads when it is first needed, so that the children need not; no backward: it starts threads."""
    run = Rehearsal()
    for p in run.net.parameters():
        p.grad = torch.zeros_like(p)
    run.optimizer.step()
    buffer = io.BytesIO()
    torch.save({name: part.state_dict() for name, part in run.state.items() if name != "generator"}, buffer)
    fit(lambda x: {"v": 0.0}, run.stream, 1)


def whole_run(folder):
    path = Path(folder, "whole")
    path.unlink(missing_ok=True)
    began = time.monotonic()
    os.waitpid(in_child(lambda: train_saving_each_step(path)), 0)
    return time.monotonic() - began


def random_deaths(folder, rounds):
    """Die at random moments, go on from what is there, die again."""
    report, generator = {"steps": [], "status": [], "files": []}, random.Random(0)
    whole = min(whole_run(folder) for _ in range(2))
    path = Path(folder, "killed")
    for _ in range(rounds):
        if readable(path) in range(STEPS - 4, STEPS + 1):
            path.unlink()
        report["status"].append(killed_after(path, generator.uniform(0, 0.8 * whole)))
        report["steps"].append(readable(path))
        report["files"].append(len(list(Path(folder).glob("killed*"))))
    os.waitpid(in_child(lambda: train_saving_each_step(path)), 0)
    a, b = (load(Path(folder, name)) for name in ("whole", "killed"))
    for content in (a, b):
        content["progress"].pop("seconds")
    report["equal"] = plain(a) == plain(b)
    report["left"] = sorted(p.name for p in Path(folder).iterdir())
    return report


def chosen_deaths(folder, stages):
    """Die in the third write, at each of these moments: stage -> [exit status, steps that the file then holds]."""
    Path(folder).mkdir(exist_ok=True)
    return {stage: [killed_at(Path(folder, stage), stage, save=3), readable(Path(folder, stage))] for stage in stages}


def main(folder):
    torch.set_num_threads(1)  # a process whose threads run must not fork
    train.open = open
    warm_up()
    report = {"random": random_deaths(folder, rounds=12)}
    report["chosen"] = chosen_deaths(folder, ("opened", "half", "written", "renamed"))
    train.replace_file = in_place
    report["twin"] = chosen_deaths(f"{folder}/twin", ("opened", "half"))
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1])
