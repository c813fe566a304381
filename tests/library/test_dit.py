"""The diffusion Transformer: shapes, the start, positions, words; with broken twins where it can be wrong."""

import pytest
import torch
import waking
from torch import nn
from torch.testing import assert_close
from twins import must_fail

from gencourse.nets import DiT, DiTBlock

SIZES = [
    {"image_shape": (4, 8, 8)},
    {"image_shape": (1, 7, 7), "patch": 1},
    {"image_shape": (3, 8, 4), "patch": 4, "layers": 1, "vocabulary": 5, "length": 2},
]


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def awake(**options):
    """A small DiT in which every weight counts: nothing starts at zero."""
    return waking.awake(DiT(**({"image_shape": (2, 4, 6), "width": 16, "heads": 2, "layers": 2} | options)), std=0.2)


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_shapes_and_the_start_at_zero(options):
    x, t = torch.randn(3, *options["image_shape"]), torch.tensor([1, 500, 1000])
    assert (DiT(**options)(x, t) == 0).all()  # the last layer is 0
    net = awake(**options)
    out = net(x.double(), t)
    assert out.shape == x.shape
    assert (out - net(x.double(), t + 7)).abs().flatten(1).max(1).values.min() > 1e-6  # the time counts


def test_a_block_starts_as_the_identity():
    def check(block):
        x, emb = torch.randn(2, 5, 16), torch.randn(2, 16)
        assert_close(block(x, emb), x, rtol=0, atol=0)

    check(DiTBlock(16, 2))
    open_gates = DiTBlock(16, 2)
    nn.init.ones_(open_gates.modulation[1].bias)
    must_fail(check, open_gates)


def test_patches_have_positions():
    """Without positions a Transformer cannot tell where a patch lies: exchanged patches give exchanged outputs."""

    def knows_no_place(net):
        x, t = torch.randn(1, 2, 4, 6).double(), torch.tensor([300])
        assert_close(net(x.roll(2, 3), t), net(x, t).roll(2, 3))  # moved by one patch

    net = awake(patch=2)
    must_fail(knows_no_place, net)
    nn.init.zeros_(net.position)
    knows_no_place(net)


def test_each_patch_sees_all_others_and_the_words():
    net = awake(patch=2, vocabulary=5, length=2)
    x, t = torch.randn(1, 2, 4, 6).double().requires_grad_(), torch.tensor([300])
    words = torch.tensor([[1, 3]])
    seen = torch.autograd.grad(net(x, t, words)[0, :, :2, :2].sum(), x)[0]
    assert (seen != 0).all()
    assert (net(x, t, words) - net(x, t, torch.tensor([[1, 4]]))).abs().min() > 0
    assert (net(x, t, words) - net(x, t, words.flip(1))).abs().min() > 0  # their order counts
    assert_close(net(x, t, torch.tensor([[5, 5]])), net(x, t))  # the last number says: no word


def test_a_picture_that_does_not_divide_into_patches_is_refused():
    with pytest.raises(ValueError, match="divisible by patch"):
        DiT((1, 7, 8), patch=2)
