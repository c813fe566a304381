"""Normalizing flows: invertible layers that say by how much they stretch space, and a multi-scale flow of images.

A layer maps x to (z, log |det dz/dx|), the logarithm per sample, (B,), in nats; ``inverse`` maps z back to x.
"""

import math

import torch
from torch import nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle, softplus

MARGIN = 1e-6  # pixels keep it from 0 and 1; the smaller, the smoother the blackest level is spread by the logit


def affine(x, parameters, inverse=False):
    """x e^s + t, elementwise, with |s| < 3: x (...) and parameters (..., 2) -> the value, and log |dy/dx|, (...)."""
    s, t = parameters.unbind(-1)
    s = 3 * torch.tanh(s / 3)
    return ((x - t) * (-s).exp(), -s) if inverse else (x * s.exp() + t, s)


def spline(x, parameters, inverse=False, edge=4.0):
    """A monotone rational-quadratic spline, elementwise; the identity beyond [-edge, edge], and for parameters 0.

    Args:
        x: (...).
        parameters: (..., 3 K - 1) for K bins: logits of the K widths and K heights, and of the K - 1 inner slopes.
        inverse: whether to return x for y.
        edge: where the outermost knots are.

    Returns:
        The value and the logarithm of its derivative, (...) each.

    Source: Durkan et al. (2019), https://arxiv.org/abs/1906.04032, equations 4 to 8.

    >>> y, log_slope = spline(torch.tensor([-9.0, 0.5]), torch.zeros(2, 11))
    >>> y.round(decimals=4), log_slope.abs().max() < 1e-6
    (tensor([-9.0000,  0.5000]), tensor(True))
    """
    bins = (parameters.shape[-1] + 1) // 3
    widths, heights, slopes = parameters.split([bins, bins, bins - 1], -1)
    first = torch.full_like(x[..., None], -edge)
    x_knots, y_knots = (  # every bin keeps a thousandth of the whole
        torch.cat([first, 2 * edge * (1e-3 + (1 - 1e-3 * bins) * v.softmax(-1)).cumsum(-1) - edge], -1)
        for v in (widths, heights)
    )
    one = torch.ones_like(first)
    delta = torch.cat([one, 1e-3 + softplus(slopes + math.log(math.expm1(1 - 1e-3))), one], -1)
    inside = x.abs() < edge
    knots = y_knots if inverse else x_knots
    k = (knots[..., 1:-1] <= x[..., None]).sum(-1, keepdim=True)
    x_k, y_k, d_k, d_next = (v.gather(-1, i)[..., 0] for v, i in
                             ((x_knots, k), (y_knots, k), (delta, k), (delta, k + 1)))  # fmt: skip
    w, h = x_knots.gather(-1, k + 1)[..., 0] - x_k, y_knots.gather(-1, k + 1)[..., 0] - y_k
    m, bend = h / w, d_k + d_next - 2 * h / w
    if inverse:  # of two roots of a quadratic equation the one in [0, 1]
        up = (x - y_k).clamp(min=0)
        a, b, c = h * (m - d_k) + up * bend, h * d_k - up * bend, -m * up
        xi = (2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())).clamp(0, 1)
    else:
        xi = ((x - x_k) / w).clamp(0, 1)
    both = xi * (1 - xi)
    below = m + bend * both
    log_slope = 2 * m.log() + (d_next * xi.square() + 2 * m * both + d_k * (1 - xi).square()).log() - 2 * below.log()
    value = x_k + w * xi if inverse else y_k + h * (m * xi.square() + d_k * both) / below
    log_slope = -log_slope if inverse else log_slope
    return torch.where(inside, value, x), torch.where(inside, log_slope, 0.0)


class Coupling(nn.Module):
    """Half of the channels is changed, number by number, as a network says that sees the other half; (B, C, ...).

    Args:
        net: maps the seen half (B, C / 2, ...) to its parameters (B, P C / 2, ...).
        flip: whether the first half is changed; else the second.
        change: :func:`affine` (P = 2) or :func:`spline` (P = 3 K - 1).

    Source: Dinh et al. (2017), https://arxiv.org/abs/1605.08803.
    """

    def __init__(self, net, flip=False, change=affine):
        super().__init__()
        self.net, self.flip, self.change = net, flip, change

    def _apply_change(self, x, inverse):
        seen, changed = reversed(x.chunk(2, 1)) if self.flip else x.chunk(2, 1)
        parameters = self.net(seen).unflatten(1, (changed.shape[1], -1)).movedim(2, -1)
        changed, log_slope = self.change(changed, parameters, inverse)
        return torch.cat([changed, seen] if self.flip else [seen, changed], 1), log_slope.flatten(1).sum(1)

    def forward(self, x):
        return self._apply_change(x, inverse=False)

    def inverse(self, z):
        return self._apply_change(z, inverse=True)[0]


class InvertibleConv(nn.Module):
    """A 1 x 1 convolution with bias, W = P L U: (B, C, H, W) -> the same; log |det| = H W sum log |U_cc|.

    Source: Kingma & Dhariwal (2018), https://arxiv.org/abs/1807.03039.
    """

    def __init__(self, channels):
        super().__init__()
        P, L, U = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels)).Q)
        self.register_buffer("P", P)
        self.register_buffer("sign", U.diagonal().sign())
        self.log_diagonal = nn.Parameter(U.diagonal().abs().log())
        self.L, self.U = nn.Parameter(L.tril(-1)), nn.Parameter(U.triu(1))
        self.bias = nn.Parameter(torch.zeros(channels))

    def matrix(self):
        """W, (C, C)."""
        L = self.L.tril(-1) + torch.eye(len(self.L), dtype=self.L.dtype, device=self.L.device)
        return self.P @ L @ (self.U.triu(1) + torch.diag(self.sign * self.log_diagonal.exp()))

    def forward(self, x):
        z = nn.functional.conv2d(x, self.matrix()[:, :, None, None], self.bias)
        return z, (x.shape[2] * x.shape[3] * self.log_diagonal.sum()).expand(len(x))

    def inverse(self, z):
        return torch.einsum("cd,bdhw->bchw", torch.linalg.inv(self.matrix()), z - self.bias[:, None, None])


def _net(seen, hidden, out, blocks):
    """Convolutions with shortcuts; all parameters are 0 at first, and the coupling the identity."""
    last = nn.Conv2d(hidden, out, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    first = nn.Conv2d(seen, hidden, 3, padding=1)
    return nn.Sequential(first, *(_Residual(hidden) for _ in range(blocks)), nn.SiLU(), last)


class _Residual(nn.Module):
    def __init__(self, hidden):
        super().__init__()
        self.body = nn.Sequential(
            nn.SiLU(), nn.Conv2d(hidden, hidden, 1), nn.SiLU(), nn.Conv2d(hidden, hidden, 3, padding=1)
        )

    def forward(self, x):
        return x + self.body(x)


class Flow(nn.Module):
    """A multi-scale flow of grey images: x (B, 1, H, W) in (0, 1) <-> z (B, H W), with a standard Gaussian as prior.

    Pixels become real numbers by a logit, divided by 3; 2 x 2 places become channels, and steps of a 1 x 1 convolution
    and a coupling follow; half of the channels is then finished, and the other half goes on at the next scale. The last
    coupling of a scale changes the half that is finished, given the other.

    Args:
        hidden: channels of the networks of the couplings.
        steps: at each scale; H and W must be divisible by 2 as often as there are scales.
        bins: of the splines; 0 for affine couplings.
        blocks: residual blocks in each network.
        logit: whether images are in (0, 1); else they are real numbers, and go into the first scale as they are.
        classes: 0 for one Gaussian around 0 as prior; else that many, each around a learned mean of its own.
        size: H W, needed for these means.

    Source: after Kingma & Dhariwal (2018), https://arxiv.org/abs/1807.03039, and Durkan et al. (2019).
    """

    def __init__(self, hidden=64, steps=(4, 4), bins=8, blocks=1, logit=True, classes=0, size=784):
        super().__init__()
        change, per = (spline, 3 * bins - 1) if bins else (affine, 2)
        self.logit, self.scales, channels = logit, nn.ModuleList(), 1
        for count in steps:
            channels *= 4
            layers = nn.ModuleList()
            for i in range(count):
                net = _net(channels // 2, hidden, per * channels // 2, blocks)
                flip = (count - i) % 2 == 0  # the last one changes what is then finished, given what goes on
                layers += [InvertibleConv(channels), Coupling(net, flip, change)]
            self.scales.append(layers)
            channels //= 2
        self.means = nn.Parameter(torch.zeros(classes, size)) if classes else None
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        log_det, done = x.new_zeros(len(x)), []
        if self.logit:
            y = MARGIN + (1 - 2 * MARGIN) * x
            log_det = (math.log((1 - 2 * MARGIN) / 3) - y.log() - (1 - y).log()).flatten(1).sum(1)
            x = y.logit() / 3
        for layers in self.scales:
            x = pixel_unshuffle(x, 2)
            for layer in layers:
                x, more = layer(x)
                log_det = log_det + more
            x, finished = x.chunk(2, 1)
            done.append(finished.flatten(1))
        return torch.cat([*done, x.flatten(1)], 1), log_det

    def inverse(self, z, shape=(28, 28), y=None):
        """z (B, H W), drawn around 0, and classes y (B,), if there are any -> images (B, 1, H, W)."""
        z = z if y is None else z + self.means[y]
        sides = [(shape[0] >> i, shape[1] >> i) for i in range(1, len(self.scales) + 1)]
        sizes = [h * w * 2 ** (i + 1) for i, (h, w) in enumerate(sides)]
        *done, x = z.split([*sizes, z.shape[1] - sum(sizes)], 1)
        x = x.view(len(z), -1, *sides[-1])
        for layers, finished, side in zip(reversed(self.scales), reversed(done), reversed(sides)):
            x = torch.cat([x, finished.view(len(z), -1, *side)], 1)
            for layer in reversed(layers):
                x = layer.inverse(x)
            x = pixel_shuffle(x, 2)
        return (((3 * x).sigmoid() - MARGIN) / (1 - 2 * MARGIN)).clamp(0, 1) if self.logit else x

    def log_prob(self, x, y=None):
        """The log-density of images, given their classes y (B,) if there are any, in nats, (B,)."""
        z, log_det = self(x)
        z = z if y is None else z - self.means[y]
        return log_det - 0.5 * (z.square() + math.log(2 * math.pi)).sum(1)
