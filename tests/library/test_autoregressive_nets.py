"""The autoregressive networks: who sees whom, by the Jacobian and by adding up all images; broken twins of each."""

import pytest
import torch
from torch import nn
from torch.nn.functional import pad
from torch.testing import assert_close
from twins import every_check_fails, must_fail
from waking import awake

from gencourse import likelihoods
from gencourse.autoregressive import dependence, total_probability
from gencourse.nets import MADE, GatedPixelCNN, MaskedConv2d, PixelCNN, PixelRNN, conv_mask, pixelcnn, pixelrnn

MODELS = {
    "MADE": lambda side=7: MADE([10 * side**2, 12 * side**2], (1, side, side)),
    "PixelCNN": lambda side=7: PixelCNN(8, 3, 3),
    "PixelCNN, wide kernels": lambda side=7: PixelCNN(8, 2, kernel_size=5),
    "gated PixelCNN": lambda side=7: GatedPixelCNN(8, 3),
    "gated PixelCNN, wide kernels": lambda side=7: GatedPixelCNN(8, 2, kernel_size=5),
    "Row LSTM": lambda side=7: PixelRNN("row", 8),
    "Diagonal BiLSTM": lambda side=7: PixelRNN("diagonal", 8),
}


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def test_masks_know_what_comes_before():
    for k in (1, 3, 5, 7):
        a, b = conv_mask(k, "A"), conv_mask(k, "B")
        assert a.sum() == k**2 // 2 and b.sum() == a.sum() + 1
        assert (b - a).argmax() == k**2 // 2 and a.flatten().equal(a.flatten().sort(descending=True).values)


def test_kernels_without_a_centre():
    for make in (lambda: conv_mask(4, "A"), lambda: conv_mask(3, "C"), lambda: GatedPixelCNN(8, 1, kernel_size=4)):
        with pytest.raises(ValueError, match="must be"):
            make()


def seen(model, side=7):
    """(n, n) of 0 and 1: whether an output depends on an input, at random images; no ReLU is dead in all of them."""
    model = awake(model, std=0.3)
    return (dependence(model, torch.randn(24, 1, side, side, dtype=torch.float64)) > 0).int()


def check_causal(make):
    """No output depends on its own pixel or a later one."""
    assert (seen(make()).triu() == 0).all()


def check_sums_to_one(make):
    for side in (3, 4):
        model = awake(make(side), std=0.3)
        assert abs(total_probability(lambda x: model(x.double()), side, side) - 1) < 1e-9  # noqa: B023


def check_sees_all(make):
    """Every output depends on all earlier pixels."""
    assert seen(make()).equal(torch.ones(49, 49).int().tril(-1))


def check_sees_its_neighbours(make):
    """Every pixel sees the one to the left of it and the one above it."""
    sees = seen(make())
    assert all(sees[i, i - 1] for i in range(49) if i % 7) and all(sees[i, i - 7] for i in range(7, 49))


@pytest.mark.parametrize("name", MODELS)
def test_causality(name):
    check_causal(MODELS[name])
    check_sums_to_one(MODELS[name])
    check_sees_its_neighbours(MODELS[name])


def check_blocks_see_their_centre(make):
    """In the blocks a place feeds itself: what it holds is already about earlier pixels only."""
    model = awake(make(), std=0.3)
    block = dependence(model.blocks[0], torch.randn(8, 8, 5, 5, dtype=torch.float64))
    assert (block.diagonal() > 0).all()


def test_blocks_see_their_centre():
    check_blocks_see_their_centre(MODELS["PixelCNN"])


@pytest.mark.parametrize("name", ["MADE", "gated PixelCNN", "gated PixelCNN, wide kernels"])
def test_no_blind_spot(name):
    check_sees_all(MODELS[name])


def test_small_layers_of_made_see_everything_too():
    """Degrees reach the last pixel but one, however few units there are."""
    assert seen(MADE([9, 9], (1, 7, 7)))[-1].sum() == 48


def test_the_diagonal_bilstm_misses_one_pixel():
    """The last one of the row above: nothing to the right of it in its row has seen it, and the right LSTM looks no
    farther; from three columns before the border on, the first convolution sees it."""
    expected = torch.ones(49, 49).int().tril(-1)
    for i in range(1, 7):
        expected[7 * i : 7 * i + 3, 7 * i - 1] = 0
    assert seen(MODELS["Diagonal BiLSTM"]()).equal(expected)


def masks(first, later):
    """A PixelCNN whose masks are of these kinds."""

    def make(side=7):
        model = PixelCNN(8, 3, 3)
        for layer in model.modules():
            if isinstance(layer, MaskedConv2d):
                layer.mask = conv_mask(layer.kernel_size[0], first if layer is model.conv_in else later)
        return model

    return make


class Undelayed(pixelrnn.DiagonalBiLSTM):
    """The image moves up by one row first: as if the right LSTM were not moved down."""

    def forward(self, x):
        return super().forward(pad(x, (0, 0, -1, 1)))


class RowAhead(pixelrnn.RowLSTM):
    def forward(self, x):
        return super().forward(pad(x, (-1, 1)))  # the input of the pixel to the right


def with_layer(layer):
    def make(side=7):
        model = PixelRNN("row", 8)
        model.layers = nn.ModuleList(layer(8, 4) for _ in range(2))
        return model

    return make


def made_with(hidden=torch.ge, last=torch.gt):
    """A MADE whose masks compare degrees otherwise."""

    def make(side=7):
        model, n = MADE([10 * side**2, 12 * side**2], (1, side, side)), side**2
        degrees = [torch.arange(n) + 1, *(torch.linspace(1, n - 1, k * n).round() for k in (10, 12))]
        first, second, third = (layer for layer in model.net if hasattr(layer, "mask"))
        for layer, into, out in ((first, 0, 1), (second, 1, 2)):
            layer.mask = hidden(degrees[out][:, None], degrees[into]).float()
        third.mask = last(degrees[0][:, None], degrees[2]).float()
        return model

    return make


class CrossedBlock(pixelcnn.GatedBlock):
    """The horizontal stack feeds the vertical one: rows below then see too little, and others too much."""

    def forward(self, v, h, y=None):
        return super().forward(h, v, y)


def crossed(side=7):
    model = GatedPixelCNN(8, 3, 3)
    model.blocks = nn.ModuleList(CrossedBlock(8, 8, 3) for _ in range(3))
    return model


def not_up(side=7):
    """A gated PixelCNN without the connections from the vertical to the horizontal stack."""
    model = GatedPixelCNN(8, 3, 3)
    for block in (model.conv_in, *model.blocks):
        block.v_to_h = nn.Conv2d(16, 16, 1)
        block.v_to_h.forward = lambda v: 0 * v
    return model


test_a_wrong_mask_is_seen = every_check_fails(
    {
        "B first": (masks("B", "B"), [check_causal, check_sums_to_one]),
        "A everywhere": (masks("A", "A"), [check_blocks_see_their_centre]),
        "MADE, last not strict": (made_with(last=torch.ge), [check_causal, check_sums_to_one]),
        "MADE, hidden strict": (made_with(hidden=torch.gt), [check_sees_all]),
        "diagonal, not moved down": (with_layer(Undelayed), [check_causal, check_sums_to_one]),
        "row, from the right": (with_layer(RowAhead), [check_causal, check_sums_to_one]),
        "gated, stacks crossed": (crossed, [check_causal, check_sums_to_one]),
        "gated, stacks apart": (not_up, [check_sees_all, check_sees_its_neighbours]),
        "PixelCNN has a blind spot": (MODELS["PixelCNN"], [check_sees_all]),
        "Row LSTM too": (MODELS["Row LSTM"], [check_sees_all]),
    }
)


class InPlace(MaskedConv2d):
    """Masks the stored weights, in forward: the optimizer then moves what is masked, until the next pass."""

    def forward(self, x):
        self.weight.data *= self.mask
        return self._conv_forward(x, self.weight, self.bias)


def check_masked_weights_stay(layer_type):
    """What the mask hides gets no gradient and is not touched, by a pass or by an optimizer with momentum."""
    layer = layer_type(1, 2, 3, "A")
    hidden = (1 - layer.mask).bool().expand_as(layer.weight)
    before = layer.weight.detach()[hidden].clone()
    optimizer = torch.optim.SGD(layer.parameters(), 0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        layer(torch.randn(4, 1, 5, 5)).square().sum().backward()
        assert (layer.weight.grad[hidden] == 0).all()
        optimizer.step()
    assert layer.weight.detach()[hidden].equal(before)


def test_masks_are_applied_functionally():
    check_masked_weights_stay(MaskedConv2d)
    must_fail(check_masked_weights_stay, InPlace)


def test_masked_convolution_against_its_definition():
    layer, x = MaskedConv2d(2, 3, 5, "B").double(), torch.randn(2, 2, 6, 7, dtype=torch.float64)
    out = torch.zeros(2, 3, 6, 7, dtype=torch.float64)
    for a in range(-2, 3):
        for b in range(-2, 3):
            if a < 0 or (a == 0 and b <= 0):
                shifted = pad(x, (2, 2, 2, 2))[:, :, 2 + a : 8 + a, 2 + b : 9 + b]
                out += torch.einsum("oc,bchw->bohw", layer.weight[:, :, a + 2, b + 2], shifted)
    assert_close(layer(x), out + layer.bias[:, None, None])


@pytest.mark.parametrize("first", [True, False])
def test_the_cut_kernels_are_masked_convolutions(first):
    """A gated block, written again with square kernels: rows above for v, what is left in the row for h."""
    block, x = pixelcnn.GatedBlock(3, 3, 5, first).double(), torch.randn(2, 3, 6, 7, dtype=torch.float64)
    rows = 2 if first else 3

    def square(cut, top, left):
        layer = nn.Conv2d(3, 6, 5, padding=2).double()
        layer.weight.data.zero_()
        height, width = cut.kernel_size
        layer.weight.data[:, :, top : top + height, left : left + width] = cut.weight.data
        layer.bias.data.copy_(cut.bias.data)
        return layer

    v_new = square(block.vertical, 0, 0)(x)
    h_new = square(block.horizontal, 2, 0)(x) + block.v_to_h(v_new)
    gate = lambda h: h[:, :3].tanh() * h[:, 3:].sigmoid()
    assert block.vertical.kernel_size == (rows, 5) and block.horizontal.kernel_size == (1, rows)
    assert_close(block(x, x), (gate(v_new), block.out(gate(h_new)) + (0 if first else x)))


def check_labels(make):
    """Classes change the logits of every pixel, the first one too; without classes none are taken."""
    model, x = awake(make(), std=0.3), torch.randn(2, 1, 7, 7, dtype=torch.float64)
    differ = model(x, torch.tensor([0, 1])) != model(x, torch.tensor([0, 2]))
    assert not differ[0].any() and differ[1].all()


class Unlabelled(GatedPixelCNN):
    def forward(self, x, y=None):
        return super().forward(x, torch.zeros_like(y))


def test_labels():
    check_labels(lambda: GatedPixelCNN(8, 2, classes=3))
    must_fail(check_labels, lambda: Unlabelled(8, 2, classes=3))
    model = awake(GatedPixelCNN(8, 2, classes=3), std=0.3)
    sees = dependence(lambda x: model(x, torch.arange(8) % 3), torch.randn(8, 1, 5, 5, dtype=torch.float64)) > 0
    assert sees.equal(torch.ones(25, 25).tril(-1).bool())


def test_labels_that_would_be_ignored():
    with pytest.raises(ValueError, match="labels if and only if"):
        GatedPixelCNN(8, 1)(torch.zeros(2, 1, 7, 7), torch.tensor([0, 1]))


def test_any_size_and_many_outputs():
    x = torch.rand(2, 3, 6, 9)
    for model in (PixelCNN(8, 1, image_channels=3, outputs=5), GatedPixelCNN(4, 1, image_channels=3, outputs=5),
                  PixelRNN("row", 4, 1, 3, 5), PixelRNN("diagonal", 4, 1, 3, 5)):  # fmt: skip
        assert model(x).shape == (2, 5, 6, 9)


def test_they_learn():
    """Ten steps on a picture of stripes: every model finds out that a pixel repeats the one above it."""
    x = (torch.rand(16, 1, 1, 7, generator=torch.Generator().manual_seed(0)) > 0.5).float().expand(-1, -1, 7, -1)
    for name, make in MODELS.items():
        model = make()
        optimizer = torch.optim.Adam(model.parameters(), 0.01)
        nats = []
        for _ in range(60):
            loss = -likelihoods.bernoulli_log_prob(model(x), x).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            nats.append(loss.item())
        assert nats[-1] < 0.7 * nats[0], name
