"""The entrants: for each network how it is trained, sampled, and asked for a likelihood.

A recipe is what a notebook of the course does, shortened, on the statically binarized MNIST of 05 and 08. ``bits``
are (N, 1, 28, 28) of zeros and ones; ``x = 2 bits - 1`` is what models of images see.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch.optim import Adam

import gencourse as gc

from .sampling import BEGIN, draw

LATENT = 64
BATCH = gc.by_profile(smoke=32, laptop=32, gpu=256)
PART = gc.by_profile(smoke=500, laptop=500, gpu=2500)  # samples at a time
CUT_TO_IMAGES = "none: an integral over all {} that are cut to the image, which nobody can compute"


@dataclass
class Recipe:
    """What the contest needs to know of one training."""

    step: Callable | None  # as for gc.fit, of a batch of bits; None where nothing is trained in steps
    batch_size: int
    samplers: dict  # name of an entrant -> function of a count, which returns bits (count, 1, 28, 28)
    networks: tuple  # whose weights make the samples, to be counted
    protocol: str  # how nats are computed, or why there are none
    nats: Callable | None = None  # bits -> nats (B,) of each image: exact, or an upper bound
    max_lr: dict = field(default_factory=dict)  # optimizer -> highest learning rate, if it follows the cycle
    latent: str | dict = "none"  # one for all entrants, or entrant -> text

    def set_lr(self, share):
        """The cycle of the learning rate: up for a twentieth of the time, and down to 0; share in [0, 1]."""
        factor = min(share / 0.05, 0.5 + 0.5 * math.cos(math.pi * (share - 0.05) / 0.95)) if share < 1 else 0.0
        for optimizer, max_lr in self.max_lr.items():
            for group in optimizer.param_groups:
                group["lr"] = max_lr * max(factor, 0.01)


def update(optimizer, loss):
    """One step of the optimizer."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def hard(x):
    """Images -> bits: 1 where a pixel is above 0."""
    return (x > 0).float()


def gaussian(train_bits, device):
    """The Gaussian of 00: mean and covariance of the images; no steps."""
    x = (2 * train_bits - 1).flatten(1).cpu().double()  # not every accelerator has float64
    values, vectors = torch.linalg.eigh(x.T.cov())
    root, mean = vectors * values.clamp(min=0).sqrt(), x.mean(0)

    def sample(count):
        return hard(mean + torch.randn(count, len(mean)).double() @ root.T).view(-1, 1, 28, 28).to(device)

    moments = torch.nn.Module()
    moments.register_buffer("mean", mean.float())
    moments.register_buffer("root", root.float())
    return Recipe(None, 0, {"Gaussian": sample}, (moments,), CUT_TO_IMAGES.format("points"))


def _adversarial(name, G, step, batch_size, device):
    def sample(count):
        G.eval()  # batch norm with the statistics of the training
        bits = torch.cat([hard(G(z)) for z in torch.randn(count, LATENT, device=device).split(PART)])
        G.train()
        return bits

    return Recipe(
        step, batch_size, {name: sample}, (G,), CUT_TO_IMAGES.format("z"), latent=f"{LATENT} numbers, no encoder"
    )


def gan(name, device):
    """GAN of 02, with fully connected networks, and DCGAN of 03."""
    if name == "DCGAN":
        G, D = gc.nets.DCGANGenerator(LATENT, (32, 16)), gc.nets.DCGANDiscriminator((16, 32))
        lr_G, lr_D, batch_size = 1e-3, 5e-4, BATCH
    else:
        G, D = gc.nets.MLPGenerator(LATENT), gc.nets.MLPDiscriminator()
        lr_G, lr_D, batch_size = 4e-4, 4e-4, 2 * BATCH
    G, D = G.to(device), D.to(device)
    opt_G = Adam(G.parameters(), lr_G, betas=(0.5, 0.999), fused=True)
    opt_D = Adam(D.parameters(), lr_D, betas=(0.5, 0.999), fused=True)

    def step(bits):
        x = 2 * bits - 1
        fake = G(torch.randn(len(x), LATENT, device=device))
        loss_D = gc.losses.discriminator_loss(D(x), D(fake.detach())).mean()
        update(opt_D, loss_D)
        loss_G = gc.losses.generator_loss(D(fake)).mean()
        update(opt_G, loss_G)
        return {"loss_D": loss_D, "loss_G": loss_G}

    return _adversarial(name, G, step, batch_size, device)


def wgan(name, device):
    """WGAN with clipped weights, and WGAN-GP, as in 04."""
    penalized = name == "WGAN-GP"
    G = gc.nets.DCGANGenerator(LATENT, (32, 16)).to(device)
    critic = gc.nets.DCGANDiscriminator((16, 32), batch_norm=not penalized).to(device)
    if penalized:
        opt_G, opt_critic = (Adam(net.parameters(), 3e-3, betas=(0.0, 0.9), fused=True) for net in (G, critic))
    else:
        opt_G, opt_critic = (torch.optim.RMSprop(net.parameters(), 1e-3) for net in (G, critic))

    def step(bits):
        x = 2 * bits - 1
        fake = G(torch.randn(len(x), LATENT, device=device)).detach()
        loss = gc.losses.critic_loss(critic(x), critic(fake)).mean()
        if penalized:
            update(opt_critic, loss + 10 * gc.losses.gradient_penalty(critic, x, fake).mean())
        else:
            update(opt_critic, loss)
            for w in critic.parameters():
                w.data.clamp_(-0.03, 0.03)
        loss_G = gc.losses.critic_generator_loss(critic(G(torch.randn(len(x), LATENT, device=device)))).mean()
        update(opt_G, loss_G)
        return {"gap": -loss, "loss_G": loss_G}

    return _adversarial(name, G, step, BATCH, device)


def vae(name, device):
    """VAE of 05, and the beta-VAE with beta = 4."""
    beta, size = (4.0 if name == "beta-VAE" else 1.0), 32
    encoder, decoder = gc.nets.ConvEncoder(size).to(device), gc.nets.ConvDecoder(size).to(device)
    optimizer = Adam([*encoder.parameters(), *decoder.parameters()], 2e-3, fused=True)
    importance_samples = gc.by_profile(smoke=4, laptop=200, gpu=1000)

    def step(bits):
        mu, logvar = encoder(bits)
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        kl = gc.likelihoods.gaussian_kl(mu, logvar).mean()
        reconstruction = gc.likelihoods.bernoulli_log_prob(decoder(z), bits).mean()
        update(optimizer, beta * kl - reconstruction)
        return {"-ELBO": kl - reconstruction}

    def sample(count):
        z = torch.randn(count, size, device=device)
        return torch.cat([decoder(part).sigmoid().bernoulli() for part in z.split(500)])

    def nats(bits):
        mu, logvar = encoder(bits)
        log_weights = []
        for eps in torch.randn(importance_samples, *mu.shape, device=device).split(50):
            z = mu + (logvar / 2).exp() * eps
            copies = bits.expand(len(eps), *bits.shape).flatten(0, 1)
            log_p = gc.likelihoods.bernoulli_log_prob(decoder(z.flatten(0, 1)), copies).view(len(eps), -1)
            log_weights.append(log_p + 0.5 * (eps.square() + logvar - z.square()).sum(-1))
        return -gc.likelihoods.importance_bound(torch.cat(log_weights))

    return Recipe(
        step, 2 * BATCH, {name: sample}, (encoder, decoder),
        f"at most: importance-weighted bound, {importance_samples} samples", nats, {optimizer: 2e-3},
        f"{size} numbers, with encoder",
    )  # fmt: skip


def _unet(device):
    channels, patch = gc.by_profile(smoke=((8, 16), 2), laptop=((32, 64), 2), gpu=((64, 128), 1))
    net = gc.nets.UNet(channels, patch=patch).to(device)
    return net, gc.ema(net), Adam(net.parameters(), 2e-3, fused=True)


def _follow(path, count, device):
    """Bits (count, 1, 28, 28): where ``path(noise)``, which yields images on their way, ends; in parts."""
    ends = []
    for noise in torch.randn(count, 1, 28, 28, device=device).split(PART):
        *_, x = path(noise)
        ends.append(hard(x))
    return torch.cat(ends)


def ddpm(name, device):
    """DDPM of 06, which predicts v; DDIM of 07 samples from the same network."""
    net, average, optimizer = _unet(device)
    schedule = gc.diffusion.cosine_schedule(gc.by_profile(smoke=30, laptop=1000, gpu=1000)).to(device)

    def step(bits):
        x0 = 2 * bits - 1
        t = torch.randint(1, schedule.T + 1, (len(x0),), device=device)
        eps = torch.randn_like(x0)
        x_t = gc.diffusion.q_sample(x0, t, eps, schedule)
        target = gc.diffusion.convert(x_t, t, schedule, eps=eps).v
        loss = (target - net(x_t, t)).square().mean()
        update(optimizer, loss)
        average.update_parameters(net)
        return {"loss": loss}

    def predict_eps(x_t, t):
        return gc.diffusion.convert(x_t, t, schedule, v=average(x_t, t)).eps

    def sampler(method, steps):
        return lambda count: _follow(lambda x: method(predict_eps, x, schedule, steps=steps), count, device)

    def nats(bits):
        return ddpm_bound(average, schedule, 2 * bits - 1, gc.by_profile(smoke=2, laptop=20, gpu=100))

    many, few = gc.by_profile(smoke=(4, 2), laptop=(50, 10), gpu=(50, 10))
    samplers = {
        f"DDPM, {many} steps": sampler(gc.samplers.ddpm, many),
        f"DDIM, {many} steps": sampler(gc.samplers.ddim, many),
        f"DDIM, {few} steps": sampler(gc.samplers.ddim, few),
    }
    latent = {entrant: "784 numbers, by DDIM" if entrant.startswith("DDIM") else "none" for entrant in samplers}
    protocol = f"at most: variational bound over {schedule.T} steps, some steps drawn"
    return Recipe(step, BATCH, samplers, (net,), protocol, nats, {optimizer: 2e-3}, latent)


@torch.no_grad()
def ddpm_bound(predict_v, schedule, x0, times, levels=2):
    """The bound of 06, (B,) nats: L_T + L_(T-1) + ... + L_0, the middle from ``times`` steps per image.

    For 2 <= t the term is (SNR_(t-1) - SNR_t) |x_0 - x_hat|^2 / 2, with the posterior variance; L_0 is minus the log
    probability of the level under a Gaussian around x_hat with variance beta_1, rounded to the nearest level. Sums are
    in float64, on the CPU, since not every accelerator has it.

    Args:
        predict_v: (x_t, t) -> v.
        schedule: Schedule, on the device of x0.
        x0: images (B, 1, 28, 28) of ``levels`` values, evenly spaced from -1 to 1.
        times: steps drawn for each image.
        levels: 2 for black and white, 256 for grey.
    """
    T = schedule.T
    snr, beta_1, alpha_bar_T = (v.cpu().double() for v in (schedule.snr, schedule.beta[1], schedule.alpha_bar[-1]))

    def x_hat(t):
        t = t.to(x0.device)
        x_t = gc.diffusion.q_sample(x0, t, torch.randn_like(x0), schedule)
        return gc.diffusion.convert(x_t, t, schedule, v=predict_v(x_t, t)).x0.clamp(-1, 1)

    squares = x0.flatten(1).cpu().double().square().sum(1)
    L_T = (alpha_bar_T * (squares - 784) - 784 * torch.log1p(-alpha_bar_T)) / 2
    # times are drawn with chances like 1 / t, as most of the sum comes from small ones
    chance = 1 / torch.arange(2, T + 1).double()
    chance /= chance.sum()
    middle = torch.zeros(len(x0), dtype=torch.float64)
    for _ in range(times):
        i = torch.multinomial(chance, len(x0), replacement=True)
        t = i + 2
        error = (x0 - x_hat(t)).square().flatten(1).sum(1).cpu().double()
        middle += 0.5 * (snr[t - 1] - snr[t]) * error / chance[i] / times
    guess, x = x_hat(torch.ones(len(x0), dtype=torch.int64)).cpu().double(), x0.cpu().double()
    log_p = log_probability_of_level(x, guess, beta_1.sqrt(), levels)
    return (L_T + middle - log_p.flatten(1).sum(1)).float()


def log_probability_of_level(x, mean, std, levels):
    """The log-probability that N(mean, std^2), rounded to the nearest of ``levels`` from -1 to 1, is ``x``; float64."""
    half = 1 / (levels - 1)
    upper, lower = (x + half - mean) / std, (x - half - mean) / std
    upper, lower = upper.masked_fill(x > 1 - half, torch.inf), lower.masked_fill(x < half - 1, -torch.inf)
    swap = lower > 0  # in the upper tail differences of probabilities near 1 would cancel
    upper, lower = torch.where(swap, -lower, upper), torch.where(swap, -upper, lower)
    big, small = torch.special.log_ndtr(upper), torch.special.log_ndtr(lower)
    return big + torch.log(-torch.expm1(small - big))


def flow_matching(name, device):
    """Flow matching of 07, sampled with Euler's method."""
    net, average, optimizer = _unet(device)
    steps = gc.by_profile(smoke=2, laptop=20, gpu=50)

    def step(bits):
        x1 = 2 * bits - 1
        t = torch.rand(len(x1), device=device)
        x_t, velocity = gc.diffusion.flow_path(torch.randn_like(x1), x1, t)
        loss = (velocity - net(x_t, 1000 * t)).square().mean()
        update(optimizer, loss)
        average.update_parameters(net)
        return {"loss": loss}

    def sample(count):
        return _follow(lambda x: gc.samplers.euler(lambda x, t: average(x, 1000 * t), x, steps), count, device)

    return Recipe(
        step, BATCH, {f"flow matching, {steps} steps": sample}, (net,),
        "none: an integral over all noise that is carried and cut to the image, which nobody can compute",
        max_lr={optimizer: 2e-3}, latent="784 numbers, by the ODE",
    )  # fmt: skip


def autoregressive(name, device):
    """PixelCNN, gated PixelCNN and PixelRNN (row LSTM) of 08, and the pixel Transformer of 09."""
    width = gc.by_profile(smoke=8, laptop=32, gpu=64)
    max_lr, batch_size = 1e-2, BATCH // 2
    if name == "PixelCNN":
        net = gc.nets.PixelCNN(width)
    elif name == "gated PixelCNN":
        net = gc.nets.GatedPixelCNN(gc.by_profile(smoke=8, laptop=24, gpu=64), 4, 5)
    elif name == "PixelRNN":
        net = gc.nets.PixelRNN("row", width)
    else:
        sizes = gc.by_profile(smoke=(16, 2, 1), laptop=(32, 4, 2), gpu=(256, 8, 8))
        net = gc.nets.GPT(3, 784, *sizes)
        max_lr, batch_size = gc.by_profile(smoke=8e-3, laptop=8e-3, gpu=1e-3), gc.by_profile(smoke=4, laptop=4, gpu=64)
    net = net.to(device)

    def logits(bits):
        if name != "Transformer":
            return net(bits)
        tokens = bits.flatten(1).long()
        out = net(torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], 1))
        return (out[..., 1] - out[..., 0]).view_as(bits)

    def nats(bits):
        return -gc.likelihoods.bernoulli_log_prob(logits(bits), bits)

    def sample(count):
        at_once = 500 if name == "Transformer" else PART  # its keys and values need 13 MB an image
        return torch.cat([draw(net, part) for part in torch.rand(count, 28, 28, device=device).split(at_once)])

    def clip_gradient(*_):
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)

    optimizer = torch.optim.AdamW(net.parameters(), max_lr, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    optimizer.register_step_pre_hook(clip_gradient)
    step = gc.autoregressive.nll_step(logits, optimizer)
    return Recipe(step, batch_size, {name: sample}, (net,), "exact", nats, {optimizer: max_lr})


RECIPES = {
    "DDPM": ddpm, "Transformer": autoregressive, "flow matching": flow_matching, "PixelCNN": autoregressive,
    "gated PixelCNN": autoregressive, "PixelRNN": autoregressive, "VAE": vae, "beta-VAE": vae, "GAN": gan,
    "DCGAN": gan, "WGAN": wgan, "WGAN-GP": wgan, "Gaussian": gaussian,
}  # fmt: skip  (slow to sample first, so that no core waits at the end)


def make(name, train_bits, device):
    """The recipe with this name, freshly made; only the Gaussian needs the training digits at once."""
    return gaussian(train_bits, device) if name == "Gaussian" else RECIPES[name](name, device)
