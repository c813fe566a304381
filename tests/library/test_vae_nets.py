"""The networks of VAE and VQ-VAE: shapes, layers, ranges, gradients, who meets whom; with broken twins."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from twins import must_fail

from gencourse.likelihoods import bernoulli_log_prob, gaussian_kl
from gencourse.nets import VQVAE, Autoencoder, ConvDecoder, ConvEncoder

# image shape, channels of the encoder; the decoder has them reversed
SIZES = [
    ((1, 28, 28), (32, 64)),
    ((1, 28, 28), (8,)),
    ((1, 32, 32), (8, 16)),
    ((3, 32, 32), (8, 8, 16)),
    ((3, 16, 16), (4, 4, 4, 4)),
]


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def convolutions(net):
    return [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


# ---- sizes ----


@pytest.mark.parametrize(("shape", "channels"), SIZES, ids=str)
def test_sizes_that_fit(shape, channels):
    encoder = ConvEncoder(5, channels, hidden=7, image_shape=shape)
    decoder = ConvDecoder(5, channels[::-1], hidden=7, image_shape=shape)
    mu, logvar = encoder(torch.randn(3, *shape))
    assert mu.shape == logvar.shape == (3, 5) and mu.dtype == torch.float32
    assert decoder(mu).shape == (3, *shape)
    assert [c.out_channels for c in convolutions(encoder)] == list(channels)
    assert [c.in_channels for c in convolutions(decoder)] == list(channels[::-1])


def test_layers():
    """In this order, and nothing after the last: mu, logvar and logits are any real numbers."""
    conv, up, dense, flat, relu = nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.Flatten, nn.ReLU
    encoder, decoder = ConvEncoder(9, (8, 4), hidden=7), ConvDecoder(9, (4, 8), hidden=7)
    assert [type(m) for m in encoder.net] == [conv, relu, conv, relu, flat, dense, relu, dense]
    assert [type(m) for m in decoder.net] == [dense, relu, dense, relu, nn.Unflatten, up, relu, up]
    for layer in convolutions(encoder) + convolutions(decoder):
        assert (layer.kernel_size, layer.stride, layer.padding) == ((4, 4), (2, 2), (1, 1))
    widths = lambda net: [(m.in_features, m.out_features) for m in net if isinstance(m, dense)]
    assert widths(encoder.net) == [(4 * 49, 7), (7, 18)] and widths(decoder.net) == [(9, 7), (7, 4 * 49)]


def check_any_real_number(net, x):
    for out in net(x) if isinstance(net(x), tuple) else [net(x)]:
        assert out.min() < -3 and out.max() > 3


def test_outputs_are_any_real_numbers():
    x, z = 1e3 * torch.randn(40, 1, 28, 28), 1e3 * torch.randn(40, 32)
    check_any_real_number(ConvEncoder(), x)
    check_any_real_number(ConvDecoder(), z)
    for squash in (nn.Tanh(), nn.Sigmoid(), nn.Softplus()):
        must_fail(lambda net: check_any_real_number(net, z), nn.Sequential(ConvDecoder(), squash))


def test_first_halves_are_means():
    """mu is the first half of the last layer's output, logvar the second; they share nothing there."""
    encoder, x = ConvEncoder(5), torch.randn(3, 1, 28, 28)
    with torch.no_grad():
        encoder.net[-1].bias[:5] += 10
    mu, logvar = encoder(x)
    assert mu.min() > 5 and logvar.max() < 5


# ---- gradients ----


def with_noise(mu, logvar):
    return mu + (logvar / 2).exp() * torch.randn_like(mu)


def check_every_parameter_learns(sample, use_kl=False):
    """From the decoder's likelihood through the sample into every parameter of both networks, logvar's rows too."""
    encoder, decoder = ConvEncoder(4, (4, 8)), ConvDecoder(4, (8, 4))
    x = (torch.rand(6, 1, 28, 28) > 0.5).float()
    mu, logvar = encoder(x)
    loss = -bernoulli_log_prob(decoder(sample(mu, logvar)), x)
    (loss + gaussian_kl(mu, logvar) if use_kl else loss).mean().backward()
    for name, p in [*encoder.named_parameters(), *decoder.named_parameters()]:
        assert p.grad is not None and bool(p.grad.isfinite().all()) and p.grad.abs().sum() > 0, name
    assert bool((encoder.net[-1].weight.grad.abs().sum(1) > 0).all())  # one row per entry of mu and of logvar


def test_gradients_reach_the_encoder_through_the_sample():
    check_every_parameter_learns(with_noise)
    check_every_parameter_learns(with_noise, use_kl=True)
    must_fail(check_every_parameter_learns, lambda mu, logvar: with_noise(mu, logvar).detach())
    must_fail(check_every_parameter_learns, lambda mu, logvar: mu)  # logvar learns nothing
    drawn = lambda mu, logvar: torch.distributions.Normal(mu, (logvar / 2).exp()).sample()  # not rsample
    must_fail(check_every_parameter_learns, drawn)


# ---- who meets whom ----


def joined(net, x):
    out = net(x)
    return torch.cat(out, 1) if isinstance(out, tuple) else out.flatten(1)


def check_samples_do_not_meet(net, x):
    """In train mode as in eval mode: other samples in the batch change nothing for the first one."""
    others = torch.cat([x[:1], 3 * x[1:].flip(0) + 1])
    for mode in (True, False):
        net.train(mode)
        assert_close(joined(net, x)[0], joined(net, others)[0])
        assert_close(joined(net, x)[0], joined(net, x[:1])[0], atol=1e-5, rtol=1e-4)
        assert not torch.allclose(joined(net, x)[1:], joined(net, others)[1:])


def test_samples_do_not_meet():
    x, z = torch.randn(4, 1, 28, 28), torch.randn(4, 32)
    check_samples_do_not_meet(ConvEncoder(), x)
    check_samples_do_not_meet(ConvDecoder(), z)
    with_norm = ConvEncoder(), ConvDecoder()  # before the last ReLU: a dense one, a convolutional one
    with_norm[0].net.insert(-2, nn.BatchNorm1d(with_norm[0].net[-3].out_features))
    with_norm[1].net.insert(-2, nn.BatchNorm2d(with_norm[1].net[-3].out_channels))
    for net, batch in zip(with_norm, (x, z)):
        assert [type(m) for m in net.net][-2] is nn.ReLU
        must_fail(lambda n, b=batch: check_samples_do_not_meet(n, b), net)


# ---- the VQ-VAE ----


def check_nearest(quantize):
    """By brute force: at every position the codeword with the smallest distance, and its number."""
    net = VQVAE(codewords=11, size=3)
    torch.nn.init.normal_(net.codebook)
    z_e = torch.randn(2, 3, 4, 5)
    e, numbers = quantize(net, z_e)
    assert e.shape == z_e.shape and numbers.shape == (2, 4, 5)
    for b in range(2):
        for i in range(4):
            for j in range(5):
                squares = [sum((z_e[b, :, i, j] - word) ** 2).item() for word in net.codebook.detach()]
                best = min(range(11), key=squares.__getitem__)
                assert numbers[b, i, j] == best and e[b, :, i, j].equal(net.codebook[best])
    assert net.lookup(numbers).equal(e)


def by_dot_product(net, z_e):
    """A twin: the largest dot product is not the smallest distance."""
    numbers = torch.einsum("bchw,kc->bhwk", z_e, net.codebook).argmax(3)
    return net.lookup(numbers), numbers


def as_stored(net, z_e):
    """A twin: takes numbers that are neighbours in memory for one vector, not those of one position."""
    numbers = torch.cdist(z_e.reshape(-1, 3), net.codebook).argmin(1).view(2, 4, 5)
    return net.lookup(numbers), numbers


def test_quantization_picks_the_nearest_codeword():
    check_nearest(VQVAE.quantize)
    must_fail(check_nearest, by_dot_product)
    must_fail(check_nearest, as_stored)


def test_shapes_of_the_vqvae():
    net, x = VQVAE(codewords=7, size=5), torch.rand(3, 1, 28, 28)
    z_e = net.encoder(x)
    e, numbers = net.quantize(z_e)
    assert z_e.shape == e.shape == (3, 5, 7, 7) and numbers.shape == (3, 7, 7) and numbers.dtype == torch.int64
    assert net.decoder(e).shape == x.shape and net.codebook.shape == (7, 5)
    assert net.codebook.abs().max() <= 1 / 7 and numbers.min() >= 0 and numbers.max() < 7


def test_only_chosen_codewords_get_a_gradient():
    net = VQVAE(codewords=7, size=5)
    e, numbers = net.quantize(net.encoder(torch.rand(3, 1, 28, 28)))
    e.square().sum().backward()
    chosen = torch.bincount(numbers.flatten(), minlength=7) > 0
    assert (net.codebook.grad.abs().sum(1) > 0).equal(chosen)


# ---- latents with a place ----


@pytest.mark.parametrize(("shape", "patch"), [((1, 28, 28), 4), ((3, 16, 24), 2), ((3, 64, 64), 8)], ids=str)
def test_latents_have_a_place(shape, patch):
    net = Autoencoder(shape, channels=3, patch=patch, width=8, blocks=1)
    mu, logvar = net.encoder(torch.randn(2, *shape)).chunk(2, 1)
    assert mu.shape == logvar.shape == (2, 3, shape[1] // patch, shape[2] // patch)
    assert net.decoder(mu).shape == (2, *shape)


def check_a_latent_sees_its_surroundings_only(encoder):
    """Two residual blocks and the convolution in front reach five positions: not the opposite corner of twelve."""
    x = torch.randn(1, 1, 48, 48, requires_grad=True)
    seen = torch.autograd.grad(encoder(x)[0, :, 0, 0].sum(), x)[0][0, 0]
    assert seen[0, 0] != 0
    assert (seen[-4:, -4:] == 0).all()


def without_norms(module):
    """The statistics of a group norm are those of the whole map."""
    for name, child in module.named_children():
        setattr(module, name, nn.Identity() if isinstance(child, nn.GroupNorm) else without_norms(child))
    return module


def test_a_latent_sees_its_surroundings_only():
    encoder = without_norms(Autoencoder((1, 48, 48), width=8).encoder)
    check_a_latent_sees_its_surroundings_only(encoder)
    must_fail(check_a_latent_sees_its_surroundings_only, lambda x: encoder(x) + x.mean())
