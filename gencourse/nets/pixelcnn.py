"""PixelCNN and gated PixelCNN: convolutions that see only what comes before, in raster order.

All map images (B, C, H, W) to the logits of every pixel given those before it, (B, outputs, H, W), in one pass. Their
weights stand channels last, which makes such small convolutions up to twice as fast on a CPU.
"""

import torch
from torch import nn
from torch.nn.functional import conv2d, pad

from ..errors import require


def conv_mask(kernel_size, mask_type) -> torch.Tensor:
    """What a masked convolution may see: ones before the centre in raster order, and at it for type "B".

    Args:
        kernel_size: side of the square kernel, odd.
        mask_type: "A" without the centre, for the first layer, which sees pixels; "B" with it, for all later layers.

    Returns:
        (kernel_size, kernel_size) float32 of zeros and ones.

    Raises:
        ValueError: for an even side, which has no centre, or another type.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759, section 3.4.

    >>> conv_mask(3, "A").tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    require(kernel_size % 2 == 1, "kernel_size", kernel_size, "odd: the kernel needs a centre")
    require(mask_type in ("A", "B"), "mask_type", mask_type, '"A" or "B"')
    before = torch.arange(kernel_size**2) < kernel_size**2 // 2 + (mask_type == "B")
    return before.float().view(kernel_size, kernel_size)


def head(hidden, outputs):
    """Two 1 x 1 layers from features to logits: (B, hidden, H, W) -> (B, outputs, H, W)."""
    return nn.Sequential(nn.ReLU(), nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))


class PositionEmbedding(nn.Module):
    """A learned quadratic function of row and column, (1, hidden, H, W): convolutions do not know where they are.

    Rows and columns are counted from -1 to 1. That says nothing about pixels, so nothing leaks.

    >>> PositionEmbedding(8)(torch.zeros(2, 1, 5, 7)).shape
    torch.Size([1, 8, 5, 7])
    """

    def __init__(self, hidden):
        super().__init__()
        self.linear = nn.Conv2d(5, hidden, 1)

    def forward(self, x):
        sides = (torch.linspace(-1, 1, n, dtype=x.dtype, device=x.device) for n in x.shape[2:])
        row, column = torch.meshgrid(*sides, indexing="ij")
        return self.linear(torch.stack([row, column, row**2, column**2, row * column])[None])


class MaskedConv2d(nn.Conv2d):
    """A convolution that sees what comes before in raster order: (B, in_channels, H, W) -> (B, out_channels, H, W).

    The mask multiplies the weights in each pass, and never the stored weights: an optimizer with momentum would bring
    them back.

    Args:
        in_channels, out_channels: as in torch's Conv2d.
        kernel_size, mask_type: as in :func:`conv_mask`.

    Raises:
        ValueError: for an even kernel or another type of mask.

    >>> layer = MaskedConv2d(1, 1, 3, "A")
    >>> layer(torch.zeros(1, 1, 5, 5)).shape
    torch.Size([1, 1, 5, 5])
    """

    def __init__(self, in_channels, out_channels, kernel_size, mask_type):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        self.register_buffer("mask", conv_mask(kernel_size, mask_type))

    def forward(self, x):
        k = self.kernel_size[0] // 2
        seen = (self.weight * self.mask)[:, :, : k + 1]  # all rows below are masked: nothing to compute
        return conv2d(pad(x, (k, k, k, 0)), seen, self.bias)


class PixelCNN(nn.Module):
    """x (B, C, H, W) -> logits (B, outputs, H, W), those of a pixel depending only on earlier pixels.

    A masked 7 x 7 convolution of type A and the position, residual masked convolutions of type B, and two 1 x 1 layers.
    It has a blind spot: pixels above and to the right that no path reaches. (In the paper there is no embedding of the
    position, and a block is a convolution of size 3 between two of size 1; on a CPU one of size 5 learns more in the
    same time.)

    Args:
        hidden: channels.
        blocks: number of residual convolutions.
        kernel_size: their side, odd.
        image_channels: C.
        outputs: logits for each pixel: 1 for binary images, 256 for grey levels.

    Raises:
        ValueError: for an even kernel.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759.

    >>> PixelCNN()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, hidden=32, blocks=5, kernel_size=5, image_channels=1, outputs=1):
        super().__init__()
        self.conv_in = MaskedConv2d(image_channels, hidden, 7, "A")
        self.position = PositionEmbedding(hidden)
        self.blocks = nn.ModuleList(MaskedConv2d(hidden, hidden, kernel_size, "B") for _ in range(blocks))
        self.head = head(hidden, outputs)
        self.to(memory_format=torch.channels_last)

    def forward(self, x):
        h = self.conv_in(x) + self.position(x)
        for block in self.blocks:
            h = h + block(h.relu())
        return self.head(h)


def gate(h):
    """(B, 2 n, H, W) -> (B, n, H, W): tanh of the first half, times the sigmoid of the second."""
    a, b = h.chunk(2, 1)
    return a.tanh() * b.sigmoid()


class GatedBlock(nn.Module):
    """(v, h) -> (v, h): the vertical stack v sees all rows above, the horizontal one h what is left in the row.

    Kernels are cropped to the part that they may see, and the image is padded on that side alone: nothing to mask.

    Args:
        in_channels: of both inputs.
        hidden: channels of both outputs.
        kernel_size: side of the square of which half is kept, odd.
        first: whether the inputs are pixels, of which a pixel must not see itself.
        classes: number of classes that may be given, or 0.

    Source: van den Oord et al. (2016b), https://arxiv.org/abs/1606.05328, figure 2.
    """

    def __init__(self, in_channels, hidden, kernel_size, first=False, classes=0):
        super().__init__()
        require(kernel_size % 2 == 1, "kernel_size", kernel_size, "odd: the kernel needs a centre")
        self.reach, self.first = kernel_size // 2, first
        length = self.reach + (not first)
        self.vertical = nn.Conv2d(in_channels, 2 * hidden, (length, kernel_size))
        self.horizontal = nn.Conv2d(in_channels, 2 * hidden, (1, length))
        self.v_to_h = nn.Conv2d(2 * hidden, 2 * hidden, 1)
        self.out = nn.Conv2d(hidden, hidden, 1)
        self.class_embedding = nn.Embedding(classes, 2 * hidden) if classes else None
        for layer in (self.vertical, self.horizontal, self.v_to_h, self.out):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="tanh")  # with torch's own the stacks fade out

    def forward(self, v, h, y=None):
        k = self.reach
        end = -1 if self.first else 0  # in the first block a negative padding drops the pixel's own row or column
        v_new = self.vertical(pad(v, (k, k, k, end)))  # row i from rows i - k to i, or to i - 1 in the first block
        h_new = self.horizontal(pad(h, (k, end, 0, 0))) + self.v_to_h(v_new)
        if self.class_embedding is not None:
            bias = self.class_embedding(y)[:, :, None, None]
            v_new, h_new = v_new + bias, h_new + bias
        h_out = self.out(gate(h_new))
        return gate(v_new), h_out if self.first else h + h_out


class GatedPixelCNN(nn.Module):
    """x (B, C, H, W), y (B,) -> logits (B, outputs, H, W): two stacks, without a blind spot, with gates.

    Args:
        hidden: channels of each stack.
        blocks: blocks after the first one, whose kernel is 7.
        kernel_size: side of the kernels of these blocks, odd.
        image_channels: C.
        outputs: logits for each pixel.
        classes: number of classes; 0 for a model without labels.

    Raises:
        ValueError: for an even kernel, or if classes are given to a model without, which would ignore them.

    Source: van den Oord et al. (2016b), https://arxiv.org/abs/1606.05328.

    >>> GatedPixelCNN()(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 1, 28, 28])
    """

    def __init__(self, hidden=16, blocks=5, kernel_size=3, image_channels=1, outputs=1, classes=0):
        super().__init__()
        self.classes = classes
        self.conv_in = GatedBlock(image_channels, hidden, 7, first=True, classes=classes)
        self.position = PositionEmbedding(hidden)
        self.blocks = nn.ModuleList(GatedBlock(hidden, hidden, kernel_size, classes=classes) for _ in range(blocks))
        self.head = head(hidden, outputs)
        self.to(memory_format=torch.channels_last)

    def forward(self, x, y=None):
        require((y is None) == (self.classes == 0), "y", y, "labels if and only if the model has classes")
        v, h = (stack + self.position(x) for stack in self.conv_in(x, x, y))
        for block in self.blocks:
            v, h = block(v, h, y)
        return self.head(h)
