"""Autoregressive models: p(x) = prod_i p(x_i | x_<i). Training, sampling, grey levels, and the two tests of causality.

A model maps images to what it says about every pixel given those before it, in raster order, all in one pass:
binary x (B, 1, H, W) to logits of the same shape, or levels x (B, H, W), int64, to logits (B, K, H, W).
"""

import torch
from torch.nn.functional import logsigmoid, softplus

from .errors import require
from .likelihoods import bernoulli_log_prob


def nll_step(model, optimizer, scheduler=None):
    """The training step of every model of binary images in the course: one gradient step on -log p(x), in nats.

    Args:
        model: maps x (B, 1, H, W), zeros and ones, to logits of the same shape.
        optimizer: of the model's parameters.
        scheduler: of the learning rate, stepped once after each step; or None.

    Returns:
        A step for :func:`gencourse.fit`: x -> {"nats": the loss before the step, a scalar}.

    >>> model = torch.nn.Conv2d(1, 1, 1)
    >>> step = nll_step(model, torch.optim.SGD(model.parameters(), 1e-3))
    >>> x = torch.ones(2, 1, 3, 3)
    >>> bool(step(x)["nats"] > step(x)["nats"])     # the second loss is smaller
    True
    """

    def step(x):
        loss = -bernoulli_log_prob(model(x), x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        return {"nats": loss}

    return step


def all_images(height, width) -> torch.Tensor:
    """Every binary image of a size, (2 ** (height width), 1, height, width) float32, in the order of counting.

    Args:
        height, width: at most 16 pixels in all.

    Raises:
        ValueError: for more pixels: 2 ** 17 images and more would fill the memory.

    >>> all_images(1, 2).flatten(1).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    n = height * width
    require(n <= 16, "height * width", n, "at most 16: there are 2 ** (height * width) images")
    bits = torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return bits.float().view(-1, 1, height, width)


@torch.no_grad()
def total_probability(model, height=3, width=3) -> float:
    """The sum of p(x) over all binary images: 1 for every causal model, and in general some other number if not causal.

    Args:
        model: maps (B, 1, height, width) to logits of the same shape; a network is given images on its own device.
        height, width: of the images, at most 16 pixels.

    Raises:
        ValueError: for more pixels, or if the model returns another shape.

    >>> total_probability(torch.zeros_like), round(total_probability(lambda x: 4 * x))     # the second one peeks
    (1.0, 34)
    """
    x = all_images(height, width)
    device = next(model.parameters(), x).device if isinstance(model, torch.nn.Module) else x.device
    log_p = [bernoulli_log_prob(model(part.to(device)).cpu().double(), part) for part in x.split(4096)]
    return torch.cat(log_p).exp().sum().item()


def dependence(model, x) -> torch.Tensor:
    """Which output depends on which pixel: entry (i, j) is |d output_i / d x_j|, summed over channels, averaged over x.

    A model is causal where no entry on or above the diagonal differs from 0. A derivative may vanish at one point by
    accident: give a batch of random inputs.

    Args:
        model: maps x to a tensor (B, K, H, W).
        x: (B, C, H, W), floating point.

    Returns:
        (H W, H W), at least 0, pixels in raster order.

    >>> dependence(lambda x: x.cumsum(3), torch.zeros(1, 1, 1, 3)).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    x = x.detach().requires_grad_()
    out = model(x).flatten(2)  # (B, K, n)
    rows = []
    for i in range(out.shape[2]):
        gradients = [torch.autograd.grad(out[:, k, i].sum(), x, retain_graph=True)[0] for k in range(out.shape[1])]
        rows.append(sum(g.abs() for g in gradients).sum(1).mean(0).flatten())  # (n,)
    return torch.stack(rows)


@torch.no_grad()
def sample(model, x, *, start=0, temperature=1.0, sample_pixel=None, generator=None) -> torch.Tensor:
    """Sample pixels one after another in raster order: x_i ~ p(x_i | x_<i), recomputing everything for every pixel.

    Args:
        model: maps x to (B, K, H, W), e.g. logits: of a one for K = 1, of the K levels otherwise.
        x: where to begin, (B, 1, H, W) floating point or (B, H, W) int64; the first ``start`` pixels are kept, the
            others are sampled, and their values ignored.
        start: a number of pixels, 0 for whole samples.
        temperature: divides the logits: 1 for the model, less for likelier pixels, 0 for the likeliest.
        sample_pixel: in place of Bernoulli or categorical sampling, a function of the outputs at a pixel, (B, K), that
            returns values (B,).
        generator: source of the random numbers, on the device of ``x``; default torch's own.

    Returns:
        A new tensor like ``x``.

    >>> sample(lambda x: torch.full_like(x, 50.0), torch.zeros(1, 1, 2, 2), start=1).flatten().tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    if sample_pixel is None:
        sample_pixel = lambda logits: _sample_logits(logits, temperature, generator)
    x = x.clone()
    height, width = x.shape[-2:]
    for i in range(start, height * width):
        row, column = divmod(i, width)
        values = sample_pixel(model(x)[:, :, row, column])  # (B, K) -> (B,)
        x[..., row, column] = values.view(x.shape[:-2]).to(x.dtype)
    return x


def _sample_logits(logits, temperature, generator):
    """(B, K) -> (B,)"""
    if temperature == 0:
        return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)
    if logits.shape[1] == 1:
        return torch.bernoulli((logits[:, 0] / temperature).sigmoid(), generator=generator)
    return torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


def top_k_top_p(logits, top_k=None, top_p=None) -> torch.Tensor:
    """Logits for top-k and nucleus sampling: all but the likeliest choices become minus infinity.

    Args:
        logits: (..., K), floating point.
        top_k: how many to keep; None for all.
        top_p: keep the fewest whose probabilities add up to at least this, in (0, 1]; None for all. Both may be given.

    Source: Fan et al. (2018), https://arxiv.org/abs/1805.04833; Holtzman et al. (2020), https://arxiv.org/abs/1904.09751.

    >>> p = torch.tensor([0.5, 0.3, 0.2])
    >>> top_k_top_p(p.log(), top_p=0.6).softmax(-1)
    tensor([0.6250, 0.3750, 0.0000])
    """
    require(top_k is None or top_k >= 1, "top_k", top_k, "at least 1")
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if top_k is not None:
        keep[..., top_k:] = False
    if top_p is not None:
        p = ordered.softmax(-1)
        keep &= p.cumsum(-1) - p < top_p  # those before it do not suffice
    keep = torch.empty_like(keep).scatter_(-1, order, keep)  # back in the order of the logits
    return logits.masked_fill(~keep, -torch.inf)


@torch.no_grad()
def generate(model, tokens, count, *, temperature=1.0, top_k=None, top_p=None, generator=None) -> torch.Tensor:
    """Continue sequences token by token, with cached keys and values: (B, T) -> (B, T + count).

    Where the model's longest sequence is full, it goes on from its later half.

    Args:
        model: a :class:`gencourse.nets.GPT`.
        tokens: the beginnings, (B, T) int64, T at least 1.
        count: how many tokens to add.
        temperature: divides the logits; 0 for the likeliest token.
        top_k, top_p: as in :func:`top_k_top_p`, of the distribution at temperature 1.
        generator: source of the random numbers, on the device of the tokens.

    >>> from gencourse.nets import GPT
    >>> model = GPT(vocab_size=5, max_length=8)
    >>> tokens = generate(model, torch.zeros(2, 1, dtype=torch.int64), 12, top_k=1)
    >>> tokens.shape, bool((tokens[:, 1] == model(tokens[:, :1])[:, 0].argmax(1)).all())
    (torch.Size([2, 13]), True)
    """
    cache, new = None, tokens[:, -model.max_length :]
    for _ in range(count):
        if cache is not None and cache[0][0].shape[2] == model.max_length:
            cache, new = None, tokens[:, -max(model.max_length // 2, 1) :]
        logits, cache = model.forward_cached(new, cache)
        logits = top_k_top_p(logits[:, -1], top_k, top_p)
        new = _sample_logits(logits, temperature, generator)[:, None]
        tokens = torch.cat([tokens, new], 1)
    return tokens


def logistic_mixture_log_prob(parameters, x, levels=256) -> torch.Tensor:
    """The log-probability of grey levels under mixtures of discretized logistics, one mixture per pixel; (B,), nats.

    With v = 2 x / (levels - 1) - 1 in [-1, 1] and d half the distance of two levels,
    P(x) = sum_m w_m [ F((v + d - mu_m) / s_m) - F((v - d - mu_m) / s_m) ], F the sigmoid, the lowest level reaching
    down to minus infinity and the highest up to infinity, so that the levels' probabilities add up to 1.

    Args:
        parameters: (B, 3 M, H, W): logits of the w, the mu, and log s, M of each.
        x: levels 0..levels - 1, (B, H, W), int64.
        levels: how many there are.

    Raises:
        ValueError: if the shapes do not fit, or a level is out of range.

    Source: Salimans et al. (2017), https://arxiv.org/abs/1701.05517, section 2.1.

    >>> x = torch.arange(4).view(4, 1, 1)
    >>> round(logistic_mixture_log_prob(torch.zeros(4, 3, 1, 1), x, levels=4).exp().sum().item(), 4)
    1.0
    """
    batch, channels, *sides = parameters.shape
    require(channels % 3 == 0, "parameters.shape", tuple(parameters.shape), "(B, 3 M, H, W)")
    require(x.shape == (batch, *sides), "x.shape", tuple(x.shape), f"{(batch, *sides)}, as the parameters")
    if x.device.type == "cpu":  # an accelerator would have to wait
        ends = int(x.min()), int(x.max())
        require(0 <= ends[0] and ends[1] < levels, "(min(x), max(x))", ends, f"levels 0 to {levels - 1}")
    x = x[:, None].to(parameters.dtype)  # (B, 1, H, W), against M components
    weight, mu, log_s = parameters.chunk(3, 1)
    v, d = 2 * x / (levels - 1) - 1, 1 / (levels - 1)
    inverse_s = (-log_s).exp()
    upper, lower = (v + d - mu) * inverse_s, (v - d - mu) * inverse_s
    # F(u) - F(l) = F(u) F(-l) (1 - e^(l - u)) with l - u = -2 d / s: nothing cancels
    inside = logsigmoid(upper) - softplus(lower) + torch.log(-torch.expm1(-2 * d * inverse_s))
    ends = torch.where(x == 0, logsigmoid(upper), logsigmoid(-lower))
    log_p = torch.where((x == 0) | (x == levels - 1), ends, inside)
    return (weight.log_softmax(1) + log_p).logsumexp(1).flatten(1).sum(1)


def logistic_mixture_sample(parameters, levels=256, generator=None) -> torch.Tensor:
    """Sample grey levels from mixtures of discretized logistics: parameters (B, 3 M) -> levels (B,), int64.

    Picks a component, takes mu + s logit(u) with u uniform, and rounds it to the nearest level.

    Args:
        parameters: as in :func:`logistic_mixture_log_prob`, for one pixel each.
        levels: how many there are.
        generator: source of the random numbers.

    >>> logistic_mixture_sample(torch.tensor([[0.0, 1.0, -20.0]]), levels=4).tolist()     # at the top, and narrow
    [3]
    """
    weight, mu, log_s = parameters.chunk(3, 1)
    m = torch.multinomial(weight.softmax(1), 1, generator=generator)
    u = torch.rand(m.shape, generator=generator, device=m.device, dtype=mu.dtype)
    v = mu.gather(1, m) + log_s.gather(1, m).exp() * torch.logit(u, eps=1e-7)
    return ((v[:, 0].clamp(-1, 1) + 1) / 2 * (levels - 1)).round().long()
