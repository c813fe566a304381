"""The U-Net of the diffusion notebooks: small enough for a laptop, with every part that larger ones have."""

import math
from itertools import pairwise

import torch
from torch import nn

from ..errors import is_whole, require, shown
from .mlp import _require_batch, _require_sizes


def time_embedding(t, dim=64, longest=10_000.0) -> torch.Tensor:
    """Numbers as vectors of sines and cosines: (cos(w_1 t), ..., sin(w_1 t), ...), w from 1 down to 1 / longest.

    Nearby times get similar vectors, and far ones different ones, whatever the scale on which they differ.

    Args:
        t: times, (B,), whole or not; the scale is meant for 0 to about 1,000.
        dim: length of the vectors, even.
        longest: 2 pi times this is the longest period.

    Returns:
        (B, dim) float32.

    Raises:
        ArgumentError: for other shapes or an odd dim.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, section 3.5.

    >>> time_embedding(torch.tensor([0, 500]), dim=4)[0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    ok = isinstance(t, torch.Tensor) and t.ndim == 1
    require(ok, "t", shown(t), "a tensor of shape (B,)")
    require(is_whole(dim) and dim > 0 and dim % 2 == 0, "dim", dim, "a positive even integer")
    frequencies = torch.exp(-math.log(longest) * torch.linspace(0, 1, dim // 2, device=t.device))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class ResBlock(nn.Module):
    """(B, n_in, H, W) and an embedding (B, emb) -> (B, n_out, H, W): two convolutions, steered, beside a shortcut.

    The embedding scales and shifts the second normalization. The last convolution starts at zero, so that the block
    starts as its shortcut.
    """

    def __init__(self, n_in, n_out, emb):
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(8, n_in), nn.SiLU(), nn.Conv2d(n_in, n_out, 3, padding=1))
        self.steer = nn.Linear(emb, 2 * n_out)
        self.norm = nn.GroupNorm(8, n_out, affine=False)
        self.last = nn.Sequential(nn.SiLU(), nn.Conv2d(n_out, n_out, 3, padding=1))
        self.shortcut = nn.Conv2d(n_in, n_out, 1) if n_in != n_out else nn.Identity()
        nn.init.zeros_(self.last[1].weight)
        nn.init.zeros_(self.last[1].bias)

    def forward(self, h, emb):
        scale, shift = self.steer(emb)[:, :, None, None].chunk(2, 1)
        out = self.norm(self.first(h)) * (1 + scale) + shift
        return self.shortcut(h) + self.last(out)


class Attention(nn.Module):
    """(B, C, H, W) -> the same: every place looks at every other, with 4 heads, beside a shortcut."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.attend = nn.MultiheadAttention(channels, 4, batch_first=True)
        nn.init.zeros_(self.attend.out_proj.weight)

    def forward(self, h):
        places = self.norm(h).flatten(2).mT  # (B, H W, C)
        return h + self.attend(places, places, places, need_weights=False)[0].mT.reshape(h.shape)


class UNet(nn.Module):
    """(x_t, t, y) -> a prediction of the shape of x_t: down, across, up, with shortcuts from each level to its mirror.

    The image enters in patches: each square of ``patch`` x ``patch`` pixels becomes one place with as many channels,
    which makes a step four times as cheap at patch 2. At the lowest level every place attends to every other.

    Args:
        channels: of the levels, from the largest to the smallest maps, each a multiple of 8; the side halves between.
        image_shape: (C, H, H) with H divisible by patch * 2 ** (len(channels) - 1).
        patch: side of a patch, 1 for none.
        blocks: residual blocks for each level, on the way down and on the way up.
        classes: number of classes for y; 0 for a model without labels. y may then be None, or contain ``classes``
            itself, for "no label".
        timed: False leaves out the time, to see what is lost.

    Raises:
        ArgumentError: for sizes that do not fit, and for inputs of other shapes.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, after Ronneberger et al. (2015),
    https://arxiv.org/abs/1505.04597.

    >>> net = UNet()
    >>> net(torch.zeros(2, 1, 28, 28), torch.tensor([1, 1000])).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, channels=(32, 64), image_shape=(1, 28, 28), patch=2, blocks=1, classes=0, timed=True):
        super().__init__()
        _require_sizes("channels", channels)
        _require_sizes("image_shape", image_shape, least=3)
        require(all(n % 8 == 0 for n in channels), "channels", channels, "multiples of 8")
        require(is_whole(patch) and patch > 0, "patch", patch, "a positive integer")
        require(is_whole(blocks) and blocks > 0, "blocks", blocks, "a positive integer")
        require(is_whole(classes) and classes >= 0, "classes", classes, "a whole number, 0 for none")
        require(isinstance(timed, bool), "timed", timed, "True or False")
        shrink, (_, height, width) = patch * 2 ** (len(channels) - 1), image_shape
        ok = height == width and height % shrink == 0
        require(ok, "image_shape", image_shape, f"(C, H, H) with H divisible by {shrink}")
        self.image_shape, self.classes, self.timed = tuple(image_shape), classes, timed
        emb, pixels = 4 * channels[0], image_shape[0] * patch**2
        self.embed = nn.Sequential(nn.Linear(64, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.labels = nn.Embedding(classes + 1, 64) if classes else None
        self.enter = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(pixels, channels[0], 3, padding=1))
        self.down, self.shrink, self.grow, self.up = (nn.ModuleList() for _ in range(4))
        for n in channels:
            self.down.append(nn.ModuleList(ResBlock(n, n, emb) for _ in range(blocks)))
        for n_in, n_out in pairwise(channels):
            self.shrink.append(nn.Conv2d(n_in, n_out, 4, stride=2, padding=1))
            self.grow.append(nn.ConvTranspose2d(n_out, n_in, 4, stride=2, padding=1))
            self.up.append(nn.ModuleList(ResBlock(n_in if k else 2 * n_in, n_in, emb) for k in range(blocks)))
        self.middle = nn.ModuleList([Attention(channels[-1]), ResBlock(channels[-1], channels[-1], emb)])
        last = nn.Conv2d(channels[0], pixels, 3, padding=1)
        self.leave = nn.Sequential(nn.GroupNorm(8, channels[0]), nn.SiLU(), last, nn.PixelShuffle(patch))
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x, t, y=None):
        _require_batch("x", x, self.image_shape)
        emb = self.embed(self._embedding(x, t, y))  # (B, emb)
        h, kept = self.enter(x), []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, emb)
            if level < len(self.shrink):
                kept.append(h)
                h = self.shrink[level](h)
        h = self.middle[1](self.middle[0](h), emb)
        for level in reversed(range(len(self.up))):
            h = torch.cat([self.grow[level](h), kept[level]], 1)
            for block in self.up[level]:
                h = block(h, emb)
        return self.leave(h)  # (B, C, H, H)

    def _embedding(self, x, t, y):
        t = torch.as_tensor(t, device=x.device).expand(len(x))
        out = time_embedding(t if self.timed else torch.zeros_like(t)).to(x.dtype)
        if self.labels is None:
            require(y is None, "y", y, "None: this model was made without classes")
            return out
        y = torch.full((len(x),), self.classes, device=x.device) if y is None else y
        ok = isinstance(y, torch.Tensor) and y.shape == (len(x),) and not y.is_floating_point()
        require(ok, "y", y, "None, or integer labels of shape (B,)")
        return out + self.labels(y)
