"""``make marathon``: trains every finished model of the course, for hours, one process each.

Kill it when you like, and start it again: each training goes on from its last checkpoint, at most 30 seconds old, and
ends as if it had never stopped. ``--only DDPM`` trains one, ``--list`` says how far each one is, ``--table`` shows what
the finished ones reach.

A finished model leaves, in ``notebooks/weights/finished``, its weights in half precision with a card (recipe, steps,
seconds, hardware, measures, curve), and samples of these weights. On several GPUs one model is trained with
``accelerate launch -m experiments.marathon --train DDPM``: the same step, its gradients averaged over the processes.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import torch

import gencourse as gc
from gencourse import weights
from gencourse.errors import require
from gencourse.train import replace_file

from .models import FEW
from .plan import PLAN
from .results import commit, hardware, write_checksums
from .workers import cores, end_with_parent

FOLDER = Path(os.environ.get("GENCOURSE_MARATHON", Path(__file__).parent / "marathon"))  # of checkpoints and logs
POINTS = 10  # of the curve of the quality
STAND_INS = ("digits", "austen")  # data that take the place of others without a network


def slug(name):
    """The name of a model as that of a file: "GAN of today" -> "gan-of-today"."""
    return re.sub("[^a-z0-9]+", "-", name.lower())


def finished() -> Path:
    """Where finished models lie."""
    return weights.folder() / "finished"


def train(name, folder=FOLDER, steps=None):
    """Train one model from its last checkpoint on, and keep what it gives.

    Args:
        name: of a model of the plan.
        folder: of the checkpoints.
        steps: how many in all; default those of the plan.

    Returns:
        The card, or None after an interrupt.

    Raises:
        DataError: if the checkpoint belongs to another recipe or number of steps, or another process trains this model,
            or stand-in data would be trained on.
    """
    rank, count = processes()  # first of all: it chooses the GPU of this process
    entry = PLAN[name]
    steps = steps or entry.steps()
    checkpoint = folder / f"{slug(name)}.checkpoint"
    begun = claim(checkpoint, {"recipe": entry.recipe(), "steps": steps, "profile": gc.profile()}, rank)
    training = entry.make(steps)
    if training.card["data"] in STAND_INS and gc.profile() != "smoke":
        raise gc.DataError(f"{name} would be trained on stand-in data, {training.card['data']}. Connect to a network, "
                           "or set GENCOURSE_DATA to a folder that holds the real ones.")  # fmt: skip
    if count > 1:
        share_gradients(training, rank, count, checkpoint)
    if rank > 0:  # all begin where the first process was
        own = checkpoint.with_suffix(f".{rank}")
        own.unlink(missing_ok=True)
        if checkpoint.exists():
            shutil.copy(checkpoint, own)
        checkpoint = own

    def look():
        began = time.monotonic()
        training.prepare()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            quality = training.quality()
        return {**quality, "took": time.monotonic() - began}

    try:
        history = gc.fit(
            training.step, training.batches, steps, label=name, snapshot=look, snapshots=POINTS + 1,
            checkpoint=checkpoint, state=training.state, fast=entry.fast,
        )  # fmt: skip
    except gc.TrainingStopped:
        return None
    if rank > 0:
        return None
    card = finish(name, training, history, begun)
    for file in (checkpoint, checkpoint.with_suffix(".json")):
        file.unlink()
    return card


def claim(checkpoint, recipe, rank):
    """Write beside the checkpoint what it belongs to and who trains it; refuse it if that is something else.

    Returns:
        What was written when the training began.
    """
    file = checkpoint.with_suffix(".json")
    known = json.loads(file.read_text("utf-8")) if file.exists() and checkpoint.exists() else {}
    if rank > 0:
        return known
    for key, value in recipe.items():
        if known.get(key, value) != value:
            raise gc.DataError(f"{checkpoint.name} was made with {key} {known[key]}, not {value}. Delete it to begin "
                               "again, or take the code that made it.")  # fmt: skip
    if known.get("process", os.getpid()) != os.getpid() and psutil.pid_exists(known["process"]):
        raise gc.DataError(f"Process {known['process']} trains this model already. If it does not, delete {file.name}.")
    begun = {"commit": commit(), **known, **recipe, "process": os.getpid()}
    replace_file(file, lambda out: out.write(json.dumps(begun).encode()))
    return begun


def finish(name, training, history, begun):
    """Measure the weights in half precision, and write weights, card and samples; returns the card."""
    training.prepare()
    for v in (v for net in training.networks.values() for v in net.state_dict().values()):
        if v.dtype == torch.float32 and not (v.abs() > 6e4).any():
            v.copy_(v.half())
    seconds = history.seconds - sum(point["took"] for point in history.snapshots[:-1])  # the last one was not counted
    every = max(1, history.steps // 200)
    losses = {key: torch.tensor(column).split(every) for key, column in history.items()}
    card = {
        "name": name, "recipe": begun["recipe"], "steps": history.steps,
        "epochs": round(training.epochs(history.steps), 2), "seconds": round(seconds, 1), "profile": gc.profile(),
        "hardware": hardware(), "torch": str(torch.__version__), "commit": begun["commit"],
        "date": time.strftime("%Y-%m-%d"),
        "parameters": sum(w.numel() for net in training.networks.values() for w in net.parameters()),
        "curve": [
            {"step": at, "seconds": round(at * seconds / history.steps, 1), **point}
            for at, point in zip(history.snapshot_steps, history.snapshots, strict=True)
        ],
        "losses": {key: [round(part.mean().item(), 4) for part in parts] for key, parts in losses.items()},
    }  # fmt: skip
    return measure(name, training, card)


def measure(name, training, card):
    """Draw samples from finished networks, measure them, and write weights, card and samples; returns the card."""
    samples = as_bytes(training.sample(FEW, torch.Generator().manual_seed(0)))
    samples = samples[: kept(samples)]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        card = {**card, "measures": training.final(), **training.card}
    path = finished() / f"{slug(name)}.pt.xz"
    replace_file(path.with_name(f"{slug(name)}.npz"), lambda file: np.savez_compressed(file, samples=samples))
    weights.save_weights(path, training.networks, card)
    return card


def kept(samples):
    """How many samples the course ships: all of them, fewer of pictures in colour, which take more space."""
    return max(1, min(FEW, FEW * 28 * 28 // samples[0].size))


def load(name):
    """A finished model: its Training, with the finished weights in its networks, and its card.

    Raises:
        DataError: if there are no finished weights of it.
    """
    training = PLAN[name].make(1)
    return training, gc.load_weights(f"finished/{slug(name)}", **training.networks)


def as_bytes(samples):
    """Images in [-1, 1] as uint8, 0 to 255; integers, such as characters, as they are."""
    if samples.is_floating_point():
        samples = ((samples.clamp(-1, 1) + 1) * 127.5).round()
    return samples.to(torch.uint8).cpu().numpy()


# ---- one model on several GPUs ----


def processes():
    """The rank of this process and how many there are; under ``accelerate launch`` each has a GPU of its own."""
    count = int(os.environ.get("WORLD_SIZE", 1))
    if count == 1:
        return 0, 1
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    require(state.num_processes == count, "processes", state.num_processes, f"{count}, as many as were launched")
    return state.process_index, count


def share_gradients(training, rank, count, checkpoint):
    """Average all gradients over the processes, and give each its part of the batches and its own noise.

    The gradients are then those of one process with batches ``count`` times as large, for losses that are means over
    independent samples; batch norm sees the batch of its own process only.
    """
    from accelerate.utils import reduce

    require("usage" not in training.state, "training", "a VQ-VAE", "one whose step changes weights by gradients only")

    def average(w):
        w.grad = reduce(w.grad, "mean")

    for optimizer in (part for part in training.state.values() if isinstance(part, torch.optim.Optimizer)):
        for group in optimizer.param_groups:
            for w in group["params"]:
                w.register_post_accumulate_grad_hook(average)
    training.batches = Part(training.batches, rank, count)
    begin = torch.load(checkpoint, weights_only=True)["progress"]["steps"] if checkpoint.exists() else 0
    step, fresh = training.step, rank == 0

    def with_own_noise(batch):
        nonlocal fresh
        if not fresh:  # after fit has restored the random state of the first process
            torch.manual_seed(begin * count + rank)
            fresh = True
        return step(batch)

    training.step = with_own_noise


class Part:
    """Every ``count``-th batch of a stream, from ``index`` on."""

    def __init__(self, stream, index, count):
        self.stream, self.index, self.count = stream, index, count
        self.order, self.batch_size = stream.order, count * stream.batch_size  # of all processes

    def __iter__(self):
        return self

    def __next__(self):
        return [next(self.stream) for _ in range(self.count)][self.index]

    def state_dict(self):
        return self.stream.state_dict()

    def load_state_dict(self, state):
        self.stream.load_state_dict(state)


# ---- many models, side by side ----


def is_finished(name, folder):
    """Whether there are weights, and no checkpoint of a training that would replace them."""
    return (finished() / f"{slug(name)}.pt.xz").exists() and not (folder / f"{slug(name)}.checkpoint").exists()


def progress(name, folder):
    """One line: how far the training is, its last loss, and the time left."""
    log = folder / f"{slug(name)}.log"
    if is_finished(name, folder):
        return "finished"
    if not log.exists():
        return "waits for its turn"
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 4000))
        lines = file.read().decode("utf-8", "replace").replace("\n", "\r").split("\r")
    return next((line for line in reversed(lines) if line.strip()), "starts").removeprefix(f"{name}: ")


def _worker(name, folder, steps):
    """Train one model, with what is shown going to a log."""
    end_with_parent()
    with open(folder / f"{slug(name)}.log", "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        train(name, folder, steps)


@contextlib.contextmanager
def _on_gpu(slot):
    """What is started inside sees only the GPU of this number."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if torch.cuda.device_count() > 1:
        known = before.split(",") if before else [str(i) for i in range(torch.cuda.device_count())]
        os.environ["CUDA_VISIBLE_DEVICES"] = known[slot % len(known)]
    try:
        yield
    finally:
        os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def run_all(names, workers, folder, steps=None, every=10.0):
    """Train all of them, ``workers`` at a time, each in a process of its own; says every few seconds how far they are.

    Returns:
        The names of those that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if gc.device().type == "cpu":
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # for the processes that start now
    waiting, running, failed, shown = list(names), {}, [], 0.0
    context = multiprocessing.get_context("spawn")
    write_checksums(finished().parent, "finished")  # a call that was killed may have left files without
    try:
        while waiting or running:
            for slot in (slot for slot in range(workers) if slot not in running):
                if waiting:
                    name = waiting.pop(0)
                    running[slot] = context.Process(target=_worker, args=(name, folder, steps), name=name)
                    with _on_gpu(slot):
                        running[slot].start()
            if time.monotonic() - shown > every:
                shown = time.monotonic()
                for process in running.values():
                    print(f"{process.name:26} {progress(process.name, folder)}", flush=True)
            time.sleep(0.2)
            for slot in [slot for slot, process in running.items() if process.exitcode is not None]:
                name, code = running[slot].name, running.pop(slot).exitcode
                if code:
                    failed.append(name)
                write_checksums(finished().parent, "finished")
                print(f"{name:26} {f'failed: see {slug(name)}.log' if code else 'finished'}", flush=True)
    finally:  # Ctrl-C has reached the processes too: they finish their step and save
        for process in running.values():
            process.join()
    return failed


def table():
    """The cards of all finished models, as a Markdown table."""
    lines = ["| model | reached | parameters | epochs | hours | hardware | recipe |", "|---|---|--:|--:|--:|---|---|"]
    for name in PLAN:
        if (finished() / f"{slug(name)}.pt.xz").exists():
            card = gc.load_weights(f"finished/{slug(name)}")
            reached = ", ".join(f"{key} {value:.4g}" for key, value in card["measures"].items())
            lines.append(f"| {name} | {reached} | {card['parameters']:,} | {card['epochs']:.0f} | "
                         f"{card['seconds'] / 3600:.2f} | {card['hardware']} | {card['recipe']} |")  # fmt: skip
    return "\n".join(lines)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="make marathon", description="Train every finished model of the course.")
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=PLAN, help=f"of: {', '.join(PLAN)}")
    parser.add_argument("--again", action="store_true", help="train finished models too; go on without it")
    parser.add_argument("--list", action="store_true", help="say how far each model is, and train nothing")
    parser.add_argument("--table", action="store_true", help="print the cards of finished models, and train nothing")
    parser.add_argument("--train", metavar="NAME", choices=PLAN, help="train one here, e.g. under accelerate launch")
    parser.add_argument("--measure", metavar="NAME", choices=PLAN, help="draw from a finished one and measure it again")
    parser.add_argument("--workers", type=int, help="how many at a time; default one for each core or GPU")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of checkpoints and logs")
    parser.add_argument("--steps", type=int, help="to try it out: so many steps, and nothing that the course ships")
    chosen = parser.parse_args(arguments)
    names = list(chosen.only or PLAN)
    if (chosen.steps or gc.profile() == "smoke") and "GENCOURSE_WEIGHTS" not in os.environ:
        os.environ["GENCOURSE_WEIGHTS"] = str(chosen.folder.resolve())  # not among those of the course
    if chosen.table:
        print(table())
        return 0
    if chosen.list:
        for name in names:
            print(f"{name:26} {progress(name, chosen.folder)}")
        return 0
    if chosen.train:
        if train(chosen.train, chosen.folder, chosen.steps):
            write_checksums(finished().parent, "finished")
        return 0
    if chosen.measure:
        print(measure(chosen.measure, *load(chosen.measure))["measures"])
        write_checksums(finished().parent, "finished")
        return 0
    unfinished = [name for name in names if chosen.again or not is_finished(name, chosen.folder)]
    print(f"{len(unfinished)} of {len(names)} models are to be trained", flush=True)
    default = max(torch.cuda.device_count(), 1) if gc.device().type != "cpu" else cores()
    with contextlib.suppress(KeyboardInterrupt):
        return 1 if run_all(unfinished, chosen.workers or default, chosen.folder, chosen.steps) else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
