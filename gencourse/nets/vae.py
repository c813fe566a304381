"""Variational autoencoders: encoder and decoder in any size that halves cleanly, VQ-VAE, latents with a place.

No batch norm: the likelihood of an image must not depend on the other images of its batch.
"""

from itertools import pairwise
from math import prod

import torch
from torch import nn

from .dcgan import smallest_side


class ConvEncoder(nn.Module):
    """image (B, *image_shape) -> mu, logvar, each (B, latent_dim): q(z|x) = N(z; mu, diag exp logvar).

    Strided convolutions (kernel 4, stride 2, padding 1: each halves the side), one hidden dense layer, ReLU after
    each, then a dense layer whose output is cut in two.

    Args:
        latent_dim: size of z.
        channels: of the feature maps, from the largest to the smallest one; one per halving of the side.
        hidden: width of the dense layer.
        image_shape: (C, H, H) with H divisible by 2 ** len(channels). Pixels may be any real numbers.

    Raises:
        ValueError: if H is not divisible.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, with convolutions in place of one dense layer.

    >>> import torch
    >>> mu, logvar = ConvEncoder()(torch.zeros(2, 1, 28, 28))
    >>> mu.shape, logvar.shape
    (torch.Size([2, 32]), torch.Size([2, 32]))
    """

    def __init__(self, latent_dim=32, channels=(16, 32), hidden=128, image_shape=(1, 28, 28)):
        super().__init__()
        side = smallest_side(image_shape, channels)
        layers = []
        for n_in, n_out in pairwise([image_shape[0], *channels]):
            layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * side**2, hidden), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 2 * latent_dim))

    def forward(self, x):
        mu, logvar = self.net(x).chunk(2, dim=1)
        return mu, logvar  # each (B, latent_dim)


class ConvDecoder(nn.Module):
    """z (B, latent_dim) -> logits (B, *image_shape), any real numbers: no sigmoid and no tanh at the end.

    Two dense layers, then transposed convolutions (kernel 4, stride 2, padding 1: each doubles the side), with ReLU
    between layers.

    Args:
        latent_dim: size of z.
        channels: of the feature maps, from the smallest to the largest one; one per doubling of the side.
        hidden: width of the first dense layer.
        image_shape: (C, H, H) with H divisible by 2 ** len(channels).

    Raises:
        ValueError: if H is not divisible: the images would have another size.

    Source: as for :class:`ConvEncoder`.

    >>> import torch
    >>> ConvDecoder()(torch.zeros(2, 32)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, latent_dim=32, channels=(32, 16), hidden=128, image_shape=(1, 28, 28)):
        super().__init__()
        side = smallest_side(image_shape, channels)
        self.latent_dim = latent_dim
        smallest = (channels[0], side, side)
        layers = [nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, prod(smallest)), nn.ReLU()]
        layers.append(nn.Unflatten(1, smallest))
        for n_in, n_out in pairwise([*channels, image_shape[0]]):
            layers += [nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1), nn.ReLU()]
        self.net = nn.Sequential(*layers[:-1])

    def forward(self, z):
        return self.net(z)  # (B, C, H, H)


class Residual(nn.Module):
    """(B, channels, H, W) -> the same shape: two convolutions beside a shortcut, the last one zero at the start."""

    def __init__(self, channels):
        super().__init__()
        layers = []
        for _ in range(2):
            layers += [nn.GroupNorm(8, channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.net = nn.Sequential(*layers)
        nn.init.zeros_(layers[-1].weight)

    def forward(self, h):
        return h + self.net(h)


class Autoencoder(nn.Module):
    """images (B, C, H, W) -> latents (B, channels, H / patch, W / patch), and back, for diffusion in the latents.

    Each square of ``patch`` x ``patch`` pixels becomes one position; convolutions and residual blocks do the rest.
    ``encoder`` returns twice as many channels: mean and log-variance of the latents, to be cut with ``chunk(2, 1)``.
    ``decoder`` returns images, any real numbers.

    Args:
        image_shape: (C, H, W) with H and W divisible by ``patch``.
        channels: of the latents.
        patch: side of a square of pixels.
        width: of the feature maps, a multiple of 8.
        blocks: residual blocks each of encoder and decoder.

    Source: Rombach et al. (2022), https://arxiv.org/abs/2112.10752, much smaller.

    >>> net = Autoencoder((3, 32, 32))
    >>> mu, logvar = net.encoder(torch.zeros(2, 3, 32, 32)).chunk(2, 1)
    >>> mu.shape, net.decoder(mu).shape
    (torch.Size([2, 4, 8, 8]), torch.Size([2, 3, 32, 32]))
    """

    def __init__(self, image_shape=(1, 28, 28), channels=4, patch=4, width=64, blocks=2):
        super().__init__()
        pixels = image_shape[0] * patch**2
        inner = lambda: [*(Residual(width) for _ in range(blocks)), nn.GroupNorm(8, width), nn.SiLU()]
        first, last = nn.Conv2d(pixels, width, 3, padding=1), nn.Conv2d(width, pixels, 3, padding=1)
        self.encoder = nn.Sequential(nn.PixelUnshuffle(patch), first, *inner(), nn.Conv2d(width, 2 * channels, 1))
        self.decoder = nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), *inner(), last, nn.PixelShuffle(patch))


class VQVAE(nn.Module):
    """A VQ-VAE for images (B, 1, 28, 28): the code of an image is a grid of 7 x 7 codewords from one codebook.

    The encoder and the decoder are convolutional. Quantization replaces every vector of z_e = encoder(x) by the nearest
    codeword, e_k with k = argmin_k |z_e - e_k|. It has no gradient: in training the decoder's is copied to the encoder,
    z_e + (e - z_e).detach(). The decoder returns logits.

    Args:
        codewords: how many vectors the codebook holds.
        size: dimension of each.

    Source: van den Oord et al. (2017), https://arxiv.org/abs/1711.00937.

    >>> net = VQVAE(codewords=64, size=16)
    >>> z_e = net.encoder(torch.zeros(2, 1, 28, 28))
    >>> e, numbers = net.quantize(z_e)
    >>> z_e.shape, numbers.shape, net.decoder(e).shape
    (torch.Size([2, 16, 7, 7]), torch.Size([2, 7, 7]), torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, codewords=64, size=16):
        super().__init__()
        # kernel 4, stride 2, padding 1: each layer halves or doubles the side
        self.encoder = nn.Sequential(nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, size, 4, 2, 1))
        up = nn.ConvTranspose2d
        self.decoder = nn.Sequential(up(size, 32, 4, 2, 1), nn.ReLU(), up(32, 1, 4, 2, 1))
        self.codebook = nn.Parameter((2 * torch.rand(codewords, size) - 1) / codewords)  # small, as the first z_e are

    def quantize(self, z_e):
        """z_e (B, size, H, W) -> the nearest codewords, same shape, and their numbers (B, H, W), int64."""
        vectors = z_e.permute(0, 2, 3, 1)  # (B, H, W, size)
        distances = torch.cdist(vectors.flatten(0, 2), self.codebook)  # (B H W, codewords)
        numbers = distances.argmin(1).view(vectors.shape[:3])
        return self.lookup(numbers), numbers

    def lookup(self, numbers):
        """The numbers of codewords, (B, H, W) int64 -> the codewords, (B, size, H, W)."""
        return self.codebook[numbers].permute(0, 3, 1, 2)
