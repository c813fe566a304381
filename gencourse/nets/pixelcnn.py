"""PixelCNN and gated PixelCNN: convolutions that see only what comes before, in raster order.

All map images (B, C, H, W) to the logits of every pixel given those before it, (B, outputs, H, W), in one pass. Their
weights stand channels last, which makes such small convolutions up to twice as fast on a CPU.
"""

import torch
from torch import nn
from torch.nn.functional import pad

from ..autoregressive import conv_mask
from ..errors import is_whole, require, shown
from .mlp import _require_widths


def _head(hidden, outputs):
    return nn.Sequential(nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


class Place(nn.Module):
    """A learned quadratic function of row and column, (1, hidden, H, W): convolutions do not know where they are.

    Rows and columns are counted from -1 to 1. That says nothing about pixels, so nothing leaks.

    >>> Place(8)(torch.zeros(2, 1, 5, 7)).shape
    torch.Size([1, 8, 5, 7])
    """

    def __init__(self, hidden):
        super().__init__()
        self.linear = nn.Conv2d(5, hidden, 1)

    def forward(self, x):
        sides = (torch.linspace(-1, 1, n, dtype=x.dtype, device=x.device) for n in x.shape[2:])
        row, column = torch.meshgrid(*sides, indexing="ij")
        return self.linear(torch.stack([row, column, row**2, column**2, row * column])[None])


def _require_images(x, channels):
    ok = isinstance(x, torch.Tensor) and x.ndim == 4 and x.shape[1] == channels and x.is_floating_point()
    found = tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__
    require(ok, "x", found, f"floating-point images of shape (B, {channels}, H, W)")


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees what comes before in raster order: (B, n_in, H, W) -> (B, n_out, H, W).

    The mask multiplies the weights in each pass, and never the stored weights: an optimizer with momentum would bring
    them back.

    Args:
        n_in, n_out: channels.
        kernel, kind: as in :func:`gencourse.autoregressive.conv_mask`.

    >>> layer = MaskedConv2d(1, 1, 3, "A")
    >>> layer(torch.zeros(1, 1, 5, 5)).shape
    torch.Size([1, 1, 5, 5])
    """

    def __init__(self, n_in, n_out, kernel, kind):
        _require_widths(n_in=n_in, n_out=n_out)
        mask = conv_mask(kernel, kind)
        super().__init__(n_in, n_out, kernel, padding=kernel // 2)
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self._conv_forward(x, self.weight * self.mask, self.bias)


class PixelCNN(nn.Module):
    """x (B, C, H, W) -> logits (B, outputs, H, W), those of a pixel depending only on earlier pixels.

    A masked 7 x 7 convolution of kind A and the place, residual masked convolutions of kind B, and two 1 x 1 layers. It
    has a blind spot: pixels above and to the right that no path reaches. (In the paper there is no place, and a block
    is a convolution of size 3 between two of size 1; on a CPU one of size 5 learns more in the same time.)

    Args:
        hidden: channels.
        blocks: number of residual convolutions.
        kernel: their side, odd.
        image_channels: C.
        outputs: logits for each pixel: 1 for binary images, 256 for grey levels.

    Raises:
        ArgumentError: for sizes that do not fit, and for inputs of other shapes.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759.

    >>> PixelCNN()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, hidden=32, blocks=5, kernel=5, image_channels=1, outputs=1):
        super().__init__()
        _require_widths(hidden=hidden, blocks=blocks, image_channels=image_channels, outputs=outputs)
        self.image_channels = image_channels
        self.first, self.place = MaskedConv2d(image_channels, hidden, 7, "A"), Place(hidden)
        self.blocks = nn.ModuleList(MaskedConv2d(hidden, hidden, kernel, "B") for _ in range(blocks))
        self.last = _head(hidden, outputs)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        _require_images(x, self.image_channels)
        h = self.first(x) + self.place(x)
        for block in self.blocks:
            h = h + block(h.relu())
        return self.last(h)


def _gate(h):
    a, b = h.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class GatedBlock(nn.Module):
    """(v, h) -> (v, h): the vertical stack v sees all rows above, the horizontal one h what is left in the row.

    Convolutions are cut to the part that they may see, and padded on that side alone: there is nothing to mask.

    Args:
        n_in: channels of both inputs.
        hidden: channels of both outputs.
        kernel: side of the square of which half is kept, odd.
        first: whether the inputs are pixels, of which a pixel must not see itself.
        classes: number of classes that may be given, or 0.

    Source: van den Oord et al. (2016b), https://arxiv.org/abs/1606.05328, figure 2.
    """

    def __init__(self, n_in, hidden, kernel, first=False, classes=0):
        super().__init__()
        self.reach, self.first = kernel // 2, first
        length = self.reach + (not first)
        self.vertical = nn.Conv2d(n_in, 2 * hidden, (length, kernel))
        self.horizontal = nn.Conv2d(n_in, 2 * hidden, (1, length))
        self.across = nn.Conv2d(2 * hidden, 2 * hidden, 1)
        self.out = nn.Conv2d(hidden, hidden, 1)
        self.label = nn.Embedding(classes, 2 * hidden) if classes else None
        for layer in (self.vertical, self.horizontal, self.across, self.out):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="tanh")  # with torch's own the stacks fade out

    def forward(self, v, h, y=None):
        k, cut = self.reach, -1 if self.first else 0
        v_new = self.vertical(pad(v, (k, k, k, cut)))  # row i from rows i - k to i, or to i - 1 in the first block
        h_new = self.horizontal(pad(h, (k, cut, 0, 0))) + self.across(v_new)
        if self.label is not None:
            bias = self.label(y)[:, :, None, None]
            v_new, h_new = v_new + bias, h_new + bias
        h_out = self.out(_gate(h_new))
        return _gate(v_new), h_out if self.first else h + h_out


class GatedPixelCNN(nn.Module):
    """x (B, C, H, W), y (B,) -> logits (B, outputs, H, W): two stacks, without a blind spot, with gates.

    Args:
        hidden: channels of each stack.
        blocks: blocks after the first one, whose kernel is 7.
        kernel: side of the kernels of these blocks, odd.
        image_channels: C.
        outputs: logits for each pixel.
        classes: number of classes; 0 for a model without labels.

    Raises:
        ArgumentError: for sizes that do not fit, and for inputs of other shapes.

    Source: van den Oord et al. (2016b), https://arxiv.org/abs/1606.05328.

    >>> GatedPixelCNN()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, hidden=16, blocks=5, kernel=3, image_channels=1, outputs=1, classes=0):
        super().__init__()
        _require_widths(hidden=hidden, blocks=blocks, image_channels=image_channels, outputs=outputs)
        conv_mask(kernel, "B")  # refuses other kernels
        require(is_whole(classes) and classes >= 0, "classes", classes, "an integer, at least 0")
        self.image_channels, self.classes = image_channels, classes
        self.first, self.place = GatedBlock(image_channels, hidden, 7, first=True, classes=classes), Place(hidden)
        self.blocks = nn.ModuleList(GatedBlock(hidden, hidden, kernel, classes=classes) for _ in range(blocks))
        self.last = _head(hidden, outputs)
        self.to(memory_format=torch.channels_last)

    def forward(self, x, y=None):
        _require_images(x, self.image_channels)
        needs = f"classes (B,), one for each of {self.classes}" if self.classes else "None: the model has no classes"
        require((y is None) == (self.classes == 0), "y", shown(y), needs)
        v, h = (stack + self.place(x) for stack in self.first(x, x, y))
        for block in self.blocks:
            v, h = block(v, h, y)
        return self.last(h)
