"""Mistakes that published code really makes, planted in a copy of the library one at a time: the tests catch them.

A row of the table: a name, a file of the library, tests that pass without the mistake, the text that is right, and
the wrong one that takes its place.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


class Mistake(NamedTuple):
    name: str
    file: str
    tests: str
    right: str
    wrong: str


# fmt: off
MISTAKES = [Mistake(*row) for row in [
    # ---- signs of losses, and scores that would be broadcast ----
    ("value, the wrong sign", "losses.py", "test_losses.py::test_right",
     "return -softplus(-real) - softplus(fake)",
     "return softplus(-real) + softplus(fake)"),
    ("value, label and sign of the fakes exchanged", "losses.py", "test_losses.py::test_right",
     "return -softplus(-real) - softplus(fake)",
     "return -softplus(-real) - softplus(-fake)"),
    ("discriminator, the wrong sign", "losses.py", "test_losses.py::test_right",
     "return softplus(-real) + (1 - real_target) * real + softplus(fake)",
     "return -(softplus(-real) + (1 - real_target) * real + softplus(fake))"),
    ("discriminator, smoothing forgets log(1 - D)", "losses.py", "test_critic_losses.py::test_smoothing",
     "softplus(-real) + (1 - real_target) * real",
     "real_target * softplus(-real)"),
    ("generator, the wrong sign", "losses.py", "test_losses.py::test_right",
     'return softplus(-_one_per_sample("fake_logits", fake_logits))',
     'return -softplus(-_one_per_sample("fake_logits", fake_logits))'),
    ("generator, asks D to call it generated", "losses.py", "test_losses.py::test_right",
     'return softplus(-_one_per_sample("fake_logits", fake_logits))',
     'return softplus(_one_per_sample("fake_logits", fake_logits))'),
    ("saturating generator, the wrong sign", "losses.py", "test_losses.py::test_right",
     'return -softplus(_one_per_sample("fake_logits", fake_logits))',
     'return softplus(_one_per_sample("fake_logits", fake_logits))'),
    ("critic, the wrong sign", "losses.py", "test_critic_losses.py::test_signs",
     "return fake - real",
     "return real - fake"),
    ("generator of a WGAN, the wrong sign", "losses.py", "test_critic_losses.py::test_signs",
     'return -_one_per_sample("fake_scores", fake_scores)',
     'return _one_per_sample("fake_scores", fake_scores)'),
    ("(B, 1) against (B,) makes (B, B)", "losses.py", "test_losses.py::test_columns_are_batches",
     "return scores.reshape(-1)",
     "return scores"),
    ("autoregressive models, the wrong sign", "autoregressive.py", "test_autoregressive.py::test_nll_step",
     "loss = -bernoulli_log_prob(model(x), x).mean()",
     "loss = bernoulli_log_prob(model(x), x).mean()"),
    # ---- the gradient penalty ----
    ("penalty, alpha from a normal distribution", "losses.py", "test_critic_losses.py::test_penalty",
     "alpha = torch.rand(",
     "alpha = torch.randn("),
    ("penalty, at real points only", "losses.py", "test_critic_losses.py::test_penalty",
     "between = alpha * real.detach() + (1 - alpha) * fake.detach()",
     "between = real.detach().clone()"),
    ("penalty, norm over channels only", "losses.py", "test_critic_losses.py::test_penalty",
     "(_slopes(critic, between).norm(dim=1) - 1).square()",
     "(_slopes(critic, between).view(real.shape).norm(dim=1) - 1).square().reshape(len(real), -1).mean(1)"),
    ("penalty, one alpha per pixel", "losses.py", "test_critic_losses.py::test_penalty",
     "alpha.to(real).view(-1, *[1] * (real.ndim - 1))",
     "torch.rand(real.shape, generator=generator).to(real)"),
    ("penalty, generated samples not detached", "losses.py", "test_critic_losses.py::test_penalty",
     "(1 - alpha) * fake.detach()",
     "(1 - alpha) * fake"),
    ("zero-centred penalty, the norm and not its square", "losses.py",
     "test_critic_losses.py::test_zero_centred_penalty",
     "return _slopes(critic, x.detach()).square().sum(1)",
     "return _slopes(critic, x.detach()).norm(dim=1)"),
    ("zero-centred penalty, a mean over the pixels", "losses.py", "test_critic_losses.py::test_zero_centred_penalty",
     "return _slopes(critic, x.detach()).square().sum(1)",
     "return _slopes(critic, x.detach()).square().mean(1)"),
    ("relativistic, D and G exchanged", "losses.py", "test_critic_losses.py::test_relativistic",
     "return softplus(fake - real)",
     "return softplus(real - fake)"),
    ("critic with batch norm", "nets/dcgan.py", "test_critic_losses.py::test_batch_norm_in_the_critic_is_caught",
     "if batch_norm and len(layers) > 1:",
     "if len(layers) > 1:"),
    ("batch norm, eps taken for momentum", "nets/dcgan.py", "test_dcgan.py::test_the_eps_of_batch_norm_is_small",
     "layers.append(nn.BatchNorm2d(n_out))",
     "layers.append(nn.BatchNorm2d(n_out, 0.8))"),
    ("batch norm of the MLP, the same", "nets/mlp.py", "test_nets.py::test_the_eps_of_batch_norm_is_small",
     "nn.BatchNorm1d(n_out)",
     "nn.BatchNorm1d(n_out, 0.8)"),
    # ---- likelihoods and bounds ----
    ("Bernoulli, grey pixels accepted", "likelihoods.py", "test_likelihoods.py::test_bernoulli",
     "binary = bool((ones | (x == 0)).all())",
     "binary = True"),
    ("Bernoulli, averaged beside a summed KL", "likelihoods.py", "test_likelihoods.py::test_bernoulli",
     "return -softplus(torch.where(ones, -logits, logits)).flatten(1).sum(1)",
     "return -softplus(torch.where(ones, -logits, logits)).flatten(1).mean(1)"),
    ("Gaussian, averaged", "likelihoods.py", "test_likelihoods.py::test_gaussian_density",
     "return -terms.flatten(1).sum(1) / 2",
     "return -terms.flatten(1).mean(1) / 2"),
    ("Gaussian, deviation for variance", "likelihoods.py", "test_likelihoods.py::test_gaussian_density",
     "(x - mu).square() * (-logvar).exp()",
     "(x - mu).square() * (-logvar / 2).exp()"),
    ("KL, without 1/2", "likelihoods.py", "test_likelihoods.py::test_kl",
     "return terms.flatten(1).sum(1) / 2",
     "return terms.flatten(1).sum(1)"),
    ("KL, averaged over dimensions", "likelihoods.py", "test_likelihoods.py::test_kl",
     "return terms.flatten(1).sum(1) / 2",
     "return terms.flatten(1).mean(1) / 2"),
    ("KL, variances of p and q exchanged", "likelihoods.py", "test_likelihoods.py::test_kl",
     "d = logvar - logvar_p\n    terms",
     "d = logvar_p - logvar\n    terms"),
    ("importance weights, mean of logarithms", "likelihoods.py", "test_bounds.py::test_bound",
     "return log_weights.logsumexp(0) - math.log(len(log_weights))",
     "return log_weights.mean(0)"),
    # ---- distances and metrics ----
    ("JSD, without the halves", "distances.py", "test_distances.py::test_right[jsd]",
     "(_kl(2 * p, total, x) + _kl(2 * q, total, x)) / 4",
     "(_kl(2 * p, total, x) + _kl(2 * q, total, x)) / 2"),
    ("total variation, without 1/2", "distances.py", "test_distances.py::test_right[tv]",
     "return _integrate((p - q).abs(), x) / 2",
     "return _integrate((p - q).abs(), x)"),
    ("prdc, counts a point as its own neighbour", "metrics.py", "test_metrics.py::test_prdc",
     ".kthvalue(k + 1, dim=1)",
     ".kthvalue(k, dim=1)"),
    ("features, network in train mode accepted", "metrics.py", "test_metrics.py::test_features_and_shares",
     "require(not classifier.training,",
     "require(True,"),
    ("classifier, in train mode", "classifier.py", "test_classifier.py::test_ready",
     "return net.eval().requires_grad_(False)",
     "return net.requires_grad_(False)"),
    # ---- diffusion ----
    ("q(x_t | x_0), deviation for variance", "diffusion.py", "test_diffusion.py::test_q_sample",
     "_column((1 - a).sqrt(), x0) * eps",
     "_column((1 - a) ** 0.25, x0) * eps"),
    ("q(x_t | x_0), variance for deviation", "diffusion.py", "test_diffusion.py::test_q_sample",
     "_column((1 - a).sqrt(), x0) * eps",
     "_column(1 - a, x0) * eps"),
    ("q(x_t | x_0), alpha_bar off by one", "diffusion.py", "test_diffusion.py::test_q_sample",
     "    a = schedule.alpha_bar[t]",
     "    a = schedule.alpha_bar[t - 1]"),
    ("schedule, variance for deviation", "diffusion.py", "test_diffusion.py::test_properties_of_a_schedule",
     "return (1 - self.alpha_bar).sqrt()",
     "return 1 - self.alpha_bar"),
    ("posterior, alpha_bar off by one", "diffusion.py", "test_diffusion.py::test_posterior",
     "(schedule.alpha_bar[t - 1], schedule.alpha_bar[t])",
     "(schedule.alpha_bar[t - 2], schedule.alpha_bar[t - 1])"),
    ("posterior, deviation for variance", "diffusion.py", "test_diffusion.py::test_posterior",
     "return weight_x0, weight_x_t, beta * (1 - a_s) / (1 - a_t)",
     "return weight_x0, weight_x_t, (beta * (1 - a_s) / (1 - a_t)) ** 0.5"),
    ("posterior, weights exchanged", "diffusion.py", "test_diffusion.py::test_posterior",
     "return weight_x0 * x0 + weight_x_t * x_t, variance",
     "return weight_x_t * x0 + weight_x0 * x_t, variance"),
    ("convert, alpha_bar off by one", "diffusion.py", "test_diffusion.py::test_convert",
     "alpha_bar = schedule.alpha_bar[t]",
     "alpha_bar = schedule.alpha_bar[t - 1]"),
    ("convert, the score without its sign", "diffusion.py", "test_diffusion.py::test_convert",
     "score = -eps / s if score is None",
     "score = eps / s if score is None"),
    ("straight path, noise and data exchanged", "diffusion.py", "test_diffusion.py::test_flow_path",
     "return (1 - t) * x0 + t * x1, x1 - x0",
     "return (1 - t) * x1 + t * x0, x0 - x1"),
    ("straight path, the velocity backwards", "diffusion.py", "test_diffusion.py::test_flow_path",
     "return (1 - t) * x0 + t * x1, x1 - x0",
     "return (1 - t) * x0 + t * x1, x0 - x1"),
    # ---- samplers ----
    ("samplers, variance for deviation", "samplers.py", "test_samplers.py::test_ddpm",
     "return x + variance**0.5 * torch.randn(",
     "return x + variance * torch.randn("),
    ("DDPM, alpha_bar off by one", "samplers.py", "test_samplers.py::test_ddpm",
     "x0, _ = _predict_x0_and_eps(predict, x, t, alpha_bar[t], clip)",
     "x0, _ = _predict_x0_and_eps(predict, x, t, alpha_bar[t - 1], clip)"),
    ("DDPM, noise in the last step", "samplers.py", "test_samplers.py::test_ddpm",
     "_add_noise(x, sigma2 if s > 0 else 0, generator)",
     "_add_noise(x, sigma2, generator)"),
    ("DDIM, no noise for eta = 1", "samplers.py", "test_samplers.py::test_ddim",
     "x = _add_noise(x, sigma2, generator)",
     "x = _add_noise(x, 0, generator)"),
    ("DDIM, eta for its square", "samplers.py", "test_samplers.py::test_ddim",
     "sigma2 = eta**2 * posterior_var",
     "sigma2 = eta * posterior_var"),
    ("guidance, scale for 1 + scale", "samplers.py", "test_samplers.py::test_guided",
     "(1 + scale) * predict(x, t, y) - scale * predict(x, t, None)",
     "scale * predict(x, t, y) + (1 - scale) * predict(x, t, None)"),
    ("guidance, scale and 1 + scale exchanged", "samplers.py", "test_samplers.py::test_guided",
     "(1 + scale) * predict(x, t, y) - scale * predict(x, t, None)",
     "(1 + scale) * predict(x, t, None) - scale * predict(x, t, y)"),
    ("Euler, time off by one", "samplers.py", "test_samplers.py::test_euler",
     "torch.full((len(x),), i / steps,",
     "torch.full((len(x),), (i + 1) / steps,"),
    # ---- masks and causality ----
    ("mask off by one", "nets/pixelcnn.py", "test_autoregressive_nets.py::test_masks_know_what_comes_before",
     'kernel_size**2 // 2 + (mask_type == "B")',
     'kernel_size**2 // 2 + 1 + (mask_type == "B")'),
    ("PixelCNN, mask B in the first layer", "nets/pixelcnn.py", "test_autoregressive_nets.py::test_causality[PixelCNN]",
     'MaskedConv2d(image_channels, hidden, 7, "A")',
     'MaskedConv2d(image_channels, hidden, 7, "B")'),
    ("PixelCNN, mask A everywhere", "nets/pixelcnn.py", "test_autoregressive_nets.py::test_blocks_see_their_centre",
     'MaskedConv2d(hidden, hidden, kernel_size, "B")',
     'MaskedConv2d(hidden, hidden, kernel_size, "A")'),
    ("mask multiplied in place", "nets/pixelcnn.py", "test_autoregressive_nets.py::test_masks_are_applied_functionally",
     "seen = (self.weight * self.mask)[:, :, : k + 1]",
     "self.weight.data *= self.mask; seen = self.weight[:, :, : k + 1]"),
    ("gated PixelCNN, sees its own pixel", "nets/pixelcnn.py", "test_autoregressive_nets.py::test_no_blind_spot",
     "GatedBlock(image_channels, hidden, 7, first=True, classes=classes)",
     "GatedBlock(image_channels, hidden, 7, classes=classes)"),
    ("MADE, the last mask not strict", "nets/made.py", "test_autoregressive_nets.py::test_no_blind_spot",
     "degrees[0][:, None] > degrees[-1]",
     "degrees[0][:, None] >= degrees[-1]"),
    ("PixelRNN, looks ahead", "nets/pixelrnn.py", "test_pixelrnn.py::test_the_lstms_against_loops_over_pixels",
     "self.input_to_state(pad(x, (1, 0)))",
     "self.input_to_state(pad(x, (0, 1)))"),
    ("GPT, no causal mask", "nets/gpt.py", "test_gpt.py::test_the_gpt",
     "is_causal=cache is None",
     "is_causal=False"),
    ("GPT, causal mask after a cache off by one", "nets/gpt.py", "test_gpt.py::test_the_gpt",
     ".tril(k.shape[2] - new)",
     ".tril(k.shape[2] - new + 1)"),
    ("GPT, positions after a cache off by one", "nets/gpt.py", "test_gpt.py::test_the_gpt",
     "begin = 0 if cache is None else cache[0][0].shape[2]",
     "begin = 0 if cache is None else cache[0][0].shape[2] - 1"),
    # ---- the rest ----
    ("VQ-VAE, the farthest codeword", "nets/vae.py", "test_vae_nets.py::test_quantization_picks_the_nearest_codeword",
     "distances.argmin(1)",
     "distances.argmax(1)"),
    ("binarize, a threshold", "data/images.py", "test_binarize.py::test_binarize",
     "(torch.rand_like(x, dtype=torch.float32) < (x.float() + 1) / 2)",
     "(x > 0)"),
    ("binarize with a seed, a threshold", "data/images.py", "test_binarize.py::test_binarize",
     "torch.from_numpy(stream.random_sample(images.shape)) < p",
     "p > 0.5"),
    ("moving average, remembers the untrained weights", "train.py", "test_train.py::test_ema",
     "d = min(self.decay, (n + 1) / (n + 10)) if n else 0.0",
     "d = self.decay"),
    ("moving average, old and new weight exchanged", "train.py", "test_train.py::test_ema",
     "list(model.parameters()), 1 - d)",
     "list(model.parameters()), d)"),
    ("moving average, running statistics left behind", "train.py", "test_train.py::test_ema_copies_running_statistics",
     "average.copy_(current)",
     "pass"),
    ("resume, the random state forgotten", "train.py", "test_checkpoints.py::test_resume_is_exact",
     'torch.set_rng_state(states["torch"])',
     "pass"),
]]
# fmt: on


def run(folder, tests):
    """What pytest says of some tests in a copy of the repository."""
    env = {name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"}
    env |= {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    env |= {"COLUMNS": "400"}  # or reasons are cut short
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-rf", "-p", "no:cacheprovider", "-o", "addopts="]
    paths = [f"tests/library/{test}" for test in tests]
    return subprocess.run([*command, *paths], cwd=folder, env=env, capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A copy of the library and its tests, all of which pass as long as nothing is planted."""
    folder = tmp_path_factory.mktemp("copy")
    for part in ("gencourse", "experiments", "tests/library"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "tests/conftest.py"):
        shutil.copy(ROOT / file, folder / file)
    result = run(folder, sorted({mistake.tests for mistake in MISTAKES}))
    assert result.returncode == 0, result.stdout
    return folder


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_caught(copy, mistake):
    path = copy / "gencourse" / mistake.file
    source = path.read_text(encoding="utf-8")
    assert source.count(mistake.right) == 1
    path.write_text(source.replace(mistake.right, mistake.wrong), encoding="utf-8")
    try:
        result = run(copy, [mistake.tests])
    finally:
        path.write_text(source, encoding="utf-8")
    assert result.returncode == 1 and "1 failed" in result.stdout.splitlines()[-1], "not caught: " + result.stdout
    reason = re.search(r"^FAILED .*? - (.*)", result.stdout, re.MULTILINE)[1]
    assert reason.startswith(("assert", "AssertionError", "Failed: DID NOT RAISE")), reason  # and by nothing else
