"""Digits pixel by pixel without computing anything twice: what does not change is kept, layer by layer.

``gc.autoregressive.sample`` runs a whole network for each of 784 pixels. Each function here computes one pixel of
each layer from what is kept of earlier ones; a stack that sees only the rows above is computed once a row. They take
one uniform number for each pixel and set it to 1 where the number is below its probability, so that the result can be
compared with ``model(x)``, number by number. (B, H, W) -> (B, 1, H, W) of zeros and ones.
"""

import torch
from torch.nn.functional import pad

from ..nets import GPT, GatedPixelCNN, PixelCNN, PixelRNN
from ..nets.pixelcnn import _gate
from ..nets.pixelrnn import _cell

BEGIN = 2  # the token in front of the pixels of a GPT, which are tokens 0 and 1


@torch.no_grad()
def draw(model, uniform):
    """Binary images from ``uniform`` (B, H, W) in [0, 1): pixel i is 1 where uniform_i < p(x_i = 1 | x_<i).

    Args:
        model: a PixelCNN, GatedPixelCNN without classes, PixelRNN of kind "row", or GPT with tokens 0, 1 and BEGIN.
        uniform: random numbers on the device of the model.

    Returns:
        (B, 1, H, W) of zeros and ones.
    """
    ways = {PixelCNN: _pixelcnn, GatedPixelCNN: _gated, PixelRNN: _row_lstm, GPT: _gpt}
    return ways[type(model)](model, uniform)


def _matrix(weight):
    """A kernel (n_out, n_in, h, w) as a matrix (n_out, h w n_in), for patches that are stored (h, w, n_in, B)."""
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous()


def _pixel(model, features, uniform):
    """Features (n, B) of one pixel -> its value (B,)."""
    logits = model.last(features.T[:, :, None, None])[:, 0, 0, 0]
    return (uniform < logits.sigmoid()).to(features)


def _first(layer):
    """The first masked convolution: its reach, and its weights for the rows up to its own."""
    reach = layer.kernel_size[0] // 2
    return reach, _matrix((layer.weight * layer.mask)[:, :, : reach + 1])


def _linear(matrix, bias, patch):
    return torch.addmm(bias[:, None], matrix, patch.reshape(matrix.shape[1], -1))


def _pixelcnn(model, uniform):
    count, height, width = uniform.shape
    place = model.place(uniform[:, None])[0]  # (n, H, W)
    reach, first = _first(model.first)
    x = uniform.new_zeros(height + reach, width + 2 * reach, 1, count)
    k, below = model.blocks[0].kernel_size[0] // 2, model.blocks[0].kernel_size[0] // 2 + 1
    matrices = [_matrix((block.weight * block.mask)[:, :, :below]) for block in model.blocks]
    kept = [uniform.new_zeros(height + k, width + 2 * k, place.shape[0], count) for _ in model.blocks]
    for i in range(height):
        for j in range(width):
            h = _linear(first, model.first.bias + place[:, i, j], x[i : i + reach + 1, j : j + 2 * reach + 1])
            for block, matrix, buffer in zip(model.blocks, matrices, kept, strict=True):
                buffer[i + k, j + k] = h.relu()
                h = h + _linear(matrix, block.bias, buffer[i : i + below, j : j + 2 * k + 1])
            x[i + reach, j + reach, 0] = _pixel(model, h, uniform[:, i, j])
    return x[reach:, reach:-reach, 0].permute(2, 0, 1)[:, None]


def _gated(model, uniform):
    count, height, width = uniform.shape
    place = model.place(uniform[:, None])[0]
    x = uniform.new_zeros(count, 1, height, width)
    blocks = [model.first, *model.blocks]
    above = [x, *(uniform.new_zeros(count, len(place), height, width) for _ in model.blocks)]  # what v reads
    matrices = [_matrix(block.horizontal.weight) for block in blocks]
    for i in range(height):
        fed = []  # what each block's vertical stack gives to this row of the horizontal one, (W, 2 n, B)
        for n, block in enumerate(blocks):
            rows = above[n][:, :, max(0, i - block.reach) : i + (not block.first)]
            v = block.vertical(pad(rows, (block.reach, block.reach, max(0, block.reach - i), 0)))
            fed.append(block.across(v)[:, :, 0].permute(2, 1, 0))
            if n + 1 < len(blocks):
                above[n + 1][:, :, i] = _gate(v)[:, :, 0] + (place[:, i] if block.first else 0)
        left = [uniform.new_zeros(width + block.reach, m.shape[1] // block.horizontal.kernel_size[1], count)
                for block, m in zip(blocks, matrices, strict=True)]  # fmt: skip
        for j in range(width):
            h = None
            for block, matrix, row, v in zip(blocks, matrices, left, fed, strict=True):
                if h is not None:
                    row[j + block.reach] = h
                window = row[j : j + block.reach + (not block.first)]
                a, b = (_linear(matrix, block.horizontal.bias, window) + v[j]).chunk(2)
                out = _linear(block.out.weight[:, :, 0, 0], block.out.bias, a.tanh() * b.sigmoid())
                h = out + (place[:, i, j, None] if h is None else h)
            x[:, 0, i, j] = _pixel(model, h, uniform[:, i, j])
            left[0][j + blocks[0].reach, 0] = x[:, 0, i, j]
    return x


def _row_lstm(model, uniform):
    count, height, width = uniform.shape
    place = model.place(uniform[:, None])[0]
    reach, first = _first(model.first)
    x = uniform.new_zeros(height + reach, width + 2 * reach, 1, count)
    matrices = [_matrix(layer.input_to_state.weight) for layer in model.layers]
    state = [uniform.new_zeros(2, count, layer.hidden, width) for layer in model.layers]  # h and c of the row above
    for i in range(height):
        fed = [layer.state_to_state(hc[0]).permute(2, 1, 0) for layer, hc in zip(model.layers, state, strict=True)]
        left = [uniform.new_zeros(width + 1, len(place), count) for _ in model.layers]
        for j in range(width):
            h = _linear(first, model.first.bias + place[:, i, j], x[i : i + reach + 1, j : j + 2 * reach + 1])
            for n, (layer, back) in enumerate(zip(model.layers, model.back, strict=True)):
                left[n][j + 1] = h
                gates = _linear(matrices[n], layer.input_to_state.bias, left[n][j : j + 2]) + fed[n][j]
                new, c = _cell(gates, state[n][1, :, :, j].T, dim=0)
                state[n][0, :, :, j], state[n][1, :, :, j] = new.T, c.T
                h = h + _linear(back.weight[:, :, 0, 0], back.bias, new)
            x[i + reach, j + reach, 0] = _pixel(model, h, uniform[:, i, j])
    return x[reach:, reach:-reach, 0].permute(2, 0, 1)[:, None]


def _gpt(model, uniform):
    new = torch.full((len(uniform), 1), BEGIN, device=uniform.device)
    past, pixels = None, []
    for u in uniform.flatten(1).unbind(1):
        logits, past = model.extend(new, past)
        new = (u < (logits[:, 0, 1] - logits[:, 0, 0]).sigmoid()).long()[:, None]
        pixels.append(new)
    return torch.cat(pixels, 1).view_as(uniform)[:, None].to(uniform)
