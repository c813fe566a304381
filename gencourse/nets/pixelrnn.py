"""PixelRNN: the row LSTM and the diagonal BiLSTM, for images in raster order."""

import torch
from torch import nn
from torch.nn.functional import pad

from .pixelcnn import MaskedConv2d, PositionEmbedding, head


def skew(x) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H, W + H - 1): row i moves i places to the right, so that diagonals become columns.

    >>> skew(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
    [[[[1, 2, 0], [0, 3, 4]]]]
    """
    height, width = x.shape[2:]
    # H zeros after each row; then rows of W + H - 1, one shorter, each of which begins one place later than the last
    return pad(x, (0, height)).flatten(2)[..., :-height].unflatten(2, (height, width + height - 1))


def unskew(x, width) -> torch.Tensor:
    """The inverse of :func:`skew`: (B, C, H, width + H - 1) -> (B, C, H, width).

    >>> unskew(skew(torch.arange(6).view(1, 1, 2, 3)), 3).flatten().tolist()
    [0, 1, 2, 3, 4, 5]
    """
    height = x.shape[2]
    return pad(x.flatten(2), (0, height)).unflatten(2, (height, width + height))[..., :width]


def lstm_cell(gates, c, dim):
    """One step of an LSTM: four gates, stacked along ``dim``, and the memory -> the new state and the new memory."""
    o, f, i, g = gates.chunk(4, dim)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class RowLSTM(nn.Module):
    """(B, in_channels, H, W) -> (B, hidden, H, W): down the rows, each position from three of the row above.

    Input to state: a masked convolution along the row, of type B, for all rows at once. State to state: a convolution
    of size 3 over the row above, one row after another.

    >>> RowLSTM(2, 8)(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, in_channels, hidden):
        super().__init__()
        self.hidden = hidden
        self.input_to_state = nn.Conv2d(in_channels, 4 * hidden, (1, 2))
        self.state_to_state = nn.Conv1d(hidden, 4 * hidden, 3, padding=1)

    def forward(self, x):
        inputs = self.input_to_state(pad(x, (1, 0)))  # (B, 4 hidden, H, W), each position from itself and its left
        h = c = x.new_zeros(len(x), self.hidden, x.shape[3])
        rows = []
        for row in inputs.unbind(2):
            h, c = lstm_cell(row + self.state_to_state(h), c, dim=1)
            rows.append(h)
        return torch.stack(rows, 2)


class DiagonalBiLSTM(nn.Module):
    """(B, in_channels, H, W) -> (B, hidden, H, W): LSTMs along the diagonals, from the upper left and the upper right.

    Input to state: a 1 x 1 convolution. State to state: a convolution of size 2 over the column before of the skewed
    image, in which the upper and the left neighbour of a pixel stand one above the other. The right one works on the
    mirrored image, and would see the pixels to the right in its own row, which are not yet known: its output moves
    down by one row before the two are added. One pixel is lost on the way, the last one of the row above: the features
    in its row have not seen it.

    >>> DiagonalBiLSTM(2, 8)(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, in_channels, hidden):
        super().__init__()
        self.hidden = hidden
        self.input_to_state = nn.Conv2d(in_channels, 2 * 4 * hidden, 1)
        bound = (2 * hidden) ** -0.5
        self.state_to_state = nn.Parameter(torch.empty(2, 2 * hidden, 4 * hidden).uniform_(-bound, bound))

    def forward(self, x):
        batch, (height, width) = len(x), x.shape[2:]
        left, right = self.input_to_state(x).chunk(2, 1)
        inputs = skew(torch.cat([left, right.flip(3)])).unflatten(0, (2, batch))  # (2, B, 4 n, H, columns)
        inputs = inputs.permute(4, 0, 3, 1, 2).flatten(2, 3)  # (columns, 2, H B, 4 n): an image row is B rows here
        h = c = x.new_zeros(2, height * batch, self.hidden)
        columns = []
        for column in inputs.unbind(0):
            above = pad(h, (0, 0, batch, 0))[:, :-batch]
            h, c = lstm_cell(torch.baddbmm(column, torch.cat([above, h], 2), self.state_to_state), c, dim=2)
            columns.append(h)
        out = torch.stack(columns).unflatten(2, (height, batch)).permute(1, 3, 4, 2, 0)  # (2, B, n, H, columns)
        left, right = (unskew(half, width) for half in out)
        return left + pad(right.flip(3), (0, 0, 1, 0))[:, :, :-1]


class PixelRNN(nn.Module):
    """x (B, C, H, W) -> logits (B, outputs, H, W), those of a pixel depending only on earlier pixels.

    A masked 7 x 7 convolution of type A and the position, residual layers (an LSTM over the image, 1 x 1 back to all
    channels), and two 1 x 1 layers.

    Args:
        kind: of its layers: "row" for :class:`RowLSTM`, "diagonal" for :class:`DiagonalBiLSTM`.
        hidden: channels between the layers, even; half of them in the state of the LSTMs.
        layers: how many.
        image_channels: C.
        outputs: logits for each pixel.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759.

    >>> PixelRNN("diagonal")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, kind="row", hidden=32, layers=2, image_channels=1, outputs=1):
        super().__init__()
        layer = {"row": RowLSTM, "diagonal": DiagonalBiLSTM}[kind]
        self.conv_in = MaskedConv2d(image_channels, hidden, 7, "A")
        self.position = PositionEmbedding(hidden)
        self.layers = nn.ModuleList(layer(hidden, hidden // 2) for _ in range(layers))
        self.back = nn.ModuleList(nn.Conv2d(hidden // 2, hidden, 1) for _ in range(layers))
        self.head = head(hidden, outputs)

    def forward(self, x):
        h = self.conv_in(x) + self.position(x)
        for layer, back in zip(self.layers, self.back, strict=True):
            h = h + back(layer(h))
        return self.head(h)
