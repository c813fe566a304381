"""Fully connected networks: the simplest generator and discriminator."""

from itertools import pairwise
from math import prod

from torch import nn


def mlp(sizes, activation=None) -> nn.Sequential:
    """Linear layers with an activation between them (none after the last).

    Args:
        sizes: widths from input to output, e.g. [2, 64, 64, 1].
        activation: a module used between layers; default LeakyReLU(0.2).

    Returns:
        A module that maps (B, sizes[0]) to (B, sizes[-1]).

    >>> import torch
    >>> mlp([2, 64, 1])(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """
    layers = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation or nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers[:-1])


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
        self.latent_dim, self.image_shape = latent_dim, tuple(image_shape)
        layers, sizes = [], [latent_dim, hidden, 2 * hidden, 4 * hidden]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.BatchNorm1d(n_out), nn.LeakyReLU(0.2)]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], prod(image_shape)))

    def forward(self, z):
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
        sizes = [prod(image_shape), 4 * hidden, 2 * hidden, hidden]
        layers = [nn.Flatten()]
        for n_in, n_out in pairwise(sizes):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2), nn.Dropout(dropout)]
        self.net = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x):
        return self.net(x).squeeze(1)  # (B,)
