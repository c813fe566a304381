"""A small notebook that keeps every rule of the course, made afresh for the tests that run or break one."""

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

SETUP = """\
import matplotlib.pyplot as plt
import torch
import gencourse as gc

plt.style.use(gc.plot.STYLE)

x = torch.linspace(-4, 4, 201)

def bump(mu):
    return torch.exp(-((x - mu) ** 2) / 2) / (2 * torch.pi) ** 0.5"""

THEOREM = r"""
```{prf:theorem} Mass of a bump
:label: thm-mass
For every $\mu$,
$$ \int \frac{1}{\sqrt{2\pi}} e^{-(x - \mu)^2 / 2}\, dx = 1 . $$
```
```{prf:proof}
Substitute $x - \mu$ and square the integral.
```
"""

CHECK = """\
# NBVAL_CHECK_OUTPUT
mass = torch.trapezoid(bump(0.0), x)
assert abs(mass - 1) < 1e-3
print(f"mass {mass:.2f}")"""

EXPLORE = """\
def draw(mu):
    fig, ax = plt.subplots(figsize=(5, 3))
    ax.plot(x, bump(mu))
    return gc.plot.show(fig, alt=f"A bump at {mu}.")

gc.plot.explore(draw, alt="A bump that follows the slider.", mu=[-1, 0, 1])"""

ANIMATE = 'gc.plot.animate(draw, [-1, 0, 1], alt="A bump moves from left to right.")'

EXERCISE = """
```{exercise} Number %d%s
:label: ex-%d
Write `answer()` that returns %d.
```
"""

STUB = """\
def answer():
    ...

gc.check.close(answer, %d, hint="Count.")"""

SOLUTION = """
````{solution} ex-%d
:class: dropdown
It is the number itself.
```python
def answer():
    return %d
```
````
"""


def exercise(number):
    """The cells of one exercise: statement, stub with its check, folded solution."""
    bug = ": find the bug" if number == 1 else ""
    statement, solution = EXERCISE % (number, bug, number, number), SOLUTION % (number, number)
    stub = new_code_cell(STUB % number, id=f"stub-{number}", metadata={"tags": ["exercise"]})
    return [
        new_markdown_cell(statement, id=f"ex-{number}"), stub, new_markdown_cell(solution, id=f"sol-{number}"),
    ]  # fmt: skip


def notebook():
    """The whole notebook, without outputs."""
    cells = [
        new_markdown_cell("# A small sample", id="title"),
        new_code_cell(SETUP, id="setup"),
        new_markdown_cell(THEOREM, id="theorem"),
        new_code_cell(CHECK, id="check"),
        new_code_cell(EXPLORE, id="explore"),
        new_code_cell(ANIMATE, id="animate"),
    ]
    for number in range(1, 5):
        cells += exercise(number)
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def cell(nb, name):
    """The cell of that name."""
    return next(found for found in nb["cells"] if found["id"] == name)
