"""Pictures from captions: an autoencoder, and flow matching by a diffusion Transformer in its latents or in pixels."""

from functools import partial

import torch
from torch.optim import Adam

import gencourse as gc

from .captions import FIRST, KINDS, LENGTH, SIDE, VOCABULARY, captioned, held_out, read
from .models import FEW, MOST, Learner, Training, clipped_update, heun, in_parts, random_numbers

SHAPE = (3, SIDE, SIDE)


def asked(count):
    """The captions that finished models draw, (count, 4): all combinations may occur. The same for any count."""
    columns = torch.randint(0, 50, (max(count, MOST), LENGTH), generator=torch.Generator().manual_seed(7))
    sizes, first = torch.tensor([len(kind) for kind in KINDS]), torch.tensor(FIRST)
    return (columns % sizes + first)[:count].to(gc.device())


def first_pictures(count):
    """Captioned pictures of the training set, as many as training can see."""
    digits = gc.data.mnist("train", gc.device())
    return captioned(digits._replace(x=digits.x[:count], y=digits.y[:count]))


def autoencoder(steps, *, channels=4, width=64, kl=1e-4, batch=64, lr=3e-3, ema=0.998, seed=0):
    """An autoencoder of pictures with captions: squared error, and a little of a VAE's KL divergence.

    Args:
        kl: its weight, both taken as means, over pixels and over latents.
    """
    device = gc.device()
    gc.seed_everything(seed)
    pictures, _ = first_pictures(steps * batch)
    test = captioned(gc.data.mnist("test", device), 1, unseen=True)
    classifier = gc.metrics.digit_classifier()
    net = gc.nets.Autoencoder(SHAPE, channels, width=width).to(device, memory_format=torch.channels_last)
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best = learner.best

    def step(x):
        mu, logvar = net.encoder(x).chunk(2, 1)
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        error = (net.decoder(z) - x).square().mean()
        divergence = gc.likelihoods.gaussian_kl(mu.flatten(1), logvar.flatten(1)).mean() / mu[0].numel()
        learner.learn(error + kl * divergence)
        return {"squared error": error, "KL": divergence}

    @torch.no_grad()
    def rebuild(x):
        return best.decoder(best.encoder(x).chunk(2, 1)[0]).clamp(-1, 1)

    def sample(count, generator):
        """Reconstructions of pictures of the test set."""
        return in_parts(rebuild, test.x[:count])

    def quality(count=FEW):
        rebuilt = sample(count, None).to(device)
        right = read(rebuilt, classifier) == test.words[:count]
        error = (rebuilt - test.x[:count]).square().mean()
        return {"squared error": error.item(), "digits read": right[:, 0].float().mean().item()}

    about = {"data": "MNIST", "samples": "reconstructions of test pictures"}
    stream = gc.batches(pictures, batch, seed)
    return Training(step, stream, learner.state, {"net": best}, sample, quality, partial(quality, 10_000), about)


def words_to_pictures(
    steps, space="latents", *, width=128, layers=4, without=0.1, guidance=1.0, batch=64, lr=2e-3, ema=0.998, seed=0
):
    """Flow matching by a DiT that reads captions.

    Args:
        space: "latents" of the finished autoencoder, or "pixels".
        without: the share of pictures whose caption is not told.
        guidance: its scale, 0 for none.
    """
    device = gc.device()
    gc.seed_everything(seed)
    pictures, words = first_pictures(steps * batch)
    classifier = gc.metrics.digit_classifier()
    about = {"data": "MNIST", "samples": f"Heun's method, 49 evaluations, guidance {guidance}"}
    if space == "latents":
        coder = gc.nets.Autoencoder(SHAPE).to(device)
        about["seconds of the autoencoder"] = gc.load_weights("finished/caption-autoencoder", net=coder)["seconds"]
        coder.eval().requires_grad_(False)
        examples = torch.cat([coder.encoder(x).chunk(2, 1)[0] for x in pictures.split(500)])
        scale = examples.std()
        examples, decode = examples / scale, lambda z: coder.decoder(scale * z)
        net = gc.nets.DiT(tuple(examples.shape[1:]), 2, width, 4, layers, VOCABULARY, LENGTH).to(device)
    else:
        examples, decode = pictures, lambda x: x
        net = gc.nets.DiT(SHAPE, 8, width, 4, layers, VOCABULARY, LENGTH).to(device)  # as many tokens
    learner = Learner(net, Adam(net.parameters(), lr, betas=(0.9, 0.99), fused=True), steps, ema)
    best = learner.best

    def step(batch):
        x, told = batch
        told = torch.where(torch.rand(len(x), 1, device=device) < without, VOCABULARY, told)
        t = torch.randn(len(x), device=device).sigmoid()
        x_t, velocity = gc.diffusion.flow_path(torch.randn_like(x), x, t)
        loss = (net(x_t, 1000 * t, told) - velocity).square().mean()
        learner.learn(loss, clipped_update)
        return {"loss": loss}

    predict = gc.samplers.guided(best, guidance)

    @torch.no_grad()
    def draw(x, told, steps):
        return decode(heun(lambda x, t: predict(x, 1000 * t, told), x, steps)).clamp(-1, 1)

    def sample(count, generator, steps=25):
        """Pictures for the captions of :func:`asked`."""
        noise = random_numbers(torch.randn, generator, count, *examples.shape[1:])
        return in_parts(partial(draw, steps=steps), noise, asked(count))

    def quality(count=FEW // 2, steps=10):
        told = asked(count)
        shown = sample(count, torch.Generator().manual_seed(1), steps).to(device)
        right, unseen = (read(shown, classifier) == told).all(1).float(), held_out(told)
        return {"captions obeyed": right[~unseen].mean().item(), "unseen combinations": right[unseen].mean().item()}

    stream = gc.batches((examples, words), batch, seed)
    finer = partial(quality, FEW, 25)
    return Training(step, stream, learner.state, {"net": best}, sample, quality, finer, about)
