"""Exercise checkers: they say what is wrong, not only that something is. A wrong answer never raises."""

import html
import sys
import traceback
from pathlib import Path

import torch

_UNANSWERED = "Not answered yet: replace the ... and run the cell again."


class Result:
    """The outcome of a check: true or false, shown as one line that starts with ✓ or ✗."""

    def __init__(self, ok, message, hint=""):
        self.ok, self.message, self.hint = ok, message, hint
        whole = "✓✗".encode(getattr(sys.stdout, "encoding", None) or "utf-8", "ignore")  # Windows may lack them
        self._mark = ("✗✓" if whole else ("NO", "OK"))[ok]

    def __bool__(self):
        return self.ok

    def __repr__(self):
        line = f"{self._mark} {self.message}"
        return line if self.ok or not self.hint else f"{line}\n  Hint: {self.hint}"

    def _repr_html_(self):
        colour = "#009e73" if self.ok else "#d55e00"
        hint = ""
        if self.hint and not self.ok:
            hint = f"<details><summary>Hint</summary>{html.escape(self.hint)}</details>"
        return (
            f'<div role="status" style="border-left:4px solid {colour};padding:.4em .8em">'
            f"<b>{self._mark}</b> {html.escape(self.message)}{hint}</div>"
        )


def _call(answer, arguments=()):
    """(value, complaint): what the answer gives, or why it gives nothing."""
    try:
        value = answer(*arguments) if callable(answer) else answer
    except Exception as error:
        return None, f"Your code raised {type(error).__name__}{_where(error)}: {error}"
    return (None, _UNANSWERED) if value is None or value is ... else (value, None)


def _where(error):
    """The last line of the learner's own code on the way to the error, not one inside torch or this library."""
    ours = str(Path(__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(ours):
            return f" in line {frame.lineno} ({frame.name})"
    return ""  # the call itself did not fit


def _tensor(value):
    try:
        if torch.as_tensor(value).is_complex():
            return None  # the cast would drop the imaginary part in silence
        return torch.as_tensor(value, dtype=torch.float64, device="cpu").detach()
    except Exception:  # an answer may be anything, and anything may happen on the way to a tensor
        return None


def _difference(got, want, atol, rtol, mistakes):
    """None if the two agree, else a sentence that says how they differ."""
    value, want = _tensor(got), _tensor(want)
    if value is None:
        return f"Expected a number or a tensor, got {type(got).__name__}."

    def same(a, b):
        return a.shape == b.shape and torch.allclose(a, b, atol=atol, rtol=rtol, equal_nan=False)

    if same(value, want):
        return None
    for message, wrong in (mistakes or {}).items():
        if same(value, _tensor(wrong)):
            return message
    if value.shape != want.shape:
        return f"The shape is {tuple(value.shape)}, expected {tuple(want.shape)}."
    if not value.isfinite().all() and want.isfinite().all():
        return "The result holds NaN or infinity: look for a logarithm or a division at 0."
    if same(-value, want):
        return "The size is right, the sign is wrong."
    for factor, words in ((2.0, "twice"), (0.5, "half"), (4.0, "four times"), (0.25, "a quarter of")):
        if same(value, factor * want):
            return f"The result is {words} what it should be."
    if same(value * torch.log(torch.tensor(2.0, dtype=torch.float64)), want):
        return "The result is in bits; the course measures in nats: use the natural logarithm."
    shown = f"{value.item():.6g}" if value.ndim == 0 else f"a tensor of shape {tuple(value.shape)}"
    return f"Not yet: the result, {shown}, is off by up to {(value - want).abs().max():.3g}."


def close(answer, expected, *, hint="", mistakes=None, atol=1e-6, rtol=1e-5) -> Result:
    """Compare a number or tensor with the right one.

    Args:
        answer: the value, or a function without arguments that returns it; ``None`` or ``...`` counts as unanswered.
        expected: the right value, a number or tensor.
        hint: shown, folded, with a wrong answer.
        mistakes: message -> the wrong value that this mistake gives; recognized before general ones (sign, factor,
            bits for nats, NaN, shape).
        atol: absolute tolerance.
        rtol: relative tolerance.

    Returns:
        A :class:`Result`; an exception in the answer becomes its message.

    >>> close(lambda: 0.25, 0.5)
    ✗ The result is half what it should be.
    >>> close(lambda: 0.5, 0.5)
    ✓ Right.
    """
    value, complaint = _call(answer)
    complaint = complaint or _difference(value, expected, atol, rtol, mistakes)
    return Result(complaint is None, complaint or "Right.", hint)


def function(answer, reference, cases, *, hint="", mistakes=None, atol=1e-6, rtol=1e-5) -> Result:
    """Compare a function with the right one on several inputs.

    Args:
        answer: the learner's function.
        reference: the right function.
        cases: a list of argument tuples.
        hint: shown, folded, with a wrong answer.
        mistakes: message -> the function that this mistake makes.
        atol: absolute tolerance.
        rtol: relative tolerance.

    Returns:
        A :class:`Result` that names the first case that differs.

    >>> function(lambda x: -x, lambda x: x, cases=[(1.0,), (2.0,)])
    ✗ On input (1.0,): The size is right, the sign is wrong.
    """
    if not callable(answer):
        return Result(False, _UNANSWERED if answer is None or answer is ... else "Expected a function.", hint)
    for arguments in cases:
        right = reference(*arguments)  # first, because an answer may change its arguments in place
        wrong = {message: f(*arguments) for message, f in (mistakes or {}).items()}
        value, complaint = _call(answer, arguments)
        complaint = complaint or _difference(value, right, atol, rtol, wrong)
        if complaint:
            where = "" if complaint == _UNANSWERED else f"On input {_brief(arguments)}: "
            return Result(False, where + complaint, hint)
    return Result(True, "Right." if len(cases) == 1 else f"Right, on all {len(cases)} inputs.")


def _brief(arguments):
    """The arguments of a case as text, of a tensor its shape only, of a function its name."""
    scalars = [a.item() if isinstance(a, torch.Tensor) and a.ndim == 0 else a for a in arguments]
    names = [getattr(a, "__name__", repr(a)) for a in scalars]
    shown = [f"tensor{tuple(a.shape)}" if isinstance(a, torch.Tensor) else name for a, name in zip(scalars, names)]
    return f"({shown[0]},)" if len(shown) == 1 else f"({', '.join(shown)})"


def choice(answer, correct, why, *, hint="") -> Result:
    """Check a choice among named options, and answer each with its own reason.

    Args:
        answer: the option chosen, a text, or ``...``.
        correct: the right option.
        why: option -> the message for that choice.
        hint: shown, folded, with a wrong answer.

    >>> choice("b", "a", {"a": "Yes: ...", "b": "No: that one grows."})
    ✗ No: that one grows.
    """
    if answer is None or answer is ...:
        return Result(False, _UNANSWERED, hint)
    reason = why.get(answer) if isinstance(answer, str) else None
    if reason is None:
        return Result(False, f"{answer!r} is not an option: choose one of {', '.join(map(repr, why))}.", hint)
    return Result(bool(answer == correct), reason, hint)


def that(answer, test, *, hint="") -> Result:
    """Check an answer by a property rather than by its value.

    Args:
        answer: the learner's value or function.
        test: function of the answer; returns None if all is well, or a sentence that says what is wrong. What the
            learner's code raises inside becomes the complaint.
        hint: shown, folded, with a wrong answer.

    >>> that(3, lambda n: None if n % 2 == 0 else "The number must be even.")
    ✗ The number must be even.
    """
    if answer is None or answer is ...:
        return Result(False, _UNANSWERED, hint)
    verdict, complaint = _call(lambda: test(answer) or "")  # the None of a test that passes is an answer too
    complaint = complaint or verdict
    return Result(not complaint, complaint or "Right.", hint)
