"""Which recipe gives the most per second: ``python -m experiments.recipes``, two hours on one thread.

Each family of models is trained for equal seconds with one choice after another, and measured at three moments. The
rate of learning falls along a cosine that ends with the last of them. ``--speed`` says how long a step takes, and what
share of the processor's rate for products of matrices it reaches, with one thread and with two. What was found is kept
in ``recipes.json`` and, for reading, in ``recipes.md``; ``--table`` prints it.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

import gencourse as gc
from gencourse.train import replace_file

from .models import adversarial, diffusion, pixel_by_pixel, vae
from .plan import PLAN, TODAY, WGAN_GP, Entry
from .results import commit, hardware

FILE = Path(__file__).with_name("recipes.json")  # beside it recipes.md, the same for reading
MOMENTS = (1 / 3, 2 / 3, 1)

FIRST_DCGAN = {"batch": 32, "lr": 5e-4, "lr_D": 2e-4, "channels_D": (16, 32), "cosine": False, "ema": 0.0}
SPECTRAL = {"batch_norm": False, "spectral": True, "betas": (0.0, 0.9)}
STEADY = {**TODAY, "lr": 1e-3}

# family -> function that makes it, seconds, {choice: options}; the first choice is that of the first edition
FAMILIES = {
    "diffusion": (diffusion, 200, {
        "first edition: v, uniform times, batch 32": {"objective": "v", "times": "uniform", "batch": 32},
        "velocity, uniform times, batch 64": {"times": "uniform"},
        "velocity, logit-normal times": {},
        "v, logit-normal times": {"objective": "v"},
        "rate 4e-3": {"lr": 4e-3},
        "rate 8e-3": {"lr": 8e-3},
        "v, logit-normal times, rate 4e-3": {"objective": "v", "lr": 4e-3},
        "v, half of the times uniform, rate 4e-3": {"objective": "v", "times": "both", "lr": 4e-3},
        "batch 32, rate 4e-3": {"lr": 4e-3, "batch": 32},
        "batch 128": {"batch": 128},
        "channels (32, 128)": {"channels": (32, 128)},
        "maps of 7 x 7 only: channels (64,), patch 4, 2 blocks": {"channels": (64,), "patch": 4, "blocks": 2},
        "average over 2,000 steps": {"ema": 0.9995},
    }),
    "GAN": (adversarial, 240, {
        "first edition: DCGAN, batch 32": FIRST_DCGAN,
        "DCGAN, batch 64, cosine, average": {"channels_D": (16, 32), "lr_D": 5e-4},
        "relativistic, R1 and R2 at each step": {**STEADY, "lazy": 1},
        "relativistic, R1 and R2 at every fourth": STEADY,
        "the same, D half as wide": {**STEADY, "channels_D": (16, 32)},
        "the same, gamma 0.3": {**STEADY, "gamma": 0.3},
        "the same, rate 2e-3": {**STEADY, "lr": 2e-3},
        "the same, rate 4e-3": {**STEADY, "lr": 4e-3},
        "the same, rate 2e-3, gamma 3": {**STEADY, "lr": 2e-3, "gamma": 3.0},
        "logistic, R1 and R2 at every fourth": {**STEADY, "objective": "logistic"},
        "logistic, spectral normalization": SPECTRAL,
        "the same, rate 3e-3": {**SPECTRAL, "lr": 3e-3},
        "WGAN-GP, one step of the critic": {**WGAN_GP, "lr": 1e-3, "lazy": 1},
        "WGAN-GP, the penalty at every fourth, rate 3e-3": WGAN_GP,
    }),
    "VAE": (vae, 100, {
        "first edition: static bits, no average": {"dynamic": False, "ema": 0.0},
        "average": {"dynamic": False},
        "average, dynamic bits": {},
        "rate 4e-3": {"lr": 4e-3},
        "channels (32, 64), hidden 256": {"channels": (32, 64), "hidden": 256},
        "hidden 256": {"hidden": 256},
    }),
    "pixel by pixel": (pixel_by_pixel, 200, {
        "first edition: PixelCNN, static bits, no average": {"make": gc.nets.PixelCNN, "dynamic": False, "ema": 0.0},
        "average": {"make": gc.nets.PixelCNN, "dynamic": False},
        "average, dynamic bits": {"make": gc.nets.PixelCNN},
        "batch 32": {"make": gc.nets.PixelCNN, "batch": 32},
        "rate 5e-3": {"make": gc.nets.PixelCNN, "lr": 5e-3},
        "48 channels": {"make": partial(gc.nets.PixelCNN, 48)},
        "gated, 24 channels, 4 blocks of size 5": {"make": partial(gc.nets.GatedPixelCNN, 24, 4, 5)},
        "gated, 32 channels, 6 blocks of size 3": {"make": partial(gc.nets.GatedPixelCNN, 32, 6, 3)},
        "Row LSTM": {"make": partial(gc.nets.PixelRNN, "row")},
        "Diagonal BiLSTM, 1 layer": {"make": partial(gc.nets.PixelRNN, "diagonal", 32, 1)},
    }),
}  # fmt: skip


def pace(training, count=12):
    """Seconds a step, after a few to warm up."""
    gc.fit(training.step, training.batches, 4, quiet=True)
    return gc.fit(training.step, training.batches, count, quiet=True).seconds / count


def measure(make, options, seconds):
    """Train for so many seconds; returns ms a step, steps, epochs, and the quality at three moments."""
    each = pace(make(100, **options))
    steps = max(3, round(seconds / each))
    training, done, spent, row = make(steps, **options), 0, 0.0, []
    for moment in MOMENTS:
        history = gc.fit(training.step, training.batches, round(steps * moment) - done, quiet=True)
        done, spent = round(steps * moment), spent + history.seconds
        training.prepare()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            row.append({"seconds": round(spent), **training.quality()})
    return {"ms a step": 1000 * spent / steps, "steps": steps, "epochs": training.epochs(steps), "moments": row}


def matmul_rate(size=1024, repeats=20):
    """Floating-point operations a second in products of large matrices: what the processor can do at most."""
    a = torch.randn(size, size)
    began = time.monotonic()
    for _ in range(repeats):
        a @ a
    return repeats * 2 * size**3 / (time.monotonic() - began)


def speed():
    """Milliseconds a step of four models, and their share of the rate of matrix products, with one thread and two."""
    for name in ("DCGAN", "DDPM", "PixelCNN", "GPT on pixels"):
        training = PLAN[name].make(1000)
        with FlopCounterMode(display=False) as counter:
            training.step(next(training.batches))
        row = {"batch": training.batches.batch_size, "Gflop a step": counter.get_total_flops() / 1e9}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            matmul_rate()
            rate, seconds = matmul_rate(), pace(training, 20)
            row[f"ms, {threads} threads"] = 1000 * seconds
            row[f"share of matmul, {threads} threads"] = counter.get_total_flops() / seconds / rate
        keep(f"speed: {name}", row)


def keep(key, row):
    """Put one row into the file, at once: a call that is stopped loses nothing that was measured."""
    content = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    content[key] = {**row, "hardware": hardware(), "torch": torch.__version__, "commit": commit()}
    replace_file(FILE, lambda file: file.write((json.dumps(content, indent=1) + "\n").encode()))


REASONS = """# Recipes at equal seconds

Made by `python -m experiments.recipes` on one thread; the column of seconds says how long each choice was trained.
Each row is one run; a second run may differ by some tenths, so small differences say nothing.
How many steps fit into the seconds is reckoned from the first ones, on a quiet machine; where the column says many more
seconds, another program ran beside, and the row had no more steps for it.

What the marathon takes, and the rows below gain by:

- **Times of diffusion from a logit-normal**: near pure noise and near the clean image there is little to learn, so most
  steps go to the times between.
- **Zero-centred penalties at every fourth step, four times as large**: they need a second backward pass, and the mean
  penalty is the same.
- **Spectral normalization in place of batch norm in D**: it bounds the slope of D without a second backward pass, and
  without making the score of an image depend on the others of its batch.

What it takes as usual, and what so short runs do not test, or where they show no more than chance:

- **The rate rises for a twentieth of the steps and falls along a cosine**: large steps while there is far to go, small
  ones at the end.
- **An average of the weights makes the samples**: the last steps pull to and fro, and their mean is where they agree.
- **Black and white drawn afresh in each step**: what is never seen twice cannot be learned by heart.
- **Half of the times uniform where a likelihood is wanted**: the bound weighs the smallest times most.
"""


def table():
    """What was found, as Markdown: reasons, and a table for each family."""
    content, lines = json.loads(FILE.read_text(encoding="utf-8")), [REASONS]
    for family, (_, seconds, choices) in FAMILIES.items():
        rows = {choice: content.get(f"{family}: {choice}") for choice in choices}
        known = [row for row in rows.values() if row]
        if not known:
            continue
        name = list(known[0]["moments"][0])[1]
        lines.append(f"\n**{family}**, {seconds} seconds each\n")
        lines.append(f"| choice | ms a step | epochs | seconds | {name} at a third | two thirds | the end |")
        lines.append("|---|--:|--:|--:|--:|--:|--:|")
        for choice, row in rows.items():
            if row:
                found = " | ".join(f"{moment[name]:.1f}" for moment in row["moments"])
                took = row["moments"][-1]["seconds"]
                lines.append(f"| {choice} | {row['ms a step']:.1f} | {row['epochs']:.1f} | {took} | {found} |")
    rows = {key.removeprefix("speed: "): row for key, row in content.items() if key.startswith("speed: ")}
    if rows:
        lines.append("\n**A step on the processor**, and its share of the rate of matrix products\n")
        lines.append("| model | batch | Gflop | ms, 1 thread | share | ms, 2 threads | share |")
        lines.append("|---|--:|--:|--:|--:|--:|--:|")
    for name, row in rows.items():
        cells = [f"{row[f'ms, {n} threads']:.1f} | {row[f'share of matmul, {n} threads']:.0%}" for n in (1, 2)]
        lines.append(f"| {name} | {row['batch']} | {row['Gflop a step']:.2f} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.recipes", description="Compare recipes.")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--seconds", type=float, help="for each choice; default as in the table")
    parser.add_argument("--choice", help="only choices that contain this text")
    parser.add_argument("--speed", action="store_true", help="measure how long a step takes, and nothing else")
    parser.add_argument("--table", action="store_true", help="print what is known, and measure nothing")
    chosen = parser.parse_args(arguments)
    if chosen.speed:
        speed()
    elif not chosen.table:
        torch.set_num_threads(1)
        for family in chosen.family:
            make, seconds, choices = FAMILIES[family]
            for choice, options in choices.items():
                if chosen.choice and chosen.choice not in choice:
                    continue
                row = measure(make, options, chosen.seconds or seconds)
                keep(f"{family}: {choice}", {"recipe": Entry(make, options, 0, 0).recipe(), **row})
                print(f"{family}: {choice}: {row}", flush=True)
    if not chosen.table:
        FILE.with_suffix(".md").write_text(table() + "\n", encoding="utf-8")
    print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
