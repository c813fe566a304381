"""Data-flow diagrams: who feeds whom, and which loss updates which part."""

from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from .style import color, show

WIDTH, HEIGHT = 0.76, 0.62  # of a box, in columns and rows


def diagram(boxes, arrows, *, alt, colors=None, width=7.0, height=None):
    """Boxes and arrows.

    Args:
        boxes: text -> (x, y), the centre of its box, counted in columns and rows; a text may hold line breaks
            and mathtext.
        arrows: tuples (from, to), (from, to, label) or (from, to, label, "dashed"); dashed arrows bend away, and are
            meant for gradients.
        colors: text -> name of a colour, see ``gc.plot.color``.
        width: in inches.
        height: in inches; default from the number of rows.

    Returns:
        Picture.

    Raises:
        KeyError: if an arrow starts or ends at a box that is not there.
        ValueError: if ``alt`` is empty.

    >>> diagram({"z": (0, 0), "G": (1, 0)}, [("z", "G")], alt="z feeds G.")
    Picture: z feeds G.
    """
    xs, ys = zip(*boxes.values(), strict=True)
    fig = Figure(figsize=(width, height or 0.9 * (max(ys) - min(ys) + 1.6)), layout="constrained")
    ax = fig.subplots()
    ax.set(xlim=(min(xs) - 0.6, max(xs) + 0.6), ylim=(min(ys) - 0.8, max(ys) + 0.8))
    ax.axis("off")
    for text, (x, y) in boxes.items():
        edge = color((colors or {}).get(text, "ink"))
        corner, style = (x - WIDTH / 2, y - HEIGHT / 2), "round,pad=0,rounding_size=0.08"
        ax.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, fc=edge + "22", ec=edge, lw=1.5))
        ax.text(x, y, text, ha="center", va="center")
    for start, end, *rest in arrows:
        _arrow(ax, boxes[start], boxes[end], *rest)
    return show(fig, alt=alt)


def _arrow(ax, start, end, label="", style="solid"):
    dashed = style == "dashed"
    (x0, y0), (x1, y1) = start, end
    sign_x, sign_y = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    if dashed:  # leave and arrive below the boxes, in an arc
        a, b, bend = (x0, y0 - HEIGHT / 2), (x1, y1 - HEIGHT / 2), 0.35 * sign_x
    else:
        dx, dy = (WIDTH / 2 * sign_x, 0.0) if sign_x else (0.0, HEIGHT / 2 * sign_y)
        a, b, bend = (x0 + dx, y0 + dy), (x1 - dx, y1 - dy), 0.0
    ink = color("neutral" if dashed else "ink")
    ax.add_patch(FancyArrowPatch(a, b, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=14,
                                 ls="--" if dashed else "-", lw=1.4, color=ink, shrinkA=1, shrinkB=1))  # fmt: skip
    if label:
        drop = 0.175 * abs(x1 - x0) + 0.08 if dashed else -0.1
        ax.text((a[0] + b[0]) / 2, (a[1] + b[1]) / 2 - drop, label, ha="center",
                va="top" if dashed else "bottom", color=ink,
                bbox={"fc": "white", "ec": "none", "pad": 1.5})  # fmt: skip
