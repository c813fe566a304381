"""``make marathon``: trains every finished model of the course, for hours, one process each.

Kill it when you like, and start it again: each training goes on from its last checkpoint, at most 30 seconds old, and
nothing is repeated or lost. ``--only DDPM`` trains one, ``--list`` says how far each one is.

A finished model leaves, in ``notebooks/weights/finished``, its weights in half precision with a card (recipe, steps,
seconds, hardware, measures, curve), and samples of these weights. On several GPUs one model is trained with
``accelerate launch -m experiments.marathon --train DDPM``: the same step, its gradients averaged over the processes.
"""

import argparse
import contextlib
import multiprocessing
import os
import re
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch

import gencourse as gc
from gencourse import weights
from gencourse.train import replace_file

from .contest import _end_with_parent
from .models import FEW, PLAN
from .results import commit, hardware

FOLDER = Path(os.environ.get("GENCOURSE_MARATHON", Path(__file__).parent / "marathon"))  # of checkpoints and logs
POINTS = 10  # of the curve of the quality


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
    """
    entry = PLAN[name]
    steps = steps or entry.steps()
    training = entry.make(steps)
    rank = share_gradients(training)
    checkpoint = folder / f"{slug(name)}.checkpoint"
    if rank > 0:  # all begin where the first process was
        own = checkpoint.with_suffix(f".{rank}")
        own.unlink(missing_ok=True)
        if checkpoint.exists():
            shutil.copy(checkpoint, own)
        checkpoint = own

    def look():
        began = time.monotonic()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            quality = training.quality()
        return {**quality, "took": time.monotonic() - began}

    history = gc.fit(
        training.step, training.batches, steps, label=name, snapshot=look, snapshots=POINTS + 1,
        checkpoint=checkpoint, state=training.state,
    )  # fmt: skip
    if history.interrupted or rank > 0:
        return None
    return finish(name, entry, training, history)


def share_gradients(training):
    """Under ``accelerate launch``: average all gradients over the processes, and give each its part of the batches.

    The gradients are then those of one process with batches as many times as large, for losses that are means over
    independent samples; batch norm sees the batch of its own process only.

    Returns:
        The rank of this process, 0 where there is only one.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return 0
    from accelerate import PartialState
    from accelerate.utils import reduce

    state = PartialState(cpu=gc.device().type == "cpu")

    def average(w):
        w.grad = reduce(w.grad, "mean")

    for optimizer in (part for part in training.state.values() if isinstance(part, torch.optim.Optimizer)):
        for group in optimizer.param_groups:
            for w in group["params"]:
                w.register_post_accumulate_grad_hook(average)
    training.batches = Part(training.batches, state.process_index, state.num_processes)
    step, seed = training.step, state.process_index

    def own_noise(batch):
        nonlocal seed
        if seed:  # once, as all processes have begun with the random state of the first
            torch.manual_seed(torch.randint(2**31, ()).item() + seed)
            seed = 0
        return step(batch)

    training.step = own_noise
    return state.process_index


class Part:
    """Every ``count``-th batch of a stream, from ``index`` on."""

    def __init__(self, stream, index, count):
        self.stream, self.index, self.count = stream, index, count

    def __iter__(self):
        return self

    def __next__(self):
        return [next(self.stream) for _ in range(self.count)][self.index]

    def state_dict(self):
        return self.stream.state_dict()

    def load_state_dict(self, state):
        self.stream.load_state_dict(state)


def finish(name, entry, training, history):
    """Measure the weights in half precision, and write weights, card and samples; returns the card."""
    for net in training.networks.values():
        for v in net.state_dict().values():
            if v.is_floating_point():
                v.copy_(v.half())
    samples = as_bytes(training.sample(FEW, torch.Generator().manual_seed(0)))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        measures = training.final()
    looking = sum(point["took"] for point in history.snapshots)
    seconds = history.seconds - looking
    pace = seconds / history.steps
    every = max(1, history.steps // 200)
    losses = {key: torch.tensor(column).split(every) for key, column in history.items()}
    card = {
        "name": name, "recipe": entry.recipe(), "steps": history.steps,
        "epochs": round(history.steps * training.batches.batch_size / len(training.batches.order), 2),
        "seconds": round(seconds), "profile": gc.profile(), "hardware": hardware(), "torch": str(torch.__version__),
        "seed": 0, "commit": commit(), "date": time.strftime("%Y-%m-%d"), "measures": measures,
        "parameters": sum(w.numel() for net in training.networks.values() for w in net.parameters()),
        "curve": [
            {"step": at, "seconds": round(at * pace), **{key: v for key, v in point.items() if key != "took"}}
            for at, point in zip(history.snapshot_steps, history.snapshots, strict=True)
        ],
        "losses": {key: [round(part.mean().item(), 4) for part in parts] for key, parts in losses.items()},
    }  # fmt: skip
    path = finished() / f"{slug(name)}.pt.xz"
    replace_file(path.with_name(f"{slug(name)}.npz"), lambda file: np.savez_compressed(file, samples=samples))
    weights.save_weights(path, training.networks, card)
    weights.write_checksums(finished().parent, "finished")
    return card


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


def _worker(name, folder, steps):
    """Train one model, with what is shown going to a log."""
    _end_with_parent()
    with open(folder / f"{slug(name)}.log", "a", encoding="utf-8") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        train(name, folder, steps)


def progress(name, folder):
    """One line: how far the training is, its last loss, and the time left."""
    if (finished() / f"{slug(name)}.pt.xz").exists():
        return "finished"
    log = folder / f"{slug(name)}.log"
    if not log.exists():
        return "waits for its turn"
    shown = log.read_bytes()[-4000:].decode("utf-8", "replace").replace("\n", "\r")
    return next((line for line in reversed(shown.split("\r")) if line.strip()), "starts").removeprefix(f"{name}: ")


def run_all(names, workers, folder, steps=None, every=10.0):
    """Train all of them, ``workers`` at a time, each in a process of its own; says every few seconds how far they are.

    Returns:
        The names of those that failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if gc.device().type == "cpu":
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # for the processes that start now
    waiting, running, failed = list(names), {}, []
    context = multiprocessing.get_context("spawn")
    shown = 0.0
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                name = waiting.pop(0)
                running[name] = context.Process(target=_worker, args=(name, folder, steps), name=name)
                running[name].start()
            if time.monotonic() - shown > every:
                shown = time.monotonic()
                for name in running:
                    print(f"{name:24} {progress(name, folder)}", flush=True)
            time.sleep(0.2)
            for name in [name for name, process in running.items() if process.exitcode is not None]:
                if running.pop(name).exitcode:
                    failed.append(name)
                print(f"{name:24} {'failed: see ' + slug(name) + '.log' if name in failed else 'finished'}", flush=True)
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
    parser.add_argument("--again", action="store_true", help="train finished models too, from the start")
    parser.add_argument("--list", action="store_true", help="say how far each model is, and train nothing")
    parser.add_argument("--table", action="store_true", help="print the cards of finished models, and train nothing")
    parser.add_argument("--train", metavar="NAME", choices=PLAN, help="train one here, e.g. under accelerate launch")
    parser.add_argument("--workers", type=int, help="how many at a time; default one for each core or GPU")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="of checkpoints and logs")
    parser.add_argument("--steps", type=int, help="train for fewer steps than planned, to try it out")
    chosen = parser.parse_args(arguments)
    if chosen.table:
        print(table())
        return 0
    if chosen.list:
        for name in chosen.only or PLAN:
            print(f"{name:24} {progress(name, chosen.folder)}")
        return 0
    if chosen.train:
        train(chosen.train, chosen.folder, chosen.steps)
        return 0
    names = list(chosen.only or PLAN)
    if chosen.again:
        for name in names:
            (chosen.folder / f"{slug(name)}.checkpoint").unlink(missing_ok=True)
    else:
        names = [name for name in names if not (finished() / f"{slug(name)}.pt.xz").exists()]
        print(f"{len(names)} of {len(chosen.only or PLAN)} models are not finished", flush=True)
    default = max(torch.cuda.device_count(), 1) if gc.device().type != "cpu" else len(os.sched_getaffinity(0))
    with contextlib.suppress(KeyboardInterrupt):
        return 1 if run_all(names, chosen.workers or default, chosen.folder, chosen.steps) else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
