"""How each finished model is trained: networks, step, batches, samples, and how good they are.

One function a family, which makes a :class:`Training`; ``recipes`` compares their options at equal seconds, and
``marathon`` trains those of ``plan``.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy, one_hot
from torch.nn.utils.parametrizations import spectral_norm
from torch.optim import Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import LambdaLR

import gencourse as gc
from gencourse.errors import require

from .entrants import ddpm_bound, update
from .sampling import draw

LATENT = 64
MOST = 2000  # samples that are kept of a finished model
FEW = gc.by_profile(smoke=20, laptop=MOST, gpu=MOST)  # samples for a point of a curve
MANY = gc.by_profile(smoke=60, laptop=10_000, gpu=10_000)  # samples or test images for the card


@dataclass
class Training:
    """All that one training is made of."""

    step: Callable  # as for gc.fit
    batches: Iterator  # as for gc.fit
    state: dict  # name -> everything that the step changes, as for gc.fit
    networks: dict  # name -> network whose weights make the samples
    sample: Callable  # of a count and a generator on the CPU -> samples
    quality: Callable  # of nothing -> {"FID": ...} or {"nats": ...}, in seconds
    final: Callable  # a finer measure, in minutes: more samples or images, for some families more steps of the sampler
    card: dict  # what its card says besides: data, how it is measured
    windows: int = 1  # of how many windows each example is a part: 128 for texts cut at every character
    prepare: Callable = lambda: None  # readies the networks to be sampled after training

    def epochs(self, steps):
        """How often each example is seen in so many steps."""
        return steps * self.batches.batch_size * self.windows / len(self.batches.order)


# ---- what the families share ----


def warm_up_and_cosine(optimizer, steps, warm_up=0.05, cycles=(1,)):
    """A scheduler: the rate rises for a twentieth of the steps, and falls along a cosine to 0 in the rest.

    Several cycles, given by their relative lengths, do this one after the other.
    """

    def factor(i):
        share = (i + 1) / (steps + 1) * sum(cycles)
        for length in cycles:
            if share <= length:
                break
            share -= length
        share /= length
        return min(share / warm_up, 0.5 + 0.5 * math.cos(math.pi * max(share - warm_up, 0) / (1 - warm_up)))

    return LambdaLR(optimizer, factor)


def clipped_update(optimizer, loss):
    """One step of the optimizer along a gradient that is shortened to length 1 where it is longer."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_([w for group in optimizer.param_groups for w in group["params"]], 1.0)
    optimizer.step()


class Learner:
    """A network with its optimizer, the cycle of its rate, and the average of its weights, which is what is kept."""

    def __init__(self, net, optimizer, steps, ema, cycles=(1,)):
        self.average, self.optimizer = gc.ema(net, ema), optimizer
        self.scheduler = warm_up_and_cosine(optimizer, steps, cycles=cycles)
        self.net, self.best = net, self.average.module.requires_grad_(False)
        self.state = {"net": net, "average": self.average, "optimizer": optimizer, "scheduler": self.scheduler}

    def learn(self, loss, update=update):
        """One step."""
        update(self.optimizer, loss)
        self.scheduler.step()
        self.average.update_parameters(self.net)


def random_numbers(distribution, generator, count, *shape):
    """``distribution(count, *shape)``, the same on every device; the first ones do not depend on the count."""
    return distribution(max(count, MOST), *shape, generator=generator)[:count].to(gc.device())


def in_parts(function, *tensors, size=500):
    """``function`` of some tensors, or Nones, ``size`` rows at a time (four times as many on an accelerator).

    Returns:
        The results in one tensor, on the CPU.
    """
    size *= 1 if tensors[0].device.type == "cpu" else 4
    starts = range(0, len(tensors[0]), size)
    pieces = ([None if v is None else v[i : i + size] for v in tensors] for i in starts)
    return torch.cat([function(*piece).cpu() for piece in pieces])


def labels(count, classes):
    """The classes 0, 1, ... in turn; None for a model without."""
    return torch.arange(count, device=gc.device()) % classes if classes else None


class Conditional(nn.Module):
    """A network that also reads the class: as numbers beside a vector, or as planes beside an image."""

    def __init__(self, net, classes):
        super().__init__()
        self.net, self.classes = net, classes

    def forward(self, x, y=None):
        if y is None:
            return self.net(x)
        channels = one_hot(y, self.classes).to(x.dtype).view(len(x), -1, *[1] * (x.ndim - 2))
        return self.net(torch.cat([x, channels.expand(-1, -1, *x.shape[2:])], 1))


def fid_quality(sample, data, finer=None):
    """Two functions that return the FID of samples against the test images: of few, and of many by ``finer``."""
    classifier, test = gc.metrics.digit_classifier(), data("test", gc.device())
    known = gc.metrics.features(classifier, test.x)
    name = "FID in features of digits" if test.name == "FashionMNIST" else "FID"

    def quality(sample=sample, count=FEW):
        images = sample(count, torch.Generator().manual_seed(1)).to(gc.device())
        return {name: gc.metrics.image_fid(classifier, known, images)}

    return quality, partial(quality, finer or sample, MANY)


def thumbnail_quality(sample, real):
    """Two functions for images in colour: the Fréchet distance of thumbnails, 8 x 8, to those of the training set."""

    def thumbnails(x):
        return adaptive_avg_pool2d(x.cpu(), 8).flatten(1)

    def quality(count=FEW // 4):
        images = sample(count, torch.Generator().manual_seed(1))
        return {"distance of thumbnails": gc.metrics.fid(thumbnails(real), thumbnails(images))}

    return quality, partial(quality, FEW)


def nats_quality(nats, data):
    """Two functions that return the mean of ``nats`` over statically binarized test images: some, and all."""
    bits = gc.data.binarize(data("test", gc.device()).x, seed=1)
    bits = bits[torch.randperm(len(bits), generator=torch.Generator().manual_seed(0)).to(bits.device)]

    @torch.no_grad()
    def quality(count=FEW // 2):
        return {"nats": in_parts(nats, bits[:count], size=100).mean().item()}

    return quality, partial(quality, MANY)


def batches_of_bits(images, batch, dynamic, seed):
    """Batches (x, y), and a function that makes x black and white: afresh in each step, or as once drawn."""
    x = images.x if dynamic else gc.data.binarize(images.x, seed=0)
    return gc.batches((x, images.y), batch, seed), gc.data.binarize if dynamic else lambda x: x


# ---- GANs ----

OBJECTIVES = {  # of D and of G, each of the scores of data and of samples
    "logistic": (gc.losses.discriminator_loss, lambda real, fake: gc.losses.generator_loss(fake)),
    "relativistic": (gc.losses.relativistic_discriminator_loss, gc.losses.relativistic_generator_loss),
    "wasserstein": (gc.losses.critic_loss, lambda real, fake: gc.losses.critic_generator_loss(fake)),
}


class Counter:
    """Counts steps, for what does not happen in each; kept in checkpoints."""

    n = 0

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def adversarial(
    steps, objective="logistic", *, data=gc.data.mnist, networks="DCGAN", channels=(64, 32), channels_D=(32, 64),
    latent=LATENT, classes=0, batch_norm=True, spectral=False, gamma=0.0, lazy=1, clip=0.0, k=1,
    batch=64, lr=1e-3, lr_D=None, betas=(0.5, 0.999), cosine=True, ema=0.999, seed=0,
):  # fmt: skip
    """Every GAN of the course.

    Args:
        objective: "logistic", "relativistic" or "wasserstein".
        networks: "DCGAN" or "MLP".
        batch_norm, spectral: what normalizes D.
        gamma: weight of the penalty: gamma / 2 each for R1 and R2; lambda of WGAN-GP for "wasserstein".
        lazy: the penalty comes in every so many steps, and is then so many times as large: its mean stays.
        clip: the box of WGAN's weights; 0 for none. The optimizer is then RMSProp.
        k: steps of D for each of G.
        cosine: whether the rates rise and fall; else they stay.
        ema: the decay of the average of G's weights, which makes the samples; 0 for the last weights.
    """
    require(not (gamma and batch_norm), "batch_norm", batch_norm, "False where gradients are penalized")
    require(networks == "DCGAN" or not classes, "classes", classes, "0: the fully connected networks know none")
    device = gc.device()
    gc.seed_everything(seed)
    images = data("train", device)
    shape = tuple(images.x.shape[1:])
    if networks == "MLP":
        G, D = gc.nets.MLPGenerator(latent, image_shape=shape), gc.nets.MLPDiscriminator(image_shape=shape)
    else:
        G = gc.nets.DCGANGenerator(latent + classes, channels, shape)
        D = gc.nets.DCGANDiscriminator(channels_D, (shape[0] + classes, *shape[1:]), batch_norm)
    for layer in [layer for layer in D.modules() if spectral and isinstance(layer, nn.Conv2d | nn.Linear)]:
        spectral_norm(layer)
    G, D = Conditional(G, classes).to(device), Conditional(D, classes).to(device)
    make = RMSprop if clip else partial(Adam, betas=betas, fused=True)
    opt_G, opt_D = make(G.parameters(), lr), make(D.parameters(), lr_D or lr)
    average, counter = gc.ema(G, ema), Counter()
    schedulers = {}
    if cosine:
        schedulers = {"scheduler_G": warm_up_and_cosine(opt_G, steps), "scheduler_D": warm_up_and_cosine(opt_D, steps)}
    objective_D, objective_G = OBJECTIVES[objective]

    def scores(x, fake, y):
        """Of data and samples; in one batch, unless batch norm would mix them."""
        if batch_norm:
            return D(x, y), D(fake, y)
        return D(torch.cat([x, fake]), twice(y)).chunk(2)

    def twice(y):
        return None if y is None else torch.cat([y, y])

    def penalty(x, fake, y):
        if objective == "wasserstein":
            return gc.losses.gradient_penalty(lambda x: D(x, y), x, fake)
        return gc.losses.zero_centred_penalty(lambda x: D(x, twice(y)), torch.cat([x, fake]))  # R1 and R2 at once

    def step(batch):
        x, y = batch if classes else (batch, None)
        fake = G(torch.randn(len(x), latent, device=device), y)
        loss_D = objective_D(*scores(x, fake.detach(), y)).mean()
        if gamma and counter.n % lazy == 0:
            update(opt_D, loss_D + lazy * gamma * penalty(x, fake.detach(), y).mean())
        else:
            update(opt_D, loss_D)
        if clip:
            for w in D.parameters():
                w.data.clamp_(-clip, clip)
        counter.n += 1
        if counter.n % k == 0:
            D.requires_grad_(False)  # saves their gradients, which nobody wants here
            real_score = D(x, y) if objective == "relativistic" else None
            update(opt_G, objective_G(real_score, D(fake, y)).mean())
            D.requires_grad_(True)
            average.update_parameters(G)
        for scheduler in schedulers.values():
            scheduler.step()
        return {"loss_D": loss_D}

    best = average.module.requires_grad_(False)

    @torch.no_grad()
    def prepare():
        """The running statistics of batch norm belong to the last weights: measure those of the average afresh."""
        for layer in (layer for layer in best.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)):
            layer.reset_running_stats()
            layer.momentum = None  # the mean of all batches
        best.train()
        for z in random_numbers(torch.randn, torch.Generator().manual_seed(2), 2000, latent).split(batch):
            best(z, labels(len(z), classes))

    def sample(count, generator):
        best.eval()
        return in_parts(best, random_numbers(torch.randn, generator, count, latent), labels(count, classes))

    quality = fid_quality(sample, data) if shape == (1, 28, 28) else thumbnail_quality(sample, images.x)
    state = {"G": G, "D": D, "opt_G": opt_G, "opt_D": opt_D, "average": average, "counter": counter, **schedulers}
    stream = gc.batches((images.x, images.y) if classes else images.x, batch, seed)
    about = {"data": images.name, "samples": "of the averaged weights"}
    return Training(step, stream, state, {"G": best.net}, sample, *quality, about, prepare=prepare)


# ---- diffusion and flow matching ----


def heun(velocity, x, steps):
    """Heun's method for dx/dt = velocity(x, t) from t = 0 to 1, the last step by Euler's: 2 steps - 1 evaluations."""
    for i in range(steps):
        t, s = (torch.full((len(x),), j / steps, device=x.device) for j in (i, i + 1))
        slope = velocity(x, t)
        if i + 1 < steps:
            slope = (slope + velocity(x + slope / steps, s)) / 2
        x = x + slope / steps
    return x


class BlockNoise:
    """Standard normal numbers, again and again; those of a sample do not depend on how many are drawn, or where.

    Each 500 samples have a generator of their own, on the CPU.
    """

    def __init__(self, rows, seed):
        blocks = range(int(rows[0]) // 500, int(rows[-1]) // 500 + 1)
        self.generators = [torch.Generator().manual_seed(seed + block) for block in blocks]

    def __call__(self, x):
        noise = torch.cat([torch.randn(500, *x.shape[1:], generator=g) for g in self.generators])
        return noise[: len(x)].to(x.device, non_blocking=True)


def ancestral(predict_v, x, schedule, steps, noise):
    """DDPM's chain back from x_T, as ``gc.samplers.ddpm``, with random numbers from ``noise``."""
    alpha_bar, times = schedule.alpha_bar.tolist(), [round(schedule.T * i / steps) for i in range(steps, -1, -1)]
    for t, s in zip(times, times[1:]):
        at = torch.full((len(x),), t, device=x.device)
        x0 = gc.diffusion.convert(x, at, schedule, v=predict_v(x, at)).x0.clamp(-1, 1)
        weight_x0, weight_x_t, variance = gc.diffusion.posterior_coefficients(alpha_bar[s], alpha_bar[t])
        x = weight_x0 * x0 + weight_x_t * x + (variance**0.5 * noise(x) if s > 0 else 0)
    return x


def diffusion(
    steps, objective="velocity", *, data=gc.data.mnist, times="logit-normal", channels=(32, 64), patch=2, blocks=1,
    classes=0, unlabelled=0.2, guidance=0.0, batch=64, lr=2e-3, ema=0.998, seed=0,
):  # fmt: skip
    """DDPM and flow matching, with classes and without.

    Args:
        objective: "velocity" for flow matching, "v" for DDPM.
        times: "uniform", "logit-normal" (the sigmoid of a Gaussian, which seldom draws the ends), or "both", in halves.
        unlabelled: the share of images whose class is not told, for guidance.
        guidance: its scale, 0 for none.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images, test = data("train", device), data("test", device)
    net = gc.nets.UNet(channels, patch=patch, blocks=blocks, classes=classes)
    net.to(device, memory_format=torch.channels_last)  # convolutions are then quicker
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best, schedule = learner.best, gc.diffusion.cosine_schedule().to(device)

    def draw_times(n):
        if times == "uniform":
            return torch.rand(n, device=device)
        share = torch.randn(n, device=device).sigmoid()
        return torch.cat([share[n // 2 :], torch.rand(n // 2, device=device)]) if times == "both" else share

    def noised(x):
        """What the network sees, its time, and its target."""
        eps, share = torch.randn_like(x), draw_times(len(x))
        if objective == "velocity":
            x_t, velocity = gc.diffusion.flow_path(eps, x, share)
            return x_t, 1000 * share, velocity
        t = (share * schedule.T).long().clamp(max=schedule.T - 1) + 1
        x_t = gc.diffusion.q_sample(x, t, eps, schedule)
        return x_t, t, gc.diffusion.convert(x_t, t, schedule, x0=x).v

    def step(batch):
        x, y = batch if classes else (batch, None)
        if classes:
            y = torch.where(torch.rand(len(y), device=device) < unlabelled, classes, y)
        x_t, t, target = noised(x)
        loss = (target - net(x_t, t, y)).square().mean()
        learner.learn(loss)
        return {"loss": loss}

    def denoise(x, rows, y, quick, seed):
        predict = gc.samplers.guided(best, guidance)  # of velocities and v as of eps: both are linear in it
        if objective == "velocity":
            return heun(lambda x, t: predict(x, 1000 * t, y), x, 10 if quick else 25)
        predict_v = lambda x, t: predict(x, t, y)
        if not quick:
            return ancestral(predict_v, x, schedule, 100, BlockNoise(rows, seed))
        predict_eps = lambda x, t: gc.diffusion.convert(x, t, schedule, v=predict_v(x, t)).eps
        *_, x0 = gc.samplers.ddim(predict_eps, x, schedule, steps=19)
        return x0

    def sample(count, generator, quick=False):
        x = random_numbers(torch.randn, generator, count, 1, 28, 28)
        one = partial(denoise, quick=quick, seed=generator.initial_seed())
        return in_parts(one, x, torch.arange(count), labels(count, classes)).clamp(-1, 1)

    quality, fid_of_many = fid_quality(partial(sample, quick=True), data, sample)

    def final():
        if objective != "v" or classes:
            return fid_of_many()
        levels = ((test.x[:MANY] + 1) * 127.5).round() / 127.5 - 1
        nats = in_parts(lambda x: ddpm_bound(best, schedule, x, times=20, levels=256), levels)
        return {**fid_of_many(), "bits/dim": gc.likelihoods.bits_per_dim(nats.mean().item(), 784)}

    ways = {"velocity": "Heun's method, 49 evaluations of the network; 19 for the curve",
            "v": "DDPM's chain in 100 steps; DDIM in 19 for the curve"}  # fmt: skip
    about = {"data": images.name, "samples": ways[objective]}
    stream = gc.batches((images.x, images.y) if classes else images.x, batch, seed)
    return Training(step, stream, learner.state, {"net": best}, sample, quality, final, about)


def one_step(
    steps, way, *, data=gc.data.mnist, teacher="flow-matching", pairs=20_000, ahead=1 / 32, flow=0.75, batch=64,
    lr=2e-3, ema=0.998, seed=0,
):  # fmt: skip
    """Average velocities u(x, r, t), which draw an image in one evaluation: x + u(x, 0, 1) of noise x.

    Args:
        way: "reflow", of pairs that a finished flow made; "consistency", distilled from it; "MeanFlow", without it.
        pairs: how many, for reflow.
        ahead: for consistency, how much later the point is whose end is the target.
        flow: for MeanFlow, the share of r = t.

    Source: Liu et al. (2023), https://arxiv.org/abs/2209.03003; Song et al. (2023), https://arxiv.org/abs/2303.01469;
        Geng et al. (2025), https://arxiv.org/abs/2505.13447.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images = data("train", device)
    net = gc.nets.UNet(times=2).to(device, memory_format=torch.channels_last)
    about = {"data": images.name, "samples": "one evaluation of the network"}
    if way != "MeanFlow":
        taught = gc.nets.UNet().to(device, memory_format=torch.channels_last)
        about["seconds of the teacher"] = gc.load_weights(f"finished/{teacher}", net=taught)["seconds"]
        taught.eval().requires_grad_(False)
        net.load_state_dict({k: v for k, v in taught.state_dict().items() if not k.startswith("time_mlp.0")}, False)
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best, first = learner.best, round(flow * batch)

    def average(net, x, r, t):
        return net(x, 16 * torch.stack([r, t - r], 1))

    def mean_square(error):
        return error.square().mean()

    def column(t):
        return t[:, None, None, None]

    def velocity(x, t):
        return taught(x, 1000 * t)

    def times(x):
        return torch.randn(len(x), device=device).sigmoid()

    def match(batch):
        x0, x1 = batch
        t = times(x1)
        x_t, target = gc.diffusion.flow_path(x0, x1, t)
        return mean_square(average(net, x_t, t, t) - target)

    def distil(x1):
        r = times(x1)
        t = (r + ahead).clamp(max=1)
        x_r, _ = gc.diffusion.flow_path(torch.randn_like(x1), x1, r)
        with torch.no_grad():
            v = velocity(x_r, r)  # Heun's step from r to t
            v = (v + velocity(x_r + column(t - r) * v, t)) / 2
            x_t = x_r + column(t - r) * v
            end = x_t + column(1 - t) * average(net, x_t, t, torch.ones_like(t))
        return mean_square(average(net, x_r, r, torch.ones_like(r)) - (end - x_r) / column(1 - r))

    def mean_flow(x1):
        a, b = times(x1), times(x1)
        same = torch.arange(len(a), device=device) < first
        r, t = torch.where(same, a, torch.minimum(a, b)), torch.where(same, a, torch.maximum(a, b))
        x_r, v = gc.diffusion.flow_path(torch.randn_like(x1), x1, r)
        plain = average(net, x_r[:first], r[:first], t[:first])
        inputs = (x_r[first:], r[first:], t[first:])
        directions = (v[first:], torch.ones_like(r[first:]), torch.zeros_like(t[first:]))
        with sdpa_kernel(SDPBackend.MATH):  # the quicker kernels have no derivative in a direction
            far, along = torch.func.jvp(partial(average, net), inputs, directions)
        target = torch.cat([v[:first], v[first:] + column((t - r)[first:]) * along])
        return mean_square(torch.cat([plain, far]) - target.detach())

    loss_of = {"reflow": match, "consistency": distil, "MeanFlow": mean_flow}[way]

    def step(batch):
        loss = loss_of(batch)
        learner.learn(loss, clipped_update)
        return {"loss": loss}

    def sample(count, generator):
        def one(x):
            zeros = torch.zeros(len(x), device=device)
            return (x + average(best, x, zeros, zeros if way == "reflow" else zeros + 1)).clamp(-1, 1)

        return in_parts(one, random_numbers(torch.randn, generator, count, 1, 28, 28))

    examples = images.x
    if way == "reflow":
        count = min(pairs, steps * batch)  # no more than are ever seen
        noise = torch.randn(count, 1, 28, 28, generator=torch.Generator().manual_seed(seed)).to(device)
        examples = (noise, torch.cat([heun(velocity, part, 10) for part in noise.split(500)]))
    stream = gc.batches(examples, batch, seed)
    return Training(step, stream, learner.state, {"net": best}, sample, *fid_quality(sample, data), about)


# ---- VAEs ----


def vae(
    steps, *, data=gc.data.mnist, channels=(16, 32), hidden=128, latent=32, classes=0, dynamic=True,
    batch=64, lr=2e-3, ema=0.998, seed=0,
):  # fmt: skip
    """VAE and conditional VAE of binarized images.

    Args:
        dynamic: whether pixels are drawn afresh in each step; else once.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images, test = data("train", device), data("test", device)
    stream, to_bits = batches_of_bits(images, batch, dynamic, seed)
    encoder = Conditional(gc.nets.ConvEncoder(latent, channels, hidden, (1 + classes, 28, 28)), classes)
    decoder = Conditional(gc.nets.ConvDecoder(latent + classes, channels[::-1], hidden), classes)
    model = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).to(device)
    learner = Learner(model, Adam(model.parameters(), lr, fused=True), steps, ema)
    best = learner.best

    def step(batch):
        x, y = to_bits(batch[0]), batch[1] if classes else None
        mu, logvar = model["encoder"](x, y)
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        kl = gc.likelihoods.gaussian_kl(mu, logvar).mean()
        reconstruction = gc.likelihoods.bernoulli_log_prob(model["decoder"](z, y), x).mean()
        learner.learn(kl - reconstruction)
        return {"-ELBO": kl - reconstruction, "KL": kl}

    def sample(count, generator):
        """The probability of each pixel, as grey images in [-1, 1]."""
        z = random_numbers(torch.randn, generator, count, latent)
        return in_parts(lambda z, y: 2 * best["decoder"](z, y).sigmoid() - 1, z, labels(count, classes))

    def bound(x, y, k):
        """Minus the importance-weighted bound with k samples, (B,)."""
        mu, logvar = best["encoder"](x, y)
        log_weights = []
        for eps in torch.randn(k, *mu.shape, device=device).split(50):
            z = mu + (logvar / 2).exp() * eps  # (50, B, latent)
            logits = best["decoder"](z.flatten(0, 1), None if y is None else y.repeat(len(eps)))
            log_p = gc.likelihoods.bernoulli_log_prob(logits, x.repeat(len(eps), 1, 1, 1)).view(len(eps), -1)
            log_weights.append(log_p + 0.5 * (eps.square() + logvar - z.square()).sum(-1))
        return -gc.likelihoods.importance_bound(torch.cat(log_weights))

    order = torch.randperm(len(test.x), generator=torch.Generator().manual_seed(0)).to(device)
    bits, classes_of_bits = gc.data.binarize(test.x, seed=1)[order], test.y[order] if classes else None

    def bounds(k, count):
        y = None if classes_of_bits is None else classes_of_bits[:count]
        return in_parts(partial(bound, k=k), bits[:count], y, size=100)

    name = "nats given the class" if classes else "nats"

    def final():
        """An unbiased estimate of the mean of -L_5000 over all test images: that of -L_50, and the change on some."""
        all_images = bounds(50, MANY)
        some = bounds(gc.by_profile(smoke=100, laptop=5000, gpu=5000), FEW // 4)
        change = some - all_images[: len(some)]
        return {name: (all_images.mean() + change.mean()).item()}

    def quality():
        return {name: bounds(50, FEW // 4).mean().item()}

    networks = {"encoder": best["encoder"].net, "decoder": best["decoder"].net}
    about = {"data": images.name, "samples": "probabilities of the pixels", "nats": "-L_5000; -L_50 for the curve"}
    return Training(step, stream, learner.state, networks, sample, quality, final, about)


def vq_vae(steps, *, codewords=64, size=16, hidden=48, blocks=3, share=1 / 3, batch=64, lr=2e-3, lr_prior=5e-3, seed=0):
    """VQ-VAE of binarized digits, and its prior, a gated PixelCNN over the codes, given the class.

    The rate of the VQ-VAE falls to 0 within ``share`` of the steps, so that the prior ends on codes that stand still.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images = gc.data.mnist("train", device)
    stream, to_bits = batches_of_bits(images, batch, True, seed)
    vq = gc.nets.VQVAE(codewords, size).to(device)
    prior = gc.nets.GatedPixelCNN(hidden, blocks, image_channels=codewords, outputs=codewords, classes=10).to(device)
    opt_vq = Adam(vq.parameters(), lr, fused=True)
    opt_prior = AdamW(prior.parameters(), lr_prior, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    scheduler_vq, learner = warm_up_and_cosine(opt_vq, share * steps), Learner(prior, opt_prior, steps, 0.998)
    best = learner.best
    usage = nn.Module()
    usage.register_buffer("shares", torch.full((codewords,), 0.1, device=device))

    def code_logits(net, codes, y):
        return net(one_hot(codes, codewords).movedim(3, 1).float(), y)  # (B, codewords, 7, 7)

    def squared_distance(a, b):
        return (a - b).square().flatten(1).sum(1).mean()

    def step(batch):
        x, y = to_bits(batch[0]), batch[1]
        with torch.set_grad_enabled(scheduler_vq.last_epoch < share * steps):
            z_e = vq.encoder(x)
            e, codes = vq.quantize(z_e)
            log_p = gc.likelihoods.bernoulli_log_prob(vq.decoder(z_e + (e - z_e).detach()), x).mean()
        if log_p.requires_grad:
            update(opt_vq, squared_distance(z_e.detach(), e) + 0.25 * squared_distance(z_e, e.detach()) - log_p)
            scheduler_vq.step()
            revive(vq.codebook, usage.shares, codes, z_e.detach())
        nats = cross_entropy(code_logits(prior, codes, y), codes, reduction="none").flatten(1).sum(1).mean()
        learner.learn(nats, clipped_update)
        return {"-log p(x | codes)": -log_p, "-log p(codes | class)": nats}

    @torch.no_grad()
    def decode(uniform, y):
        codes = torch.zeros(uniform.shape, dtype=torch.int64, device=device)
        for row in range(7):
            for column in range(7):
                p = code_logits(best, codes, y)[:, :, row, column].softmax(1)
                codes[:, row, column] = choose(p, uniform[:, row, column])
        return 2 * vq.decoder(vq.lookup(codes)).sigmoid() - 1

    def sample(count, generator):
        return in_parts(decode, random_numbers(torch.rand, generator, count, 7, 7), labels(count, 10))

    state = {"vq": vq, "usage": usage, "opt_vq": opt_vq, "scheduler_vq": scheduler_vq, **learner.state}
    about = {"data": images.name, "samples": "probabilities of the pixels given codes from the prior"}
    quality = fid_quality(sample, gc.data.mnist)
    return Training(step, stream, state, {"vq": vq, "prior": best}, sample, *quality, about)


@torch.no_grad()
def revive(codebook, shares, codes, z_e):
    """Codewords that hardly any place chooses move to vectors of the batch; ``shares`` are running means."""
    shares.mul_(0.98).add_(0.02 * one_hot(codes, len(codebook)).float().mean((0, 1, 2)))
    vectors = z_e.permute(0, 2, 3, 1).flatten(0, 2)
    some = vectors[torch.randint(len(vectors), (len(codebook),), device=codebook.device)]
    dead = shares < 1e-3  # not asked whether there are any: a GPU would have to wait
    codebook.copy_(torch.where(dead[:, None], some, codebook))
    shares.copy_(torch.where(dead, 0.1, shares))


def choose(p, uniform):
    """From each row of ``p`` (B, K) the first index at which the sum of the probabilities exceeds ``uniform`` (B,).

    It is the last index where rounding keeps the sum below.
    """
    return (p.cumsum(1) <= uniform[:, None]).sum(1).clamp(max=p.shape[1] - 1)


# ---- energies ----


class Chains(nn.Module):
    """A replay buffer: images in [-1, 1] that go on from one training step to the next, kept in checkpoints."""

    def __init__(self, size, shape, share):
        super().__init__()
        self.register_buffer("x", 2 * torch.rand(size, *shape) - 1)
        self.share = share

    def take(self, count):
        """Some chains, and where they lie; a few start afresh from uniform noise."""
        places = torch.randint(len(self.x), (count,), device=self.x.device)
        fresh = torch.rand(count, 1, 1, 1, device=self.x.device) < self.share
        return torch.where(fresh, 2 * torch.rand_like(self.x[:count]) - 1, self.x[places]), places

    def put(self, x, places):
        self.x[places] = x


def roll_down(net, x, steps, size=10.0, limit=0.03, noise=0.005, randn=torch.randn_like):
    """Steps against the slope of the energy, at most ``limit`` in each pixel, with little noise, within [-1, 1]."""
    for _ in range(steps):
        x = (x + noise * randn(x)).clamp(-1, 1).requires_grad_()
        with torch.enable_grad():
            slope = torch.autograd.grad(net(x).sum(), x)[0]
        x = (x - size * slope.clamp(-limit, limit)).clamp(-1, 1).detach()
    return x


def energy(
    steps, *, data=gc.data.mnist, channels=(32, 64), walk=20, leash=0.1, chains=5000, share=0.05, batch=64, lr=1e-3,
    ema=0.998, seed=0,
):  # fmt: skip
    """An energy network of digits, with a replay buffer.

    Args:
        walk: how far the chains go in each training step.
        leash: weight of the squared energies of data and chains.
        chains: how many there are in the buffer.
        share: of those that start afresh whenever they are taken.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images = data("train", device)
    shape = tuple(images.x.shape[1:])
    net = gc.nets.DCGANDiscriminator(channels, shape, batch_norm=False).to(device)
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.0, 0.99), fused=True), steps, ema)
    best, buffer = learner.best, Chains(chains, shape, share).to(device)

    def step(x):
        start, places = buffer.take(len(x))
        net.requires_grad_(False)  # saves their gradients while the chains walk
        negatives = roll_down(net, start, walk)
        net.requires_grad_(True)
        buffer.put(negatives, places)
        of_data, of_chains = net(torch.cat([x + 0.005 * torch.randn_like(x), negatives])).chunk(2)
        loss = (of_data - of_chains).mean() + leash * (of_data.square() + of_chains.square()).mean()
        learner.learn(loss)
        return {"E of data": of_data.mean(), "E of samples": of_chains.mean()}

    def sample(count, generator, walk=400):
        """Chains that start at uniform noise."""
        start = 2 * random_numbers(torch.rand, generator, count, *shape) - 1
        one = lambda x, rows: roll_down(best, x, walk, randn=BlockNoise(rows, generator.initial_seed()))
        return in_parts(one, start, torch.arange(count))

    quality = fid_quality(partial(sample, walk=100), data, sample)
    about = {"data": images.name, "samples": "chains of 400 steps from noise; of 100 for the curve"}
    stream, state = gc.batches(images.x, batch, seed), {**learner.state, "buffer": buffer}
    return Training(step, stream, state, {"net": best}, sample, *quality, about)


# ---- normalizing flows ----


def normalizing_flow(
    steps, *, data=gc.data.mnist, hidden=48, scales=(6, 4), bins=8, batch=16, lr=5e-3, ema=0.998, seed=0
):
    """A multi-scale flow of images of 256 grey levels, with uniform dequantization.

    Args:
        scales: how many couplings there are at each scale.
        bins: of their splines.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images, test = data("train", device), data("test", device)
    net = gc.nets.Flow(hidden, scales, bins).to(device)
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best = learner.best

    def bits(net, x):
        return gc.likelihoods.bits_per_dim(-net.log_prob(gc.likelihoods.dequantize(x)), 784) + 8

    def step(x):
        loss = bits(net, x).mean()
        learner.learn(loss, clipped_update)
        return {"bits/dim": loss}

    order = torch.randperm(len(test.x), generator=torch.Generator().manual_seed(0)).to(device)

    @torch.no_grad()
    def quality(count=FEW // 2):
        return {"bits/dim": in_parts(partial(bits, best), test.x[order[:count]], size=100).mean().item()}

    @torch.no_grad()
    def sample(count, generator):
        z = random_numbers(torch.randn, generator, count, 784)
        return in_parts(lambda z: 2 * best.inverse(z) - 1, z, size=100)

    about = {"data": images.name, "bits/dim": "an upper bound, by uniform dequantization"}
    stream, state = gc.batches(images.x, batch, seed), learner.state
    return Training(step, stream, state, {"net": best}, sample, quality, partial(quality, MANY), about)


def smooth_flow(
    steps, *, data=gc.data.mnist, noise=0.3, hidden=48, scales=(4, 4), bins=8, classes=0, temperature=1.0, batch=32,
    lr=3e-3, ema=0.998, seed=0,
):  # fmt: skip
    """A flow of images in [-1, 1] with Gaussian noise added; its samples are denoised by its own score.

    Args:
        noise: its standard deviation.
        classes: of the prior, each with a mean of its own; 0 for one Gaussian.
        temperature: of the prior for samples.

    Source: Zhai et al. (2024), https://arxiv.org/abs/2412.06329, with couplings in place of their Transformers.
    """
    device = gc.device()
    gc.seed_everything(seed)
    images = data("train", device)
    net = gc.nets.Flow(hidden, scales, bins, logit=False, classes=classes).to(device)
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best = learner.best

    def step(batch):
        x, y = batch
        nats = -net.log_prob(x + noise * torch.randn_like(x), y if classes else None).mean() / x[0].numel()
        learner.learn(nats, clipped_update)
        return {"nats/dim": nats}

    def clean(z, y):
        with torch.no_grad():
            x = best.inverse(temperature * z, y=y).clamp(-3, 3)
        x.requires_grad_()
        (score,) = torch.autograd.grad(best.log_prob(x, y).sum(), x)
        return (x.detach() + noise**2 * score).clamp(-1, 1)

    def sample(count, generator):
        return in_parts(clean, random_numbers(torch.randn, generator, count, 784), labels(count, classes), size=100)

    quality = fid_quality(sample, data)
    stream, state = gc.batches((images.x, images.y), batch, seed), learner.state
    return Training(step, stream, state, {"net": best}, sample, *quality, {"data": images.name, "noise": noise})


# ---- one pixel, or one character, after another ----


def pixel_by_pixel(steps, make, *, data=gc.data.mnist, dynamic=True, batch=16, lr=1e-2, ema=0.998, cycles=(1,), seed=0):
    """PixelCNNs and PixelRNNs of binarized images.

    Args:
        make: a function that makes the network.
        cycles: relative lengths of the cycles of the rate, each from a rise to 0.
    """
    gc.seed_everything(seed)
    net = make().to(gc.device())

    def nats(net, x, y=None):
        return -gc.likelihoods.bernoulli_log_prob(net(x).float(), x)

    return likelihood_training(steps, net, nats, draw, data, dynamic, batch, lr, 0.0, ema, seed, cycles)


def gpt_on_pixels(steps, *, width=64, heads=4, layers=4, batch=16, lr=4e-3, ema=0.998, seed=0):
    """GPT of binarized digits in raster order; the first token gives the class, or says that it may be any."""
    device = gc.device()
    gc.seed_everything(seed)
    any_class = 12  # 0 and 1 are pixels, 2 to 11 classes
    net = gc.nets.GPT(13, 784, width, heads, layers).to(device)

    def nats(net, x, y=None):
        first = torch.full((len(x),), any_class, device=device)
        if y is not None:  # in training: of every fourth image the class is not told
            first = torch.where(torch.arange(len(y), device=device) % 4 == 0, any_class, y + 2)
        out = net(torch.cat([first[:, None], x.flatten(1)[:, :-1].long()], 1))  # (B, 784, 13)
        return -gc.likelihoods.bernoulli_log_prob((out[..., 1] - out[..., 0]).view_as(x).float(), x)

    pixels = partial(draw, begin=any_class)
    return likelihood_training(steps, net, nats, pixels, gc.data.mnist, True, batch, lr, 0.1, ema, seed)


def likelihood_training(steps, net, nats, pixels, data, dynamic, batch, lr, weight_decay, ema, seed, cycles=(1,)):
    """The training of a network of binary images whose loss is ``nats(net, x, y)``, and that ``pixels`` samples."""
    images = data("train", gc.device())
    stream, to_bits = batches_of_bits(images, batch, dynamic, seed)
    optimizer = AdamW(net.parameters(), lr, betas=(0.9, 0.99), weight_decay=weight_decay, fused=True)
    learner = Learner(net, optimizer, steps, ema, cycles)
    best = learner.best

    def step(batch):
        x, y = batch
        loss = nats(net, to_bits(x), y).mean()
        learner.learn(loss, clipped_update)
        return {"nats": loss}

    def sample(count, generator):
        """Black and white: -1 and 1."""
        return in_parts(lambda u: 2 * pixels(best, u) - 1, random_numbers(torch.rand, generator, count, 28, 28))

    about = {"data": images.name, "nats": "exact, of statically binarized test images"}
    quality = nats_quality(partial(nats, best), data)
    return Training(step, stream, learner.state, {"net": best}, sample, *quality, about)


def gpt_on_text(steps, *, context=128, width=128, heads=4, layers=4, dropout=0.1, batch=32, lr=2e-3, ema=0.998, seed=0):
    """GPT of the characters of Shakespeare's plays.

    Held-out nats are those of windows side by side, each of which starts afresh: a character is seen with 64 before it
    on average. The characters after the last whole window are left out.
    """
    device = gc.device()
    gc.seed_everything(seed)
    plays = gc.data.text("shakespeare", device)
    net = gc.nets.GPT(len(plays.characters), context, width, heads, layers, dropout).to(device)
    optimizer = AdamW(net.parameters(), lr, betas=(0.9, 0.99), weight_decay=0.1, fused=True)
    learner = Learner(net, optimizer, steps, ema)
    best = learner.best

    def nats(net, x):  # (B, context + 1) -> the mean over all characters
        return cross_entropy(net(x[:, :-1]).flatten(0, 1), x[:, 1:].flatten())

    def step(x):
        loss = nats(net, x)
        learner.learn(loss, clipped_update)
        return {"nats per character": loss}

    held_out = plays.test[: (len(plays.test) - 1) // context * context + 1].unfold(0, context + 1, context)

    def quality():
        best.eval()
        losses = [nats(best, part) * len(part) for part in held_out.split(64)]
        return {"nats per character": (sum(losses) / len(held_out)).item()}

    def passages(uniform):
        tokens, cache, new = [], None, plays.encode("\n").expand(len(uniform), 1)
        for u in uniform.unbind(1):
            if cache is not None and cache[0][0].shape[2] == context:  # it is full: go on from the later half
                cache, new = None, torch.stack(tokens[-context // 2 :], 1)
            logits, cache = best.forward_cached(new, cache)
            tokens.append(choose(logits[:, -1].softmax(1), u))
            new = tokens[-1][:, None]
        return torch.stack(tokens, 1)

    def sample(count, generator, length=256):
        """Passages that begin a line, as numbers of characters: (count, length) int64."""
        best.eval()
        return in_parts(passages, random_numbers(torch.rand, generator, count, length))

    about = {"data": plays.name, "samples": "characters by number, of these", "characters": plays.characters}
    stream = gc.batches(plays.train.unfold(0, context + 1, 1), batch, seed)
    return Training(step, stream, learner.state, {"net": best}, sample, quality, quality, about, windows=context)
