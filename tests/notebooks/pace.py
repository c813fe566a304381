"""How fast this machine is just now: a limit in seconds shall say something of the course, not of the machine."""

import time

import torch

QUIET = 0.33  # seconds of the work below on two quiet cores of a common server


def work():
    """Seconds of a piece of work like that of a notebook: many small operations of PyTorch, called from Python."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 16, 5), torch.nn.ReLU(), torch.nn.Conv2d(16, 16, 5))
    x = torch.zeros(32, 1, 28, 28)
    began = time.monotonic()
    for _ in range(60):
        net(x).square().mean().backward()
        sum(i * i for i in range(20_000))
    return time.monotonic() - began


def slowness():
    """How many times as long as on a quiet machine that work takes now; at least 1."""
    return max(1.0, work() / QUIET)


def within(seconds, limit, before=1.0):
    """Whether what took ``seconds`` just now would have taken at most ``limit`` of them on a quiet machine."""
    return seconds <= limit or seconds <= limit * max(before, slowness())
