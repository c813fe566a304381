"""Every objective of the course, each a few lines. All return one value per sample, shape (B,): you average.

Discriminators return logits, never probabilities: with l = logit, D = sigmoid(l), so that
-log D = softplus(-l) and -log(1 - D) = softplus(l), exact where a clamped sigmoid is not.
"""

import torch
from torch.nn.functional import softplus

from .errors import require


def _logits(**named):
    for name, value in named.items():
        ok = (
            isinstance(value, torch.Tensor)
            and value.is_floating_point()
            and (value.ndim == 1 or (value.ndim == 2 and value.shape[1] == 1))
        )
        shown = tuple(value.shape) if isinstance(value, torch.Tensor) else value
        require(ok, name, shown, "a tensor of floating-point logits of shape (B,) or (B, 1)")
        yield value.reshape(-1)


def value(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """The minibatch estimate of the game's value: V = log D(x) + log(1 - D(G(z))), in nats.

    Args:
        real_logits: logits of D on data, shape (B,) or (B, 1).
        fake_logits: logits of D on generated samples, same shape.

    Returns:
        (B,), whose mean estimates V(G, D); at the best D that is -2 log 2 + 2 JSD.

    Raises:
        ArgumentError: if the shapes differ or the logits are not floating point.

    Source: Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661, equation 1.

    >>> round(value(torch.zeros(1), torch.zeros(1)).item(), 4)     # D = 1/2 everywhere: -2 log 2
    -1.3863
    """
    real, fake = _logits(real_logits=real_logits, fake_logits=fake_logits)
    require(
        real.shape == fake.shape, "fake_logits", tuple(fake.shape), f"of the same length as real_logits, {len(real)}"
    )
    return -softplus(-real) - softplus(fake)


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """What D minimizes: -V = -log D(x) - log(1 - D(G(z))), in nats. Arguments as for :func:`value`; (B,).

    It is twice the binary cross-entropy of a classifier that sees as many real samples as generated ones.

    >>> round(discriminator_loss(torch.zeros(1), torch.zeros(1)).item(), 4)
    1.3863
    """
    return -value(real_logits, fake_logits)


def generator_loss_saturating(fake_logits: torch.Tensor) -> torch.Tensor:
    """The generator's side of the zero-sum game: log(1 - D(G(z))), in nats; (B,).

    Its derivative with respect to the logit is -D(G(z)): none where D is sure that the sample is generated.
    Argument and errors as for :func:`generator_loss`. Source: Goodfellow et al. (2014), equation 1.

    >>> round(generator_loss_saturating(torch.zeros(1)).item(), 4)
    -0.6931
    """
    (fake,) = _logits(fake_logits=fake_logits)
    return -softplus(fake)


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """The non-saturating generator loss: -log D(G(z)), in nats; (B,).

    Its derivative with respect to the logit is -(1 - D(G(z))): largest where D is sure.

    Args:
        fake_logits: logits of D on generated samples, shape (B,) or (B, 1).

    Raises:
        ArgumentError: if the logits have another shape or are not floating point.

    Source: Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661, section 3.

    >>> round(generator_loss(torch.zeros(1)).item(), 4)
    0.6931
    """
    (fake,) = _logits(fake_logits=fake_logits)
    return softplus(-fake)
