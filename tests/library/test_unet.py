"""The U-Net: shapes, the start, who may influence whom, time and labels; with broken twins where it can be wrong."""

import math

import pytest
import torch
import waking
from torch.testing import assert_close
from twins import must_fail

from gencourse.nets import UNet, time_embedding

SIZES = [
    {"channels": (8, 16)},
    {"channels": (8,), "patch": 1},
    {"channels": (8, 8, 16), "image_shape": (3, 32, 32)},
    {"channels": (16, 8), "patch": 1, "blocks": 2},
    {"channels": (8, 16), "patch": 4, "image_shape": (2, 16, 16), "classes": 3},
]


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def awake(**options):
    """A small U-Net in which every weight counts: nothing starts at zero."""
    return waking.awake(UNet(**({"channels": (8, 16)} | options)), std=0.2)


def batch(n=3, image_shape=(1, 28, 28), **_):
    return torch.randn(n, *image_shape).double(), torch.arange(1, n + 1) * 100


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_shapes(options):
    net = awake(**options)
    x, t = batch(**options)
    assert net(x, t).shape == x.shape
    assert_close(net(x, 7), net(x, torch.full((3,), 7)))  # one time for all


@pytest.mark.parametrize("options", SIZES, ids=str)
def test_it_starts_at_zero_and_wakes_up(options):
    """The last layer is 0, so the first prediction is 0, whatever comes in; after a few steps all weights move."""
    net = UNet(**options)
    x, t = batch(4, **options)
    x = x.float()
    assert (net(x, t) == 0).all()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    before = [w.detach().clone() for w in net.parameters()]
    for _ in range(4):
        optimizer.zero_grad()
        y = torch.tensor([0, 1, 2, 3]) if net.classes else None
        (net(x, t, y) - x).square().mean().backward()
        optimizer.step()
    still = [name for (name, w), old in zip(net.named_parameters(), before, strict=True) if torch.equal(w, old)]
    assert still == []


def check_alone(net):
    """What is predicted for one image does not depend on the others of its batch."""
    x, t = batch()
    assert_close(net(x, t)[:1], net(x[:1], t[:1]))


def test_images_do_not_meet():
    check_alone(awake())


def test_twin_with_batch_norm():
    net = awake()
    net.conv_out[0] = torch.nn.BatchNorm2d(8).double().train()
    must_fail(check_alone, net)


def test_attention_knows_no_positions():
    """It treats all positions alike: shuffled in, equally shuffled out; and each sees all others."""
    attend = awake().middle[0]
    h, order = torch.randn(2, 16, 3, 3).double(), torch.randperm(9)
    shuffled = h.flatten(2)[:, :, order].reshape(h.shape)
    assert_close(attend(shuffled).flatten(2), attend(h).flatten(2)[:, :, order])
    moved = h.clone()
    moved[:, :, 0, 0] += 1
    assert ((attend(moved) - attend(h))[:, :, 2, 2].abs() > 1e-9).all()


def check_time_counts(net):
    x, t = batch()
    assert (net(x, t) - net(x, t + 1)).abs().max() > 1e-6


def test_time_counts():
    check_time_counts(awake())


def test_twin_without_time():
    must_fail(check_time_counts, awake(time_conditioned=False))


def test_two_times_count_each():
    net, (x, _) = awake(times=2), batch()
    times = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    out = net(x, times)
    assert_close(net(x[1:2], times[1:2]), out[1:2])  # each image has a row of its own
    for other in (times.flip(1), times + torch.tensor([9.0, 0.0]), times + torch.tensor([0.0, 9.0])):
        assert ((net(x, other) - out).abs().flatten(1).amax(1) > 1e-3).all()


def test_labels():
    net, plain = awake(classes=3), awake()
    x, t = batch()
    zero, none = net(x, t, torch.zeros(3, dtype=torch.long)), net(x, t)
    assert (zero - none).abs().max() > 1e-6
    assert_close(none, net(x, t, torch.full((3,), 3)))  # "no label" is the class behind the last
    with pytest.raises(ValueError, match="without classes"):
        plain(x, t, torch.zeros(3, dtype=torch.long))


def test_size():
    """The default network is small enough to train on two cores."""
    assert 300_000 < sum(w.numel() for w in UNet().parameters()) < 500_000


def test_time_embedding_against_the_formula():
    t, dim = torch.tensor([0.0, 1.0, 37.5, 1000.0]), 8
    expected = []
    for value in t.tolist():
        angles = [value * 10_000 ** (-k / (dim // 2 - 1)) for k in range(dim // 2)]
        expected.append([math.cos(a) for a in angles] + [math.sin(a) for a in angles])
    assert_close(time_embedding(t, dim), torch.tensor(expected), atol=1e-4, rtol=0)


def test_near_times_look_alike():
    e = time_embedding(torch.tensor([500, 501, 900]))
    assert (e[0] - e[1]).norm() < (e[0] - e[2]).norm()
    assert_close(e.square().sum(1), torch.full((3,), 32.0))
