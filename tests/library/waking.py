"""Networks in which every weight counts: nothing starts at zero, and outputs differ."""

from torch import nn


def awake(model, std):
    """The model in double precision and evaluation mode, with all weights drawn from N(0, std^2)."""
    for w in model.parameters():
        nn.init.normal_(w, std=std)
    return model.double().eval()
