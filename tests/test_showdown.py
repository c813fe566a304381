"""The contest: samplers that keep features against the networks themselves, the bound, the judge, kills, the file."""

import json
import os
import subprocess
import sys
import time

import pytest
import torch
from waking import awake

import gencourse as gc
from gencourse import showdown
from gencourse.showdown import __main__ as entry
from gencourse.showdown import contest, results
from gencourse.showdown.denoisers import ddpm_bound
from gencourse.showdown.drawing import BEGIN, draw
from gencourse.showdown.recipes import RECIPES, make

SMALL = {
    "PixelCNN": lambda: gc.nets.PixelCNN(8, 2, 5),
    "PixelCNN, kernel 3": lambda: gc.nets.PixelCNN(8, 3, 3),
    "gated": lambda: gc.nets.GatedPixelCNN(8, 3, 3),
    "gated, kernel 5": lambda: gc.nets.GatedPixelCNN(8, 2, 5),
    "row LSTM": lambda: gc.nets.PixelRNN("row", 8, 2),
    "GPT": lambda: gc.nets.GPT(3, 49, 8, 2, 2),
}


def _probabilities(model, x):
    if not isinstance(model, gc.nets.GPT):
        return model(x).sigmoid()[:, 0]
    tokens = x.flatten(1).long()
    out = model(torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], 1))
    return (out[..., 1] - out[..., 0]).sigmoid().view(len(x), *x.shape[2:])


@pytest.mark.parametrize("name", SMALL)
def test_what_is_drawn_with_kept_features_is_what_the_network_says(name):
    gc.seed_everything(0)
    model = awake(SMALL[name](), 0.3)
    uniform = torch.rand(6, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = draw(model, uniform)
    p = _probabilities(model, x)
    assert x.shape == (6, 1, 7, 7)
    assert x[:, 0].bool().equal(uniform < p)
    assert p.flatten(1).std(1).min() > 1e-3  # else any image would do
    other = x.clone()
    other[:, :, 0, 0] = 1 - other[:, :, 0, 0]  # the first pixel must matter to later ones
    assert not _probabilities(model, other).flatten(1)[:, 1:].allclose(p.flatten(1)[:, 1:])


def test_the_bound_of_diffusion_is_tight_for_the_best_network():
    """Independent fair bits: the best guess is tanh, and the entropy is 784 log 2."""
    schedule = gc.diffusion.cosine_schedule(1000)

    def best(x_t, t, shift=0.0):
        a = schedule.alpha_bar[t].view(-1, 1, 1, 1)
        guess = (a.sqrt() * x_t / (1 - a) + shift).tanh()
        return gc.diffusion.convert(x_t, t, schedule, x0=guess).v

    gc.seed_everything(0)
    bits = torch.rand(64, 1, 28, 28).round()
    entropy = 784 * torch.tensor(2.0).log()
    nats = ddpm_bound(best, schedule, bits, 50)
    error = nats.std() / 8
    assert entropy - 4 * error < nats.mean() < 1.03 * entropy + 4 * error
    worse = ddpm_bound(lambda x_t, t: best(x_t, t, 1.0), schedule, bits, 50)
    assert worse.mean() > nats.mean() + 10


def test_the_judge_tells_what_can_be_told():
    digits = gc.data.digits("train").x[:400]
    assert contest.judge(digits[:200], -digits[200:], 30) < 0.05
    assert 0.3 < contest.judge(digits[:200], digits[200:], 30) < 0.7
    assert 0.3 < contest.judge(digits[:100], digits[100:], 30) < 0.7  # as many of each: sizes give nothing away


def test_the_judge_leaves_the_random_numbers_of_the_samplers_alone():
    digits = gc.data.digits("train").x[:40]
    gc.seed_everything(5)
    expected = torch.rand(3)
    gc.seed_everything(5)
    contest.judge(digits[:20], digits[20:], 2)
    assert torch.rand(3).equal(expected)


def test_packed_images_come_back():
    x = 2 * torch.rand(5, 1, 28, 28).round() - 1
    assert contest.unpack(contest.pack(x)).equal(x)
    assert not contest.unpack(contest.pack(-x)).equal(x)


@pytest.fixture
def smoke(monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "smoke")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_trains_draws_and_judges(name, smoke):
    gc.seed_everything(0)
    bits = (torch.rand(64, 1, 28, 28) < 0.2).float().to(gc.device())
    model = make(name, bits, gc.device())
    if model.step is not None:
        before = [w.clone() for net in model.networks for w in net.parameters()]
        model.set_rate(0.5)
        assert all(v.isfinite() for v in model.step(bits[: model.batch]).values())
        assert any(not w.equal(v) for w, v in zip(before, (w for n in model.networks for w in n.parameters())))
    for sample in model.draws.values():
        with torch.no_grad():
            x = sample(3)
        assert x.shape == (3, 1, 28, 28)
        assert set(x.unique().tolist()) <= {0.0, 1.0}
    if model.nats is None:
        assert model.protocol.startswith("none: ")  # and the reason
    else:
        with torch.no_grad():
            assert model.nats(bits[:2]).shape == (2,)


def test_training_that_was_cut_off_goes_on(smoke, tmp_path):
    bits, part = (torch.rand(64, 1, 28, 28) < 0.2).float().to(gc.device()), tmp_path / "part"
    first = contest.train(make("GAN", bits, gc.device()), bits, 0, 0.3, part)
    again = make("GAN", bits, gc.device())
    same = contest.train(again, bits, 0, first.seconds, part)
    assert same.steps == first.steps  # time is up: nothing is done twice
    more = contest.train(make("GAN", bits, gc.device()), bits, 0, first.seconds + 0.3, part)
    assert more.steps > first.steps


def test_a_contest_that_was_killed_repeats_nothing(tmp_path):
    environment = os.environ | {"GENCOURSE_PROFILE": "smoke", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "gencourse.showdown", "--folder", str(tmp_path), "--run", "VAE", "0"]
    done = tmp_path / "VAE 0.json"
    process = subprocess.Popen(command, env=environment)
    while not (tmp_path / "VAE 0.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    done.unlink(missing_ok=True)  # as if killed between training and measuring, however quick it was
    weights = (tmp_path / "VAE 0.safetensors").read_bytes()
    subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "VAE 0.safetensors").read_bytes() == weights  # not trained again
    stamp = done.stat().st_mtime_ns
    subprocess.run(command, env=environment, check=True)
    assert done.stat().st_mtime_ns == stamp  # nor measured again


def test_the_contest_does_what_is_missing_and_names_what_failed(smoke, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(entry, "jobs", lambda: [("Gaussian", 0), ("GAN", 0)])
    entry.contest(tmp_path, workers=2)
    assert {path.stem for path in tmp_path.glob("*.json")} == {"Gaussian 0", "GAN 0"}
    stamps = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.json"))]
    capsys.readouterr()
    entry.contest(tmp_path, workers=2)
    assert capsys.readouterr().out.startswith("2 of 2 runs are there already")
    assert [path.stat().st_mtime_ns for path in sorted(tmp_path.glob("*.json"))] == stamps
    monkeypatch.setattr(entry, "jobs", lambda: [("Gaussian", 0), ("nobody", 0)])
    with pytest.raises(SystemExit, match="nobody, seed 0 failed; see"):
        entry.contest(tmp_path, workers=2)


def test_a_run_ends_with_the_contest_that_started_it(tmp_path):
    environment = os.environ | {"GENCOURSE_PROFILE": "smoke"}
    command = [sys.executable, "-m", "gencourse.showdown", "--folder", str(tmp_path), "--watch", "--run", "VAE", "0"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    process.stdin.close()  # as when the parent is killed
    assert process.wait() == 1
    assert not (tmp_path / "VAE 0.json").exists()


def test_what_would_spoil_the_contest_is_refused(tmp_path, monkeypatch):
    mnist = gc.data.digits("test")._replace(name="MNIST")
    monkeypatch.setattr(entry, "mnist", lambda split: mnist)
    other = tmp_path / "other"
    other.mkdir()
    entry.prepare(tmp_path, tmp_path)
    entry.prepare(tmp_path, tmp_path)
    monkeypatch.setattr(entry, "code", lambda: "other code")
    with pytest.raises(SystemExit, match="runs of other code"):
        entry.prepare(tmp_path, tmp_path)
    with pytest.raises(SystemExit, match=r"cannot be written.*--out"):
        entry.prepare(other, tmp_path / "nowhere")
    monkeypatch.setattr(entry, "mnist", lambda split: gc.data.digits(split))
    with pytest.raises(SystemExit, match="needs MNIST"):
        entry.prepare(tmp_path, tmp_path)


def test_the_whole_contest_in_small(tmp_path):
    environment = os.environ | {"GENCOURSE_PROFILE": "smoke"}
    command = [sys.executable, "-m", "gencourse.showdown", "--folder", str(tmp_path)]
    subprocess.run(command, env=environment, check=True)
    found = showdown.stored(tmp_path / "results.json")
    table = showdown.rows(found)
    assert next(iter(table)) == contest.FLOOR
    assert {row["trained as"] for row in table.values()} == {*RECIPES, contest.FLOOR}
    assert set(showdown.samples(found)) == set(table) - {contest.FLOOR}
    assert set(showdown.curves(found)) == set(RECIPES) - {"Gaussian"}
    for name, row in table.items():
        assert {"FID", "KID", "precision", "recall", "coverage", "entropy", "error of a judge"} <= set(row), name


def test_means_and_spreads_are_over_the_seeds():
    runs = [
        {
            "name": "A", "seed": s, "draws": {"A, fast": {"FID": fid}, "other": {"FID": 5.0}}, "kept": {}, "nats": 80.0,
            "protocol": "exact",
        }
        for s, fid in enumerate((1.0, 2.0, 3.0))
    ]  # fmt: skip
    floor = {"name": contest.FLOOR, "seed": 0, "draws": {contest.FLOOR: {"FID": 9.0}}, "kept": {}}
    found = results.rows({"runs": [*runs, floor]})
    assert list(found) == [contest.FLOOR, "A, fast", "other"]  # the floor first, whatever its FID
    assert found["A, fast"]["FID"] == (2.0, 1.0)
    assert found["A, fast"]["nats"] == (80.0, 0.0)
    assert found["A, fast"]["protocol"] == "exact"
    assert "nats" not in found["other"]  # another way to draw is another model
    assert found["other"]["protocol"].startswith("none: ")


def test_a_measure_that_one_seed_lacks_is_left_out():
    runs = [{"name": "A", "seed": s, "kept": {}, "draws": {"A": {"FID": 1.0, "FID of many": 1.0}}} for s in (0, 1)]
    assert results.rows({"runs": runs})["A"]["FID of many"] == (1.0, 0.0)
    del runs[1]["draws"]["A"]["FID of many"]
    assert "FID of many" not in results.rows({"runs": runs})["A"]


def test_no_data_file_is_said_kindly(tmp_path):
    with pytest.raises(gc.DataError, match="make showdown"):
        showdown.stored(tmp_path / "results.json")


def test_a_damaged_data_file_is_said_kindly(tmp_path):
    (tmp_path / "results.json").write_text('{"runs": [')
    with pytest.raises(gc.DataError, match="is damaged"):
        showdown.stored(tmp_path / "results.json")


def test_a_latent_variable_belongs_to_an_entrant():
    run = {"name": "DDPM", "seed": 0, "kept": {}, "latent": {"DDPM, 2": "none", "DDIM, 2": "784 numbers"}}
    found = results.rows({"runs": [run | {"draws": {name: {"FID": 1.0} for name in run["latent"]}}]})
    assert {name: row["latent"] for name, row in found.items()} == run["latent"]


def test_the_data_file_comes_from_this_code():
    found = showdown.stored()
    assert found["code"] == showdown.code(), "losses, networks or recipes changed: run `make showdown` again"
    names = {run["name"] for run in found["runs"]}
    assert names == {*RECIPES, contest.FLOOR}
    for run in found["runs"]:
        assert run["seed"] in found["plan"]["seeds"]
    assert len(found["runs"]) == len(names) * len(found["plan"]["seeds"])
    assert found["profile"] in ("laptop", "gpu")
    assert json.dumps(found, allow_nan=False)
