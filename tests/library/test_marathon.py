"""The marathon: every model trains, a killed one loses nothing, two processes are one with twice the batch."""

import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from twins import must_fail

import gencourse as gc
from experiments import marathon, models, plan

ROOT = Path(__file__).parents[2]
FINISHED = sorted(name for name in plan.PLAN if (marathon.finished() / f"{marathon.slug(name)}.pt.xz").exists())


@pytest.mark.parametrize("name", plan.PLAN)
def test_every_model_of_the_plan_trains_and_is_sampled(name, one_thread):
    training = plan.PLAN[name].make(20)
    before = {key: [w.detach().clone() for w in net.parameters()] for key, net in training.networks.items()}
    gc.fit(training.step, training.batches, plan.PLAN[name].options.get("k", 2), quiet=True)
    for key, net in training.networks.items():
        assert any(not a.equal(b) for a, b in zip(before[key], net.parameters())), key
    assert all(hasattr(part, "state_dict") for part in training.state.values())
    count = 4
    samples = training.sample(count, torch.Generator().manual_seed(0))
    again = training.sample(2, torch.Generator().manual_seed(0))
    assert len(samples) == count
    assert (samples[:2] - again).abs().float().mean() < 1e-3  # the first ones do not depend on how many there are
    assert not samples[0].equal(samples[1])
    assert marathon.as_bytes(samples).dtype == np.uint8


def check_chain(chain):
    """That of the library, number by number, where both have the same noise."""
    schedule = gc.diffusion.cosine_schedule()
    x_T = torch.randn(500, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    predict_v = lambda x, t: 0.3 * x
    predict_eps = lambda x, t: gc.diffusion.convert(x, t, schedule, v=predict_v(x, t)).eps
    *_, expected = gc.samplers.ddpm(predict_eps, x_T, schedule, steps=7, generator=torch.Generator().manual_seed(4))
    found = chain(predict_v, x_T, schedule, 7, models.BlockNoise(torch.arange(500), 4))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_the_chain_with_noise_of_its_own():
    check_chain(models.ancestral)
    must_fail(check_chain, lambda *a: models.ancestral(*a[:3], 8, a[4]))
    must_fail(check_chain, lambda *a: models.ancestral(*a[:4], torch.zeros_like))
    whole = models.BlockNoise(torch.arange(1200), 0)(torch.zeros(1200, 3))
    parts = [models.BlockNoise(rows, 0)(torch.zeros(len(rows), 3)) for rows in torch.arange(1003).split(500)]
    assert torch.cat(parts).equal(whole[:1003]) and abs(whole.std() - 1) < 0.05


@pytest.mark.parametrize("name", ["DDPM", "PixelCNN", "GPT on Shakespeare"])
def test_a_step_in_bfloat16_is_nearly_the_same(name, one_thread):
    """As on a GPU, here by autocast on the CPU: the loss, its gradient, and float32 where it must be."""
    losses, gradients = [], []
    for half in (False, True):
        training = plan.PLAN[name].make(20)
        assert plan.PLAN[name].fast and not plan.PLAN["GAN of today"].fast
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            torch.manual_seed(0)
            losses.append(next(iter(training.step(next(training.batches)).values())))
        gradients.append(torch.cat([w.grad.flatten() for w in training.state["net"].parameters()]))
    assert losses[1].dtype == torch.float32
    torch.testing.assert_close(losses[1], losses[0], rtol=0.01, atol=0)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.99


DRIVER = """
import sys
from pathlib import Path
import torch
from experiments import marathon, models, plan
from gencourse import train
import gencourse as gc
torch.set_num_threads(1)
train.CHECKPOINT_SECONDS = 0.05
small = {**plan.TODAY, "channels": (8, 8), "channels_D": (8, 8), "batch": 16}
plan.PLAN["small"] = plan.Entry(models.adversarial, small, 60, 60)
plan.Entry.steps = lambda entry: 60
marathon.main(["--train", "small", "--folder", sys.argv[1]])
"""


def start(folder, **options):
    (folder / "driver.py").write_text(DRIVER)
    environment = {**os.environ, "GENCOURSE_PROFILE": "smoke", "GENCOURSE_WEIGHTS": str(folder), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, folder / "driver.py", folder], cwd=ROOT, env={**environment,
                            "PYTHONPATH": str(ROOT)}, stderr=subprocess.DEVNULL)  # fmt: skip


def content(folder):
    """What a finished training leaves, without what differs from run to run: clocks."""
    with np.load(folder / "finished" / "small.npz") as file:
        samples = file["samples"]
    os.environ["GENCOURSE_WEIGHTS"] = str(folder)
    try:
        net = gc.nets.DCGANGenerator(models.LATENT, (8, 8))
        card = gc.load_weights("finished/small", G=net)
    finally:
        del os.environ["GENCOURSE_WEIGHTS"]
    curve = [(point["step"], point["FID"]) for point in card["curve"]]
    return samples, [w.tolist() for w in net.state_dict().values()], curve, card["losses"], card["measures"]


def test_killed_at_random_moments_nothing_is_repeated_or_lost(tmp_path, monkeypatch):
    monkeypatch.delenv("GENCOURSE_WEIGHTS", raising=False)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert start(whole).wait(timeout=300) == 0
    moments, kills = random.Random(0), 0
    for _ in range(12):  # a training that ends before it is killed begins again
        if kills == 3:
            break
        process = start(killed)
        checkpoint, wait = killed / "small.checkpoint", moments.uniform(0.0, 0.4)
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while process.poll() is None and (not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before):
            time.sleep(0.01)  # until it has gone on
        time.sleep(wait)
        if process.poll() is None:
            process.kill()
            kills += 1
        process.wait()
    assert kills == 3
    assert start(killed).wait(timeout=300) == 0
    a, b = content(whole), content(killed)
    assert (a[0] == b[0]).all() and a[1:] == b[1:]
    card_losses = a[3]
    assert set(card_losses) == {"loss_D"} and len(card_losses["loss_D"]) == 60


def test_several_at_a_time_with_what_they_say(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GENCOURSE_WEIGHTS", str(tmp_path))
    arguments = ["--folder", str(tmp_path / "marathon"), "--only", "DCGAN", "VAE", "--steps", "6"]
    assert marathon.main([*arguments, "--workers", "2"]) == 0
    assert sorted(file.name for file in (tmp_path / "finished").iterdir()) == [
        "dcgan.npz", "dcgan.pt.xz", "vae.npz", "vae.pt.xz"
    ]  # fmt: skip
    listed = (tmp_path / "SHA256SUMS").read_text().split()
    assert listed[1::2] == ["finished/dcgan.npz", "finished/dcgan.pt.xz", "finished/vae.npz", "finished/vae.pt.xz"]
    capsys.readouterr()
    assert marathon.main([*arguments]) == 0
    assert "0 of 2 models are to be trained" in capsys.readouterr().out
    marathon.main(["--list", *arguments])
    assert capsys.readouterr().out.count("finished") == 2
    for name in ("DCGAN", "VAE"):
        assert "100%" in (tmp_path / "marathon" / f"{marathon.slug(name)}.log").read_text()
        training, card = marathon.load(name)
        assert card["steps"] == 6 and card["seconds"] > 0 and card["parameters"] > 10_000
        assert card["data"] in ("MNIST", "digits")
        assert card["recipe"] == plan.PLAN[name].recipe()
        assert [point["step"] for point in card["curve"]] == sorted({round(6 * i / 10) for i in range(11)})
        with np.load(tmp_path / "finished" / f"{marathon.slug(name)}.npz") as file:
            drawn = marathon.as_bytes(training.sample(models.FEW, torch.Generator().manual_seed(0)))
            assert np.abs(file["samples"].astype(int) - drawn).max() <= 1


def test_a_training_that_fails_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("GENCOURSE_WEIGHTS", str(tmp_path))
    (tmp_path / "vae.checkpoint").write_bytes(b"damaged")
    assert marathon.main(["--folder", str(tmp_path), "--only", "VAE", "--steps", "4"]) == 1
    assert "VAE                        failed: see vae.log" in capsys.readouterr().out
    assert "cannot be resumed from" in (tmp_path / "vae.log").read_text()


def test_a_checkpoint_knows_what_it_belongs_to(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCOURSE_WEIGHTS", str(tmp_path))
    recipe = {"recipe": "vae()", "steps": 4, "profile": "smoke"}
    checkpoint = tmp_path / "vae.checkpoint"
    first = marathon.claim(checkpoint, recipe, 0)
    assert marathon.claim(checkpoint, {**recipe, "steps": 5}, 0)["steps"] == 5  # there is no checkpoint yet
    checkpoint.touch()
    assert marathon.claim(checkpoint, {**recipe, "steps": 5}, 0)["commit"] == first["commit"]
    with pytest.raises(gc.DataError, match="made with steps 5, not 6"):
        marathon.claim(checkpoint, {**recipe, "steps": 6}, 0)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        text = checkpoint.with_suffix(".json").read_text().replace(str(os.getpid()), str(other.pid))
        checkpoint.with_suffix(".json").write_text(text)
        with pytest.raises(gc.DataError, match=f"Process {other.pid} trains this model already"):
            marathon.claim(checkpoint, {**recipe, "steps": 5}, 0)
        other.communicate(b"\n")
    assert marathon.claim(checkpoint, {**recipe, "steps": 5}, 0)["process"] == os.getpid()  # that one has ended


def test_a_recipe_says_all_options():
    entry = plan.Entry(models.pixel_by_pixel, {"make": partial(gc.nets.PixelRNN, "row", hidden=8)}, 1, 1)
    assert entry.recipe() == (
        "pixel_by_pixel(make=PixelRNN(row, hidden=8), data=mnist, dynamic=True, batch=16, lr=0.01, ema=0.998, "
        "cycles=(1,), seed=0)"
    )


def test_stand_in_data_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "laptop")
    monkeypatch.setitem(plan.PLAN, "small", plan.Entry(models.vae, {"data": gc.data.digits}, 4, 4))
    with pytest.raises(gc.DataError, match="stand-in data, digits"):
        marathon.train("small", tmp_path, 4)


TWO = """
import sys
from pathlib import Path
import torch
from experiments import marathon, models, plan
import gencourse as gc
torch.set_num_threads(1)
make = lambda: gc.nets.PixelCNN(8, 1, 3)
gradients = []

def family(steps, batch=int(sys.argv[2])):
    training = models.pixel_by_pixel(4, make, batch=batch, dynamic=False)
    step = training.step
    def watched(batch):
        scalars = step(batch)
        gradients.append({name: w.grad.clone() for name, w in training.state["net"].named_parameters()})
        return scalars
    training.step = watched
    return training

plan.PLAN["small"] = plan.Entry(family, {}, 3, 3)
card = marathon.train("small", Path(sys.argv[1]), 3)
if card:
    torch.save([gradients, card["epochs"]], Path(sys.argv[1]) / "gradients")
"""


@pytest.mark.skipif(os.name == "nt", reason="torch for Windows has no libuv, which the launcher wants")
def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    """The same step, the same gradients: with gloo, and started by what ``accelerate launch`` starts GPUs with."""
    script = tmp_path / "two.py"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    found = {}
    for name, batch, command in (("two", 8, launch), ("one", 16, launch[-1:]), ("alone", 8, launch[-1:])):
        folder = tmp_path / name
        folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GENCOURSE_PROFILE": "smoke",
                       "GENCOURSE_WEIGHTS": str(folder)}  # fmt: skip
        command = command if name == "two" else [sys.executable, *command]
        done = subprocess.run(
            [*command, folder, str(batch)], env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert (folder / "finished" / "small.pt.xz").exists()
        found[name] = torch.load(folder / "gradients")
    (two, two_epochs), (one, one_epochs), (alone, _) = (found[name] for name in ("two", "one", "alone"))
    assert two_epochs == one_epochs
    for step in range(3):
        for key, gradient in one[step].items():
            torch.testing.assert_close(two[step][key], gradient, rtol=1e-3, atol=1e-5)
    assert any((alone[0][key] - gradient).abs().max() > 1e-3 for key, gradient in one[0].items())  # half of the batch


# ---- what the course ships ----


def test_nothing_is_shipped_but_models_of_the_plan():
    files = {file.name.split(".")[0] for file in marathon.finished().glob("*")}
    assert files <= {marathon.slug(name) for name in plan.PLAN}


@pytest.mark.parametrize("name", FINISHED)
def test_a_finished_model_draws_the_samples_that_the_course_ships(name, one_thread):
    training, card = marathon.load(name)
    assert card["name"] == name and card["recipe"] == plan.PLAN[name].recipe()
    with np.load(marathon.finished() / f"{marathon.slug(name)}.npz") as file:
        shipped = file["samples"]
    assert len(shipped) == min(2000, 2000 * 28 * 28 // shipped[0].size)  # fewer in colour
    drawn = marathon.as_bytes(training.sample(8, torch.Generator().manual_seed(0)))
    apart = np.abs(shipped[:8].astype(int) - drawn)
    assert (apart <= 2).mean() > 0.98, apart.max()  # a pixel that falls the other way changes those after it
    other = np.abs(shipped[8:16].astype(int) - drawn)
    assert (other <= 2).mean() < 0.98  # broken twin: other samples
