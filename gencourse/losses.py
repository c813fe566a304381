"""Every objective of the course, each a few lines. All return one value per sample, shape (B,): you average.

Discriminators return logits, never probabilities: with l = logit, D = sigmoid(l), so that
-log D = softplus(-l) and -log(1 - D) = softplus(l), exact where a clamped sigmoid is not.
Critics return scores: any real number, with no sigmoid behind it.
"""

import torch
from torch.nn.functional import softplus

from .errors import require, require_same_shape


def _one_per_sample(name, scores):
    """(B,) from (B,) or (B, 1): the difference of (B, 1) and (B,) would be (B, B)."""
    ok = scores.ndim == 1 or (scores.ndim == 2 and scores.shape[1] == 1)
    require(ok, f"{name}.shape", tuple(scores.shape), "(B,) or (B, 1): one number for each sample")
    return scores.reshape(-1)


def _pair(what, real, fake):
    """Both as (B,), refused where their lengths differ: a single score would be broadcast."""
    real, fake = _one_per_sample(f"real_{what}", real), _one_per_sample(f"fake_{what}", fake)
    require(len(fake) == len(real), f"len(fake_{what})", len(fake), f"{len(real)}, as many as real_{what}")
    return real, fake


def value(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """The minibatch estimate of the game's value: V = log D(x) + log(1 - D(G(z))), in nats.

    Args:
        real_logits: logits of D on data, shape (B,) or (B, 1).
        fake_logits: logits of D on generated samples, same shape.

    Returns:
        (B,), whose mean estimates V(G, D); at the best D that is -2 log 2 + 2 JSD.

    Raises:
        ValueError: if the lengths differ, or there is not one logit per sample.

    Source: Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661, equation 1.

    >>> round(value(torch.zeros(1), torch.zeros(1)).item(), 4)     # D = 1/2 everywhere: -2 log 2
    -1.3863
    """
    real, fake = _pair("logits", real_logits, fake_logits)
    return -softplus(-real) - softplus(fake)


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor, real_target=1.0) -> torch.Tensor:
    """What D minimizes: -V = -log D(x) - log(1 - D(G(z))), in nats; (B,).

    It is twice the binary cross-entropy of a classifier that sees as many real samples as generated ones.

    Args:
        real_logits: logits of D on data, shape (B,) or (B, 1).
        fake_logits: logits of D on generated samples, same shape.
        real_target: the probability that D is asked to give data, in (0, 1]. Below 1 it is one-sided label smoothing
            with target t: the first term becomes -t log D(x) - (1 - t) log(1 - D(x)).

    Raises:
        ValueError: if the lengths differ, or there is not one logit per sample.

    Source: Goodfellow et al. (2014), equation 1; smoothing: Salimans et al. (2016), https://arxiv.org/abs/1606.03498.

    >>> round(discriminator_loss(torch.zeros(1), torch.zeros(1)).item(), 4)
    1.3863
    """
    real, fake = _pair("logits", real_logits, fake_logits)
    return softplus(-real) + (1 - real_target) * real + softplus(fake)  # -log(1 - D) = -log D + logit


def generator_loss_saturating(fake_logits: torch.Tensor) -> torch.Tensor:
    """The generator's side of the zero-sum game: log(1 - D(G(z))), in nats; (B,).

    Its derivative with respect to the logit is -D(G(z)): none where D is sure that the sample is generated.
    Argument and errors as for :func:`generator_loss`. Source: Goodfellow et al. (2014), equation 1.

    >>> round(generator_loss_saturating(torch.zeros(1)).item(), 4)
    -0.6931
    """
    return -softplus(_one_per_sample("fake_logits", fake_logits))


def generator_loss(fake_logits: torch.Tensor) -> torch.Tensor:
    """The non-saturating generator loss: -log D(G(z)), in nats; (B,).

    Its derivative with respect to the logit is -(1 - D(G(z))): largest where D is sure.

    Args:
        fake_logits: logits of D on generated samples, shape (B,) or (B, 1).

    Raises:
        ValueError: if there is not one logit per sample.

    Source: Goodfellow et al. (2014), https://arxiv.org/abs/1406.2661, section 3.

    >>> round(generator_loss(torch.zeros(1)).item(), 4)
    0.6931
    """
    return softplus(-_one_per_sample("fake_logits", fake_logits))


def critic_loss(real_scores: torch.Tensor, fake_scores: torch.Tensor) -> torch.Tensor:
    """What a Wasserstein critic minimizes: f(G(z)) - f(x), in the units of f; (B,).

    If f changes by at most the distance between any two points (1-Lipschitz), minus its expectation is a lower
    bound on the Wasserstein-1 distance between data and generator.

    Args:
        real_scores: f on data, shape (B,) or (B, 1).
        fake_scores: f on generated samples, same shape.

    Raises:
        ValueError: if the lengths differ, or there is not one score per sample.

    Source: Arjovsky et al. (2017), https://arxiv.org/abs/1701.07875.

    >>> critic_loss(torch.tensor([3.0]), torch.tensor([1.0])).item()
    -2.0
    """
    real, fake = _pair("scores", real_scores, fake_scores)
    return fake - real


def critic_generator_loss(fake_scores: torch.Tensor) -> torch.Tensor:
    """What the generator of a WGAN minimizes: -f(G(z)); (B,). Argument as for :func:`critic_loss`.

    >>> critic_generator_loss(torch.tensor([1.5])).item()
    -1.5
    """
    return -_one_per_sample("fake_scores", fake_scores)


def gradient_penalty(critic, real: torch.Tensor, fake: torch.Tensor, generator=None) -> torch.Tensor:
    """The penalty of WGAN-GP: (||grad f(x_hat)||_2 - 1)^2 at x_hat = a x + (1 - a) G(z), a ~ U[0, 1]; (B,).

    One a per pair, the norm over all of a sample's entries. Neither ``real`` nor ``fake`` receives a gradient; the
    parameters of the critic do, through a second differentiation.

    Args:
        critic: maps (B, ...) to scores (B,) or (B, 1), each sample by itself: no batch norm.
        real: data, (B, ...).
        fake: generated samples, same shape.
        generator: a torch.Generator for a; default the global one.

    Returns:
        (B,), without the weight lambda (10 in the paper).

    Raises:
        ValueError: if the shapes differ, or the critic does not return one score per sample.

    Source: Gulrajani et al. (2017), https://arxiv.org/abs/1704.00028.

    >>> plane = lambda x: x @ torch.tensor([3.0, 4.0])     # the gradient is (3, 4), its norm 5
    >>> gradient_penalty(plane, torch.zeros(2, 2), torch.ones(2, 2)).tolist()
    [16.0, 16.0]
    """
    require_same_shape("fake", fake, "real", real)
    alpha = torch.rand(len(real), generator=generator, device=real.device if generator is None else generator.device)
    alpha = alpha.to(real).view(-1, *[1] * (real.ndim - 1))  # one per pair: (B, 1, ...)
    between = alpha * real.detach() + (1 - alpha) * fake.detach()
    return (_slopes(critic, between).norm(dim=1) - 1).square()


def relativistic_discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """What D minimizes in a relativistic GAN: -log sigmoid(l(x) - l(G(z))), l the logit of D, in nats; (B,).

    D no longer says whether one sample is data, but which of two is. Only differences count: there is no threshold that
    a sample has to pass, and a constant added to l changes nothing. For pairs that stay together the landscape has none
    of the bad basins of the plain loss (Sun et al., 2020); for pairs drawn afresh, as usual, that does not hold.

    Args:
        real_logits: logits of D on data, shape (B,) or (B, 1).
        fake_logits: logits of D on generated samples, same shape.

    Raises:
        ValueError: if the lengths differ, or there is not one logit per sample.

    Source: Jolicoeur-Martineau (2019), https://arxiv.org/abs/1807.00734; Sun et al. (2020),
    https://arxiv.org/abs/2011.04926; Huang et al. (2024), https://arxiv.org/abs/2501.05441.

    >>> round(relativistic_discriminator_loss(torch.tensor([3.0]), torch.tensor([3.0])).item(), 4)     # log 2
    0.6931
    """
    real, fake = _pair("logits", real_logits, fake_logits)
    return softplus(fake - real)


def relativistic_generator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """What G minimizes in a relativistic GAN: -log sigmoid(l(G(z)) - l(x)), l the logit of D, in nats; (B,).

    Arguments, errors and source as for :func:`relativistic_discriminator_loss`.

    >>> loss = relativistic_generator_loss(torch.tensor([3.0]), torch.tensor([1.0]))     # the data is ahead by 2
    >>> round(loss.item(), 4)
    2.1269
    """
    real, fake = _pair("logits", real_logits, fake_logits)
    return softplus(real - fake)


def zero_centred_penalty(critic, x: torch.Tensor) -> torch.Tensor:
    """The zero-centred gradient penalty ||grad l(x)||_2^2: R1 on data, R2 on generated samples; (B,).

    l is the logit of D, not its probability. The norm runs over all of a sample's entries. ``x`` receives no gradient;
    the parameters of the critic do, through a second differentiation. Add gamma / 2 times its mean, for one of the two
    or for both.

    Args:
        critic: maps (B, ...) to logits or scores (B,) or (B, 1), each sample by itself: no batch norm.
        x: where to look, (B, ...).

    Raises:
        ValueError: if the critic does not return one number per sample.

    Source: Mescheder et al. (2018), https://arxiv.org/abs/1801.04406, equations 9 and 10.

    >>> plane = lambda x: x @ torch.tensor([3.0, 4.0])     # the gradient is (3, 4), its norm 5
    >>> zero_centred_penalty(plane, torch.zeros(2, 2)).tolist()
    [25.0, 25.0]
    """
    return _slopes(critic, x.detach()).square().sum(1)


def _slopes(critic, x):
    """The gradient of the critic at each sample of ``x``, (B, n), differentiable in the critic's parameters."""
    x = x.requires_grad_()
    scores = _one_per_sample("critic(x)", critic(x))
    require(len(scores) == len(x), "len(critic(x))", len(scores), f"{len(x)}, one for each sample")
    (slopes,) = torch.autograd.grad(scores.sum(), x, create_graph=True)
    return slopes.flatten(1)
