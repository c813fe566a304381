"""Autoregressive models: p(x) = prod_i p(x_i | x_<i). Masks, sampling, likelihoods, and the two tests of causality.

A model maps images to what it says about every pixel given those before it, in raster order, all in one pass:
binary x (B, 1, H, W) to logits of the same shape, or levels x (B, H, W), int64, to logits (B, K, H, W).
"""

import torch
from torch.nn.functional import logsigmoid, softplus

from .errors import is_real, is_whole, require, shown
from .likelihoods import bernoulli_log_prob


def conv_mask(kernel, kind) -> torch.Tensor:
    """What a masked convolution may see: ones before the centre in raster order, and at it for kind "B".

    Args:
        kernel: side of the square kernel, odd.
        kind: "A" without the centre, for the first layer, which sees pixels; "B" with it, for all later layers.

    Returns:
        (kernel, kernel) float32 of zeros and ones.

    Raises:
        ArgumentError: for an even side or another kind.

    Source: van den Oord et al. (2016), https://arxiv.org/abs/1601.06759, section 3.4.

    >>> conv_mask(3, "A").tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    require(is_whole(kernel) and kernel > 0 and kernel % 2 == 1, "kernel", kernel, "a positive odd integer")
    require(kind in ("A", "B"), "kind", kind, '"A" or "B"')
    before = torch.arange(kernel**2) < kernel**2 // 2 + (kind == "B")
    return before.float().view(kernel, kernel)


def all_images(height, width) -> torch.Tensor:
    """Every binary image of a size, (2 ** (height width), 1, height, width) float32, in the order of counting.

    Args:
        height, width: positive integers, at most 16 pixels in all.

    Raises:
        ArgumentError: for other sizes.

    >>> all_images(1, 2).flatten(1).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    for name, side in (("height", height), ("width", width)):
        require(is_whole(side) and side > 0, name, side, "a positive integer")
    n = height * width
    require(n <= 16, "height", height, f"at most {16 // width} for a width of {width}: there are 2**{n} images")
    bits = torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return bits.float().view(-1, 1, height, width)


@torch.no_grad()
def total_probability(model, height=3, width=3) -> float:
    """The sum of p(x) over all binary images: 1 for every causal model, and in general nothing else for others.

    Args:
        model: maps (B, 1, height, width) to logits of the same shape.
        height, width: of the images, at most 16 pixels.

    Raises:
        ArgumentError: for other sizes, or if the model returns something else.

    >>> total_probability(torch.zeros_like), round(total_probability(lambda x: 4 * x))     # the second one peeks
    (1.0, 34)
    """
    x = all_images(height, width)
    parts = [bernoulli_log_prob(_same(model(part), part).double(), part) for part in x.split(4096)]
    return torch.cat(parts).exp().sum().item()


def _same(logits, x):
    found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    require(found == tuple(x.shape), "model(x)", found, f"logits of the shape of x, {tuple(x.shape)}")
    return logits


def dependence(model, x) -> torch.Tensor:
    """Who sees whom: entry (i, j) is |d output_i / d x_j|, summed over channels and averaged over the batch.

    A model is causal where no entry on or above the diagonal differs from 0. A derivative may vanish at one point by
    accident: give a batch of random inputs.

    Args:
        model: maps x to a tensor (B, K, H, W).
        x: (B, C, H, W), floating point.

    Returns:
        (H W, H W), at least 0, pixels in raster order.

    Raises:
        ArgumentError: if ``x`` is no such tensor.

    >>> dependence(lambda x: x.cumsum(3), torch.zeros(1, 1, 1, 3)).tolist()
    [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    """
    ok = isinstance(x, torch.Tensor) and x.ndim == 4 and x.is_floating_point()
    require(ok, "x", shown(x), "a floating-point tensor (B, C, H, W)")
    x = x.detach().requires_grad_()
    out = model(x).flatten(2)  # (B, K, n)
    rows = []
    for i in range(out.shape[2]):
        per_channel = (torch.autograd.grad(out[:, k, i].sum(), x, retain_graph=True)[0] for k in range(out.shape[1]))
        rows.append(sum(g.abs() for g in per_channel).sum(1).mean(0).flatten())
    return torch.stack(rows)


@torch.no_grad()
def sample(model, x, *, start=0, temperature=1.0, draw=None, generator=None) -> torch.Tensor:
    """Draw pixels one after another in raster order: x_i ~ p(x_i | x_<i), recomputing everything for every pixel.

    Args:
        model: maps x to (B, K, H, W), e.g. logits: of a one for K = 1, of the K levels otherwise.
        x: where to begin, (B, 1, H, W) floating point or (B, H, W) int64; the first ``start`` pixels are kept, the
            others are drawn anew, whatever they hold.
        start: a number of pixels, 0 for whole samples.
        temperature: divides the logits: 1 for the model, less for likelier pixels, 0 for the likeliest.
        draw: in place of the Bernoulli or categorical draw, a function of the outputs at a pixel, (B, K), that returns
            values (B,).
        generator: source of the random numbers, on the device of ``x``; default torch's own.

    Returns:
        A new tensor like ``x``.

    Raises:
        ArgumentError: for bad arguments.

    >>> sample(lambda x: torch.full_like(x, 50.0), torch.zeros(1, 1, 2, 2), start=1).flatten().tolist()
    [0.0, 1.0, 1.0, 1.0]
    """
    ok = isinstance(x, torch.Tensor) and ((x.ndim == 4 and x.shape[1] == 1) or x.ndim == 3)
    require(ok, "x", shown(x), "a tensor (B, 1, H, W) or (B, H, W)")
    n = x[0].numel()
    require(is_whole(start) and 0 <= start <= n, "start", start, f"an integer from 0 to {n}, the number of pixels")
    require(is_real(temperature) and temperature >= 0, "temperature", temperature, "a number, at least 0")
    require(draw is None or callable(draw), "draw", draw, "a function of outputs (B, K), or None")
    draw = draw or (lambda out: _draw(out, temperature, generator))
    x, width = x.clone(), x.shape[-1]
    for i in range(start, n):
        row, column = divmod(i, width)
        x[..., row, column] = draw(model(x)[:, :, row, column]).view(x.shape[:-2]).to(x.dtype)
    return x


def _draw(logits, temperature, generator):
    """(B, K) -> (B,)"""
    if temperature == 0:
        return logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(1)
    if logits.shape[1] == 1:
        return torch.bernoulli((logits[:, 0] / temperature).sigmoid(), generator=generator)
    return torch.multinomial((logits / temperature).softmax(1), 1, generator=generator)[:, 0]


def keep_likeliest(logits, top_k=None, top_p=None) -> torch.Tensor:
    """Logits in which all but the likeliest choices are minus infinity; the kept ones are as they were.

    Args:
        logits: (..., K), floating point.
        top_k: how many to keep; None for all.
        top_p: keep the fewest whose probabilities add up to at least this, in (0, 1]; None for all. Both may be given.

    Raises:
        ArgumentError: for bad arguments.

    Source: Fan et al. (2018), https://arxiv.org/abs/1805.04833; Holtzman et al. (2020), https://arxiv.org/abs/1904.09751.

    >>> p = torch.tensor([0.5, 0.3, 0.2])
    >>> keep_likeliest(p.log(), top_p=0.6).softmax(-1)
    tensor([0.6250, 0.3750, 0.0000])
    """
    ok = isinstance(logits, torch.Tensor) and logits.ndim > 0 and logits.is_floating_point()
    require(ok, "logits", shown(logits), "a floating-point tensor (..., K)")
    require(top_k is None or (is_whole(top_k) and top_k > 0), "top_k", top_k, "a positive integer, or None")
    require(top_p is None or (is_real(top_p) and 0 < top_p <= 1), "top_p", top_p, "in (0, 1], or None")
    ordered, places = logits.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(ordered, dtype=torch.bool)
    if top_k is not None:
        keep[..., top_k:] = False
    if top_p is not None:
        p = ordered.softmax(-1)
        keep &= p.cumsum(-1) - p < top_p  # what stands before a kept one does not suffice
    return logits.masked_fill(~torch.empty_like(keep).scatter_(-1, places, keep), -torch.inf)


@torch.no_grad()
def generate(model, tokens, count, *, temperature=1.0, top_k=None, top_p=None, generator=None) -> torch.Tensor:
    """Continue sequences, token by token, with keys and values kept: (B, T) -> (B, T + count).

    Where the model's longest sequence is full, it goes on from its later half.

    Args:
        model: a :class:`gencourse.nets.GPT`.
        tokens: the beginnings, (B, T) int64, T at least 1.
        count: how many tokens to add.
        temperature: divides the logits; 0 for the likeliest token.
        top_k, top_p: as in :func:`keep_likeliest`.
        generator: source of the random numbers, on the device of the tokens.

    Raises:
        ArgumentError: for bad arguments.
    """
    ok = isinstance(tokens, torch.Tensor) and tokens.ndim == 2 and tokens.shape[1] > 0 and tokens.dtype == torch.int64
    require(ok, "tokens", shown(tokens), "an int64 tensor (B, T), T at least 1")
    require(is_whole(count) and count > 0, "count", count, "a positive integer")
    require(is_real(temperature) and temperature >= 0, "temperature", temperature, "a number, at least 0")
    past, new = None, tokens[:, -model.length :]
    for _ in range(count):
        if past is not None and past[0][0].shape[2] == model.length:
            past, new = None, tokens[:, -max(model.length // 2, 1) :]
        logits, past = model.extend(new, past)
        new = _draw(keep_likeliest(logits[:, -1], top_k, top_p), temperature, generator)[:, None]
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
        ArgumentError: for shapes or levels that do not fit.

    Source: Salimans et al. (2017), https://arxiv.org/abs/1701.05517, section 2.1.

    >>> x = torch.arange(4).view(4, 1, 1)
    >>> round(logistic_mixture_log_prob(torch.zeros(4, 3, 1, 1), x, levels=4).exp().sum().item(), 4)
    1.0
    """
    ok = isinstance(parameters, torch.Tensor) and parameters.ndim == 4 and parameters.shape[1] % 3 == 0
    require(ok and parameters.is_floating_point(), "parameters", shown(parameters), "a tensor (B, 3 M, H, W)")
    require(is_whole(levels) and levels > 1, "levels", levels, "an integer, at least 2")
    shape = (parameters.shape[0], *parameters.shape[2:])
    ok = isinstance(x, torch.Tensor) and x.shape == shape and x.dtype == torch.int64
    require(ok, "x", shown(x), f"an int64 tensor of shape {shape}")
    require(0 <= x.min() and x.max() < levels, "x", (x.min().item(), x.max().item()), f"levels 0 to {levels - 1}")
    x = x[:, None].to(parameters.dtype)  # (B, 1, H, W), against M components
    weight, mu, log_s = parameters.chunk(3, 1)
    v, d = 2 * x / (levels - 1) - 1, 1 / (levels - 1)
    upper, lower = (v + d - mu) * (-log_s).exp(), (v - d - mu) * (-log_s).exp()
    # F(u) - F(l) = F(u) F(-l) (1 - e^(l - u)): nothing cancels
    inside = logsigmoid(upper) - softplus(lower) + torch.log(-torch.expm1(lower - upper))
    ends = torch.where(x == 0, logsigmoid(upper), logsigmoid(-lower))
    log_p = torch.where((x == 0) | (x == levels - 1), ends, inside)
    return (weight.log_softmax(1) + log_p).logsumexp(1).flatten(1).sum(1)


def logistic_mixture_draw(parameters, levels=256, generator=None) -> torch.Tensor:
    """Draw grey levels from mixtures of discretized logistics: parameters (B, 3 M) -> levels (B,), int64.

    Picks a component, draws mu + s logit(u) with u uniform, and rounds it to the nearest level.

    Args:
        parameters: as in :func:`logistic_mixture_log_prob`, for one pixel each.
        levels: how many there are.
        generator: source of the random numbers.

    Raises:
        ArgumentError: for parameters of another shape.

    >>> logistic_mixture_draw(torch.tensor([[0.0, 1.0, -20.0]]), levels=4).tolist()     # at the top, and narrow
    [3]
    """
    ok = isinstance(parameters, torch.Tensor) and parameters.ndim == 2 and parameters.shape[1] % 3 == 0
    require(ok and parameters.is_floating_point(), "parameters", shown(parameters), "a tensor (B, 3 M)")
    require(is_whole(levels) and levels > 1, "levels", levels, "an integer, at least 2")
    weight, mu, log_s = parameters.chunk(3, 1)
    m = torch.multinomial(weight.softmax(1), 1, generator=generator)
    u = torch.rand(m.shape, generator=generator, device=m.device, dtype=mu.dtype)
    v = mu.gather(1, m) + log_s.gather(1, m).exp() * torch.logit(u, eps=1e-7)
    return ((v[:, 0].clamp(-1, 1) + 1) / 2 * (levels - 1)).round().long()
