"""Bad arguments to gc.diffusion and its networks: rows for test_arguments, which tries them and misses none."""

import math

import pytest
import torch

from gencourse import ArgumentError, diffusion, nets

X, T = torch.ones(3, 2), 10
SCHEDULE = diffusion.linear_schedule(T)
AWAY = SCHEDULE.to("meta")
NO_NOISE = lambda x, *_: torch.zeros_like(x)
TIMES = [2.0, True, T + 1, None, torch.tensor([1, 2, T + 1])]


def rows(right, **bad):
    """(argument, bad value, the other arguments, the value as the message shows it) for a call that is right."""
    rest = lambda name: {k: v for k, v in right.items() if k != name}
    return [(name, v, rest(name), shown(v)) for name, values in bad.items() for v in values]


def shown(value):
    if value is AWAY:
        return "'meta'"
    if not isinstance(value, torch.Tensor):
        return repr(value)[:77]
    return str(value[-1].item()) if value.dtype == torch.int64 and value.shape == (3,) else str(tuple(value.shape))


def times(first):
    """Bad values of t: of the wrong kind, out of first..T, or of the wrong shape."""
    return [first - 1, *TIMES, torch.tensor([1, 2, first - 1]), torch.ones(3, 1, dtype=torch.int64)]


SHAPES = ["cat", X[:2], X[None], X.long()]
SCHEDULES = [3, None, AWAY]
NO_BATCH = ["cat", torch.tensor(1.0), X.long()]
SAMPLER = {"predict": NO_NOISE, "x_T": X, "schedule": SCHEDULE, "steps": 5}
SAMPLER_BAD = {
    "predict": [3], "x_T": NO_BATCH, "schedule": [3, None], "clip": [1, None], "generator": [0],
    "steps": [0, T + 1, 2.0, True],
}  # fmt: skip
ALONE = {"x_t": X, "t": 1, "schedule": SCHEDULE}
BAD = {
    diffusion.linear_schedule: rows({}, T=[0, 2.0, True, 10**6], first=[0, 1, "a"], last=[0.0, 1.0, math.nan]),
    diffusion.cosine_schedule: rows({}, T=[-1, None], s=[-0.1, "a", math.inf], most=[0, 1, None]),
    diffusion.q_sample: [
        *rows({"x0": X, "t": 1, "eps": X, "schedule": SCHEDULE}, x0=NO_BATCH, eps=SHAPES, schedule=SCHEDULES),
        *rows({"x0": X, "eps": X, "schedule": SCHEDULE}, t=times(0)),
        ("t", torch.ones(3), {"x0": X, "eps": X, "schedule": SCHEDULE}, "torch.float32"),
    ],
    diffusion.posterior: [
        *rows({"x0": X, "x_t": X, "t": 1, "schedule": SCHEDULE}, x0=NO_BATCH, x_t=SHAPES, schedule=SCHEDULES),
        *rows({"x0": X, "x_t": X, "schedule": SCHEDULE}, t=times(1)),
    ],
    diffusion.convert: [
        *rows(ALONE | {"eps": X}, x_t=NO_BATCH, schedule=SCHEDULES, t=times(1)),
        *(row for name in ("x0", "eps", "v", "score") for row in rows(ALONE, **{name: SHAPES})),
        ("x0", None, ALONE),
        ("v", X, ALONE | {"x0": X}, "(3, 2)"),
        ("score", 3, ALONE | {"eps": X}),
    ],
    diffusion.ddpm: rows(SAMPLER, **SAMPLER_BAD, variance=["fixed_small", None]),
    diffusion.ddim: rows(SAMPLER, **SAMPLER_BAD, eta=[-0.1, 1.5, "a", None]) + rows(SAMPLER, steps=[None]),
    diffusion.guided: rows({"predict": NO_NOISE, "scale": 1.0}, predict=[3], scale=["a", None, math.nan]),
    diffusion.flow_path: [
        *rows({"x0": X, "x1": X, "t": 0.5}, x0=NO_BATCH, x1=SHAPES, t=["a", None, -0.1, 1.5, X]),
        ("t", torch.ones(3).long(), {"x0": X, "x1": X}, "(3,)"),
        *(("t", torch.tensor([0.0, 1.0, bad]), {"x0": X, "x1": X}, str(bad)) for bad in (1.5, math.nan)),
    ],
    nets.time_embedding: rows({"t": torch.ones(2)}, t=[3, X], dim=[3, 0, 2.0]),
    nets.UNet: [
        *rows({}, channels=[8, [8, 0], [12, 16]], image_shape=[28, (1, 28, 30), (1, 30, 30)], patch=[0, 1.5]),
        *rows({}, blocks=[0, True], classes=[-1, 0.5], timed=[1, None]),
    ],
    diffusion.euler: rows({"velocity": NO_NOISE, "x": X, "steps": 2}, velocity=[3], x=NO_BATCH, steps=[0, 2.0, True]),
}


@pytest.mark.parametrize(
    ("states", "name"),
    [
        (lambda f: diffusion.ddpm(f, X, SCHEDULE), r"predict\(x_t, t\)"),
        (lambda f: diffusion.ddim(f, X, SCHEDULE, steps=2), r"predict\(x_t, t\)"),
        (lambda f: diffusion.euler(f, X, 2), r"velocity\(x, t\)"),
    ],
    ids=["ddpm", "ddim", "euler"],
)
def test_networks_that_return_something_else(states, name):
    for wrong, found in ((lambda x, t: x[:, :1], r"\(3, 1\)"), (lambda x, t: None, "None")):
        with pytest.raises(ArgumentError, match=f"{name}={found}: must be"):
            next(states(wrong))
