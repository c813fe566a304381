"""The convolutional generator and discriminator of DCGAN, in any size that halves cleanly."""

from itertools import pairwise
from math import prod

from torch import nn

from ..errors import require


def smallest_side(image_shape, channels):
    """The side of the smallest feature map: the image's, halved once for each entry of ``channels``."""
    _, height, width = image_shape
    factor = 2 ** len(channels)
    ok = height == width and height % factor == 0
    require(ok, "image_shape", image_shape, f"(C, H, H) with H divisible by {factor}: each layer halves the side once")
    return height // factor


def _init_weights(net):
    """Normal weights of standard deviation 0.02, zero biases, batch norms around 1, as DCGAN has them."""
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        if getattr(layer, "bias", None) is not None:
            nn.init.zeros_(layer.bias)


class DCGANGenerator(nn.Module):
    """z (B, latent_dim) -> image (B, *image_shape) in [-1, 1]: a dense layer, then transposed convolutions.

    Every transposed convolution has kernel 4, stride 2, padding 1: it doubles the side exactly, and its kernel is a
    multiple of its stride, so that each output pixel is written equally often. Batch norm and ReLU between layers,
    tanh at the end.

    Args:
        latent_dim: size of z.
        channels: of the feature maps, from the smallest to the largest one; one per doubling of the side.
        image_shape: (C, H, H) with H divisible by 2 ** len(channels).

    Raises:
        ValueError: if H is not divisible: the images would have another size.

    Source: Radford et al. (2016), https://arxiv.org/abs/1511.06434.

    >>> import torch
    >>> DCGANGenerator()(torch.zeros(2, 64)).shape
    torch.Size([2, 1, 28, 28])
    >>> colour = DCGANGenerator(100, channels=(512, 256, 128, 64), image_shape=(3, 64, 64))
    >>> colour(torch.zeros(2, 100)).shape
    torch.Size([2, 3, 64, 64])
    """

    def __init__(self, latent_dim=64, channels=(64, 32), image_shape=(1, 28, 28)):
        super().__init__()
        side = smallest_side(image_shape, channels)
        self.latent_dim = latent_dim
        smallest = (channels[0], side, side)
        layers = [nn.Linear(latent_dim, prod(smallest), bias=False), nn.Unflatten(1, smallest)]
        for n_in, n_out in pairwise([*channels, image_shape[0]]):
            layers += [nn.BatchNorm2d(n_in), nn.ReLU(), nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1)]
        self.net = nn.Sequential(*layers, nn.Tanh())
        _init_weights(self)

    def forward(self, z):
        return self.net(z)  # (B, C, H, H)


class DCGANDiscriminator(nn.Module):
    """image (B, *image_shape) -> score (B,): strided convolutions, then a dense layer.

    The score is a logit for a GAN and the value of the critic for a WGAN.

    Args:
        channels: of the feature maps, from the largest to the smallest one; one per halving of the side.
        image_shape: (C, H, H) with H divisible by 2 ** len(channels).
        batch_norm: between convolutions, as in DCGAN. A critic with gradient penalty must have none: with it the
            score of one image depends on the other images of the batch.

    Raises:
        ValueError: if H is not divisible.

    Source: Radford et al. (2016), https://arxiv.org/abs/1511.06434.

    >>> import torch
    >>> DCGANDiscriminator()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2])
    """

    def __init__(self, channels=(32, 64), image_shape=(1, 28, 28), batch_norm=True):
        super().__init__()
        side = smallest_side(image_shape, channels)
        layers = []
        for n_in, n_out in pairwise([image_shape[0], *channels]):
            layers.append(nn.Conv2d(n_in, n_out, 4, stride=2, padding=1))
            if batch_norm and len(layers) > 1:  # none on the input layer
                layers.append(nn.BatchNorm2d(n_out))
            layers.append(nn.LeakyReLU(0.2))
        self.net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels[-1] * side**2, 1))
        _init_weights(self)

    def forward(self, x):
        return self.net(x).squeeze(1)  # (B,)
