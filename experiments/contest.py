"""``make showdown``: train every entrant for the same time, sample, measure, and write the data file.

Kill it when you like: finished runs are kept, and the next call does what is missing. A run lasts minutes and is not
saved half done.
"""

import argparse
import json
import multiprocessing
import os
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import psutil
import torch
from torch import nn

import gencourse as gc
from gencourse.train import replace_file

from .entrants import RECIPES, make
from .results import FILE, FLOOR, assemble, fingerprint, pack
from .workers import end_with_parent


def plan() -> dict:
    """The sizes of the contest under the present profile, all in one dictionary."""
    return {
        "seeds": gc.by_profile(smoke=[0], laptop=[0, 1, 2], gpu=[0, 1, 2]),
        "seconds": gc.by_profile(smoke=0.3, laptop=90, gpu=60),  # of training, for each network and seed
        "samples": gc.by_profile(smoke=20, laptop=2000, gpu=10_000),  # for the measures that all entrants share
        "real": gc.by_profile(smoke=500, laptop=10_000, gpu=10_000),  # test digits to compare with
        "many": gc.by_profile(smoke=30, laptop=10_000, gpu=10_000),  # for a second FID, where sampling is fast enough:
        "patience": gc.by_profile(smoke=1, laptop=100, gpu=60),  # at most so many seconds for sampling them
        "judged": gc.by_profile(smoke=4, laptop=1000, gpu=10_000),  # test digits for nats
        "curve": gc.by_profile(smoke=20, laptop=300, gpu=2000),  # samples for each point of the curves over time
        "marks": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),  # of the time; the first seed only
        "judge": gc.by_profile(smoke=2, laptop=300, gpu=1000),  # steps of the two-sample test
        "kept": gc.by_profile(smoke=4, laptop=100, gpu=100),  # samples of the first seed, for the eyes
    }


def two_sample_error(real, fake, steps, seed=0) -> float:
    """Classifier two-sample test: a fresh network learns to tell half of the images apart; its error on the rest.

    0.5 means that it cannot, 0 that it always can. torch's random state is afterwards as it was before.

    Args:
        real: images (N, 1, 28, 28).
        fake: images (M, 1, 28, 28); of the larger set the rest is left out.
        steps: of training the network.
        seed: of the network and of the halves.

    Source: Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        n, place = min(len(real), len(fake)), real.device
        x, y = torch.cat([real[:n], fake[:n]]), torch.cat([torch.ones(n), torch.zeros(n)]).to(place)
        order_real, order_fake = torch.randperm(n).to(place), n + torch.randperm(n).to(place)
        train = torch.cat([order_real[: n // 2], order_fake[: n // 2]])
        test = torch.cat([order_real[n // 2 :], order_fake[n // 2 :]])
        net = gc.nets.DCGANDiscriminator((16, 32)).to(place)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

        def step(batch):
            x, y = batch
            loss = nn.functional.binary_cross_entropy_with_logits(net(x).view(-1), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        gc.fit(step, gc.batches((x[train], y[train]), min(64, len(train)), seed=seed), steps, quiet=True)
    net.eval()
    with torch.no_grad():
        guess = torch.cat([net(part).view(-1) > 0 for part in x[test].split(500)])
    return (guess != (y[test] > 0)).float().mean().item()


class PeakMemory:
    """How far the memory of this process (of the accelerator, where there is one) rises above what it was, in MB."""

    def __enter__(self):
        self.peak, self.done, self.process = 0, threading.Event(), psutil.Process()
        self.before = self.process.memory_info().rss
        if gc.device().type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.02):
            self.peak = max(self.peak, self.process.memory_info().rss - self.before)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.megabytes = (torch.cuda.max_memory_allocated() if gc.device().type == "cuda" else self.peak) / 1e6


def train(recipe, bits, seed, seconds, marks, fid_of_few):
    """Train until ``seconds`` of training have passed; what is measured on the way does not count.

    Returns:
        The number of steps, the seconds, and [seconds, ``fid_of_few()``] for each of ``marks``, shares of the time.
    """
    stream = gc.batches(bits, recipe.batch_size, seed=seed)
    steps, passed, pace, curve = 0, 0.0, 0.2, []
    while passed < seconds:
        recipe.set_lr(passed / seconds)
        piece = gc.fit(recipe.step, stream, max(1, int(min(1.0, seconds / 20) / pace)), quiet=True)
        steps, passed, pace = steps + piece.steps, passed + piece.seconds, piece.seconds / piece.steps
        if len(curve) < len(marks) and passed >= marks[len(curve)] * seconds:
            curve.append([passed, fid_of_few()])
    return steps, passed, curve


@torch.no_grad()
def _sample(sampler, count):
    """Images (count, 1, 28, 28) of -1 and 1, and the seconds that sampling them took."""
    began = time.monotonic()
    x = 2 * sampler(count) - 1
    x.sum().item()  # waits for an accelerator to finish
    return x, time.monotonic() - began


def measure(sampler, real, classifier, size):
    """Sample, and say how good: a dictionary of numbers, and the images that it rests on."""
    x, seconds = _sample(sampler, size["samples"])
    found = gc.metrics.report(classifier, real, x)
    found["ms a sample"] = 1000 * seconds / len(x)
    found["ms alone"] = 1000 * min(_sample(sampler, 1)[1] for _ in range(3))
    some = real[torch.randperm(len(real), device=real.device)[: len(x)]]
    found["two-sample error"] = two_sample_error(some, x, size["judge"])
    more = size["many"] - len(x)
    if more <= 0:
        found["FID of many"] = found["FID"]
    elif more * seconds / len(x) < size["patience"]:
        found["FID of many"] = gc.metrics.image_fid(classifier, real, torch.cat([x, _sample(sampler, more)[0]]))
    return found, x


def _some(total, count, device):
    """Always the same ``count`` of ``total`` places, at random: the test set of MNIST is not shuffled."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count].to(device)


def run(name, seed):
    """One training and all that is sampled from it: what the data file holds of it."""
    size, device = plan(), gc.device()
    train_bits = gc.data.binarize(gc.data.mnist("train", device).x, seed=0)
    test_bits = gc.data.binarize(gc.data.mnist("test", device).x, seed=1)
    real = 2 * test_bits[_some(len(test_bits), size["real"], device)] - 1
    classifier = gc.metrics.digit_classifier()
    gc.seed_everything(seed)
    if name == FLOOR:
        floor = lambda count: train_bits[torch.randperm(len(train_bits), device=device)[:count]]
        found, _ = measure(floor, real, classifier, size)
        found = {key: value for key, value in found.items() if not key.startswith("ms ")}
        return {"name": name, "seed": seed, "draws": {name: found}, "kept": {}}
    result, recipe, first = _train(name, seed, train_bits, real, classifier, size)
    for net in recipe.networks:
        net.eval()
    if recipe.nats is not None:
        gc.seed_everything(seed)
        judged = test_bits[_some(len(test_bits), size["judged"], device)]
        with torch.no_grad():
            parts = judged.split(gc.by_profile(smoke=50, laptop=50, gpu=250))
            nats = torch.cat([recipe.nats(part).cpu() for part in parts])
        result["nats"], result["nats error"] = nats.mean().item(), (nats.std() / len(nats) ** 0.5).item()
    for entrant, sampler in recipe.samplers.items():
        gc.seed_everything(1000 + seed)
        result["draws"][entrant], x = measure(sampler, real, classifier, size)
        if first:
            result["kept"][entrant] = pack(x[: size["kept"]])
    return result


def _train(name, seed, train_bits, real, classifier, size):
    first, began = seed == size["seeds"][0], time.monotonic()
    recipe = make(name, train_bits, gc.device())
    steps, seconds, curve = 0, time.monotonic() - began, []
    if recipe.step is not None:
        features = gc.metrics.features(classifier, real)
        sampler = list(recipe.samplers.values())[len(recipe.samplers) // 2]  # of DDPM: DDIM with as many steps

        def fid_of_few():
            with torch.random.fork_rng():
                return gc.metrics.image_fid(classifier, features, _sample(sampler, size["curve"])[0])

        marks = size["marks"] if first else ()
        with PeakMemory() as memory:
            steps, seconds, curve = train(recipe, train_bits, seed, size["seconds"], marks, fid_of_few)
    numbers = [w for net in recipe.networks for w in (*net.parameters(), *(net.buffers() if not steps else ()))]
    result = {
        "name": name, "seed": seed, "profile": gc.profile(), "steps": steps, "train seconds": seconds,
        "parameters": sum(w.numel() for w in numbers), "protocol": recipe.protocol, "latent": recipe.latent,
        "curve": curve, "draws": {}, "kept": {},
    }  # fmt: skip
    if steps and not first:  # sampling for the curve would be counted
        result["MB"] = memory.megabytes
    return result, recipe, first


def run_to_file(name, seed, path):
    """Run, and keep the result at ``path``."""
    result = run(name, seed)
    replace_file(path, lambda file: file.write(json.dumps(result).encode()))


def run_all(jobs, folder, workers):
    """Do all runs (name, seed) that are missing in ``folder``, ``workers`` at a time, each in a process of its own."""
    missing = [job for job in jobs if not _path(folder, *job).exists()]
    print(f"{len(jobs) - len(missing)} of {len(jobs)} runs are there already, in {folder}", flush=True)
    if gc.device().type == "cpu":
        os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # for the processes that start now
    failed, began = [], time.monotonic()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, end_with_parent, max_tasks_per_child=1)
    try:
        futures = {pool.submit(run_to_file, *job, _path(folder, *job)): job for job in missing}
        for done, future in enumerate(as_completed(futures), 1):
            name, seed = futures[future]
            if error := future.exception():
                failed.append(f"{name}, seed {seed}: {type(error).__name__}: {error}")
            minutes = (time.monotonic() - began) / 60 / done * (len(missing) - done)
            state = "failed" if error else "done"
            print(f"{name}, seed {seed} {state}: {done} of {len(missing)}, about {minutes:.0f} min left", flush=True)
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C nothing new is started
    if failed:
        sys.exit("\n".join([*failed, "Fix this and run it again: finished runs are kept."]))


def _path(folder, name, seed):
    return folder / f"{name} {seed}.json"


def main(arguments=None):
    cpu = gc.device().type == "cpu"
    parser = argparse.ArgumentParser(prog="make showdown", description=__doc__)
    parser.add_argument("--folder", type=Path, default=gc.data.root() / "contest", help="where runs are kept")
    parser.add_argument("--out", type=Path, help="where the data file goes (default: beside this module)")
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count()) if cpu else 1)
    parser.add_argument("--run", nargs=2, action="append", metavar=("NAME", "SEED"), help="only this run, and the like")
    options = parser.parse_args(arguments)
    smoke = gc.profile() == "smoke"
    if not smoke and gc.data.mnist("test").name != "MNIST":
        sys.exit("The contest needs MNIST, and it could not be had. Connect to a network, or put its files below the "
                 "folder that GENCOURSE_DATA names.")  # fmt: skip
    folder = options.folder.resolve() / f"{gc.profile()}-{fingerprint()[:12]}"  # runs of other code are not mixed in
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(name, seed) for seed in plan()["seeds"] for name in (*RECIPES, FLOOR)]
    began = time.monotonic()
    run_all([(name, int(seed)) for name, seed in options.run or jobs], folder, options.workers)
    minutes = (time.monotonic() - began) / 60
    paths = [_path(folder, *job) for job in jobs]
    if all(path.exists() for path in paths):
        out = (options.out or (folder.parent if smoke else FILE.parent)) / FILE.name
        assemble(paths, out, plan(), options.workers, minutes)
        print(f"{minutes:.1f} minutes; written to {out}")


if __name__ == "__main__":
    main()
