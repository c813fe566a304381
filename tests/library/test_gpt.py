"""The GPT: attention against its definition, causality, the cache, generation; with broken twins."""

import math
import types

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from twins import every_check_fails, must_fail
from waking import awake

from gencourse.autoregressive import dependence, generate, top_k_top_p, total_probability
from gencourse.nets import GPT
from gencourse.nets import gpt as module


@pytest.fixture(autouse=True)
def _seed(one_thread):
    torch.manual_seed(0)


SIZES = {"vocab_size": 5, "max_length": 12, "width": 8, "heads": 2, "layers": 2}


def of(kind):
    """A maker of small networks of this kind."""
    return lambda **options: awake(kind(**(SIZES | options)), std=0.4)


small = of(GPT)


def with_attention(function):
    """A GPT whose scaled_dot_product_attention is this one."""

    def make(**options):
        model = small(**options)
        for block in model.blocks:
            forward = types.FunctionType(
                module.CausalSelfAttention.forward.__code__,
                {**vars(module), "scaled_dot_product_attention": function},
                argdefs=module.CausalSelfAttention.forward.__defaults__,
            )
            block.attention.forward = types.MethodType(forward, block.attention)
        return model

    return make


def plain(q, k, v, is_causal=False, attn_mask=None, ahead=0, axis=-1, scale=None):
    """Attention as in the paper; with ways to get it wrong."""
    scores = q @ k.transpose(-1, -2) * (q.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = torch.ones_like(scores[0, 0]).tril(ahead) > 0
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -1e9)
    return scores.softmax(axis) @ v


def check_attention(make):
    """One layer by loops over places and heads."""
    layer, x = make().blocks[0].attention, torch.randn(2, 5, 8, dtype=torch.float64)
    q, k, v = (x @ w.T + b for w, b in zip(layer.qkv.weight.split(8), layer.qkv.bias.split(8), strict=True))
    expected = torch.zeros_like(x)
    for b in range(2):
        for head in (slice(0, 4), slice(4, 8)):
            for t in range(5):
                scores = torch.stack([q[b, t, head] @ k[b, s, head] / math.sqrt(4) for s in range(t + 1)])
                expected[b, t, head] = sum(w * v[b, s, head] for s, w in enumerate(scores.softmax(0)))
    assert_close(layer(x)[0], layer.out(expected))


def check_causal(make):
    """The Jacobian of all blocks, from streams to streams: place t sees itself and what came before."""
    model = make()

    def stream(x):  # (B, width, 1, T), as dependence wants it
        x = x[:, :, 0].mT
        for block in model.blocks:
            x, _ = block(x)
        return x.mT[:, :, None]

    sees = dependence(stream, torch.randn(3, 8, 1, 6, dtype=torch.float64)) > 0
    assert sees.equal(torch.ones(6, 6).tril() > 0)


def as_pixels(model):
    """A GPT over 0, 1 and a beginning, 2, as a model of binary images: the logit of a one, of two that remain."""

    def logits(x):
        flat = x.flatten(1).long()
        begin = torch.full_like(flat[:, :1], 2)
        out = model(torch.cat([begin, flat[:, :-1]], 1))
        return (out[..., 1] - out[..., 0]).view_as(x)

    return logits


def check_sums_to_one(make):
    assert abs(total_probability(as_pixels(make(vocab_size=3)), 3, 3) - 1) < 1e-9


def check_cache(make):
    """The same logits, however a sequence is cut: piece by piece with what was kept, or all at once."""
    model, tokens = make(), torch.randint(5, (3, 12))
    whole = model(tokens)
    for sizes in ((1,) * 12, (5, 1, 1, 5), (12,), (4, 8)):
        cache, parts = None, []
        for piece in tokens.split(sizes, 1):
            logits, cache = model.forward_cached(piece, cache)
            parts.append(logits)
        assert_close(torch.cat(parts, 1), whole)


CHECKS = [check_attention, check_causal, check_sums_to_one, check_cache]


@pytest.mark.parametrize("check", CHECKS)
def test_the_gpt(check):
    check(small)


def test_plain_attention_passes_too():
    for check in CHECKS:
        check(with_attention(plain))


def wrong(**options):
    return with_attention(
        lambda q, k, v, is_causal=False, attn_mask=None: plain(q, k, v, is_causal, attn_mask, **options)
    )


class LostPosition(GPT):
    """With a cache every new piece is taken to stand at the beginning."""

    def forward_cached(self, tokens, cache=None):
        logits, kept = super().forward_cached(tokens, cache)
        if cache is not None:
            rolled = self.position.weight.data.roll(cache[0][0].shape[2], 0)
            old, self.position.weight.data = self.position.weight.data, rolled
            logits, kept = super().forward_cached(tokens, cache)
            self.position.weight.data = old
        return logits, kept


class ForgetsTheCache(GPT):
    def forward_cached(self, tokens, cache=None):
        logits, kept = super().forward_cached(tokens, cache)
        return logits, kept if cache is None else [(k[:, :, :-1], v[:, :, :-1]) for k, v in kept]


test_broken_attention = every_check_fails(
    {
        "mask off by one, sees the next": (wrong(ahead=1), [check_attention, check_causal, check_sums_to_one]),
        "mask off by one, not itself": (wrong(ahead=-1), [check_attention, check_causal]),
        "softmax over the queries": (wrong(axis=-2), [check_attention, check_sums_to_one]),
        "no scale": (wrong(scale=1.0), [check_attention]),
        "scale 1 / d": (wrong(scale=0.25), [check_attention]),
        "no mask": (
            with_attention(lambda q, k, v, is_causal=False, attn_mask=None: plain(q, k, v)),
            [check_attention, check_causal, check_sums_to_one, check_cache],
        ),
        "cache at a wrong position": (of(LostPosition), [check_cache]),
        "cache that forgets": (of(ForgetsTheCache), [check_cache]),
    }
)


def test_order_needs_positions():
    """Without positions the last logits do not change when earlier tokens change places; with them they do."""
    model, tokens = small(), torch.tensor([[0, 1, 2, 3, 4]])
    turned = tokens[:, [2, 0, 3, 1, 4]]
    assert not torch.allclose(model(tokens)[:, -1], model(turned)[:, -1])
    model.position.weight.data.zero_()
    for block in model.blocks[1:]:
        block.attention.out.weight.data.zero_()  # one layer of attention: with two, earlier places see order
        block.attention.out.bias.data.zero_()
    assert_close(model(tokens)[:, -1], model(turned)[:, -1])


def test_dropout_only_in_training():
    model, tokens = small(dropout=0.5), torch.randint(5, (2, 6))
    assert model(tokens).equal(model(tokens))
    model.train()
    assert not model(tokens).equal(model(tokens))


def test_it_learns_to_copy():
    """Sequences of period 4 become certain after the first period."""
    model = GPT(6, 16, width=32, heads=2, layers=2)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(300):
        x = torch.randint(6, (32, 4)).repeat(1, 5)
        loss = nn.functional.cross_entropy(model(x[:, :16]).flatten(0, 1), x[:, 1:17].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = torch.randint(6, (50, 4)).repeat(1, 5)
    right = model(x[:, :16]).argmax(2) == x[:, 1:17]
    assert right[:, 4:].float().mean() > 0.9 and right[:, :3].float().mean() < 0.5


def check_generation(run):
    """Frequencies of the two next tokens against the model's probabilities."""
    torch.manual_seed(0)
    model = small(vocab_size=3)
    begin, n = torch.tensor([[2, 0, 1]]), 20_000
    drawn = run(model, begin.expand(n, -1), 2)
    assert drawn.shape == (n, 5) and (drawn[:, :3] == begin).all()
    first = model(begin)[0, -1].softmax(0)
    second = torch.stack([model(torch.cat([begin, torch.tensor([[a]])], 1))[0, -1].softmax(0) for a in range(3)])
    pairs = (3 * drawn[:, 3] + drawn[:, 4]).bincount(minlength=9).double() / n
    assert_close(pairs, (first[:, None] * second).flatten(), atol=4 * (0.25 / n) ** 0.5, rtol=0)


def test_generation():
    check_generation(generate)
    must_fail(check_generation, lambda *a: generate(*a, temperature=2.0))
    must_fail(check_generation, lambda *a: generate(*a, top_k=1))
    must_fail(check_generation, lambda m, x, n: torch.cat([x, torch.multinomial(m(x)[:, -1].softmax(1), 2, True)], 1))


def test_generation_goes_on_when_the_length_is_full():
    model = small()
    long = generate(model, torch.zeros(2, 1, dtype=torch.int64), 40, temperature=0)
    assert long.shape == (2, 41)
    assert long[:, 12].equal(model(long[:, :12])[:, -1].argmax(1)) and long[:, 13].equal(
        model(long[:, 7:13])[:, -1].argmax(1)
    )
    beginning = torch.randint(5, (2, 30))
    assert generate(model, beginning, 1, temperature=0)[:, -1].equal(model(beginning[:, -12:])[:, -1].argmax(1))


def check_keeping(keep):
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0], [5.0, 5.0, 5.0, 5.0]]).double()
    assert keep(logits, top_k=2)[0].isfinite().tolist() == [False, True, False, True]
    assert (keep(logits, top_k=3).isfinite().sum(1) == 3).all()
    p = logits.softmax(1)
    assert keep(logits, top_p=(p[0, 1] + 0.01).item())[0].isfinite().tolist() == [False, True, False, True]
    assert keep(logits, top_p=(p[0, 1] - 0.01).item())[0].isfinite().tolist() == [False, True, False, False]
    assert (keep(logits, top_p=0.5)[1].isfinite().sum() == 2) and keep(logits, top_p=1.0).isfinite().all()
    assert keep(logits).equal(logits) and keep(logits, top_k=9).equal(logits)


def stops_short(logits, top_k=None, top_p=None):
    """Keeps the choices whose sum stays below p: one too few."""
    p, places = logits.softmax(-1).sort(-1, descending=True)
    keep = torch.zeros_like(p, dtype=torch.bool).scatter(-1, places, p.cumsum(-1) < (top_p or 2))
    return top_k_top_p(logits, top_k).masked_fill(~keep, -torch.inf)


def test_keeping():
    check_keeping(top_k_top_p)
    must_fail(check_keeping, stops_short)
    must_fail(check_keeping, lambda logits, top_k=None, top_p=None: top_k_top_p(logits, top_k and top_k + 1, top_p))


def test_sequences_that_are_too_long():
    model = small()
    _, cache = model.forward_cached(torch.zeros(1, 11, dtype=torch.int64))
    for tokens, kept in ((torch.zeros(1, 13), None), (torch.zeros(1, 2), cache)):
        with pytest.raises(ValueError, match="=13: must be at most 12"):
            model.forward_cached(tokens.long(), kept)
