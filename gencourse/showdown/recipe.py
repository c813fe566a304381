"""What the contest needs to know of an entrant, and what all recipes share."""

import math
from dataclasses import dataclass, field

import torch


@dataclass
class Recipe:
    """What the contest needs to know of one training."""

    parts: dict  # name -> whatever training changes: networks, optimizers
    step: object  # a batch of bits -> named scalars, as for gc.fit
    batch: int
    draws: dict  # name of an entrant -> function of a count, which returns bits (count, 1, 28, 28)
    networks: tuple  # the parts whose weights make the samples, to be counted
    nats: object = None  # bits -> nats (B,) of each image: exact, or an upper bound
    protocol: str = ""  # how nats are computed, or why there are none
    rates: dict = field(default_factory=dict)  # optimizer -> its highest rate, if it follows the cycle
    latent: str | dict = "none"  # one for all entrants, or entrant -> text

    def set_rate(self, share):
        """The cycle of the learning rate: up for a twentieth of the time, and down to 0; share in [0, 1]."""
        for optimizer, most in self.rates.items():
            now = min(share / 0.05, 0.5 + 0.5 * math.cos(math.pi * (share - 0.05) / 0.95)) if share < 1 else 0.0
            for group in optimizer.param_groups:
                group["lr"] = most * max(now, 0.01)


def update(optimizer, loss, net=None):
    """One step of the optimizer; with ``net``, a gradient longer than 1 is shortened to 1."""
    optimizer.zero_grad()
    loss.backward()
    if net is not None:
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()


def hard(x):
    """Images -> bits: 1 where a pixel is above 0."""
    return (x > 0).float()


def parts(count, size=500):
    """``count`` in parts of at most ``size``: 1200 -> [500, 500, 200]."""
    return [min(size, count - start) for start in range(0, count, size)]
