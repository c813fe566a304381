"""Log-likelihoods of pixels, the KL divergence of Gaussians, importance-weighted bounds.

All return one value per sample, shape (B,), in nats: you average. Sums run over all dimensions but the first, never
means: a mean over pixels divides the likelihood by their number and leaves the KL divergence as large as it was.
"""

import math

import torch
from torch.nn.functional import softplus

from .errors import require, require_same_shape


def _expandable(name, value, first, like):
    """A number or a tensor as a tensor that broadcasts to the shape of ``like`` and does not enlarge it."""
    if not isinstance(value, torch.Tensor):
        return like.new_full((), value)  # filled on the device: a copy from the CPU would wait for it
    ok = torch.broadcast_shapes(value.shape, like.shape) == like.shape
    require(ok, f"{name}.shape", tuple(value.shape), f"one that broadcasts to {tuple(like.shape)}, that of {first}")
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
        ValueError: if the shapes differ, or a pixel is neither 0 nor 1 (looked for on the CPU only, as an accelerator
            would have to wait).

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix C.1.

    >>> round(bernoulli_log_prob(torch.zeros(1, 784), torch.ones(1, 784)).item(), 2)     # 784 log(1/2)
    -543.43
    """
    require_same_shape("x", x, "logits", logits)
    ones = x == 1
    if x.device.type == "cpu":  # an accelerator would have to wait
        binary = bool((ones | (x == 0)).all())
        why = "the cross-entropy of grey pixels is no likelihood. Binarize them first, with gc.data.binarize"
        require(binary, "x", "grey pixels", f"0 or 1 in every pixel: {why}")
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
        ValueError: if the shapes do not fit.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix C.2.

    >>> round(gaussian_log_prob(torch.zeros(1, 1), torch.zeros(1, 1), 0.0).item(), 4)     # -log(2 pi) / 2
    -0.9189
    """
    require_same_shape("mu", mu, "x", x)
    logvar = _expandable("logvar", logvar, "x", x)
    terms = math.log(2 * math.pi) + logvar + (x - mu).square() * (-logvar).exp()
    return -terms.flatten(1).sum(1) / 2


def gaussian_kl(mu: torch.Tensor, logvar: torch.Tensor, mu_p=0.0, logvar_p=0.0) -> torch.Tensor:
    """The KL divergence of diagonal Gaussians, KL(N(mu, exp logvar) || N(mu_p, exp logvar_p)), in nats; (B,).

    KL = 1/2 sum_i [ exp(d_i) - 1 - d_i + (mu_i - mu_p_i)^2 / exp(logvar_p_i) ] with d = logvar - logvar_p. For the
    default p = N(0, I) it is 1/2 sum_i [ exp(logvar_i) - 1 - logvar_i + mu_i^2 ].

    Args:
        mu: means of q, (B, ...).
        logvar: logarithms of the variances of q, same shape.
        mu_p, logvar_p: those of p, each a number, or a tensor of the same shape or one that broadcasts to it.

    Returns:
        (B,), at least 0, and 0 where q = p.

    Raises:
        ValueError: if the shapes do not fit.

    Source: Kingma & Welling (2014), https://arxiv.org/abs/1312.6114, appendix B.

    >>> gaussian_kl(torch.full((1, 4), 3.0), torch.zeros(1, 4)).item()     # four times 3^2 / 2
    18.0
    """
    require_same_shape("logvar", logvar, "mu", mu)
    mu_p, logvar_p = _expandable("mu_p", mu_p, "mu", mu), _expandable("logvar_p", logvar_p, "mu", mu)
    d = logvar - logvar_p
    terms = d.expm1() - d + (mu - mu_p).square() * (-logvar_p).exp()  # expm1(d) = exp(d) - 1, exact for small d too
    return terms.flatten(1).sum(1) / 2


def importance_bound(log_weights: torch.Tensor) -> torch.Tensor:
    """The importance-weighted bound on log p(x), L_k = log (1/k) sum_i w_i with z_i ~ q(z|x), in nats; (B,).

    Its expectation is the ELBO for k = 1, grows with k, and never exceeds log p(x).

    Args:
        log_weights: log w_i = log p(x, z_i) - log q(z_i|x), shape (k, B): one row per z_i, one column per x.

    Raises:
        ValueError: if the weights have another shape: a mean over the wrong axis is no bound.

    Source: Burda et al. (2016), https://arxiv.org/abs/1509.00519.

    >>> importance_bound(torch.tensor([[1.0, 4.0], [3.0, 2.0]]).log()).exp().tolist()     # means over the columns
    [2.0, 3.0]
    """
    require(log_weights.ndim == 2, "log_weights.shape", tuple(log_weights.shape), "(k, B)")
    return log_weights.logsumexp(0) - math.log(len(log_weights))


def bits_per_dim(nats, dims):
    """A negative log-likelihood in bits per dimension: nats / (dims log 2).

    Args:
        nats: -log p(x) of a whole sample, a number or a tensor of any shape; the sign is yours to turn.
        dims: the number of dimensions of a sample, e.g. 784 pixels.

    Returns:
        A number or a tensor of the same shape.

    >>> round(bits_per_dim(543.43, 784), 3)     # fair coins: one bit per pixel
    1.0
    """
    return nats / (dims * math.log(2))


def dequantize(x: torch.Tensor, *, generator=None) -> torch.Tensor:
    """Images of 256 levels as numbers in (0, 1): (level + u) / 256 with u uniform on [0, 1), fresh at each call.

    With a density p of such numbers, E[log p(dequantize(x))] - n log 256 is at most the logarithm of the probability
    that the model gives the levels of x, n being the number of pixels.

    Args:
        x: images in [-1, 1], (B, ...); what lies between two levels is rounded.
        generator: a torch.Generator for u; default the global one.

    Source: Theis et al. (2016), https://arxiv.org/abs/1511.01844, section 3.1.

    >>> dequantize(torch.tensor([-1.0, 1.0])).mul(256).floor().tolist()
    [0.0, 255.0]
    """
    levels = ((x + 1) * 127.5).round()
    u = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    return (levels + u.clamp(max=1 - 2**-16)) / 256  # 255 + u must not be rounded to 256 in single precision
