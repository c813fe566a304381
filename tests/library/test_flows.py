"""Flows against automatic differentiation, zuko and torch.distributions, each with broken twins."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import transforms
from torch.nn.functional import softplus
from torch.testing import assert_close
from twins import every_check_fails
from zuko.transforms import MonotonicRQSTransform

from gencourse.likelihoods import dequantize
from gencourse.nets import Coupling, Flow, InvertibleConv, affine, mlp, spline
from gencourse.nets.flow import MARGIN

torch.distributions.Distribution.set_default_validate_args(True)  # which importing zuko has switched off for all


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


def shaken(net, size=0.2):
    """A network with random parameters everywhere, in double precision: the layers of a new flow change nothing."""
    for p in net.double().parameters():
        p.data += size * torch.randn_like(p)
    return net


def jacobian(f, x):
    """(B, n, n) of a map of one sample."""
    flat = torch.func.vmap(torch.func.jacrev(lambda v: f(v.view(1, *x.shape[1:]))[0].flatten()))
    return flat(x.flatten(1))


# ---- one number at a time ----

POINTS = torch.linspace(-5, 5, 801, dtype=torch.float64)


def check_slope(change, parameters):
    """The slope is what autograd finds, and positive; the inverse leads back, with minus the logarithm."""
    x = POINTS.clone().requires_grad_()
    y, log_slope = change(x, parameters)
    (slope,) = torch.autograd.grad(y.sum(), x)
    assert_close(log_slope.exp(), slope)
    back, minus = change(y.detach(), parameters, inverse=True)
    assert_close(back, POINTS, atol=1e-9, rtol=0)
    assert_close(minus, -log_slope, atol=1e-6, rtol=0)


def affine_parameters():
    return 3 * torch.randn(len(POINTS), 2, dtype=torch.float64)


def check_affine(change):
    parameters = affine_parameters()
    check_slope(change, parameters)
    s, t = parameters.unbind(-1)
    theirs = transforms.AffineTransform(t, (3 * (s / 3).tanh()).exp())
    y, log_slope = change(POINTS, parameters)
    assert_close(y, theirs(POINTS))
    assert_close(log_slope, theirs.log_abs_det_jacobian(POINTS, y))


def spline_parameters(bins=7):
    return 2 * torch.randn(len(POINTS), 3 * bins - 1, dtype=torch.float64)


def check_spline(change, bins=7, edge=4.0):
    parameters = spline_parameters(bins)
    check_slope(change, parameters)
    theirs = MonotonicRQSTransform(*parameters.split([bins, bins, bins - 1], -1), bound=edge)
    widths, heights, slopes = parameters.split([bins, bins, bins - 1], -1)
    for name, logits in (("horizontal", widths), ("vertical", heights)):  # the same knots; every bin keeps a thousandth
        shares = 1e-3 + (1 - 1e-3 * bins) * logits.softmax(-1)
        setattr(theirs, name, nn.functional.pad(2 * edge * shares.cumsum(-1) - edge, (1, 0), value=-edge))
    inner = 1e-3 + softplus(slopes + math.log(math.expm1(1 - 1e-3)))
    theirs.derivatives = nn.functional.pad(inner, (1, 1), value=1.0)
    y, log_slope = change(POINTS, parameters)
    y_theirs, log_slope_theirs = theirs.call_and_ladj(POINTS)
    assert_close(y, y_theirs)
    assert_close(log_slope, log_slope_theirs)


def without_bound(x, parameters, inverse=False):
    s, t = parameters.unbind(-1)
    return ((x - t) * (-s).exp(), -s) if inverse else (x * s.exp() + t, s)


def same_sign(change):
    def twin(x, parameters, inverse=False):
        value, log_slope = change(x, parameters, inverse)
        return value, -log_slope if inverse else log_slope

    return twin


def turned_round(change):
    return lambda x, parameters, inverse=False: change(x, parameters, not inverse)


def exponents(change):
    return lambda x, parameters, inverse=False: (change(x, parameters, inverse)[0], torch.zeros_like(x))


test_broken_changes = every_check_fails({
    "scale without a bound": (without_bound, [check_affine]),
    "affine: the sign of the way back": (same_sign(affine), [check_affine]),
    "affine: turned round": (turned_round(affine), [check_affine]),
    "affine: no determinant": (exponents(affine), [check_affine]),
    "spline: the sign of the way back": (same_sign(spline), [check_spline]),
    "spline: turned round": (turned_round(spline), [check_spline]),
    "spline: no determinant": (exponents(spline), [check_spline]),
    "spline: another edge": (lambda *args, **more: spline(*args, **more, edge=3.0), [check_spline]),
})  # fmt: skip


def test_affine():
    check_affine(affine)


def test_spline():
    check_spline(spline)
    x = torch.linspace(-6, 6, 101)
    for value in spline(x, torch.zeros(101, 23)), spline(x, torch.zeros(101, 23), inverse=True):
        assert_close(value[0], x)
        assert_close(value[1], torch.zeros(101), atol=1e-6, rtol=0)
    steep = 30 * torch.randn(101, 23, generator=torch.Generator().manual_seed(1))
    assert spline(x, steep)[1].isfinite().all() and spline(x, steep, inverse=True)[0].isfinite().all()


# ---- layers ----


def check_layer(layer, shape=(3, 4, 2, 2)):
    """log |det| is that of the whole Jacobian; the inverse leads back."""
    layer = shaken(layer())
    x = torch.randn(shape, dtype=torch.float64)
    z, log_det = layer(x)
    assert_close(log_det, torch.linalg.slogdet(jacobian(layer, x)).logabsdet)
    assert_close(layer.inverse(z), x)


def coupling(change=affine, per=2, flip=False, kind=Coupling):
    return lambda: kind(nn.Conv2d(2, 2 * per, 3, padding=1), flip, change)


class Forgets(Coupling):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z, torch.zeros_like(log_det)


class SeesItself(Coupling):
    def forward(self, x):
        return super().forward(x + 0.1 * x.flip(1))


class OnePlace(InvertibleConv):
    def forward(self, x):
        z, log_det = super().forward(x)
        return z, log_det / x[0, 0].numel()


class WrongInverse(InvertibleConv):
    def inverse(self, z):
        return super().inverse(z.flip(1))


LAYERS = {
    "affine coupling": coupling(), "flipped": coupling(flip=True), "spline coupling": coupling(spline, 11),
    "1 x 1 convolution": lambda: InvertibleConv(4),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    check_layer(LAYERS[name])


def test_a_coupling_takes_vectors_too():
    check_layer(lambda: Coupling(mlp([3, 16, 6], nn.Tanh()), flip=True), (5, 6))


test_broken_layers = every_check_fails({
    "coupling without its determinant": (coupling(kind=Forgets), [check_layer]),
    "coupling whose network sees what it changes": (coupling(kind=SeesItself), [check_layer]),
    "convolution at one place only": (lambda: OnePlace(4), [check_layer]),
    "convolution with a wrong inverse": (lambda: WrongInverse(4), [check_layer]),
})  # fmt: skip


# ---- a flow of images ----


def check_flow(make):
    flow = shaken(make(), 0.1)
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    z, log_det = flow(x)
    matrix = jacobian(flow, x)
    assert_close(log_det, torch.linalg.slogdet(matrix).logabsdet)
    assert_close(flow.inverse(z, (8, 8)), x, atol=1e-6, rtol=0)
    prior = torch.distributions.Normal(torch.zeros_like(z), 1.0)
    assert_close(flow.log_prob(x), prior.log_prob(z).sum(1) + log_det)


class NoLogit(Flow):
    def forward(self, x):
        z, log_det = super().forward(x)
        y = MARGIN + (1 - 2 * MARGIN) * x
        return z, log_det + (y.log() + (1 - y).log()).flatten(1).sum(1)


class WrongSign(Flow):
    def log_prob(self, x):
        return super().log_prob(x) - 2 * self(x)[1]


def check_means(make):
    flow = shaken(make(), 0.1)  # the means, too
    y = torch.tensor([2, 0])
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    z, log_det = flow(x)
    prior = torch.distributions.Normal(flow.means[y], 1.0)
    assert_close(flow.log_prob(x, y), prior.log_prob(z).sum(1) + log_det)
    assert_close(flow.inverse(z - flow.means[y], (8, 8), y), x, atol=1e-6, rtol=0)


class MeansOnOneWay(Flow):
    def inverse(self, z, shape=(28, 28), y=None):
        return super().inverse(z, shape)


class AnotherMean(Flow):
    def log_prob(self, x, y=None):
        return super().log_prob(x, y - 1)


def test_a_mean_for_each_class():
    check_means(lambda: Flow(8, (1, 1), 4, classes=3, size=64))


@pytest.mark.parametrize("logit", [True, False])
@pytest.mark.parametrize("bins", [0, 5])
def test_flow(bins, logit):
    check_flow(lambda: Flow(8, (2, 1), bins, logit=logit))


test_broken_flows = every_check_fails({
    "the logit forgotten": (lambda: NoLogit(8, (1, 1), 4), [check_flow]),
    "the sign of the determinant": (lambda: WrongSign(8, (1, 1), 4), [check_flow]),
    "no means on the way back": (lambda: MeansOnOneWay(8, (1, 1), 4, classes=3, size=64), [check_means]),
    "the mean of another class": (lambda: AnotherMean(8, (1, 1), 4, classes=3, size=64), [check_means]),
})  # fmt: skip


def test_a_flow_draws_images_of_its_own_size():
    images = Flow(8, (1, 1), 4).inverse(torch.randn(3, 784))
    assert images.shape == (3, 1, 28, 28) and images.min() >= 0 and images.max() <= 1
    numbers = Flow(8, (1, 1), 4, logit=False).inverse(torch.randn(3, 784))
    assert numbers.shape == (3, 1, 28, 28) and numbers.min() < 0  # without the logit they are any real numbers


# ---- levels ----


def check_levels(f):
    levels = torch.arange(256.0).repeat(400, 1)
    y = f(levels / 127.5 - 1)
    assert (256 * y).floor().equal(levels)
    assert y.min() >= 0 and y.max() < 1
    u = (256 * y - levels).double()
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002
    assert not f(levels / 127.5 - 1).equal(y)  # fresh noise


def test_dequantize():
    check_levels(dequantize)
    x = torch.full((2, 1, 4, 4), -1.0)
    first, again = (dequantize(x, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    assert first.equal(again) and dequantize(x.double()).dtype == torch.float64


test_broken_levels = every_check_fails({
    "no noise": (lambda x: ((x + 1) * 127.5).round() / 256, [check_levels]),
    "half a level to the left": (lambda x: dequantize(x) - 1 / 512, [check_levels]),
    "divided by 255": (lambda x: dequantize(x) * 256 / 255, [check_levels]),
    "always the same": (lambda x: dequantize(x, generator=torch.Generator().manual_seed(1)), [check_levels]),
    "noise of half a level": (lambda x: (((x + 1) * 127.5).round() + torch.rand_like(x) / 2) / 256, [check_levels]),
})  # fmt: skip
