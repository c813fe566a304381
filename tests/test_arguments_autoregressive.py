"""Bad arguments to gc.autoregressive and its networks: rows for test_arguments, which tries them and misses none."""

import math

import pytest
import torch
from test_arguments_diffusion import rows

from gencourse import ArgumentError, autoregressive, data, nets

X, LEVELS = torch.zeros(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.int64)
SAME = lambda x: x
SIZES = {"image_channels": [0, 1.5], "outputs": [0, None]}
SAMPLE = rows({"model": SAME, "x": X}, start=[-1, 17, 1.0], temperature=[-1, math.nan, None], draw=[3])
TOKENS = torch.zeros(2, 4, dtype=torch.int64)
GPT = {"vocabulary": 5, "length": 4}
BAD = {
    autoregressive.keep_likeliest: rows({"logits": X}, logits=[3, LEVELS], top_k=[0, 1.5], top_p=[0.0, 1.1, "a"]),
    autoregressive.generate: rows(
        {"model": nets.GPT(5, 4), "tokens": TOKENS, "count": 1},
        tokens=[3, TOKENS[0], TOKENS[:, :0], TOKENS.float()],
        count=[0, 1.5],
        temperature=[-1, None],
        top_k=[0],
    ),
    nets.GPT: [
        *rows(GPT, vocabulary=[0], length=[1.5], width=[0, 66], heads=[0, None], layers=[0], dropout=[1.0, -0.1, None]),
    ],
    data.text: rows({}, name=["bible", None], device=["nowhere"]),
    autoregressive.conv_mask: rows({"kernel": 3, "kind": "A"}, kernel=[2, 0, 3.0], kind=["a", None]),
    autoregressive.all_images: [
        *rows({"height": 3, "width": 3}, height=[0, 2.0, 6], width=[-1, True]),
    ],
    autoregressive.total_probability: rows({"model": SAME}, height=[0], width=[1.5]),
    autoregressive.dependence: rows({"model": SAME}, x=["cat", X[0], X.long()]),
    autoregressive.sample: [*SAMPLE, *rows({"model": SAME}, x=[3, X.repeat(1, 2, 1, 1), X[0, 0]])],
    autoregressive.logistic_mixture_log_prob: [
        *rows({"x": LEVELS}, parameters=[3, torch.zeros(2, 4, 4, 4), LEVELS]),
        *rows({"parameters": torch.zeros(2, 3, 4, 4), "x": LEVELS}, x=[3, LEVELS[:1], X[:, 0]], levels=[1, 2.0]),
        ("x", LEVELS - 1, {"parameters": torch.zeros(2, 3, 4, 4)}, "(-1, -1)"),
        ("x", LEVELS + 9, {"parameters": torch.zeros(2, 3, 4, 4), "levels": 9}, "(9, 9)"),
    ],
    autoregressive.logistic_mixture_draw: [
        *rows({}, parameters=[3, torch.zeros(2, 4), torch.zeros(2, 3).long()]),
        *rows({"parameters": torch.zeros(2, 3)}, levels=[1, None]),
    ],
    nets.MADE: rows({}, hidden=[8, [], [8, 0]], image_shape=[28, [], (1, 0), (1, 1, 1)]),
    nets.MaskedConv2d: rows({"n_in": 1, "n_out": 1, "kernel": 3, "kind": "A"}, n_in=[0], n_out=["a"], kernel=[2]),
    nets.PixelCNN: rows({}, hidden=[0, 1.5], blocks=[0], kernel=[2], **SIZES),
    nets.GatedPixelCNN: rows({}, hidden=[0, None], blocks=[0], kernel=[2], classes=[-1, 0.5], **SIZES),
    nets.PixelRNN: rows({}, kind=["column", None], hidden=[0, 3], layers=[0], **SIZES),
    nets.skew: rows({}, x=[3, X[0]]),
    nets.unskew: rows({"x": X, "width": 1}, x=[3, X[0]], width=[2, 0.5]),
}


@pytest.mark.parametrize("model", [nets.PixelCNN(8, 1), nets.GatedPixelCNN(8, 1), nets.PixelRNN(hidden=8)], ids=type)
def test_images_that_do_not_fit(model):
    for bad, found in ((LEVELS, r"\(2, 4, 4\)"), (X.repeat(1, 3, 1, 1), r"\(2, 3, 4, 4\)"), ("cat", "'str'")):
        with pytest.raises(ArgumentError, match=rf"x={found}: must be floating-point images of shape \(B, 1, H, W\)"):
            model(bad)


def test_classes_that_do_not_fit():
    for classes, y, found in ((0, torch.tensor([1, 2]), r"\(2,\)"), (3, None, "None")):
        with pytest.raises(ArgumentError, match=f"y={found}: must be"):
            nets.GatedPixelCNN(8, 1, classes=classes)(X, y)
