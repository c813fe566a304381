"""Figures, tables and players, each with its alternative text. Notebooks draw the rest with matplotlib.

A notebook says ``plt.style.use(gc.plot.STYLE)`` once, and ends each figure of its own with
``gc.plot.show(fig, alt="...")``.
"""

from .curves import curves
from .diagram import diagram
from .images import image_grid
from .player import Player, animate, explore
from .style import PALETTE, STYLE, Picture, color, show
from .table import Table, table

__all__ = [
    "PALETTE", "STYLE", "color", "show", "Picture", "image_grid", "curves", "table", "Table", "diagram",
    "animate", "explore", "Player",
]  # fmt: skip
