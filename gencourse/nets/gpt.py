"""A small GPT: a causal Transformer over sequences of integers."""

import torch
from torch import nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from ..errors import require


class CausalSelfAttention(nn.Module):
    """x (B, T, width) -> (B, T, width): every position takes a weighted mean of the values up to itself.

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

    def forward(self, x, cache=None):
        """With ``cache``, keys and values of the positions before those of x. Returns y and the new cache (k, v)."""
        new = x.shape[1]
        q, k, v = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, 2))
        if cache is not None:
            k, v = torch.cat([cache[0], k], 2), torch.cat([cache[1], v], 2)  # (B, heads, all positions, d)
        if cache is None or new == 1:
            y = scaled_dot_product_attention(q, k, v, is_causal=cache is None)
        else:
            mask = torch.ones(new, k.shape[2], dtype=torch.bool, device=x.device).tril(k.shape[2] - new)
            y = scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).flatten(2)), (k, v)


class TransformerBlock(nn.Module):
    """x (B, T, width) -> (B, T, width): attention between positions, then a small network at each; both are added.

    x + attention(norm(x)), then x + mlp(norm(x)) with one hidden layer of four times the width.
    """

    def __init__(self, width, heads, dropout=0.0):
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = CausalSelfAttention(width, heads)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cache=None):
        y, cache = self.attention(self.norm_1(x), cache)
        x = x + self.dropout(y)
        return x + self.dropout(self.down(gelu(self.up(self.norm_2(x))))), cache


class GPT(nn.Module):
    """tokens (B, T) int64 -> logits (B, T, vocab_size) of the token after each position, from it and those before it.

    Args:
        vocab_size: number of different tokens.
        max_length: the longest sequence, T <= max_length.
        width: of the vectors at each position; a multiple of ``heads``.
        heads: of each attention.
        layers: number of blocks.
        dropout: the probability with which a number is left out in training, in [0, 1).

    ``model(tokens)`` returns the logits. ``model.forward_cached(tokens, cache)`` returns the logits of tokens that come
    after others, and the keys and values of all of them, which do not change.

    Raises:
        ValueError: for sequences that are too long.

    Source: Radford et al. (2019), "Language models are unsupervised multitask learners".

    >>> model = GPT(vocab_size=65, max_length=16)
    >>> model(torch.zeros(2, 16, dtype=torch.int64)).shape
    torch.Size([2, 16, 65])
    """

    def __init__(self, vocab_size, max_length, width=64, heads=4, layers=2, dropout=0.0):
        super().__init__()
        self.max_length = max_length
        self.token, self.position = nn.Embedding(vocab_size, width), nn.Embedding(max_length, width)
        self.blocks = nn.ModuleList(TransformerBlock(width, heads, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocab_size, bias=False)
        for name, w in self.named_parameters():
            if w.ndim == 2:  # what is added to the stream starts smaller, so that it does not grow with depth
                adds = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(w, std=0.02 / (2 * layers) ** 0.5 if adds else 0.02)

    def forward(self, tokens):
        logits, _ = self.forward_cached(tokens)
        return logits

    def forward_cached(self, tokens, cache=None):
        """tokens (B, T) after those of the cache -> logits (B, T, vocab_size), and the cache for the next call.

        Args:
            tokens: int64, each in 0..vocab_size - 1.
            cache: what the last call returned, None at the beginning: a pair (k, v) for each block, each
                (B, heads, all positions, width / heads).
        """
        begin = 0 if cache is None else cache[0][0].shape[2]
        end = begin + tokens.shape[1]
        require(end <= self.max_length, "length with the cache", end, f"at most {self.max_length}")
        x = self.token(tokens) + self.position.weight[begin:end]  # (B, T, width)
        new_cache = []
        for i, block in enumerate(self.blocks):
            x, keys_values = block(x, None if cache is None else cache[i])
            new_cache.append(keys_values)
        return self.head(self.norm(x)), new_cache
