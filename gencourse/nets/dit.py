"""The diffusion Transformer: patches as tokens, and the time as what scales, shifts and gates each block."""

import torch
from torch import nn

from ..errors import require
from .unet import time_embedding


class DiTBlock(nn.Module):
    """x (B, N, width), emb (B, width) -> (B, N, width): a Transformer block that ``emb`` scales, shifts and gates.

    x + g_1 attention((1 + s_1) norm(x) + b_1), then x + g_2 mlp((1 + s_2) norm(x) + b_2); all six are linear in
    ``emb`` and start at zero (adaLN-Zero), so that the block starts as the identity.
    """

    def __init__(self, width, heads):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x, emb):
        s_1, b_1, g_1, s_2, b_2, g_2 = self.modulation(emb)[:, None].chunk(6, 2)
        h = (1 + s_1) * self.norm(x) + b_1
        x = x + g_1 * self.attention(h, h, h, need_weights=False)[0]
        return x + g_2 * self.mlp((1 + s_2) * self.norm(x) + b_2)


class DiT(nn.Module):
    """(x_t, t, words) -> a prediction of the shape of x_t: a Transformer over patches, and words if there are any.

    Each patch is a token with a learned position. Words stand in front of the patches in the same sequence, so that
    patches attend to them and to each other.

    Args:
        image_shape: (C, H, W) with H and W divisible by ``patch``.
        patch: side of a patch.
        width: of the tokens; a multiple of ``heads``.
        heads, layers: of the Transformer.
        vocabulary: how many words there are; 0 for a model without. The number ``vocabulary`` itself stands for no
            word, and ``words=None`` for none at all.
        length: how many words a caption has, with those that are left out.

    Raises:
        ValueError: if the image does not divide into patches.

    Source: Peebles and Xie (2023), https://arxiv.org/abs/2212.09748.

    >>> net = DiT((4, 8, 8), patch=2, vocabulary=30, length=5)
    >>> x, t, words = torch.zeros(2, 4, 8, 8), torch.tensor([1, 1000]), torch.zeros(2, 5, dtype=torch.int64)
    >>> net(x, t, words).shape, net(x, t).shape
    (torch.Size([2, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(self, image_shape, patch=2, width=128, heads=4, layers=4, vocabulary=0, length=0):
        super().__init__()
        channels, *sides = image_shape
        require(all(side % patch == 0 for side in sides), "image_shape", image_shape, f"divisible by patch = {patch}")
        self.grid, self.vocabulary, self.length = tuple(side // patch for side in sides), vocabulary, length
        self.patches = nn.Conv2d(channels, width, patch, stride=patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, length + self.grid[0] * self.grid[1], width))
        self.words = nn.Embedding(vocabulary + 1, width)
        self.time_mlp = nn.Sequential(nn.Linear(64, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(DiTBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.scale_shift = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.out = nn.ConvTranspose2d(width, channels, patch, stride=patch)
        for layer in (self.scale_shift[1], self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x, t, words=None):
        if words is None:
            words = torch.full((len(x), self.length), self.vocabulary, device=x.device)
        tokens = torch.cat([self.words(words), self.patches(x).flatten(2).mT], 1) + self.position
        emb = self.time_mlp(time_embedding(t).to(x.dtype))
        for block in self.blocks:
            tokens = block(tokens, emb)
        scale, shift = self.scale_shift(emb)[:, None].chunk(2, 2)
        tokens = (1 + scale) * self.norm(tokens[:, self.length :]) + shift
        return self.out(tokens.mT.unflatten(2, self.grid))  # (B, C, H, W)
