"""The convolutional encoder and decoder of a variational autoencoder, in any size that halves cleanly.

No batch norm: the likelihood of an image must not depend on the other images of its batch.
"""

from itertools import pairwise
from math import prod

from torch import nn

from .dcgan import _smallest_side
from .mlp import _require_batch, _require_widths


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
        ArgumentError: for sizes that do not fit, and for images of another shape.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, with convolutions in place of one dense layer.

    >>> import torch
    >>> mu, logvar = ConvEncoder()(torch.zeros(2, 1, 28, 28))
    >>> mu.shape, logvar.shape
    (torch.Size([2, 32]), torch.Size([2, 32]))
    """

    def __init__(self, latent_dim=32, channels=(16, 32), hidden=128, image_shape=(1, 28, 28)):
        super().__init__()
        _require_widths(latent_dim=latent_dim, hidden=hidden)
        side = _smallest_side(image_shape, channels)
        self.image_shape = tuple(image_shape)
        layers = []
        for n_in, n_out in pairwise([image_shape[0], *channels]):
            layers += [nn.Conv2d(n_in, n_out, 4, stride=2, padding=1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(channels[-1] * side**2, hidden), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 2 * latent_dim))

    def forward(self, x):
        _require_batch("x", x, self.image_shape)
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
        ArgumentError: for sizes that do not fit, and for a z of another shape.

    Source: as for :class:`ConvEncoder`.

    >>> import torch
    >>> ConvDecoder()(torch.zeros(2, 32)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, latent_dim=32, channels=(32, 16), hidden=128, image_shape=(1, 28, 28)):
        super().__init__()
        _require_widths(latent_dim=latent_dim, hidden=hidden)
        side = _smallest_side(image_shape, channels)
        self.latent_dim = latent_dim
        smallest = (channels[0], side, side)
        layers = [nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, prod(smallest)), nn.ReLU()]
        layers.append(nn.Unflatten(1, smallest))
        for i, (n_in, n_out) in enumerate(pairwise([*channels, image_shape[0]])):
            layers += [nn.ReLU()] if i else []
            layers.append(nn.ConvTranspose2d(n_in, n_out, 4, stride=2, padding=1))
        self.net = nn.Sequential(*layers)

    def forward(self, z):
        _require_batch("z", z, (self.latent_dim,))
        return self.net(z)  # (B, C, H, H)
