"""The entrants: for each training its networks, one step, and how it draws and judges digits of black and white.

A recipe is what a notebook of the course does, shortened, on the statically binarized MNIST of 05 and 08. ``bits``
are (N, 1, 28, 28) of zeros and ones; ``x = 2 bits - 1`` is what models of images see.
"""

import torch

from .. import likelihoods, losses, nets
from ..runtime import budget
from .denoisers import ddpm, flow
from .drawing import BEGIN, draw
from .recipe import Recipe, hard, parts, update

LATENT = 64


def gaussian(train, device):
    """The Gaussian of 00: mean and covariance of the images; no steps."""
    x = (2 * train - 1).flatten(1).cpu().double()  # not every accelerator has float64
    spread, axes = torch.linalg.eigh(x.T.cov())
    root = axes * spread.clamp(min=0).sqrt()
    mean = x.mean(0)

    def sample(count):
        return hard(mean + torch.randn(count, len(mean)).double() @ root.T).view(-1, 1, 28, 28).to(device)

    box = torch.nn.Module()
    box.register_buffer("mean", mean.float())
    box.register_buffer("root", root.float())
    why = "none: an integral over all points that are cut to the image, which nobody can compute"
    return Recipe({"moments": box}, None, 0, {"Gaussian": sample}, (box,), protocol=why)


def _adversarial(name, G, D, optimizers, step, batch):
    def sample(count):
        G.eval()  # batch norm with what it has gathered
        x = hard(torch.cat([G(torch.randn(n, LATENT, device=_device(G))) for n in parts(count)]))
        G.train()
        return x

    why = "none: an integral over all z that are cut to the image, which nobody can compute"
    kept = {"G": G, "D": D} | {f"optimizer {i}": o for i, o in enumerate(optimizers)}
    latent = f"{LATENT} numbers, no encoder"
    return Recipe(kept, step, batch, {name: sample}, (G,), protocol=why, latent=latent)


def _device(net):
    return next(net.parameters()).device


def _noise(x):
    return torch.randn(len(x), LATENT, device=x.device)


def gan(name, device):
    """GAN of 02, with fully connected networks, and DCGAN of 03."""
    convolutional = name == "DCGAN"
    G = (nets.DCGANGenerator(LATENT, (32, 16)) if convolutional else nets.MLPGenerator(LATENT)).to(device)
    D = (nets.DCGANDiscriminator((16, 32)) if convolutional else nets.MLPDiscriminator()).to(device)
    rates = (1e-3, 5e-4) if convolutional else (4e-4, 4e-4)
    of_G, of_D = (
        torch.optim.Adam(n.parameters(), r, betas=(0.5, 0.999), fused=True) for n, r in zip((G, D), rates, strict=True)
    )

    def step(bits):
        x = 2 * bits - 1
        fake = G(_noise(x))
        loss_D = losses.discriminator_loss(D(x), D(fake.detach())).mean()
        update(of_D, loss_D)
        loss_G = losses.generator_loss(D(fake)).mean()
        update(of_G, loss_G)
        return {"loss_D": loss_D, "loss_G": loss_G}

    return _adversarial(name, G, D, (of_G, of_D), step, 32 if convolutional else 64)


def wgan(name, device):
    """WGAN with clipped weights, and WGAN-GP, as in 04."""
    penalized = name == "WGAN-GP"
    G = nets.DCGANGenerator(LATENT, (32, 16)).to(device)
    f = nets.DCGANDiscriminator((16, 32), batch_norm=not penalized).to(device)
    if penalized:
        of_G, of_f = (torch.optim.Adam(n.parameters(), 3e-3, betas=(0.0, 0.9), fused=True) for n in (G, f))
    else:
        of_G, of_f = (torch.optim.RMSprop(n.parameters(), 1e-3) for n in (G, f))

    def step(bits):
        x = 2 * bits - 1
        fake = G(_noise(x)).detach()
        gap = losses.critic_loss(f(x), f(fake)).mean()
        update(of_f, gap + 10 * losses.gradient_penalty(f, x, fake).mean() if penalized else gap)
        for w in () if penalized else f.parameters():
            w.data.clamp_(-0.03, 0.03)
        loss_G = losses.critic_generator_loss(f(G(_noise(x)))).mean()
        update(of_G, loss_G)
        return {"gap": -gap, "loss_G": loss_G}

    return _adversarial(name, G, f, (of_G, of_f), step, 32)


def vae(name, device, beta=1.0):
    """VAE of 05; with beta above 1 the beta-VAE."""
    size = 32
    encoder, decoder = nets.ConvEncoder(size).to(device), nets.ConvDecoder(size).to(device)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 2e-3, fused=True)
    many = budget(smoke=4, laptop=200, gpu=5000)

    def step(bits):
        mu, logvar = encoder(bits)
        z = mu + (logvar / 2).exp() * torch.randn_like(mu)
        kl = likelihoods.gaussian_kl(mu, logvar).mean()
        reconstruction = likelihoods.bernoulli_log_prob(decoder(z), bits).mean()
        update(optimizer, beta * kl - reconstruction)
        return {"-ELBO": kl - reconstruction}

    def sample(count):
        return torch.cat([decoder(torch.randn(n, size, device=device)).sigmoid().bernoulli() for n in parts(count)])

    def nats(bits):
        mu, logvar = encoder(bits)
        weights = []
        for n in parts(many, 50):
            eps = torch.randn(n, *mu.shape, device=device)
            z = mu + (logvar / 2).exp() * eps
            copies = bits.expand(n, *bits.shape).flatten(0, 1)
            log_p = likelihoods.bernoulli_log_prob(decoder(z.flatten(0, 1)), copies).view(n, -1)
            weights.append(log_p + 0.5 * (eps.square() + logvar - z.square()).sum(-1))
        return -likelihoods.importance_bound(torch.cat(weights))

    return Recipe(
        {"encoder": encoder, "decoder": decoder, "optimizer": optimizer}, step, 64, {name: sample}, (encoder, decoder),
        nats, f"at most: importance-weighted bound, {many} samples", {optimizer: 2e-3}, f"{size} numbers, with encoder",
    )  # fmt: skip


def autoregressive(name, device):
    """PixelCNN, gated PixelCNN and PixelRNN (row LSTM) of 08, and the pixel Transformer of 09."""
    small, large = budget(smoke=8, laptop=32, gpu=64), budget(smoke=8, laptop=24, gpu=64)
    make, most, batch = {
        "PixelCNN": (lambda: nets.PixelCNN(small), 1e-2, 16),
        "gated PixelCNN": (lambda: nets.GatedPixelCNN(large, 4, 5), 1e-2, 16),
        "PixelRNN": (lambda: nets.PixelRNN("row", small), 1e-2, 16),
        "Transformer": (lambda: nets.GPT(3, 784, *budget(smoke=(16, 2, 1), laptop=(32, 4, 2), gpu=(256, 8, 8))),
                        budget(smoke=8e-3, laptop=8e-3, gpu=1e-3), budget(smoke=4, laptop=4, gpu=64)),
    }[name]  # fmt: skip
    net = make().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), most, betas=(0.9, 0.99), weight_decay=0.0, fused=True)

    def nats(bits):
        if name != "Transformer":
            return -likelihoods.bernoulli_log_prob(net(bits), bits)
        tokens = bits.flatten(1).long()
        out = net(torch.cat([torch.full_like(tokens[:, :1], BEGIN), tokens[:, :-1]], 1))
        return -likelihoods.bernoulli_log_prob(out[..., 1] - out[..., 0], bits.flatten(1))

    def step(bits):
        loss = nats(bits).mean()
        update(optimizer, loss, net)
        return {"nats": loss}

    def sample(count):
        return torch.cat([draw(net, torch.rand(n, 28, 28, device=device)) for n in parts(count)])

    return Recipe({"net": net, "optimizer": optimizer}, step, batch, {name: sample}, (net,), nats, "exact",
                  {optimizer: most})  # fmt: skip


RECIPES = {
    "Gaussian": gaussian, "GAN": gan, "DCGAN": gan, "WGAN": wgan, "WGAN-GP": wgan, "VAE": vae, "beta-VAE": vae,
    "DDPM": ddpm, "flow matching": flow, "PixelCNN": autoregressive, "gated PixelCNN": autoregressive,
    "PixelRNN": autoregressive, "Transformer": autoregressive,
}  # fmt: skip


def make(name, train, device):
    """The recipe with this name, freshly made; ``train`` are the bits, which only the Gaussian needs at once."""
    if name == "Gaussian":
        return gaussian(train, device)
    return vae(name, device, beta=4.0) if name == "beta-VAE" else RECIPES[name](name, device)
