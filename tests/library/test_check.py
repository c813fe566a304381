"""The exercise checkers: right, wrong in many ways, unanswered, raising; never an exception, always a sentence."""

import html
import math
import re

import numpy as np
import pytest
import torch
from twins import must_fail

from gencourse.check import Result, choice, close, function, that

V = torch.tensor([1.0, 2.0, -3.0])
UNANSWERED = "Not answered yet: replace the ... and run the cell again."
ASTRAY = [  # answers that are nothing of what was asked for
    "three", b"x", {}, {"a": 1}, object(), [1, "a"], [[1], [1, 2]], 1j, np.array(["a"]), np.zeros(3), torch.ones(2, 0),
    10**400, torch.tensor(1j), (), set(), type, len, lambda: 1 / 0, lambda: {}, torch.nn.Linear(1, 1), NotImplemented,
]  # fmt: skip


def raising():
    values = [1]
    return values[5]


def check_shown(result):
    """One line that starts with the mark, the hint below it and only with a wrong answer; HTML says the same."""
    assert isinstance(result, Result) and bool(result) is result.ok
    first, *rest = repr(result).splitlines()
    mark = "✓" if result else "✗"
    assert first.startswith(mark + " ") and len(first) > 4
    assert rest == ([f"  Hint: {result.hint}"] if result.hint and not result.ok else [])
    shown = result._repr_html_()
    assert f"<b>{mark}</b>" in shown and 'role="status"' in shown and html.escape(result.message) in shown
    assert ("<details>" in shown) == bool(rest)
    assert not re.search(r"<(?!/?(div|b|details|summary)\b)", shown)  # nothing of the answer is read as HTML


# ---- close: what it says ----

SAYS = [
    (0.5, 0.5, "✓ Right."),
    (lambda: V, V, "✓ Right."),
    ([1, 2, -3], V, "✓ Right."),
    (V.numpy(), V, "✓ Right."),
    (V.clone().requires_grad_(), V, "✓ Right."),
    (math.inf, math.inf, "✓ Right."),
    (V.half(), V.double(), "✓ Right."),
    (1 + 1e-7, 1.0, "✓ Right."),
    (1 + 1e-3, 1.0, "✗ Not yet: the result, 1.001, is off by up to 0.001."),
    (-0.5, 0.5, "✗ The size is right, the sign is wrong."),
    (-V, V, "✗ The size is right, the sign is wrong."),
    (2 * V, V, "✗ The result is twice what it should be."),
    (V / 2, V, "✗ The result is half what it should be."),
    (4.0, 1.0, "✗ The result is four times what it should be."),
    (0.25, 1.0, "✗ The result is a quarter of what it should be."),
    (V / math.log(2), V, "✗ The result is in bits; the course measures in nats: use the natural logarithm."),
    (math.nan, 1.0, "✗ The result holds NaN or infinity: look for a logarithm or a division at 0."),
    (torch.tensor([1.0, math.inf, -3]), V, "✗ The result holds NaN or infinity: look for"),
    (V[:2], V, "✗ The shape is (2,), expected (3,)."),
    (V[:, None], V, "✗ The shape is (3, 1), expected (3,)."),
    (torch.ones(1), 1.0, "✗ The shape is (1,), expected ()."),
    ("three", 3, "✗ Expected a number or a tensor, got str."),
    (V + 1, V, "✗ Not yet: the result, a tensor of shape (3,), is off by up to 1."),
    (..., 1.0, "✗ " + UNANSWERED),
    (None, 1.0, "✗ " + UNANSWERED),
    (lambda: ..., 1.0, "✗ " + UNANSWERED),
    (lambda: None, 1.0, "✗ " + UNANSWERED),
    (torch.tensor(1.0 + 1j), 1.0, "✗ Expected a number or a tensor, got Tensor."),
    (lambda: 1 / 0, 1.0, "✗ Your code raised ZeroDivisionError in line"),
    (raising, 1.0, "✗ Your code raised IndexError in line"),
    (lambda x: x, 1.0, "✗ Your code raised TypeError: "),
]


@pytest.mark.parametrize(("answer", "expected", "says"), SAYS, ids=range(len(SAYS)))
def test_close(answer, expected, says):
    result = close(answer, expected, hint="Think.")
    check_shown(result)
    assert repr(result).startswith(says), repr(result)


def test_known_mistakes_come_before_general_ones():
    mistakes = {"You forgot the minus.": -V, "You summed.": V.sum(), "You summed rows.": [0.0]}
    assert repr(close(-V, V, mistakes=mistakes)) == "✗ You forgot the minus."
    assert repr(close(V.sum(), 5.0, mistakes=mistakes)) == "✗ You summed."
    assert repr(close(V, V, mistakes={"Never said of what is right.": V})) == "✓ Right."
    assert "twice" in repr(close(2 * V, V, mistakes=mistakes))


def test_the_line_is_the_learners_own():
    """Errors inside torch or this library are reported at the learner's line that led there."""

    def answer():
        a = torch.ones(2, 3)
        return torch.nn.functional.linear(a, a.T.contiguous())

    line = answer.__code__.co_firstlineno + 2
    assert f"raised RuntimeError in line {line} (answer)" in repr(close(answer, 1.0))

    def refused():
        return torch.distributions.Normal(0.0, -1.0).mean

    assert f"ValueError in line {refused.__code__.co_firstlineno + 1} (refused)" in repr(close(refused, 1.0))


def test_tolerances():
    assert close(1.05, 1.0, atol=0.1) and close(1.05, 1.0, rtol=0.1)
    assert not close(1.05, 1.0, atol=0, rtol=0)


# ---- function ----


def test_function_right():
    result = function(lambda x, y: x + y, torch.add, cases=[(V, V), (V, 2 * V)])
    check_shown(result)
    assert repr(result) == "✓ Right, on all 2 inputs."
    assert repr(function(abs, abs, cases=[(-1.0,)])) == "✓ Right."


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (lambda x: -x, "✗ On input (2.0,): The size is right, the sign is wrong."),
        (lambda x: x if x < 3 else 0.0, "✗ On input (3.0,): Not yet"),
        (lambda x: x**2, "✗ On input (2.0,): You squared it."),
        (lambda x: 1 / 0, "✗ On input (2.0,): Your code raised ZeroDivisionError in line"),
        (lambda: 3, "✗ On input (2.0,): Your code raised TypeError"),
        (lambda x: ..., "✗ " + UNANSWERED),
        (lambda x: "x", "✗ On input (2.0,): Expected a number or a tensor, got str."),
        (..., "✗ " + UNANSWERED),
        (None, "✗ " + UNANSWERED),
        (3.0, "✗ Expected a function."),
        (np.zeros(2), "✗ Expected a function."),
        (V, "✗ Expected a function."),
    ],
)
def test_function_wrong(answer, says):
    mistakes = {"You squared it.": lambda x: x**2}
    result = function(answer, lambda x: x, cases=[(2.0,), (3.0,)], hint="Think.", mistakes=mistakes)
    check_shown(result)
    assert repr(result).startswith(says)


def test_function_that_changes_its_argument():
    """The right answer is computed first, so an answer in place is not compared with itself."""
    assert not function(lambda x: x.mul_(0), lambda x: x + 1, cases=[(V.clone(),)])
    assert function(lambda x: x.add_(1), lambda x: x + 1, cases=[(V.clone(),)])


def test_inputs_are_named_briefly():
    case = (torch.ones(5, 5), torch.tensor(2.0), "exact", torch.exp)
    shown = repr(function(lambda *a: 0, lambda *a: 1, cases=[case]))
    assert shown.startswith("✗ On input (tensor(5, 5), 2.0, 'exact', exp): ")


# ---- choice and that ----

WHY = {"a": "Yes: it shrinks.", "b": "No: that one grows."}


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("a", "✓ Yes: it shrinks."),
        ("b", "✗ No: that one grows."),
        ("A", "✗ 'A' is not an option: choose one of 'a', 'b'."),
        (["a"], "✗ ['a'] is not an option"),
        (V, "✗ tensor([ 1.,  2., -3.]) is not an option"),
        (..., "✗ " + UNANSWERED),
        (None, "✗ " + UNANSWERED),
    ],
)
def test_choice(answer, says):
    result = choice(answer, "a", WHY, hint="Think.")
    check_shown(result)
    assert repr(result).startswith(says)


def even(n):
    return None if n % 2 == 0 else f"{n} is not even."


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (4, "✓ Right."),
        (3, "✗ 3 is not even."),
        ("x", "✗ Your code raised TypeError in line"),
        (..., "✗ " + UNANSWERED),
        (None, "✗ " + UNANSWERED),
    ],
)
def test_that(answer, says):
    result = that(answer, even, hint="Think.")
    check_shown(result)
    assert repr(result).startswith(says)


# ---- never an exception ----


@pytest.mark.parametrize("answer", ASTRAY, ids=range(len(ASTRAY)))
def test_answers_gone_astray(answer):
    for result in (
        close(answer, 1.0),
        close(lambda: answer, V),
        function(answer, abs, cases=[(1.0,)]),
        function(lambda x: answer, abs, cases=[(1.0,)]),
        choice(answer, "a", WHY),
        that(answer, lambda a: None if a + 1 == 3 else "No."),
    ):
        assert not result
        check_shown(result)


def test_html_of_the_answer_is_escaped():
    evil = "<script>alert(1)</script>"

    def answer():
        raise ValueError(evil)

    for result in (close(answer, 1.0, hint=evil), choice(evil, "a", WHY), that(3, lambda n: evil), Result(True, evil)):
        check_shown(result)
        assert evil not in result._repr_html_()


# ---- broken twins ----


def check_checker(close):
    assert close(0.5, 0.5) and close(lambda: V, V) and close(torch.tensor(0.5 + 1e-8).double() + 1e-8, 0.5)
    for wrong in (-0.5, 1.0, 0.5001, math.nan, [0.5, 0.5], "0.5", ..., lambda: 1 / 0):
        assert not close(wrong, 0.5)


def twin(compare):
    """A checker that compares in its own way."""

    def close(answer, expected):
        try:
            value = answer() if callable(answer) else answer
            return bool(compare(torch.as_tensor(value).double(), torch.as_tensor(expected).double()))
        except Exception:
            return False

    return close


TWINS = {
    "says yes to everything": lambda answer, expected: True,
    "says no to everything": lambda answer, expected: False,
    "compares to the last bit": twin(torch.equal),
    "broadcasts": twin(lambda a, b: (a - b).abs().max() < 1e-6),
    "ignores the sign": twin(lambda a, b: torch.allclose(a.abs(), b.abs())),
    "lets NaN pass": twin(lambda a, b: not (a.shape != b.shape or ((a - b).abs() > 1e-6).any())),
    "is too kind": twin(lambda a, b: a.shape == b.shape and torch.allclose(a, b, rtol=1e-2)),
}


def test_checker():
    check_checker(close)
    check_checker(twin(lambda a, b: a.shape == b.shape and torch.allclose(a, b)))  # with nothing broken


@pytest.mark.parametrize("name", TWINS)
def test_broken_checkers(name):
    must_fail(check_checker, TWINS[name])
