"""How long would the notebooks take on a GPU? Kernels are counted on the CPU: ``python -m experiments.launches 03 08``.

Small networks keep a GPU waiting for the host, which needs some 15 microseconds for a launch, autograd's share
included. So each notebook is run under the smoke profile, operators that launch a kernel are counted, and what a budget
repeats is multiplied by that of the ``gpu`` profile: steps of ``fit``, seeds, lists of settings; samples are taken in
parts of 2,000. Runs of so many seconds count as long as they take. What a large network computes longer than its
launches take is not seen. A wait is counted where a step fetches a number; checks of arguments that are made on the CPU
alone are counted too.
"""

import argparse
import builtins
import collections
import json
import math
import os
import statistics
import subprocess
import sys
import time
import traceback
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LAUNCH = 15e-6  # seconds
PART = 2000
FEW = 5
NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
TORCH = str(Path(torch.__file__).parent)
WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2")
FREE = ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "detach", "lift_fresh")


class Counter(TorchDispatchMode):
    """Launches, each as often as its surroundings are repeated under the gpu profile; and waits, with lines."""

    def __init__(self):
        super().__init__()
        self.launches, self.waits, self.times, self.seconds = 0.0, collections.Counter(), 1.0, 0.0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        if name in WAITS:
            self._wait()
        elif not func.is_view and name not in FREE:
            self.launches += self.times
        return func(*args, **(kwargs or {}))

    def _wait(self):
        """Steps of optimizers are counted on the CPU, whatever the device: those are no waits."""
        frames = traceback.extract_stack(limit=16)[:-2]
        if not any("torch/optim" in frame.filename for frame in frames):
            frame = next(f for f in reversed(frames) if not f.filename.startswith(TORCH))
            self.waits[f"{Path(frame.filename).name}:{frame.lineno}"] += 1


class Budget(int):
    """The number of the smoke profile, which carries that of the gpu profile through sums and products."""

    def __new__(cls, smoke, gpu=None):
        self = super().__new__(cls, smoke)
        self.gpu = gpu
        return self


def _carry(name):
    def operate(a, b):
        plain = getattr(int, name)(a, b)
        far = getattr(int, name)(int(getattr(a, "gpu", a)), int(getattr(b, "gpu", b))) if isinstance(b, int) else None
        return plain if plain is NotImplemented or far is None else Budget(plain, far)

    return operate


for _name in ("__add__", "__radd__", "__sub__", "__rsub__", "__mul__", "__rmul__", "__floordiv__", "__rfloordiv__"):
    setattr(Budget, _name, _carry(_name))


class Repeated(list):
    """A list of the smoke profile; in a loop over it everything counts as often as in the gpu profile's."""

    def __init__(self, items, longer, counter):
        super().__init__(items)
        self.longer, self.counter = longer, counter

    def __iter__(self):
        factor = self.longer / max(len(self), 1)
        for item in super().__iter__():
            self.counter.times *= factor
            try:
                yield item
            finally:
                self.counter.times /= factor


class Seconds(float):
    """The seconds of the smoke profile; a loop that ends when they are over counts as those of the gpu profile."""

    def __new__(cls, smoke, gpu=None, counter=None, past=None):
        self = super().__new__(cls, smoke)
        self.gpu, self.counter, self.past = gpu, counter, past or [0.0]
        return self

    def __mul__(self, share):
        return Seconds(float(self) * share, self.gpu * share, self.counter, self.past)

    def __truediv__(self, parts):
        return self * (1 / parts)

    def __sub__(self, spent):
        return Seconds(float(self) - spent, self.gpu, self.counter, self.past)

    def __gt__(self, spent):  # also asked by ``spent < seconds``
        left = float(self) > spent
        if not left:  # of a run that is looked at after a third of its time, after two thirds, ...
            self.counter.seconds += self.gpu - (self.past[0] if self.past[0] < self.gpu else 0.0)
            self.past[0] = self.gpu
        return left


def run(path, counter):
    """All code cells of one notebook; returns its launches, and a list of (run, steps, launches and waits a step)."""
    import IPython.display
    import matplotlib

    import gencourse as gc
    from gencourse import classifier, train

    matplotlib.use("Agg")
    display = lambda *values, **options: type("Handle", (), {"update": lambda *a, **k: None})()
    builtins.display = IPython.display.display = display
    fit, rows, cell, largest = train.fit, [], [""], [0]

    def by_profile(*, smoke, laptop, gpu):
        if isinstance(smoke, int) and gpu <= FEW:  # seeds, layers: as many as there would be
            return gpu
        if isinstance(smoke, float):
            return Seconds(smoke, gpu, counter)
        if isinstance(smoke, int):
            largest[0] = max(largest[0], gpu)
            return Budget(smoke, gpu)
        return Repeated(smoke, len(gpu), counter) if isinstance(smoke, list | range) else smoke

    def counted_range(*ends):
        last = ends[-1] if len(ends) == 1 else None
        return Repeated(range(*ends), last.gpu, counter) if isinstance(last, Budget) else range(*ends)

    def counted_fit(step, batches, steps, **options):
        costs, before = [], counter.launches

        def counted(x):
            had, counter.waits = counter.launches, collections.Counter()
            out = step(x)
            costs.append(((counter.launches - had) / counter.times, sum(counter.waits.values())))
            return out

        history = fit(counted, batches, steps, **options)
        if costs:
            launches, waits = (statistics.median(c) for c in zip(*costs[len(costs) > 1 :]))
            far = getattr(steps, "gpu", steps)
            largest[0] = 0 if largest[0] == far else largest[0]  # these are steps, not samples
            counter.launches = before + counter.times * launches * far
            name = f"{options.get('label') or cell[0]} {list(counter.waits) or ''}"
            rows.append((name, round(far * counter.times), launches, waits))
        return history

    names = {"__name__": "__main__", "range": counted_range}
    gc.by_profile = by_profile
    gc.fit = train.fit = classifier.fit = counted_fit
    outside, began = 0.0, counter.launches
    for i, content in enumerate(json.loads(path.read_text("utf-8"))["cells"]):
        if content["cell_type"] != "code":
            continue
        cell[0], largest[0], before, in_fits = content.get("id", str(i)), 0, counter.launches, _total(rows)
        try:
            exec(compile("".join(content["source"]), f"<{path.stem}/{cell[0]}>", "exec"), names)
        except Exception as error:
            print(f"  {cell[0]}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        rest = counter.launches - before - (_total(rows) - in_fits)
        more = rest * (math.ceil(largest[0] / PART) - 1) if largest[0] > PART else 0
        counter.launches += more
        if (rest + more) * LAUNCH > 20:
            rows.append((f"{cell[0]}, outside of fit", 1, rest + more, 0))
        outside += rest + more
    gc.fit = train.fit = classifier.fit = fit
    return counter.launches - began, rows


def _total(rows):
    return sum(steps * launches for _, steps, launches, _ in rows)


def contest():
    """The contest under the gpu profile, training by the clock; networks of its size draw two images each."""
    os.environ["GENCOURSE_PROFILE"] = "gpu"
    import gencourse as gc

    from .contest import plan
    from .entrants import PART, RECIPES, make

    size, total = plan(), 0.0
    bits = (torch.rand(2, 1, 28, 28) > 0.5).float()
    for name in RECIPES:
        if name == "Gaussian":
            continue
        recipe = make(name, bits, gc.device())
        drawn = {}
        for entrant, sampler in recipe.samplers.items():
            with Counter() as counter, torch.no_grad():
                sampler(2)
            drawn[entrant] = counter.launches * LAUNCH
        parts = math.ceil(size["samples"] / (500 if name == "Transformer" else PART)) + 3  # and three alone
        nats = 0.0
        if recipe.nats:
            with Counter() as counter, torch.no_grad():
                recipe.nats(bits)
            nats = counter.launches * LAUNCH * math.ceil(size["judged"] / 250)
        seconds = size["seconds"] + sum(drawn.values()) * parts + nats
        curve = len(size["marks"]) * max(drawn.values())
        total += seconds * len(size["seeds"]) + curve
        print(f"{name}: {seconds:.0f} s a run, of which {nats:.0f} for nats", flush=True)
    print(f"in all {total / 60:.0f} minutes, without the measures, which are computed on the CPU")


def main(arguments=None):
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m experiments.launches", description="Estimate minutes on a GPU.")
    parser.add_argument("notebooks", nargs="*", help="beginnings of their names; default all")
    parser.add_argument("--contest", action="store_true", help="the contest of 10_showdown instead")
    chosen = parser.parse_args(arguments)
    if chosen.contest:
        contest()
        return
    os.environ["GENCOURSE_PROFILE"] = "smoke"
    torch.set_num_threads(1)
    for module in ("adam", "rmsprop", "sgd", "adamw"):  # CUDA's choice, on the CPU
        sys.modules[f"torch.optim.{module}"]._default_to_fused_or_foreach = lambda *a, **k: (False, True)
    paths = [p for p in sorted(NOTEBOOKS.glob("*.ipynb")) if p.stem.startswith(tuple(chosen.notebooks or "0123456789"))]
    if len(paths) > 1:  # a process each: some change settings of torch
        for path in paths:
            subprocess.run([sys.executable, "-m", "experiments.launches", path.stem], check=False)
        return
    began, counter = time.monotonic(), Counter()
    with counter:
        launches, rows = run(paths[0], counter)
    minutes, took = (launches * LAUNCH + counter.seconds) / 60, time.monotonic() - began
    print(f"{paths[0].stem}: {launches / 1e6:.2f} million launches, {minutes:.1f} minutes (counted in {took:.0f} s)")
    if counter.seconds:
        print(f"  {counter.seconds / 60:5.1f} min  by the clock")
    alike = {}
    for name, steps, *costs in rows:
        alike[name, *costs] = alike.get((name, *costs), 0) + steps
    for (name, each, waits), steps in sorted(alike.items(), key=lambda item: -item[0][1] * item[1]):
        spent = steps * each * LAUNCH / 60
        if spent >= 0.1 or waits:
            print(f"  {spent:5.1f} min  {steps:8,} x {each:6,.0f} launches, {waits:g} waits  {name}")


if __name__ == "__main__":
    main()
