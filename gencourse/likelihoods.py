"""Log-likelihoods of pixels, the KL divergence of Gaussians, importance-weighted bounds.

All return one value per sample, shape (B,), in nats: you average. Sums run over all dimensions but the first, never
means: a mean over pixels divides the likelihood by their number and leaves the KL divergence as large as it was.
"""

import math

import torch
from torch.nn.functional import softplus

from .errors import is_real, is_whole, require, shown


def _batch(name, value):
    ok = isinstance(value, torch.Tensor) and value.ndim > 1 and value.is_floating_point()
    require(ok, name, shown(value), "a floating-point tensor of shape (B, ...): (B, 1) for one number per sample")


def _same_shape(name, value, first, like):
    ok = isinstance(value, torch.Tensor) and value.shape == like.shape
    require(ok, name, shown(value), f"a tensor of the same shape as {first}, {tuple(like.shape)}")


def _fitting(name, value, first, like):
    """A number, or a tensor that broadcasts to the shape of ``like``, as a tensor."""
    allowed = f"a number, or a floating-point tensor that broadcasts to the shape of {first}, {tuple(like.shape)}"
    if not isinstance(value, torch.Tensor):
        require(is_real(value), name, value, allowed)
        return torch.tensor(float(value), dtype=like.dtype, device=like.device)
    try:
        ok = torch.broadcast_shapes(value.shape, like.shape) == like.shape
    except RuntimeError:
        ok = False
    require(ok and value.is_floating_point(), name, tuple(value.shape), allowed)
    return value


def bernoulli_log_prob(logits: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The log-likelihood of black-and-white pixels: log p(x) = sum_i x_i l_i - log(1 + exp l_i), in nats; (B,).

    With l = logit, pixel i is 1 with probability sigmoid(l_i). It is minus the summed binary cross-entropy.

    Args:
        logits: l, any real numbers, (B, ...).
        x: pixels, each 0 or 1, same shape. Grey values are refused: Bernoulli variables have none, and the
            cross-entropy of grey pixels is no likelihood, as its probabilities do not add up to 1.

    Returns:
        (B,), at most 0.

    Raises:
        ArgumentError: if the shapes differ, the logits are not floating point, or a pixel is neither 0 nor 1.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix C.1.

    >>> round(bernoulli_log_prob(torch.zeros(1, 784), torch.ones(1, 784)).item(), 2)     # 784 log(1/2)
    -543.43
    """
    _batch("logits", logits)
    _same_shape("x", x, "logits", logits)
    ones = x == 1
    clean = ones | (x == 0)
    if not clean.all():
        grey = round(float(x[~clean][0]), 4)
        why = "the cross-entropy of grey pixels is no likelihood. Binarize them first, with gc.data.binarize"
        require(False, "x", grey, f"0 or 1 in every pixel: {why}")
    # log sigmoid(l) for a 1, log sigmoid(-l) for a 0: x l - softplus(l) would lose what is left of two large numbers
    return -softplus(torch.where(ones, -logits, logits)).flatten(1).sum(1)


def gaussian_log_prob(x: torch.Tensor, mu: torch.Tensor, logvar) -> torch.Tensor:
    """The log-density of independent Gaussians, log N(x; mu, exp(logvar) I), in nats; (B,).

    log p(x) = -1/2 sum_i [ log 2 pi + logvar_i + (x_i - mu_i)^2 / exp(logvar_i) ]. A density: it depends on the units
    of x and may be positive.

    Args:
        x: where, (B, ...).
        mu: means, same shape.
        logvar: logarithms of the variances (not of the standard deviations): a number, or a tensor of the same shape
            or one that broadcasts to it.

    Raises:
        ArgumentError: if shapes do not fit, or something is not floating point.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix C.2.

    >>> round(gaussian_log_prob(torch.zeros(1, 1), torch.zeros(1, 1), 0.0).item(), 4)     # -log(2 pi) / 2
    -0.9189
    """
    _batch("x", x)
    _same_shape("mu", mu, "x", x)
    logvar = _fitting("logvar", logvar, "x", x)
    terms = math.log(2 * math.pi) + logvar + (x - mu).square() * (-logvar).exp()
    return -terms.flatten(1).sum(1) / 2


def gaussian_kl(mu: torch.Tensor, logvar: torch.Tensor, mu_p=None, logvar_p=None) -> torch.Tensor:
    """The KL divergence of diagonal Gaussians, KL(N(mu, exp logvar) || N(mu_p, exp logvar_p)), in nats; (B,).

    KL = 1/2 sum_i [ exp(d_i) - 1 - d_i + (mu_i - mu_p_i)^2 / exp(logvar_p_i) ] with d = logvar - logvar_p. For the
    default p = N(0, I) it is 1/2 sum_i [ exp(logvar_i) - 1 - logvar_i + mu_i^2 ].

    Args:
        mu: means of q, (B, ...).
        logvar: logarithms of the variances of q, same shape.
        mu_p, logvar_p: those of p, each a number, or a tensor of the same shape or one that broadcasts to it; both
            or neither.

    Returns:
        (B,), at least 0, and 0 where q = p.

    Raises:
        ArgumentError: if shapes do not fit, something is not floating point, or only one of the last two is given.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix B.

    >>> gaussian_kl(torch.full((1, 4), 3.0), torch.zeros(1, 4)).item()     # four times 3^2 / 2
    18.0
    """
    _batch("mu", mu)
    _batch("logvar", logvar)
    _same_shape("logvar", logvar, "mu", mu)
    missing = "logvar_p" if logvar_p is None else "mu_p"
    require((mu_p is None) == (logvar_p is None), missing, None, "given too: both of p's parameters, or neither")
    mu_p = _fitting("mu_p", 0.0 if mu_p is None else mu_p, "mu", mu)
    logvar_p = _fitting("logvar_p", 0.0 if logvar_p is None else logvar_p, "mu", mu)
    d = logvar - logvar_p
    terms = d.expm1() - d + (mu - mu_p).square() * (-logvar_p).exp()  # expm1(d) = exp(d) - 1, exact for small d too
    return terms.flatten(1).sum(1) / 2


def importance_bound(log_weights: torch.Tensor) -> torch.Tensor:
    """The importance-weighted bound on log p(x), L_k = log (1/k) sum_i w_i with z_i ~ q(z|x), in nats; (B,).

    Its expectation is the ELBO for k = 1, grows with k, and never exceeds log p(x).

    Args:
        log_weights: log w_i = log p(x, z_i) - log q(z_i|x), shape (k, B): one row per draw, one column per sample.

    Raises:
        ArgumentError: if the weights have another shape or are not floating point.

    Source: Burda et al. (2016), https://arxiv.org/abs/1509.00519.

    >>> importance_bound(torch.tensor([[1.0, 4.0], [3.0, 2.0]]).log()).exp().tolist()     # means over the columns
    [2.0, 3.0]
    """
    ok = isinstance(log_weights, torch.Tensor) and log_weights.ndim == 2 and len(log_weights) > 0
    ok = ok and log_weights.is_floating_point()
    require(ok, "log_weights", shown(log_weights), "a floating-point tensor of shape (k, B), with k at least 1")
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def bits_per_dim(nats, dims):
    """A negative log-likelihood in bits per dimension: nats / (dims log 2).

    Args:
        nats: -log p(x) of a whole sample, a number or a tensor of any shape; the sign is yours to turn.
        dims: the number of dimensions of a sample, e.g. 784 pixels.

    Returns:
        A number or a tensor of the same shape.

    Raises:
        ArgumentError: if ``nats`` is neither, or ``dims`` is not a positive integer.

    >>> round(bits_per_dim(543.43, 784), 3)     # fair coins: one bit per pixel
    1.0
    """
    ok = is_real(nats) or (isinstance(nats, torch.Tensor) and nats.is_floating_point())
    require(ok, "nats", shown(nats), "a finite number, or a floating-point tensor")
    require(is_whole(dims) and dims > 0, "dims", dims, "a positive integer")
    return nats / (dims * math.log(2))
