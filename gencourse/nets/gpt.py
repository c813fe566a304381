"""A small GPT: a causal Transformer over sequences of integers."""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ..errors import is_real, require, shown
from .mlp import _require_widths


class CausalSelfAttention(nn.Module):
    """x (B, T, width) -> (B, T, width): every place receives a weighted mean of what it and the earlier ones offer.

    y_t = sum_{s <= t} w_ts v_s with weights w_t = softmax_s(q_t . k_s / sqrt(d)), in each of several heads of size d.

    Args:
        width: of x; a multiple of ``heads``.
        heads: number of heads.

    Source: Vaswani et al. (2017), https://arxiv.org/abs/1706.03762, section 3.2.

    >>> y, (k, v) = CausalSelfAttention(32, 4)(torch.zeros(2, 5, 32))
    >>> y.shape, k.shape
    (torch.Size([2, 5, 32]), torch.Size([2, 4, 5, 8]))
    """

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, past=None):
        """With ``past``, keys and values of earlier places, x holds the places after them. Returns y and (k, v)."""
        new = x.shape[1]
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        if past is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(past, (k, v), strict=True))  # (B, heads, all places, d)
        if past is None or new == 1:
            y = scaled_dot_product_attention(q, k, v, is_causal=past is None)
        else:
            seen = torch.ones(new, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - new)
            y = scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


class TransformerBlock(nn.Module):
    """x (B, T, width) -> (B, T, width): attention between places, then a small network at each place; both are added.

    x + attention(norm(x)), then x + mlp(norm(x)) with one hidden layer of four times the width.
    """

    def __init__(self, width, heads, dropout=0.0):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, past=None):
        y, kept = self.attention(self.norm_1(x), past)
        x = x + self.dropout(y)
        return x + self.dropout(self.down(gelu(self.up(self.norm_2(x))))), kept


class GPT(nn.Module):
    """tokens (B, T) int64 -> logits (B, T, vocabulary) of the token after each place, from it and those before it.

    Args:
        vocabulary: number of different tokens.
        length: the longest sequence, T <= length.
        width: of the vectors at each place; a multiple of ``heads``.
        heads: of each attention.
        layers: number of blocks.
        dropout: the chance with which a number is left out in training, in [0, 1).

    ``model(tokens)`` returns the logits. ``model.extend(tokens, past)`` returns the logits of tokens that come after
    others, and what the next call needs to know of all of them: keys and values, which do not change.

    Raises:
        ArgumentError: for sizes that do not fit, and for sequences that are too long or no tokens.

    Source: Radford et al. (2019), "Language models are unsupervised multitask learners".

    >>> model = GPT(vocabulary=65, length=16)
    >>> model(torch.zeros(2, 16, dtype=torch.int64)).shape
    torch.Size([2, 16, 65])
    """

    def __init__(self, vocabulary, length, width=64, heads=4, layers=2, dropout=0.0):
        super().__init__()
        _require_widths(vocabulary=vocabulary, length=length, width=width, heads=heads, layers=layers)
        require(width % heads == 0, "width", width, f"a multiple of heads, {heads}")
        require(is_real(dropout) and 0 <= dropout < 1, "dropout", dropout, "in [0, 1)")
        self.length = length
        self.token, self.position = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        for name, w in self.named_parameters():
            if w.ndim == 2:  # what is added to the stream starts smaller, so that it does not grow with depth
                adds = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(w, std=0.02 / (2 * layers) ** 0.5 if adds else 0.02)

    def forward(self, tokens):
        return self.extend(tokens)[0]

    def extend(self, tokens, past=None):
        """tokens (B, T) after those of ``past`` -> logits (B, T, vocabulary), and the past of the next call.

        Args:
            tokens: int64, each in 0..vocabulary - 1.
            past: what the last call returned; None at the beginning.
        """
        whole = isinstance(tokens, torch.Tensor) and tokens.ndim == 2 and tokens.dtype == torch.int64
        require(whole, "tokens", shown(tokens), "an int64 tensor (B, T)")
        begin = 0 if past is None else past[0][0].shape[2]
        end = begin + tokens.shape[1]
        room = f"at most {self.length} places, {begin} of them past"
        require(end <= self.length, "tokens", tuple(tokens.shape), room)
        x = self.token(tokens) + self.position.weight[begin:end]  # (B, T, width)
        kept = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, None if past is None else past[i])
            kept.append(pair)
        return self.head(self.norm(x)), kept
