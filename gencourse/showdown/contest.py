"""One run of the showdown: train an entrant for a given time, draw, measure, and keep what was found."""

import json
import os
import threading
import time

import numpy as np
import psutil
import torch
from torch import nn

from .. import checkpoints, data, metrics, shelf
from ..nets import DCGANDiscriminator
from ..runtime import budget, device, profile, seed_everything
from ..train import History, fit
from .recipes import make

FLOOR = "training digits"  # the entrant that shows what the measures say of real data


def plan():
    """The sizes of the contest under the present profile, all in one dictionary."""
    return {
        "seeds": budget(smoke=[0], laptop=[0, 1, 2], gpu=[0, 1, 2]),
        "seconds": budget(smoke=0.3, laptop=90, gpu=600),  # of training, for each network and seed
        "samples": budget(smoke=20, laptop=2000, gpu=10_000),  # for the measures that all entrants share
        "real": budget(smoke=500, laptop=10_000, gpu=10_000),  # test digits to compare with
        "many": budget(smoke=30, laptop=10_000, gpu=10_000),  # for a second FID, where drawing is fast enough:
        "patience": budget(smoke=1, laptop=100, gpu=600),  # at most so many seconds for drawing them
        "judged": budget(smoke=4, laptop=1000, gpu=10_000),  # test digits for nats
        "curve": budget(smoke=20, laptop=300, gpu=2000),  # samples for each point of the curves over time
        "marks": (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1),  # of the time; the first seed only
        "judge": budget(smoke=2, laptop=300, gpu=1000),  # steps of the judge that tells samples from data
        "kept": budget(smoke=4, laptop=100, gpu=100),  # samples of the first seed, for the eyes
    }


class Memory:
    """How far the memory of this process (of the accelerator, where there is one) rises above what it was, in MB."""

    def __enter__(self):
        self.device, self.most, self.done = device(), 0, threading.Event()
        self.process = psutil.Process()
        self.before = self.process.memory_info().rss
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self):
        while not self.done.wait(0.02):
            self.most = max(self.most, self.process.memory_info().rss - self.before)

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        self.megabytes = (torch.cuda.max_memory_allocated() if self.device.type == "cuda" else self.most) / 1e6


def train(recipe, bits, seed, seconds, path, marks=(), look=None):
    """Train until ``seconds`` of training have passed, resuming from ``path`` if it is there.

    Returns:
        History, whose ``snapshots`` are [seconds, what ``look()`` returned], one for each of ``marks``.
    """
    history, stream = History(), data.batches(bits, recipe.batch, seed=seed)
    parts = recipe.parts | {"batches": stream}
    checkpoints.resume(path, parts, history)
    pace, saved = 0.2, time.monotonic()
    while history.seconds < seconds:
        recipe.set_rate(history.seconds / seconds)
        count = max(1, int(min(1.0, seconds / 20) / pace))
        piece = fit(recipe.step, stream, count, quiet=True)
        history.seconds, history.steps = history.seconds + piece.seconds, history.steps + piece.steps
        pace = piece.seconds / max(piece.steps, 1)
        if len(history.snapshots) < len(marks) and history.seconds >= marks[len(history.snapshots)] * seconds:
            history.snapshots.append([history.seconds, look()])
        if piece.interrupted or time.monotonic() - saved > 20:
            checkpoints.save(path, parts, history)
            saved = time.monotonic()
        if piece.interrupted:
            raise KeyboardInterrupt
    checkpoints.save(path, parts, history)
    return history


def judge(real, fake, steps, seed=0):
    """Classifier two-sample test: a fresh network learns to tell half of the images apart; its error on the rest.

    0.5 means that it cannot, 0 that it always can. Images (N, 1, 28, 28); of the longer set the rest is left out.
    torch's random state is afterwards as it was before.

    Source: Lopez-Paz & Oquab (2017), https://arxiv.org/abs/1610.06545.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return _judge(real, fake, steps, seed)


def _judge(real, fake, steps, seed):
    n, place = min(len(real), len(fake)), real.device
    x, y = torch.cat([real[:n], fake[:n]]), torch.cat([torch.ones(n), torch.zeros(n)]).to(place)
    first, second = torch.randperm(n, device="cpu").to(place), n + torch.randperm(n, device="cpu").to(place)
    known, rest = (torch.cat([first[part], second[part]]) for part in (slice(n // 2), slice(n // 2, n)))
    net = DCGANDiscriminator((16, 32)).to(place)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3, fused=True)

    def step(batch):
        x, y = batch
        loss = nn.functional.binary_cross_entropy_with_logits(net(x).view(-1), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return {"loss": loss}

    fit(step, data.batches((x[known], y[known]), min(64, len(known)), seed=seed), steps, quiet=True)
    net.eval()
    with torch.no_grad():
        guess = torch.cat([net(part).view(-1) > 0 for part in x[rest].split(500)])
    return (guess != (y[rest] > 0)).float().mean().item()


def _timed(draw, count):
    """Images (count, 1, 28, 28) of -1 and 1, and the seconds that drawing them took."""
    began = time.monotonic()
    with torch.no_grad():
        x = 2 * draw(count) - 1
    x.sum().item()  # waits for an accelerator to finish
    return x, time.monotonic() - began


def measure(draw, real, classifier, size):
    """Draw, and say how good: a dictionary of numbers, and the images that it rests on."""
    x, seconds = _timed(draw, size["samples"])
    each, alone = seconds / size["samples"], min(_timed(draw, 1)[1] for _ in range(3))
    found = {**metrics.report(classifier, real, x), "ms a sample": 1000 * each, "ms alone": 1000 * alone}
    found["error of a judge"] = judge(real[torch.randperm(len(real), device=real.device)[: len(x)]], x, size["judge"])
    if size["many"] <= size["samples"]:
        found["FID of many"] = found["FID"]
    elif each * (size["many"] - size["samples"]) < size["patience"]:
        more = torch.cat([x, _timed(draw, size["many"] - size["samples"])[0]])
        found["FID of many"] = metrics.fid(*(metrics.features(classifier, v) for v in (real, more)))
    return found, x


def _some(total, count, place):
    """Always the same ``count`` of ``total`` places, at random: the test set of MNIST is not shuffled."""
    return torch.randperm(total, generator=torch.Generator().manual_seed(0))[:count].to(place)


def run(name, seed, folder):
    """One training and all that is drawn from it; the result stands in ``folder`` and is returned."""
    path = folder / f"{name} {seed}.json"
    if path.exists():
        return json.loads(path.read_text())
    size, place = plan(), device()
    train_bits = data.binarize(data.mnist("train", place).x, seed=0)
    test_bits = data.binarize(data.mnist("test", place).x, seed=1)
    classifier = metrics.digit_classifier().to(place)
    real = 2 * test_bits[_some(len(test_bits), size["real"], place)] - 1
    seed_everything(seed)
    if name == FLOOR:
        found, _ = measure(
            lambda n: train_bits[torch.randperm(len(train_bits), device=place)[:n]], real, classifier, size
        )
        found = {name: value for name, value in found.items() if not name.startswith("ms ")}
        return _keep(path, {"name": name, "seed": seed, "draws": {name: found}, "kept": {}})
    began = time.monotonic()
    model = make(name, train_bits, place)
    networks = {part: net for part, net in model.parts.items() if isinstance(net, nn.Module)}
    shelf_path = folder / f"{name} {seed}.safetensors"
    card = shelf.take(shelf_path, networks)
    if card is None:
        card = _train(model, name, seed, folder, began, (train_bits, real), classifier, size)
        shelf.keep(shelf_path, networks, card)
        (folder / f"{name} {seed}.part").unlink(missing_ok=True)
    return _judged(path, model, card, (real, test_bits), classifier, size)


def _train(model, name, seed, folder, began, images, classifier, size):
    train_bits, real = images
    first = list(model.draws.values())[len(model.draws) // 2]  # of DDPM: DDIM with as many steps

    def look():
        state = torch.get_rng_state()
        with torch.no_grad():
            x = 2 * first(size["curve"]) - 1
        value = metrics.fid(*(metrics.features(classifier, v) for v in (real, x)))
        torch.set_rng_state(state)
        return value

    history = History()
    marks = size["marks"] if seed == size["seeds"][0] else ()
    with Memory() as memory:
        if model.step is None:
            history.seconds = time.monotonic() - began
        else:
            history = train(model, train_bits, seed, size["seconds"], folder / f"{name} {seed}.part", marks, look)
    card = {
        "name": name, "seed": seed, "profile": profile(), "steps": history.steps, "train seconds": history.seconds,
        "parameters": sum(w.numel() for net in model.networks for w in _numbers(net)), "protocol": model.protocol,
        "latent": model.latent, "curve": history.snapshots,
    }  # fmt: skip
    return card if marks else card | {"MB": memory.megabytes}  # drawing for the curve would be counted


def _numbers(net):
    return list(net.parameters()) or list(net.buffers())  # the moments of the Gaussian are no parameters of torch


def _judged(path, model, card, test, classifier, size):
    real, test_bits = test
    for net in model.networks:
        net.eval()
    result, seed = {**card, "draws": {}, "kept": {}}, card["seed"]
    if model.nats is not None:
        seed_everything(seed)
        nats = metrics.in_parts(model.nats, test_bits[_some(len(test_bits), size["judged"], test_bits.device)], 50)
        result["nats"], result["nats error"] = nats.mean().item(), (nats.std() / len(nats) ** 0.5).item()
    for entrant, draw in model.draws.items():
        seed_everything(1000 + seed)
        result["draws"][entrant], x = measure(draw, real, classifier, size)
        if seed == size["seeds"][0]:
            result["kept"][entrant] = pack(x[: size["kept"]])
    return _keep(path, result)


def pack(x):
    """Images (N, 1, 28, 28) of -1 and 1 -> text: eight pixels a byte, in base 16."""
    return np.packbits((x > 0).flatten(1).cpu().numpy(), axis=1, bitorder="little").tobytes().hex()


def unpack(text):
    """The images that :func:`pack` made into text, (N, 1, 28, 28) of -1 and 1."""
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), bitorder="little")
    return 2 * torch.from_numpy(bits).view(-1, 1, 28, 28).float() - 1


def _keep(path, result):
    new = path.with_name(path.name + ".new")
    new.write_text(json.dumps(result))
    os.replace(new, path)
    return result
