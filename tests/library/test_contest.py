"""The contest: fast sampling against the networks themselves, the bound, the two-sample test, kills, the data file."""

import json
import os
import subprocess
import sys
import warnings

import psutil
import pytest
import torch
from waking import awake

import gencourse as gc
from experiments import contest, results
from experiments.entrants import RECIPES, ddpm_bound, log_probability_of_level, make
from experiments.sampling import BEGIN, draw

SMALL = {
    "PixelCNN": lambda: gc.nets.PixelCNN(8, 2, 5),
    "PixelCNN, kernel 3": lambda: gc.nets.PixelCNN(8, 3, 3),
    "gated": lambda: gc.nets.GatedPixelCNN(8, 3, 3),
    "gated, kernel 5": lambda: gc.nets.GatedPixelCNN(8, 2, 5),
    "row LSTM": lambda: gc.nets.PixelRNN("row", 8, 2),
    "diagonal BiLSTM": lambda: gc.nets.PixelRNN("diagonal", 8, 2),
    "GPT": lambda: gc.nets.GPT(3, 49, 8, 2, 2),
}


def _probabilities(model, x):
    if not isinstance(model, gc.nets.GPT):
        return model(x).sigmoid()[:, 0]
    tokens = x.flatten(1).long()
    out = model(torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], 1))
    return (out[..., 1] - out[..., 0]).sigmoid().view(len(x), *x.shape[2:])


@pytest.mark.parametrize("name", SMALL)
def test_fast_sampling_is_what_the_network_says_pixel_by_pixel(name):
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
    nats = ddpm_bound(best, schedule, 2 * bits - 1, 50)
    error = nats.std() / 8
    assert entropy - 4 * error < nats.mean() < 1.03 * entropy + 4 * error
    worse = ddpm_bound(lambda x_t, t: best(x_t, t, 1.0), schedule, 2 * bits - 1, 50)
    assert worse.mean() > nats.mean() + 10


def test_the_probabilities_of_grey_levels_add_up_and_are_those_of_the_normal_distribution():
    mean, std = torch.tensor([-1.3, 0.0, 0.2, 0.999]).double()[:, None], torch.tensor(0.01).double()
    for levels in (2, 5, 256):
        x = torch.linspace(-1, 1, levels, dtype=torch.float64).expand(4, -1)
        log_p = log_probability_of_level(x, mean, std, levels)
        torch.testing.assert_close(log_p.exp().sum(1), torch.ones(4).double())
        assert log_p.isfinite().all()  # also a hundred standard deviations away, on both sides
    inside = log_probability_of_level(torch.tensor([0.2]).double(), torch.tensor([0.21]).double(), std, 11)
    cdf = torch.distributions.Normal(0.21, 0.01).cdf
    torch.testing.assert_close(inside.exp(), (cdf(torch.tensor([0.3])) - cdf(torch.tensor([0.1]))).double())


def test_the_two_sample_test_tells_what_can_be_told():
    digits = gc.data.digits("train").x[:400]
    assert contest.two_sample_error(digits[:200], -digits[200:], 30) < 0.05
    assert 0.3 < contest.two_sample_error(digits[:200], digits[200:], 30) < 0.7
    assert 0.3 < contest.two_sample_error(digits[:100], digits[100:], 30) < 0.7  # sizes give nothing away


def test_the_two_sample_test_leaves_the_random_numbers_of_the_samplers_alone():
    digits = gc.data.digits("train").x[:40]
    gc.seed_everything(5)
    expected = torch.rand(3)
    gc.seed_everything(5)
    contest.two_sample_error(digits[:20], digits[20:], 2)
    assert torch.rand(3).equal(expected)


@pytest.fixture
def smoke(monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "smoke")


@pytest.mark.parametrize("name", RECIPES)
def test_every_entrant_trains_draws_and_measures(name, smoke):
    gc.seed_everything(0)
    bits = (torch.rand(64, 1, 28, 28) < 0.2).float().to(gc.device())
    recipe = make(name, bits, gc.device())
    if recipe.step is not None:
        before = [w.clone() for net in recipe.networks for w in net.parameters()]
        recipe.set_lr(0.5)
        assert all(v.isfinite() for v in recipe.step(bits[: recipe.batch_size]).values())
        assert any(not w.equal(v) for w, v in zip(before, (w for n in recipe.networks for w in n.parameters())))
    for sampler in recipe.samplers.values():
        with torch.no_grad():
            x = sampler(3)
        assert x.shape == (3, 1, 28, 28)
        assert set(x.unique().tolist()) <= {0.0, 1.0}
    if recipe.nats is None:
        assert recipe.protocol.startswith("none: ")  # and the reason
    else:
        with torch.no_grad():
            assert recipe.nats(bits[:2]).shape == (2,)


def test_the_learning_rate_rises_and_falls(smoke):
    recipe = make("VAE", None, gc.device())
    (optimizer,) = recipe.max_lr
    rates = []
    for share in (0.0, 0.025, 0.05, 0.5, 1.0, 1.1):
        recipe.set_lr(share)
        rates.append(optimizer.param_groups[0]["lr"] / recipe.max_lr[optimizer])
    assert rates[:3] == pytest.approx([0.01, 0.5, 1.0]) and 0.4 < rates[3] < 0.7 and rates[4:] == [0.01, 0.01]


# ---- the contest as a whole, in processes of its own


ROOT = results.HERE.parent


def command(folder, *runs):
    chosen = [part for name in runs for part in ("--run", name, "0")]
    return [sys.executable, "-m", "experiments.contest", "--folder", str(folder), *chosen]


def stamps(folder):
    return {path.stem: path.stat().st_mtime_ns for path in folder.glob("*/*.json")}


def test_the_contest_does_what_is_missing_and_names_what_failed(smoke, tmp_path, capsys):
    done = subprocess.run(command(tmp_path, "nobody", "GAN"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "nobody, seed 0: KeyError" in done.stderr
    assert done.stdout.startswith("0 of 2 runs are there")
    before = stamps(tmp_path)
    assert set(before) == {"GAN 0"}  # one that fails does not stop the others
    contest.main(["--folder", str(tmp_path), "--run", "GAN", "0"])
    assert capsys.readouterr().out.startswith("1 of 1 runs are there")
    assert stamps(tmp_path) == before
    assert not (tmp_path / "results.json").exists()  # of a part there is no data file
    paths = list(tmp_path.glob("*/*.json"))
    results.assemble(paths, tmp_path / "results.json", contest.plan(), workers=2, minutes=1)
    found = results.stored(tmp_path / "results.json")
    assert set(results.rows(found)) == set(results.samples(found)) == set(results.curves(found)) == {"GAN"}
    assert results.check_fingerprint(tmp_path / "results.json") is None


PARENT = """
import multiprocessing, time
from experiments.workers import end_with_parent

def child():
    end_with_parent()
    print(multiprocessing.current_process().pid, flush=True)
    time.sleep(300)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""


def test_a_run_ends_with_the_contest_that_started_it(tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, env=environment)
    run = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    run.wait(20)  # raises TimeoutExpired where it lives on


@pytest.mark.slow
def test_the_whole_contest_in_small(smoke, tmp_path):
    subprocess.run(command(tmp_path), cwd=ROOT, check=True)
    found = results.stored(tmp_path / "results.json")
    table = results.rows(found)
    assert next(iter(table)) == results.FLOOR
    assert {row["trained as"] for row in table.values()} == {*RECIPES, results.FLOOR}
    assert set(results.samples(found)) == set(table) - {results.FLOOR}
    assert set(results.curves(found)) == set(RECIPES) - {"Gaussian"}
    for name, row in table.items():
        assert {"FID", "KID", "precision", "recall", "coverage", "entropy", "two-sample error"} <= set(row), name


# ---- the data file


def test_means_and_spreads_are_over_the_seeds():
    runs = [
        {
            "name": "A", "seed": s, "draws": {"A, fast": {"FID": fid}, "other": {"FID": 5.0}}, "kept": {}, "nats": 80.0,
            "protocol": "exact",
        }
        for s, fid in enumerate((1.0, 2.0, 3.0))
    ]  # fmt: skip
    floor = {"name": results.FLOOR, "seed": 0, "draws": {results.FLOOR: {"FID": 9.0}}, "kept": {}}
    found = results.rows({"runs": [*runs, floor]})
    assert list(found) == [results.FLOOR, "A, fast", "other"]  # the floor first, whatever its FID
    assert found["A, fast"]["FID"] == (2.0, 1.0)
    assert found["A, fast"]["nats"] == (80.0, 0.0)
    assert found["A, fast"]["protocol"] == "exact"
    assert "nats" not in found["other"]  # another way to sample is another model
    assert found["other"]["protocol"].startswith("none: ")


def test_a_measure_that_one_seed_lacks_is_left_out():
    runs = [{"name": "A", "seed": s, "kept": {}, "draws": {"A": {"FID": 1.0, "FID of many": 1.0}}} for s in (0, 1)]
    assert results.rows({"runs": runs})["A"]["FID of many"] == (1.0, 0.0)
    del runs[1]["draws"]["A"]["FID of many"]
    assert "FID of many" not in results.rows({"runs": runs})["A"]


def test_a_latent_variable_belongs_to_an_entrant():
    run = {"name": "DDPM", "seed": 0, "kept": {}, "latent": {"DDPM, 2": "none", "DDIM, 2": "784 numbers"}}
    found = results.rows({"runs": [run | {"draws": {name: {"FID": 1.0} for name in run["latent"]}}]})
    assert {name: row["latent"] for name, row in found.items()} == run["latent"]


def test_a_missing_or_damaged_data_file_is_a_data_error(tmp_path):
    for text in (None, '{"runs": ['):
        if text:
            (tmp_path / "results.json").write_text(text)
        with pytest.raises(gc.DataError):
            results.stored(tmp_path / "results.json")


def test_the_fingerprint_sees_code_and_not_words(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "HERE", tmp_path / "experiments")
    monkeypatch.setattr(results, "CODE", {"experiments": {"a.py": None}, "gencourse": {"b.py": {"f"}}})
    a, b = (tmp_path / folder for folder in ("experiments/a.py", "gencourse/b.py"))

    def now(text_a, text_b):
        for path, text in ((a, text_a), (b, text_b)):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        return results.fingerprint()

    first = now('"""One."""\nx = 1\n', 'def f():\n    """Two."""\n    return 2\ndef g():\n    pass\n')
    assert first == now('"""Other."""\nx = (1)  # why\n', "def f():\n\n    return 2\ndef g():\n    return 5\n")
    assert first != now("x = 2\n", "def f():\n    return 2\n")
    assert first != now("x = 1\n", "def f():\n    return 3\n")


def test_the_stored_results_are_whole_and_come_from_this_code():
    found = results.stored()
    names = {run["name"] for run in found["runs"]}
    assert names == {*RECIPES, results.FLOOR}
    assert {run["seed"] for run in found["runs"]} == set(found["plan"]["seeds"])
    assert len(found["runs"]) == len(names) * len(found["plan"]["seeds"])
    assert found["profile"] in ("laptop", "gpu")
    assert json.dumps(found, allow_nan=False)
    if message := results.check_fingerprint():
        warnings.warn(message, stacklevel=1)


@pytest.mark.release
def test_the_stored_results_come_from_this_code_at_a_release():
    assert results.check_fingerprint() is None
