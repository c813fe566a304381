"""Digits pixel by pixel without computing anything twice: what does not change is kept, layer by layer.

``gc.autoregressive.sample`` runs a whole network for each of 784 pixels. Each function here computes one pixel of
each layer from what is kept of earlier ones; a stack that sees only the rows above is computed once a row. They take
one uniform number for each pixel and set it to 1 where the number is below its probability, so that the result can be
compared with ``model(x)``, number by number. (B, H, W) -> (B, 1, H, W) of zeros and ones.

Features of a row or a window are stored (..., channels, B), so that a convolution at one pixel is one product of
matrices.
"""

import torch
from torch.nn.functional import pad

from gencourse.nets import GPT, GatedPixelCNN, PixelRNN
from gencourse.nets.pixelcnn import gate
from gencourse.nets.pixelrnn import RowLSTM, lstm_cell

BEGIN = 2  # the token in front of the pixels of a GPT, which are tokens 0 and 1


@torch.no_grad()
def draw(model, uniform, begin=BEGIN):
    """Binary images from ``uniform`` (B, H, W) in [0, 1): pixel i is 1 where uniform_i < p(x_i = 1 | x_<i).

    Args:
        model: a PixelCNN, GatedPixelCNN without classes, PixelRNN, or GPT with tokens 0, 1 and ``begin``.
        uniform: random numbers on the device of the model.
        begin: the token in front of the pixels of a GPT.

    Returns:
        (B, 1, H, W) of zeros and ones.

    >>> from gencourse.nets import PixelCNN
    >>> draw(PixelCNN(hidden=4, blocks=1), torch.rand(2, 5, 5)).shape
    torch.Size([2, 1, 5, 5])
    """
    if isinstance(model, GPT):
        return _gpt(model, uniform, begin)
    if isinstance(model, PixelRNN):
        return (_row_lstm if isinstance(model.layers[0], RowLSTM) else _diagonal)(model, uniform)
    return (_gated if isinstance(model, GatedPixelCNN) else _pixelcnn)(model, uniform)


def _matrix(weight):
    """A kernel (out, in, h, w) as a matrix (out, h w in), for windows that are stored (h, w, in, B)."""
    return weight.permute(0, 2, 3, 1).flatten(1).contiguous()


def _apply(matrix, bias, window):
    return torch.addmm(bias[:, None], matrix, window.reshape(matrix.shape[1], -1))


def _masked_conv(layer):
    """Of a masked convolution: its reach, and its weights for the rows up to its own."""
    reach = layer.kernel_size[0] // 2
    return reach, _matrix((layer.weight * layer.mask)[:, :, : reach + 1])


def _pixel(model, features, uniform):
    """Features (n, B) of one pixel -> its value (B,)."""
    logits = model.head(features.T[:, :, None, None])[:, 0, 0, 0]
    return (uniform < logits.sigmoid()).to(features)


def _pixelcnn(model, uniform):
    count, height, width = uniform.shape
    position = model.position(uniform[:, None])[0]  # (n, H, W)
    reach, first = _masked_conv(model.conv_in)
    x = uniform.new_zeros(height + reach, width + 2 * reach, 1, count)
    k, _ = _masked_conv(model.blocks[0])
    matrices = [_masked_conv(block)[1] for block in model.blocks]
    inputs = [uniform.new_zeros(height + k, width + 2 * k, len(position), count) for _ in model.blocks]
    for i in range(height):
        for j in range(width):
            h = _apply(first, model.conv_in.bias + position[:, i, j], x[i : i + reach + 1, j : j + 2 * reach + 1])
            for block, matrix, buffer in zip(model.blocks, matrices, inputs, strict=True):
                buffer[i + k, j + k] = h.relu()
                h = h + _apply(matrix, block.bias, buffer[i : i + k + 1, j : j + 2 * k + 1])
            x[i + reach, j + reach, 0] = _pixel(model, h, uniform[:, i, j])
    return x[reach:, reach:-reach, 0].permute(2, 0, 1)[:, None]


def _gated(model, uniform):
    count, height, width = uniform.shape
    position = model.position(uniform[:, None])[0]
    x = uniform.new_zeros(count, 1, height, width)
    blocks = [model.conv_in, *model.blocks]
    above = [x, *(uniform.new_zeros(count, len(position), height, width) for _ in model.blocks)]  # what v reads
    matrices = [_matrix(block.horizontal.weight) for block in blocks]
    for i in range(height):
        v_to_h = []  # what each block's vertical stack gives to this row of the horizontal one, (W, 2 n, B)
        for n, block in enumerate(blocks):
            rows = above[n][:, :, max(0, i - block.reach) : i + (not block.first)]
            v = block.vertical(pad(rows, (block.reach, block.reach, max(0, block.reach - i), 0)))
            v_to_h.append(block.v_to_h(v)[:, :, 0].permute(2, 1, 0))
            if n + 1 < len(blocks):
                above[n + 1][:, :, i] = gate(v)[:, :, 0] + (position[:, i] if block.first else 0)
        left = [uniform.new_zeros(width + block.reach, m.shape[1] // block.horizontal.kernel_size[1], count)
                for block, m in zip(blocks, matrices, strict=True)]  # fmt: skip
        for j in range(width):
            h = None
            for block, matrix, row, v in zip(blocks, matrices, left, v_to_h, strict=True):
                if h is not None:
                    row[j + block.reach] = h
                window = row[j : j + block.reach + (not block.first)]
                a, b = (_apply(matrix, block.horizontal.bias, window) + v[j]).chunk(2)
                out = _apply(block.out.weight[:, :, 0, 0], block.out.bias, a.tanh() * b.sigmoid())
                h = out + (position[:, i, j, None] if h is None else h)
            x[:, 0, i, j] = _pixel(model, h, uniform[:, i, j])
            left[0][j + blocks[0].reach, 0] = x[:, 0, i, j]
    return x


def _row_lstm(model, uniform):
    count, height, width = uniform.shape
    position = model.position(uniform[:, None])[0]
    reach, first = _masked_conv(model.conv_in)
    x = uniform.new_zeros(height + reach, width + 2 * reach, 1, count)
    matrices = [_matrix(layer.input_to_state.weight) for layer in model.layers]
    state = [uniform.new_zeros(2, count, layer.hidden, width) for layer in model.layers]  # h and c of the row above
    for i in range(height):
        above = [layer.state_to_state(h).permute(2, 1, 0) for layer, (h, _) in zip(model.layers, state, strict=True)]
        left = [uniform.new_zeros(width + 1, len(position), count) for _ in model.layers]
        for j in range(width):
            h = _apply(first, model.conv_in.bias + position[:, i, j], x[i : i + reach + 1, j : j + 2 * reach + 1])
            for n, (layer, back) in enumerate(zip(model.layers, model.back, strict=True)):
                left[n][j + 1] = h
                gates = _apply(matrices[n], layer.input_to_state.bias, left[n][j : j + 2]) + above[n][j]
                new, c = lstm_cell(gates, state[n][1, :, :, j].T, dim=0)
                state[n][0, :, :, j], state[n][1, :, :, j] = new.T, c.T
                h = h + _apply(back.weight[:, :, 0, 0], back.bias, new)
            x[i + reach, j + reach, 0] = _pixel(model, h, uniform[:, i, j])
    return x[reach:, reach:-reach, 0].permute(2, 0, 1)[:, None]


def _diagonal(model, uniform):
    count, height, width = uniform.shape
    position = model.position(uniform[:, None])[0]
    reach, first = _masked_conv(model.conv_in)
    x = uniform.new_zeros(height + reach, width + 2 * reach, 1, count)
    n = model.layers[0].hidden
    gates = [layer.input_to_state.weight[:, :, 0, 0].chunk(2) for layer in model.layers]  # to the left and right LSTM
    biases = [layer.input_to_state.bias[:, None].chunk(2) for layer in model.layers]
    rows = [uniform.new_zeros(2, width, n, count) for _ in model.layers]  # h of the row above; mirrored for the right
    for i in range(height):
        left = [(uniform.new_zeros(n, count), uniform.new_zeros(n, count)) for _ in model.layers]
        seen = [uniform.new_zeros(width, len(position), count) for _ in model.layers]  # what each layer reads
        for j in range(width):
            h = _apply(first, model.conv_in.bias + position[:, i, j], x[i : i + reach + 1, j : j + 2 * reach + 1])
            for k, (layer, back) in enumerate(zip(model.layers, model.back, strict=True)):
                seen[k][j] = h
                state = torch.cat([rows[k][0, j], left[k][0]])  # above, before
                inputs = gates[k][0] @ h + biases[k][0] + layer.state_to_state[0].T @ state
                new, c = lstm_cell(inputs, left[k][1], dim=0)
                left[k] = new, c
                rows[k][0, j] = new
                right = rows[k][1, width - 1 - j]  # of the row above: zeros in the first
                h = h + _apply(back.weight[:, :, 0, 0], back.bias, new + right)
            x[i + reach, j + reach, 0] = _pixel(model, h, uniform[:, i, j])
        for k, layer in enumerate(model.layers):  # the right LSTM follows when the row is known
            before = uniform.new_zeros(n, count), uniform.new_zeros(n, count)
            for j in range(width):
                state = torch.cat([rows[k][1, j], before[0]])
                inputs = gates[k][1] @ seen[k][width - 1 - j] + biases[k][1] + layer.state_to_state[1].T @ state
                before = lstm_cell(inputs, before[1], dim=0)
                rows[k][1, j] = before[0]
    return x[reach:, reach:-reach, 0].permute(2, 0, 1)[:, None]


def _gpt(model, uniform, begin):
    new = torch.full((len(uniform), 1), begin, device=uniform.device)
    cache, pixels = None, []
    for u in uniform.flatten(1).unbind(1):
        logits, cache = model.forward_cached(new, cache)
        new = (u < (logits[:, 0, 1] - logits[:, 0, 0]).sigmoid()).long()[:, None]
        pixels.append(new)
    return torch.cat(pixels, 1).view_as(uniform)[:, None].to(uniform)
