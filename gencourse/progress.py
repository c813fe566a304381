"""Progress of ``fit`` and ``track``: a widget in JupyterLab, text in a terminal, one static line when it is done."""

import time

from .errors import require
from .runtime import in_kernel


class Progress:
    """Shows steps done, rate, time left and the latest values, at most four times a second.

    In a kernel the widget gives way, at the end, to a line of text, so that a saved notebook shows what
    happened without a kernel.
    """

    def __init__(self, steps, history, label, quiet=False):
        self.steps, self.history, self.label = steps, history, label
        self.started, self.start_step, self.shown, self.handle = time.monotonic(), history.steps, 0.0, None
        options = {"total": steps, "initial": history.steps, "desc": label or None, "dynamic_ncols": True}
        if quiet:
            from tqdm import tqdm

            self.bar = tqdm(**options, disable=True)
        elif in_kernel():
            from IPython.display import display
            from tqdm.notebook import tqdm

            self.bar = tqdm(**options, display=False)
            self.handle = display(self.bar.container, display_id=True)
        else:
            from tqdm import tqdm

            self.bar = tqdm(**options)

    def __enter__(self):
        return self

    def due(self):
        """Whether it is time to show new values (which makes a GPU wait)."""
        return time.monotonic() - self.shown > 0.25

    def update(self, done):
        """Show ``done`` steps and the last recorded values."""
        if self.due():
            self.shown = time.monotonic()
            self._values()
            self.bar.update(done - self.bar.n)
            self.bar.refresh()

    def _values(self):
        values = {name: f"{values[-1]:.3g}" for name, values in self.history.items()}
        self.bar.set_postfix(values, refresh=False)

    def __exit__(self, *error):
        """Leave the bar as it ended, or in a kernel replace it by :meth:`summary`."""
        self.bar.n = self.history.steps
        if self.handle is not None:
            self.handle.update({"text/plain": self.summary()}, raw=True)
            self.bar.container.close()
        else:
            self._values()
            self.bar.refresh()
        self.bar.close()

    def summary(self):
        """One line: steps, seconds, rate, last values."""
        steps, seconds = self.history.steps, max(time.monotonic() - self.started, 1e-9)
        unit = "runs" if isinstance(self.history, _Count) else "steps"
        done = f"{steps:,} {unit}" if steps == self.steps else f"stopped after {steps:,} of {self.steps:,} {unit},"
        values = "".join(f" · {name} {values[-1]:.3g}" for name, values in self.history.items())
        rate = f" ({(steps - self.start_step) / seconds:.0f} steps/s)" if unit == "steps" else ""
        return f"{self.label + ': ' if self.label else ''}{done} in {seconds:.0f} s{rate}{values}"


class _Count(dict):
    """What Progress shows of a loop that records nothing: how far it is."""

    steps = 0


def track(items, label=""):
    """Go through a list with one progress line and the time left: for a loop of runs, each a quiet ``fit``.

    Args:
        items: anything with an end; it is made a list first.
        label: shown in front of the progress bar.

    Yields:
        The items.

    Raises:
        ArgumentError: if there is nothing to go through.

    >>> [n * n for n in track([1, 2, 3])]
    [1, 4, 9]
    """
    require(hasattr(items, "__iter__"), "items", items, "a list, or something else that can be iterated over")
    items = list(items)
    require(len(items) > 0, "items", items, "not empty")
    return _tracked(items, label)


def _tracked(items, label):
    count = _Count()
    with Progress(len(items), count, label) as progress:
        for item in items:
            yield item
            count.steps += 1
            progress.update(count.steps)
