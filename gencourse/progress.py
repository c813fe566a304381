"""Progress of ``fit`` and ``track``: a widget in JupyterLab, text in a terminal, one static line when it is done."""

import time

from .runtime import in_kernel


class Progress:
    """Shows steps done, rate, time left and the latest values, at most four times a second.

    In a kernel the widget gives way, at the end, to a line of text, so that a saved notebook shows what
    happened without a kernel.
    """

    def __init__(self, total, history, label="", unit="steps", quiet=False):
        self.total, self.history, self.label, self.unit = total, history, label, unit
        self.initial, self.handle = history.steps, None
        self.started, self.shown = time.monotonic(), 0.0
        options = {"total": total, "initial": self.initial, "desc": label or None, "dynamic_ncols": True}
        if in_kernel() and not quiet:
            from IPython.display import display
            from tqdm.notebook import tqdm

            self.bar = tqdm(**options, display=False)
            self.handle = display(self.bar.container, display_id=True)
        else:
            from tqdm import tqdm

            self.bar = tqdm(**options, disable=quiet)

    def __enter__(self):
        return self

    def due(self):
        """Whether it is time to show new values (which makes a GPU wait)."""
        return time.monotonic() - self.shown > 0.25

    def update(self):
        """Show the steps done and the last values."""
        if not self.due():
            return
        self.shown = time.monotonic()
        self.bar.set_postfix({name: f"{values[-1]:.3g}" for name, values in self.history.items()}, refresh=False)
        self.bar.update(self.history.steps - self.bar.n)
        self.bar.refresh()

    def __exit__(self, *error):
        """Leave the bar as it ended, or in a kernel replace it by :meth:`summary`."""
        if self.handle is not None:
            self.handle.update({"text/plain": self.summary()}, raw=True)
            self.bar.container.close()
        else:
            self.shown = 0.0
            self.update()
        self.bar.close()

    def summary(self):
        """One line: steps, seconds, rate, last values."""
        steps, seconds = self.history.steps, max(time.monotonic() - self.started, 1e-9)
        stopped = f"stopped after {steps:,} of {self.total:,} {self.unit},"
        done = f"{steps:,} {self.unit}" if steps == self.total else stopped
        rate = f" ({(steps - self.initial) / seconds:.0f} steps/s)" if self.unit == "steps" else ""
        values = "".join(f" · {name} {values[-1]:.3g}" for name, values in self.history.items())
        return f"{self.label + ': ' if self.label else ''}{done} in {seconds:.0f} s{rate}{values}"


class Count(dict):
    """The history of a loop that records nothing but how far it is."""

    steps = 0


def track(items, label=""):
    """Go through a list with one progress line and the time left: for a loop of runs, each a quiet ``fit``.

    Args:
        items: anything with an end; it is made a list first.
        label: shown in front of the progress bar.

    Yields:
        The items.

    >>> [n * n for n in track([1, 2, 3])]
    [1, 4, 9]
    """
    items, count = list(items), Count()
    with Progress(len(items), count, label, unit="runs") as progress:
        for item in items:
            yield item
            count.steps += 1
            progress.update()
