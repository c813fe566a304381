"""The convolutional networks: shapes, ranges, first weights, gradients, who meets whom; with broken twins."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from twins import Twin, must_fail

from gencourse.losses import discriminator_loss, generator_loss
from gencourse.nets import DCGANDiscriminator, DCGANGenerator

# image side -> channels of the generator; the discriminator has them reversed
SIZES = {
    16: [(8,), (8, 4), (8, 4, 4), (8, 6, 4, 2)],
    28: [(8,), (8, 4), (64, 32)],
    32: [(8,), (8, 4), (16, 8, 4), (8, 8, 8, 8), (8, 6, 4, 2, 2)],
    64: [(8,), (16, 8, 4), (8, 8, 6, 4, 4), (8, 6, 6, 4, 4, 2)],
}
FITTING = [(side, channels, colours) for side, lists in SIZES.items() for channels in lists for colours in (1, 3)]


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


# ---- checks: each takes something that makes a network, or a network ----


def check_generator(make, latent=5, channels=(8, 4), shape=(3, 16, 16)):
    """Images of the shape asked for, in [-1, 1], which large z nearly fill."""
    net = make(latent, channels=channels, image_shape=shape)
    images = net.eval()(1e6 * torch.randn(4, latent))
    assert images.shape == (4, *shape) and images.dtype == torch.float32
    assert -1 <= images.min() < -0.9 and 0.9 < images.max() <= 1


def check_discriminator(make, channels=(4, 8), shape=(3, 16, 16)):
    """One score per image, any real number."""
    scores = make(channels=channels, image_shape=shape).eval()(1e6 * torch.randn(40, *shape))
    assert scores.shape == (40,) and scores.dtype == torch.float32
    assert scores.min() < 0 and scores.max() > 1


def check_first_weights(net):
    """Standard deviation 0.02 around 0, around 1 in batch norms; biases 0. Five standard errors are allowed."""
    seen = 0
    for layer in net.modules():
        if getattr(layer, "weight", None) is None:
            continue
        w, centre = layer.weight.detach(), float(isinstance(layer, nn.BatchNorm2d))
        n, seen = w.numel(), seen + 1
        assert abs(w.mean() - centre) < 5 * 0.02 / n**0.5 and abs(w.std() / 0.02 - 1) < 5 / (2 * n) ** 0.5
        assert layer.bias is None or bool((layer.bias == 0).all())
    assert seen > 3


def met(net, x, i=1):
    """The samples that output i depends on."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(net(x)[i].square().sum(), x)
    return (gradient.flatten(1).abs().sum(1) > 0).nonzero().flatten().tolist()


def check_samples_do_not_meet(net, x):
    for i in range(len(x)):
        assert met(net, x, i) == [i]


def check_every_parameter_learns(net, x):
    """In eval mode, as batch norm in train mode takes away what a bias before it adds."""
    net.eval()(x).square().mean().backward()
    for name, p in net.named_parameters():
        assert p.grad is not None and bool(p.grad.isfinite().all()) and p.grad.abs().sum() > 0, name


def check_only_d_learns(loss_d):
    """A step of D leaves G without gradients, and reaches all of D."""
    g, d = DCGANGenerator(5, (8, 4)), DCGANDiscriminator((4, 8))
    loss_d(g, d, torch.rand(6, 1, 28, 28), torch.randn(6, 5)).backward()
    assert all(p.grad is None for p in g.parameters())
    assert all(p.grad is not None for p in d.parameters())


def check_even_writing(layer):
    """With equal weights and input each inner pixel of the output is equal: no checkerboard."""
    nn.init.ones_(layer.weight)
    layer.bias = None
    inner = layer(torch.ones(1, layer.in_channels, 8, 8))[..., 2:-2, 2:-2]
    assert_close(inner, inner[..., :1, :1].expand_as(inner))


# ---- sizes ----


@pytest.mark.parametrize(("side", "channels", "colours"), FITTING, ids=str)
def test_sizes_that_fit(side, channels, colours):
    shape = (colours, side, side)
    g, d = DCGANGenerator(5, channels, shape), DCGANDiscriminator(channels[::-1], shape)
    images = g(torch.randn(2, 5))
    assert images.shape == (2, *shape) and images.abs().max() <= 1
    assert d(images).shape == (2,)
    widths = [m.in_channels for m in g.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert widths == list(channels)
    assert [m.out_channels for m in d.modules() if isinstance(m, nn.Conv2d)] == widths[::-1]


def test_colour_networks_of_the_paper():
    shape = (3, 64, 64)
    g = DCGANGenerator(100, channels=(512, 256, 128, 64), image_shape=shape)
    d = DCGANDiscriminator(channels=(64, 128, 256, 512), image_shape=shape)
    images = g(torch.randn(2, 100))
    assert images.shape == (2, 3, 64, 64) and d(images).shape == (2,)
    assert next(m for m in g.modules() if isinstance(m, nn.Linear)).out_features == 512 * 4 * 4


@pytest.mark.parametrize("make", [DCGANGenerator, DCGANDiscriminator], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    "options", [{"channels": (8, 4, 2)}, {"image_shape": (1, 30, 30)}, {"image_shape": (1, 28, 32)}], ids=str
)
def test_sizes_that_do_not_halve(make, options):
    """The generator's images would have another size than the one asked for."""
    with pytest.raises(ValueError, match=r"image_shape=.* divisible by"):
        make(**options)


# ---- range, first weights, gradients ----

TWINS = {
    "into [0, 1]": (check_generator, lambda *a, **k: Twin(DCGANGenerator(*a, **k), lambda x: (x + 1) / 2)),
    "without tanh": (check_generator, lambda *a, **k: Twin(DCGANGenerator(*a, **k), torch.atanh)),
    "of probabilities": (check_discriminator, lambda **k: Twin(DCGANDiscriminator(**k), torch.sigmoid)),
    "of columns": (check_discriminator, lambda **k: Twin(DCGANDiscriminator(**k), lambda x: x[:, None])),
}


def test_right():
    check_generator(DCGANGenerator)
    check_discriminator(DCGANDiscriminator)


@pytest.mark.parametrize("name", TWINS)
def test_broken_twin(name):
    must_fail(*TWINS[name])


@pytest.mark.parametrize("make", [DCGANGenerator, DCGANDiscriminator], ids=lambda f: f.__name__)
def test_first_weights(make):
    net = make()
    check_first_weights(net)
    for wrong in (lambda m: m.reset_parameters(), lambda m: m.weight.data.mul_(2)):
        net = make()
        [wrong(m) for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        must_fail(check_first_weights, net)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_batch_norm_where_it_belongs(batch_norm):
    """In the discriminator if asked for and never on its first layer; in the generator before every convolution."""
    kinds = [type(m) for m in DCGANDiscriminator((4, 8, 8), (1, 32, 32), batch_norm).net]
    assert kinds.count(nn.BatchNorm2d) == 2 * batch_norm and kinds[1] is nn.LeakyReLU
    assert [type(m) for m in DCGANGenerator().net].count(nn.BatchNorm2d) == 2


def test_the_eps_of_batch_norm_is_small():
    """The second argument is eps, not the momentum: BatchNorm2d(n, 0.8) would hardly normalize."""
    for net in (DCGANGenerator(), DCGANDiscriminator()):
        assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-5}


def test_every_parameter_learns():
    x, z = torch.rand(8, 1, 28, 28), torch.randn(8, 64)
    check_every_parameter_learns(DCGANGenerator(), z)
    for batch_norm in (True, False):
        check_every_parameter_learns(DCGANDiscriminator(batch_norm=batch_norm), x)
    broken = DCGANDiscriminator()
    broken.register_parameter("unused", nn.Parameter(torch.ones(1)))
    must_fail(lambda net: check_every_parameter_learns(net, x), broken)


def test_each_pixel_is_written_equally_often():
    for layer in DCGANGenerator().net:
        if isinstance(layer, nn.ConvTranspose2d):
            check_even_writing(layer)
    must_fail(check_even_writing, nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1))


# ---- who meets whom ----


def test_samples_do_not_meet():
    x, z = torch.randn(4, 1, 28, 28), torch.randn(4, 64)
    check_samples_do_not_meet(DCGANGenerator().eval(), z)
    check_samples_do_not_meet(DCGANDiscriminator().eval(), x)
    check_samples_do_not_meet(DCGANDiscriminator(batch_norm=False).eval(), x)
    check_samples_do_not_meet(DCGANDiscriminator(batch_norm=False).train(), x)  # a critic for WGAN-GP


def test_batch_norm_mixes_samples_in_train_mode():
    x, z = torch.randn(4, 1, 28, 28), torch.randn(4, 64)
    for net, batch in ((DCGANDiscriminator(), x), (DCGANGenerator(), z)):
        assert met(net.train(), batch) == [0, 1, 2, 3]
        must_fail(lambda n, b=batch: check_samples_do_not_meet(n, b), net)


# ---- a step of a GAN ----


def test_a_step_of_d_leaves_g_alone():
    check_only_d_learns(lambda g, d, x, z: discriminator_loss(d(x), d(g(z).detach())).mean())
    must_fail(check_only_d_learns, lambda g, d, x, z: discriminator_loss(d(x), d(g(z))).mean())
    must_fail(check_only_d_learns, lambda g, d, x, z: generator_loss(d(g(z))).mean())


def test_a_step_of_g_reaches_all_of_g():
    g, d = DCGANGenerator(5, (8, 4)), DCGANDiscriminator((4, 8))
    generator_loss(d(g(torch.randn(6, 5)))).mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in g.parameters())
