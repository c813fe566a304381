"""The fully connected networks: shapes, ranges, gradients, independence of samples; with broken twins."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from twins import Twin, must_fail

from gencourse.nets import MLPDiscriminator, MLPGenerator, mlp


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


# ---- checks: each takes something that makes a network ----


def check_mlp(make):
    """Linear layers of the widths asked for, an activation between them and none after the last."""
    net = make([3, 16, 8, 2])
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(3, 16), (16, 8), (8, 2)]
    x = torch.randn(5, 3)
    h = x
    for i, layer in enumerate(linear):
        h = layer(nn.functional.leaky_relu(h, 0.2) if i else h)
    assert_close(net(x), h)


def check_generator(make):
    net = make(latent_dim=7, hidden=16, image_shape=(3, 4, 5)).eval()
    images = net(100 * torch.randn(6, 7))
    assert images.shape == (6, 3, 4, 5) and images.dtype == torch.float32
    assert images.min() < 0 < images.max() and images.abs().max() <= 1


def check_discriminator(make):
    net = make(hidden=16, image_shape=(3, 4, 5)).eval()
    logits = net(100 * torch.randn(200, 3, 4, 5))
    assert logits.shape == (200,)
    assert logits.min() < 0 and logits.max() > 1  # logits, not probabilities


def check_samples_do_not_meet(net, x):
    """The Jacobian between samples is zero: each output depends on its own input alone."""
    for i in (0, len(x) - 1):
        x = x.detach().requires_grad_()
        net(x)[i].sum().backward()
        reached = x.grad.flatten(1).abs().sum(1) > 0
        assert reached.nonzero().flatten().tolist() == [i]


TWINS = {
    "mlp with an activation at the end": (check_mlp, lambda sizes: nn.Sequential(mlp(sizes), nn.LeakyReLU(0.2))),
    "mlp that is linear": (check_mlp, lambda sizes: mlp(sizes, nn.Identity())),
    "mlp with another slope": (check_mlp, lambda sizes: mlp(sizes, nn.LeakyReLU(0.01))),
    "mlp of the reverse widths": (check_mlp, lambda sizes: mlp(sizes[::-1])),
    "generator into [0, 1]": (check_generator, lambda **k: Twin(MLPGenerator(**k), lambda x: (x + 1) / 2)),
    "generator without tanh": (check_generator, lambda **k: Twin(MLPGenerator(**k), lambda x: 3 * x)),
    "generator of flat images": (check_generator, lambda **k: Twin(MLPGenerator(**k), lambda x: x.flatten(1))),
    "discriminator of probabilities": (check_discriminator, lambda **k: Twin(MLPDiscriminator(**k), torch.sigmoid)),
    "discriminator of columns": (check_discriminator, lambda **k: Twin(MLPDiscriminator(**k), lambda x: x[:, None])),
}


@pytest.mark.parametrize(
    ("check", "make"),
    [(check_mlp, mlp), (check_generator, MLPGenerator), (check_discriminator, MLPDiscriminator)],
    ids=["mlp", "generator", "discriminator"],
)
def test_right(check, make):
    check(make)


@pytest.mark.parametrize("name", TWINS)
def test_broken_twin(name):
    must_fail(*TWINS[name])


def test_samples_do_not_meet():
    x, z = torch.randn(4, 1, 28, 28), torch.randn(4, 64)
    check_samples_do_not_meet(MLPDiscriminator().eval(), x)
    check_samples_do_not_meet(MLPGenerator().eval(), z)
    check_samples_do_not_meet(mlp([64, 8, 1]), z)
    crossing = Twin(mlp([64, 8, 1]), lambda y: y - y.mean(0))  # as batch normalization in training mode does
    with pytest.raises(AssertionError):
        check_samples_do_not_meet(crossing, z)


@pytest.mark.parametrize("make", [lambda: mlp([64, 16, 1]), MLPGenerator], ids=["mlp", "generator"])
def test_every_weight_learns(make):
    net = make()
    net(torch.randn(8, 64)).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert sum(p.grad.abs().sum() > 0 for p in net.parameters()) > len(list(net.parameters())) / 2


def test_every_weight_of_the_discriminator_learns():
    net = MLPDiscriminator()
    net(torch.randn(64, 1, 28, 28)).square().mean().backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in net.parameters())


def test_the_eps_of_batch_norm_is_small():
    """The second argument is eps, not the momentum: BatchNorm1d(n, 0.8) would hardly normalize."""
    assert {m.eps for m in MLPGenerator().modules() if isinstance(m, nn.BatchNorm1d)} == {1e-5}


def test_dropout_only_in_training():
    net, x = MLPDiscriminator(), torch.randn(4, 1, 28, 28)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
    still = MLPDiscriminator(dropout=0.0)
    assert torch.equal(still(x), still(x))


@pytest.mark.parametrize("image_shape", [(1, 28, 28), (3, 8, 8), (2,)], ids=str)
def test_image_shapes_fit_together(image_shape):
    generator, discriminator = MLPGenerator(image_shape=image_shape), MLPDiscriminator(image_shape=image_shape)
    assert discriminator(generator(torch.randn(5, 64))).shape == (5,)
