"""The U-Net of the diffusion chapters: small enough for a laptop, with every part that larger ones have."""

import math
from itertools import pairwise

import torch
from torch import nn

from ..errors import require


def time_embedding(t, dim=64, max_period=10_000.0) -> torch.Tensor:
    """Numbers as vectors of sines and cosines: (cos(w_1 t), ..., sin(w_1 t), ...), w from 1 to 1 / max_period.

    Nearby times get similar vectors, and far ones different ones, whatever the scale on which they differ.

    Args:
        t: times, (B,), whole or not; the scale is meant for 0 to about 1,000.
        dim: length of the vectors, even.
        max_period: the longest period, in units of 2 pi.

    Returns:
        (B, dim) float32.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, section 3.5.

    >>> time_embedding(torch.tensor([0, 500]), dim=4)[0].tolist()
    [1.0, 1.0, 0.0, 0.0]
    """
    frequencies = torch.exp(-math.log(max_period) * torch.linspace(0, 1, dim // 2, device=t.device))
    angles = t[:, None].float() * frequencies
    return torch.cat([angles.cos(), angles.sin()], 1)


class ResBlock(nn.Module):
    """(B, in_channels, H, W) and an embedding (B, emb_channels) -> (B, out_channels, H, W): a residual block.

    Two convolutions beside a shortcut; the embedding gives scale and shift after the second normalization. The last
    convolution starts at zero, so that the block starts as its shortcut.
    """

    def __init__(self, in_channels, out_channels, emb_channels):
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.conv_in = nn.Sequential(nn.GroupNorm(8, in_channels), nn.SiLU(), conv)
        self.scale_shift = nn.Linear(emb_channels, 2 * out_channels)
        self.norm = nn.GroupNorm(8, out_channels, affine=False)
        self.conv_out = nn.Sequential(nn.SiLU(), nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1) if in_channels != out_channels else nn.Identity()
        nn.init.zeros_(self.conv_out[1].weight)
        nn.init.zeros_(self.conv_out[1].bias)

    def forward(self, h, emb):
        scale, shift = self.scale_shift(emb)[:, :, None, None].chunk(2, 1)
        out = self.norm(self.conv_in(h)) * (1 + scale) + shift
        return self.shortcut(h) + self.conv_out(out)


class Attention(nn.Module):
    """(B, C, H, W) -> the same shape: self-attention between all positions, with 4 heads, beside a shortcut."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.attention = nn.MultiheadAttention(channels, 4, batch_first=True)
        nn.init.zeros_(self.attention.out_proj.weight)

    def forward(self, h):
        x = self.norm(h).flatten(2).mT  # (B, H W, C)
        out, _ = self.attention(x, x, x, need_weights=False)
        return h + out.mT.reshape(h.shape)


class UNet(nn.Module):
    """(x_t, t, y) -> a prediction of the shape of x_t: down, across, up, with skip connections between equal levels.

    The image enters in patches: each square of ``patch`` x ``patch`` pixels becomes one position with as many channels,
    which makes a step four times as cheap at patch 2. At the lowest level every position attends to every other.

    Args:
        channels: of the levels, from the largest to the smallest maps, each a multiple of 8; the side halves between.
        image_shape: (C, H, H) with H divisible by patch * 2 ** (len(channels) - 1).
        patch: side of a patch, 1 for none.
        blocks: residual blocks for each level, on the way down and on the way up.
        classes: number of classes for y; 0 for a model without labels. y may then be None, or contain ``classes``
            itself, for "no label".
        time_conditioned: False leaves out the time, to see what is lost.
        times: how many numbers t has for each image, (B, times) if more than one.

    Raises:
        ValueError: if labels are given to a model without classes, which would ignore them.

    Source: Ho et al. (2020), https://arxiv.org/abs/2006.11239, after Ronneberger et al. (2015),
    https://arxiv.org/abs/1505.04597.

    >>> net = UNet()
    >>> net(torch.zeros(2, 1, 28, 28), torch.tensor([1, 1000])).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(
        self, channels=(32, 64), image_shape=(1, 28, 28), patch=2, blocks=1, classes=0, time_conditioned=True, times=1
    ):
        super().__init__()
        self.classes, self.time_conditioned, self.times = classes, time_conditioned, times
        emb, pixels = 4 * channels[0], image_shape[0] * patch**2
        self.time_mlp = nn.Sequential(nn.Linear(64 * times, emb), nn.SiLU(), nn.Linear(emb, emb), nn.SiLU())
        self.class_embedding = nn.Embedding(classes + 1, 64 * times) if classes else None
        self.conv_in = nn.Sequential(nn.PixelUnshuffle(patch), nn.Conv2d(pixels, channels[0], 3, padding=1))
        self.down, self.downsample, self.upsample, self.up = (nn.ModuleList() for _ in range(4))
        for n in channels:
            self.down.append(nn.ModuleList(ResBlock(n, n, emb) for _ in range(blocks)))
        for n_in, n_out in pairwise(channels):
            self.downsample.append(nn.Conv2d(n_in, n_out, 4, stride=2, padding=1))
            self.upsample.append(nn.ConvTranspose2d(n_out, n_in, 4, stride=2, padding=1))
            widths = [2 * n_in] + [n_in] * (blocks - 1)  # the first block also receives the skip connection
            self.up.append(nn.ModuleList(ResBlock(width, n_in, emb) for width in widths))
        self.middle = nn.ModuleList([Attention(channels[-1]), ResBlock(channels[-1], channels[-1], emb)])
        conv = nn.Conv2d(channels[0], pixels, 3, padding=1)
        self.conv_out = nn.Sequential(nn.GroupNorm(8, channels[0]), nn.SiLU(), conv, nn.PixelShuffle(patch))
        nn.init.zeros_(conv.weight)
        nn.init.zeros_(conv.bias)

    def forward(self, x, t, y=None):
        emb = self.time_mlp(self._embedding(x, t, y))  # (B, emb)
        h, skips = self.conv_in(x), []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = block(h, emb)
            if level < len(self.downsample):
                skips.append(h)
                h = self.downsample[level](h)
        attention, block = self.middle
        h = block(attention(h), emb)
        for level in reversed(range(len(self.up))):
            h = torch.cat([self.upsample[level](h), skips[level]], 1)
            for block in self.up[level]:
                h = block(h, emb)
        return self.conv_out(h)  # (B, C, H, W)

    def _embedding(self, x, t, y):
        t = torch.as_tensor(t, device=x.device).view(-1, self.times).expand(len(x), -1)
        out = time_embedding((t if self.time_conditioned else torch.zeros_like(t)).flatten())
        out = out.view(len(x), -1).to(x.dtype)
        if self.class_embedding is None:
            require(y is None, "y", y, "None: this model was made without classes")
            return out
        y = torch.full((len(x),), self.classes, device=x.device) if y is None else y
        return out + self.class_embedding(y)
