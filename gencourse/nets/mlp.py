"""Fully connected networks: the simplest generator and discriminator."""

from itertools import pairwise
from math import prod

import torch
from torch import nn

from ..errors import is_real, is_whole, require


def _require_sizes(name, value, least=1):
    ok = isinstance(value, list | tuple) and len(value) >= least and all(is_whole(n) and n > 0 for n in value)
    require(ok, name, value, f"a list of at least {least} positive integers")


def _require_widths(**named):
    for name, value in named.items():
        require(is_whole(value) and value > 0, name, value, "a positive integer")


def _require_batch(name, value, shape):
    ok = isinstance(value, torch.Tensor) and tuple(value.shape[1:]) == shape and value.ndim == len(shape) + 1
    found = tuple(value.shape) if isinstance(value, torch.Tensor) else type(value).__name__
    require(ok, f"{name}.shape", found, f"(B, {', '.join(map(str, shape))})")


def mlp(sizes, activation=None) -> nn.Sequential:
    """Linear layers with an activation between them (none after the last).

    Args:
        sizes: widths from input to output, e.g. [2, 64, 64, 1]; at least two positive integers.
        activation: a module used between layers; default LeakyReLU(0.2).

    Returns:
        A module that maps (B, sizes[0]) to (B, sizes[-1]).

    >>> import torch
    >>> mlp([2, 64, 1])(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """
    _require_sizes("sizes", sizes, least=2)
    require(activation is None or isinstance(activation, nn.Module), "activation", activation, "a module, or None")
    layers = []
    for i, (n_in, n_out) in enumerate(pairwise(sizes)):
        layers += ([activation or nn.LeakyReLU(0.2)] if i else []) + [nn.Linear(n_in, n_out)]
    return nn.Sequential(*layers)


class MLPGenerator(nn.Module):
    """z (B, latent_dim) -> image (B, *image_shape) in [-1, 1]: three hidden layers of growing width, then tanh.

    After Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661, whose MNIST networks were fully connected too;
    batch normalization between the layers came later and lets it learn in minutes.

    >>> import torch
    >>> MLPGenerator(latent_dim=64)(torch.zeros(3, 64)).shape
    torch.Size([3, 1, 28, 28])
    """

    def __init__(self, latent_dim=64, hidden=128, image_shape=(1, 28, 28)):
        super().__init__()
        require(is_whole(latent_dim) and latent_dim > 0, "latent_dim", latent_dim, "a positive integer")
        require(is_whole(hidden) and hidden > 0, "hidden", hidden, "a positive integer")
        _require_sizes("image_shape", image_shape)
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        layers, sizes = [], [latent_dim, hidden, 2 * hidden, 4 * hidden]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], prod(image_shape)))

    def forward(self, z):
        _require_batch("z", z, (self.latent_dim,))
        return self.net(z).tanh().view(-1, *self.image_shape)  # (B, C, H, W)


class MLPDiscriminator(nn.Module):
    """image (B, *image_shape) -> logit (B,): positive for "data", negative for "generated".

    Dropout keeps it from memorizing which images are data.

    >>> import torch
    >>> MLPDiscriminator()(torch.zeros(3, 1, 28, 28)).shape
    torch.Size([3])
    """

    def __init__(self, hidden=128, image_shape=(1, 28, 28), dropout=0.3):
        super().__init__()
        require(is_whole(hidden) and hidden > 0, "hidden", hidden, "a positive integer")
        require(is_real(dropout) and 0 <= dropout < 1, "dropout", dropout, "in [0, 1)")
        _require_sizes("image_shape", image_shape)
        self.image_shape = tuple(image_shape)
        sizes = [prod(image_shape), 4 * hidden, 2 * hidden, hidden]
        layers = [nn.Flatten()]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x):
        _require_batch("x", x, self.image_shape)
        return self.net(x).squeeze(1)  # (B,)
