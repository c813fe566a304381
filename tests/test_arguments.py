"""Bad arguments to every public function: the message names the argument, its value and what is allowed."""

import inspect
import math
import types

import pytest
import torch
from matplotlib.figure import Figure
from test_arguments_autoregressive import BAD as AUTOREGRESSIVE
from test_arguments_diffusion import BAD as DIFFUSION
from test_arguments_showdown import BAD as SHOWDOWN
from twins import must_fail

import gencourse as gc
from gencourse import ArgumentError, check, data, distances, likelihoods, losses, metrics, nets, plot, runtime

HALF, NAN, ONE, FIELD, POINTS = [0.5, 0.5], math.nan, torch.ones(3), torch.zeros(2, 1, 28, 28), torch.ones(3, 2)
NO_STEP = lambda x: {"v": 0.0}


def calls(right, **bad):
    """Rows for a call that is right but for one argument at a time; of a bad tensor the message shows the shape."""
    shape = lambda v: [str(tuple(v.shape))] if isinstance(v, torch.Tensor) else []
    rest = lambda name: {k: v for k, v in right.items() if k != name}
    return [(name, v, rest(name), *shape(v)) for name, values in bad.items() for v in values]


# function -> rows (argument, bad value, the other arguments[, the value as the message shows it])
BAD = AUTOREGRESSIVE | DIFFUSION | SHOWDOWN | {
    gc.seed_everything: [("seed", -1, {}), ("seed", 0.5, {}), ("seed", 2**32, {}), ("seed", True, {})],
    data.mnist: [("split", "validation", {}), ("device", "nowhere", {}), ("device", 1.5, {})],
    data.fashion_mnist: [("split", None, {}), ("device", "nowhere", {})],
    data.digits: [("split", 0, {}), ("device", "nowhere", {})],
    data.found: [("name", "CIFAR", {})],
    data.toy: calls({"name": "grid", "n": 5}, name=["spiral"], n=[0, 2.5], seed=[-1, "zero"]),
    data.mixture_1d: calls(
        {"means": [0, 1], "stds": [1, 1]},
        means=[[], "low", [NAN], 3.0],
        stds=[[1.0], [1.0, 0.0], [1.0, math.inf]],
        weights=[[1.0, -1.0], [1.0]],
    ),
    data.ring_of_gaussians: [
        *((name, bad, {}) for name, bad in (("modes", 0), ("radius", -1), ("radius", "2"), ("std", 0), ("std", "a"))),
    ],
    data.grid_of_gaussians: [("side", 2.5, {}), ("spacing", NAN, {}), ("std", -0.1, {})],
    data.binarize: [
        *calls({"x": FIELD}, x=[3, torch.tensor(0.0), FIELD.long()], seed=[-1, 0.5]),
        ("x", FIELD + 2, {}, "from 2 to 2"),
        ("x", FIELD * NAN, {}, "from nan to nan"),
    ],
    gc.batches: [
        ("x", [1, 2], {"batch_size": 1}, "list"),
        ("x", (), {"batch_size": 1}, "tuple"),
        ("x", torch.tensor(1.0), {"batch_size": 1}, "Tensor"),
        ("x", (ONE, torch.ones(4)), {"batch_size": 1}, "[3, 4]"),
        *calls({"x": ONE, "batch_size": 1}, batch_size=[0, 4, 1.0], seed=["a"]),
    ],
    gc.draws: [("source", 3, {"batch_size": 1}), ("batch_size", 0, {"source": torch.randn})],
    gc.fit: [
        *calls({"step": NO_STEP, "batches": [], "steps": 1}, step=[3], batches=[3], steps=[0, 2.0]),
        *calls({"step": NO_STEP, "batches": [], "steps": 1}, snapshot=[3], snapshots=[0], checkpoint=[3]),
        ("batches", ONE, {"step": NO_STEP, "steps": 1}),
        ("state", None, {"step": NO_STEP, "batches": gc.batches(ONE, 1), "steps": 1, "checkpoint": "file"}),
    ],
    **{
        f: [
            ("p", "even", {"q": HALF}),
            ("p", [0.5, -0.5, 1.0], {"q": [0.5, 0.25, 0.25]}, "-0.5"),
            ("p", [NAN, 1.0], {"q": HALF}, "nan"),
            ("p", [0.5, 0.6], {"q": HALF}, "1.1"),
            ("q", [[0.5], [0.5]], {"p": HALF}, "(2, 1)"),
            ("q", [HALF, HALF, HALF], {"p": [HALF, HALF]}, "(3, 2)"),
            ("p", 1.0, {"q": HALF}, "()"),
            ("x", [1.0, 0.0], {"p": HALF, "q": HALF}, "(2,)"),
            ("x", [0.0, NAN], {"p": HALF, "q": HALF}, "(2,)"),
            ("q", HALF, {"p": [1.0, 0.5, 0.5], "x": [0.0, 1.0, 1.5]}, "(2,)"),
        ]
        for f in (distances.kl, distances.reverse_kl, distances.jsd, distances.tv)
    },
    distances.w1: [
        ("x", None, {"p": HALF, "q": HALF}),
        ("x", [0.0], {"p": [1.0], "q": [1.0]}, "(1,)"),
        ("p", [9.0, 9.0], {"q": [1.0, 1.0], "x": [0.0, 1.0]}, "9.0"),
    ],
    distances.w1_samples: [
        ("a", [], {"b": [1.0]}, "(0,)"),
        ("a", "low", {"b": [1.0]}),
        ("b", torch.ones(2, 2, 2), {"a": [1.0]}, "(2, 2, 2)"),
        ("b", torch.ones(2, 3), {"a": torch.ones(2, 2)}, "(2, 3)"),
        ("b", [NAN], {"a": [1.0]}, "NaN or infinity"),
        ("a", [math.inf], {"b": [1.0]}, "NaN or infinity"),
    ],
    **{
        f: [
            (f"real_{what}", 3, {f"fake_{what}": ONE}),
            (f"real_{what}", POINTS, {f"fake_{what}": ONE}, "(3, 2)"),
            (f"fake_{what}", torch.ones(3, dtype=torch.long), {f"real_{what}": ONE}, "(3,)"),
            (f"fake_{what}", torch.ones(4), {f"real_{what}": ONE}, "(4,)"),
            *(("real_target", bad, {"real_logits": ONE, "fake_logits": ONE}) for bad in targets),
        ]
        for f, what, targets in (
            (losses.discriminator_loss, "logits", (0, 1.5, NAN, "soft", True)),
            (losses.value, "logits", ()),
            (losses.critic_loss, "scores", ()),
        )
    },
    **{
        f: [("fake_logits", "high", {}), ("fake_logits", torch.tensor(1.0), {}, "()")]
        for f in (losses.generator_loss, losses.generator_loss_saturating)
    },
    losses.critic_generator_loss: [("fake_scores", "high", {}), ("fake_scores", torch.tensor(1.0), {}, "()")],
    losses.gradient_penalty: [
        ("critic", 3, {"real": POINTS, "fake": POINTS}),
        ("real", ONE, {"critic": NO_STEP, "fake": POINTS}, "(3,)"),
        ("fake", "cat", {"critic": NO_STEP, "real": POINTS}),
        ("fake", torch.ones(1, 2), {"critic": NO_STEP, "real": POINTS}, "(1, 2)"),
    ],
    likelihoods.bernoulli_log_prob: [
        *calls({"logits": POINTS, "x": POINTS}, logits=[3, ONE, POINTS.long()], x=["cat", POINTS[:1]]),
        *(("x", POINTS * grey, {"logits": POINTS}, str(grey)) for grey in (0.5, NAN)),
    ],
    likelihoods.gaussian_log_prob: calls(
        {"x": POINTS, "mu": POINTS, "logvar": 0.0},
        x=[3, ONE, POINTS.long()],
        mu=[0.0, ONE],
        logvar=[None, NAN, "wide", ONE, POINTS[None], POINTS.long()],
    ),
    likelihoods.gaussian_kl: calls(
        {"mu": POINTS, "logvar": POINTS, "mu_p": 0.0, "logvar_p": 0.0},
        **{"mu": [3, ONE, POINTS.long()], "logvar": [0.0, POINTS[:1], POINTS.long()]},
        **{"mu_p": ["zero", None, ONE, POINTS.long()], "logvar_p": [math.inf, None, ONE, POINTS.long()]},
    ),
    likelihoods.importance_bound: calls({}, log_weights=[3, ONE, POINTS[:0], POINTS.long()]),
    likelihoods.bits_per_dim: calls({"nats": 1.0, "dims": 2}, nats=["few", NAN, ONE.long()], dims=[0, 2.0]),
    nets.mlp: calls({"sizes": [2, 1]}, sizes=[[3], [3, 0], [3, 2.5, 1], 3], activation=["relu"]),
    nets.MLPGenerator: calls({}, latent_dim=[0, True], hidden=[1.5], image_shape=[(0, 9)]),
    nets.MLPDiscriminator: [("hidden", -1, {}), ("dropout", 1.0, {}), ("dropout", "x", {}), ("image_shape", 28, {})],
    nets.DCGANGenerator: [("latent_dim", 0, {}), ("channels", [8, 0], {}), ("image_shape", (1, 28, 30), {})],
    nets.DCGANDiscriminator: [("channels", 8, {}), ("image_shape", (1, 1, 28, 28), {}), ("batch_norm", 1, {})],
    nets.ConvEncoder: calls({}, latent_dim=[0], hidden=[2.0], channels=[8], image_shape=[(1, 28, 30)]),
    nets.ConvDecoder: calls({}, latent_dim=[True], hidden=[0], channels=[[8, 0]], image_shape=[28]),
    gc.track: [("items", 3, {}), ("items", [], {})],
    metrics.digit_classifier: [("steps", 0, {}), ("steps", 2.5, {})],
    **{
        f: [
            ("x", 3, {"classifier": None}),
            ("x", FIELD[:0], {"classifier": None}, "(0, 1, 28, 28)"),
            ("x", FIELD[..., 1:], {"classifier": None}, "(2, 1, 28, 27)"),
            ("x", FIELD + 2, {"classifier": None}, "from 2.00 to 2.00"),
            ("x", FIELD * NAN, {"classifier": None}, "from nan to nan"),
            ("classifier", metrics.DigitClassifier(), {"x": FIELD}, "in train mode"),
        ]
        for f in (metrics.features, metrics.class_shares)
    },
    metrics.class_entropy: [("shares", HALF, {}), ("shares", ONE, {}), ("shares", torch.tensor([1.5, -0.5]), {})],
    **{
        f: [
            ("real", ONE, {"fake": POINTS}, "(3,)"),
            ("fake", "cat", {"real": POINTS}),
            ("fake", POINTS[:1], {"real": POINTS}, "(1, 2)"),
            ("fake", torch.ones(3, 3), {"real": POINTS}, "(3, 3)"),
            ("fake", POINTS * NAN, {"real": POINTS}, "NaN or infinity"),
            *((name, bad, {"real": POINTS, "fake": POINTS}) for name, bad in own),
        ]
        for f, own in (
            (metrics.fid, []),
            (metrics.kid, [("subsets", 0), ("subset_size", 4), ("subset_size", 1), ("seed", -1)]),
            (metrics.prdc, [("k", 0), ("k", 3), ("k", 1.5)]),
        )
    },
    metrics.report: [("most", 1, {"classifier": None, "real": FIELD, "fake": FIELD})],
    metrics.modes: [
        ("samples", ONE, {"centres": POINTS, "radius": 1}, "(3,)"),
        ("centres", torch.ones(3, 3), {"samples": POINTS, "radius": 1}, "(3, 3)"),
        *(("radius", bad, {"samples": POINTS, "centres": POINTS}) for bad in (0, NAN, "wide")),
    ],
    check.close: calls(
        {"answer": 1, "expected": 1},
        **{"expected": ["right"], "mistakes": [[1]], "mistakes['m']": ["wrong"], "atol": [-1], "rtol": ["a"]},
    ),
    check.function: calls(
        {"answer": abs, "reference": abs, "cases": [(1,)]},
        **{"reference": [3], "cases": [[], [1.0]], "mistakes": ["m"], "mistakes['m']": [3], "atol": [NAN]},
    ),
    check.choice: [
        ("why", [], {"answer": "a", "correct": "a"}),
        ("correct", "c", {"answer": "a", "why": {"a": "yes", "b": "no"}}),
        ("correct", ["a"], {"answer": "a", "why": {"a": "yes"}}),
    ],
    check.that: [("test", "even", {"answer": 2}), ("test(answer)", True, {"answer": 2})],
    plot.image_grid: [("images", "cat", {"alt": "a"}, "")],
    plot.tile: [("images", "cat", {}, ""), ("gap", -1, {"images": FIELD})],
    plot.curves: [("keys", ["D"], {"history": {"G": [1.0]}, "alt": "a"}, "")],
    plot.densities: [("x", torch.ones(2, 2), {"series": {"p": ONE}, "alt": "a"}, "(2, 2)")],
    plot.histograms: [("bins", 0, {"series": {"p": ONE}, "alt": "a"})],
    plot.scatter: [("series", 3, {"alt": "a"})],
    plot.bars: [("values", {}, {"alt": "a"})],
    plot.table: [("rows", {}, {})],
    plot.flow: [("alt", "", {"boxes": {"a": (0, 0)}, "arrows": []})],
    plot.figure: [("width", 0, {}), ("rows", 0, {})],
    plot.picture: [("fig", "fig", {"alt": "a"}), ("alt", "", {"fig": Figure()})],
    plot.color: [("name", "colourless", {})],
    plot.animate: [("alt", "", {"draw": NO_STEP, "frames": [1, 2]}), ("draw", 3, {"frames": [1, 2], "alt": "a"})],
    plot.explore: [("draw", 3, {"alt": "a", "theta": [1, 2]}), ("alt", " ", {"draw": NO_STEP, "theta": [1, 2]})],
}
ROWS = [(f, *row) for f, rows in BAD.items() for row in rows]
ELSEWHERE = {  # functions in which no argument can be wrong, or whose environment is what can be wrong
    "runtime.budget": "takes any values: see test_profile_of_the_environment",
    "plot.number": "shows any value",
}
RECORDS = {"History", "Images", "Result", "Picture", "Table", "Environment"}  # what functions return, not made by hand


def check_message(call, argument, shown):
    """An ArgumentError that begins with argument=value and says what must be."""
    with pytest.raises(ArgumentError) as caught:
        call()
    text = str(caught.value)
    name, _, rest = text.partition("=")
    assert name.removeprefix("mass of ") == argument, text
    value, found, allowed = rest.partition(": must be ")
    assert found and shown in value and len(allowed) > 3, text
    assert isinstance(caught.value, ValueError) and isinstance(caught.value, gc.GencourseError)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0].__name__} {row[1]}={row[2]!r}"[:60])
def test_bad_argument(row):
    f, argument, bad, others = row[:4]
    shown = row[4] if len(row) > 4 else repr(bad)[:77]
    if "[" in argument:
        given = {"mistakes": {"m": bad}}
    else:
        given = {"test": lambda answer: bad} if argument == "test(answer)" else {argument: bad}
    assert next(iter(given)) in inspect.signature(f).parameters or "kwargs" in str(inspect.signature(f))
    check_message(lambda: f(**others, **given), argument, shown)


def test_profile_of_the_environment(monkeypatch):
    monkeypatch.setenv("GENCOURSE_PROFILE", "fast")
    for call in (gc.profile, lambda: gc.budget(smoke=1, laptop=2, gpu=3), gc.environment):
        check_message(call, "environment variable GENCOURSE_PROFILE", "'fast'")


def test_long_values_are_cut():
    with pytest.raises(ArgumentError) as caught:
        data.toy("x" * 10_000, 3)
    assert len(str(caught.value)) < 250


# ---- nothing public is left out ----


def public(package):
    """name -> callable for all that the package exports, and for the public functions of the modules it exports."""
    result = {}
    for name in package.__all__:
        value = getattr(package, name)
        if isinstance(value, types.ModuleType):
            own = getattr(value, "__all__", None) or [
                n for n, v in vars(value).items() if getattr(v, "__module__", None) == value.__name__ and n[0] != "_"
            ]
            result |= {f"{name}.{n}": getattr(value, n) for n in own if callable(getattr(value, n))}
        elif callable(value):
            result[f"{value.__module__.rsplit('.', 1)[-1]}.{name}"] = value
    return result


def check_complete(names):
    uncovered = []
    for name, f in names.items():
        record = name.split(".")[-1] in RECORDS or (isinstance(f, type) and issubclass(f, (Exception, tuple)))
        if not record and name not in ELSEWHERE and f not in BAD and inspect.signature(f).parameters:
            uncovered.append(name)
    assert not uncovered, f"no bad call is tried for {uncovered}"


def test_every_public_function_is_here():
    names = public(gc)
    assert {"data.mnist", "data.batches", "distances.kl", "losses.value", "nets.mlp", "train.fit"} <= set(names)
    check_complete(names)
    must_fail(check_complete, {**names, "data.forgotten": lambda x: x})


@pytest.mark.parametrize(
    "twin",
    [
        lambda: None,
        lambda: int("three"),
        lambda: runtime.require_seed(-2),
        lambda: (_ for _ in ()).throw(ArgumentError("bad seed")),
        lambda: (_ for _ in ()).throw(ArgumentError("seed=-1")),
        lambda: (_ for _ in ()).throw(ArgumentError("n=-1: must be positive")),
    ],
    ids=["accepts", "an error of another kind", "another value", "no name", "not what is allowed", "another name"],
)
def test_messages_that_say_less(twin):
    check_message(lambda: gc.seed_everything(-1), "seed", "-1")
    with pytest.raises((AssertionError, pytest.fail.Exception, ValueError)):  # the last comes through from int(...)
        check_message(twin, "seed", "-1")
