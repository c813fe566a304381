"""PixelRNN: the row LSTM and the diagonal BiLSTM, for images in raster order."""

import torch
from torch import nn
from torch.nn.functional import pad

from ..errors import is_whole, require, shown
from .mlp import _require_widths
from .pixelcnn import MaskedConv2d, Place, _head, _require_images


def skew(x) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H, W + H - 1): row i moves i places to the right, so that diagonals become columns.

    Raises:
        ArgumentError: if ``x`` is no tensor of four dimensions.

    >>> skew(torch.tensor([[[[1, 2], [3, 4]]]])).tolist()
    [[[[1, 2, 0], [0, 3, 4]]]]
    """
    require(isinstance(x, torch.Tensor) and x.ndim == 4, "x", shown(x), "a tensor (B, C, H, W)")
    height, width = x.shape[2:]
    # H zeros after each row; then rows of W + H - 1, one shorter, each of which begins one place later than the last
    return pad(x, (0, height)).flatten(2)[..., :-height].unflatten(2, (height, width + height - 1))


def unskew(x, width) -> torch.Tensor:
    """The inverse of :func:`skew`: (B, C, H, width + H - 1) -> (B, C, H, width).

    Raises:
        ArgumentError: if the shape of ``x`` does not fit ``width``.

    >>> unskew(skew(torch.arange(6).view(1, 1, 2, 3)), 3).flatten().tolist()
    [0, 1, 2, 3, 4, 5]
    """
    require(isinstance(x, torch.Tensor) and x.ndim == 4, "x", shown(x), "a tensor (B, C, H, width + H - 1)")
    fits = is_whole(width) and width == x.shape[3] - x.shape[2] + 1
    require(fits, "width", width, f"{x.shape[3] - x.shape[2] + 1} for an x of {x.shape[2]} by {x.shape[3]}")
    height = x.shape[2]
    return pad(x.flatten(2), (0, height)).unflatten(2, (height, width + height))[..., :width]


def _cell(gates, c, dim):
    """One step of an LSTM: four gates, stacked along ``dim``, and the memory -> the new state and the new memory."""
    o, f, i, g = gates.chunk(4, dim)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


class RowLSTM(nn.Module):
    """(B, n_in, H, W) -> (B, hidden, H, W): down the rows, each place fed by three places of the row above.

    Input to state: a masked convolution along the row, of kind B, for all rows at once. State to state: a convolution
    of size 3 over the row above, one row after another.

    >>> RowLSTM(2, 8)(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, n_in, hidden):
        super().__init__()
        self.hidden = hidden
        self.input_to_state = nn.Conv2d(n_in, 4 * hidden, (1, 2))
        self.state_to_state = nn.Conv1d(hidden, 4 * hidden, 3, padding=1)

    def forward(self, x):
        fed = self.input_to_state(pad(x, (1, 0)))  # (B, 4 hidden, H, W), each place from itself and its left
        h = c = x.new_zeros(len(x), self.hidden, x.shape[3])
        rows = []
        for row in fed.unbind(2):
            h, c = _cell(row + self.state_to_state(h), c, dim=1)
            rows.append(h)
        return torch.stack(rows, 2)


class DiagonalBiLSTM(nn.Module):
    """(B, n_in, H, W) -> (B, hidden, H, W): two LSTMs along the diagonals, from the upper left and the upper right.

    Input to state: a 1 x 1 convolution. State to state: a convolution of size 2 over the column before of the skewed
    image, in which the upper and the left neighbour of a pixel stand one above the other. The right one works on the
    mirrored image, and would see the pixels to the right in its own row, which are not yet known: its output moves
    down by one row before the two are added. One pixel is lost on the way, the last one of the row above: the features
    in its row have not seen it.

    >>> DiagonalBiLSTM(2, 8)(torch.zeros(1, 2, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, n_in, hidden):
        super().__init__()
        self.hidden = hidden
        self.input_to_state = nn.Conv2d(n_in, 2 * 4 * hidden, 1)
        bound = (2 * hidden) ** -0.5
        self.state_to_state = nn.Parameter(torch.empty(2, 2 * hidden, 4 * hidden).uniform_(-bound, bound))

    def forward(self, x):
        batch, (height, width) = len(x), x.shape[2:]
        left, right = self.input_to_state(x).chunk(2, 1)
        fed = skew(torch.cat([left, right.flip(3)])).unflatten(0, (2, batch))  # (2, B, 4 n, H, columns)
        fed = fed.permute(4, 0, 3, 1, 2).flatten(2, 3)  # (columns, 2, H B, 4 n): a row of the image is B rows here
        h = c = x.new_zeros(2, height * batch, self.hidden)
        columns = []
        for column in fed.unbind(0):
            above = pad(h, (0, 0, batch, 0))[:, :-batch]
            h, c = _cell(torch.baddbmm(column, torch.cat([above, h], 2), self.state_to_state), c, dim=2)
            columns.append(h)
        out = torch.stack(columns).unflatten(2, (height, batch)).permute(1, 3, 4, 2, 0)  # (2, B, n, H, columns)
        left, right = (unskew(half, width) for half in out)
        return left + pad(right.flip(3), (0, 0, 1, 0))[:, :, :-1]


class PixelRNN(nn.Module):
    """x (B, C, H, W) -> logits (B, outputs, H, W), those of a pixel depending only on earlier pixels.

    A masked 7 x 7 convolution of kind A and the place, residual layers (an LSTM over the image, 1 x 1 back to all
    channels), and two 1 x 1 layers.

    Args:
        kind: of its layers: "row" for :class:`RowLSTM`, "diagonal" for :class:`DiagonalBiLSTM`.
        hidden: channels between the layers, even; half of them in the state of the LSTMs.
        layers: how many.
        image_channels: C.
        outputs: logits for each pixel.

    Raises:
        ArgumentError: for sizes that do not fit, and for inputs of other shapes.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759.

    >>> PixelRNN("diagonal")(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, kind="row", hidden=32, layers=2, image_channels=1, outputs=1):
        super().__init__()
        _require_widths(hidden=hidden, layers=layers, image_channels=image_channels, outputs=outputs)
        require(hidden % 2 == 0, "hidden", hidden, "even")
        require(kind in ("row", "diagonal"), "kind", kind, '"row" or "diagonal"')
        layer = RowLSTM if kind == "row" else DiagonalBiLSTM
        self.image_channels = image_channels
        self.first, self.place = MaskedConv2d(image_channels, hidden, 7, "A"), Place(hidden)
        self.layers = nn.ModuleList(layer(hidden, hidden // 2) for _ in range(layers))
        self.back = nn.ModuleList(nn.Conv2d(hidden // 2, hidden, 1) for _ in range(layers))
        self.last = _head(hidden, outputs)

    def forward(self, x):
        _require_images(x, self.image_channels)
        h = self.first(x) + self.place(x)
        for layer, back in zip(self.layers, self.back, strict=True):
            h = h + back(layer(h))
        return self.last(h)
