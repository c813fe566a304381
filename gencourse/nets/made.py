"""MADE: a fully connected network whose masks make each output depend on earlier inputs only."""

from itertools import pairwise
from math import prod

import torch
from torch import nn
from torch.nn.functional import linear


class MaskedLinear(nn.Linear):
    """A linear layer some of whose weights are switched off: (B, n_in) -> (B, n_out).

    Args:
        mask: (n_out, n_in) of zeros and ones, float or bool.

    >>> MaskedLinear(torch.zeros(3, 2))(torch.ones(5, 2)).shape
    torch.Size([5, 3])
    """

    def __init__(self, mask):
        n_out, n_in = mask.shape
        super().__init__(n_in, n_out)
        self.register_buffer("mask", mask.float())

    def forward(self, x):
        return linear(x, self.weight * self.mask, self.bias)


class MADE(nn.Module):
    """x (B, *image_shape) -> logits of the same shape, each depending only on the inputs before it in raster order.

    Every unit has a degree, the number of inputs that it may see: a connection from degree m to m' needs m <= m', and
    one to output i, which may see i - 1 inputs, needs m < i. Hidden degrees are spread evenly over 1..n - 1.

    Args:
        hidden: widths of the hidden layers.
        image_shape: of x; more than one pixel.

    Source: Germain et al. (2015), https://arxiv.org/abs/1502.03509.

    >>> MADE([64], (1, 4, 4))(torch.zeros(2, 1, 4, 4)).shape
    torch.Size([2, 1, 4, 4])
    """

    def __init__(self, hidden=(500, 500), image_shape=(1, 28, 28)):
        super().__init__()
        n = prod(image_shape)
        degrees = [torch.arange(1, n + 1), *(torch.linspace(1, n - 1, width).round() for width in hidden)]
        layers = []
        for before, after in pairwise(degrees):
            layers += [MaskedLinear(after[:, None] >= before), nn.ReLU()]
        self.net = nn.Sequential(*layers, MaskedLinear(degrees[0][:, None] > degrees[-1]))

    def forward(self, x):
        return self.net(x.flatten(1)).view_as(x)
