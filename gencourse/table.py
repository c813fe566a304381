"""Tables of results, rounded for reading."""

import html
import math

from .errors import require


class Table:
    """A small table of results; shown when it is the last value of a cell."""

    def __init__(self, rows, columns, caption=None):
        self.rows, self.columns, self.caption = rows, columns, caption

    def html(self):
        """The table as HTML that reads well in every theme."""
        lines = [self.columns, *self.rows]
        cells = [[html.escape(str(cell)) for cell in line] for line in lines]
        first, other = (f'style="padding:.25em .9em;text-align:{side}"' for side in ("left", "right"))
        names = [f'<th scope="col" {other if k else first}>{cell}</th>' for k, cell in enumerate(cells[0])]
        body = [
            [f'<th scope="row" {first}>{row[0]}</th>', *(f"<td {other}>{cell}</td>" for cell in row[1:])]
            for row in cells[1:]
        ]
        head, body = "".join(names), "".join(f"<tr>{''.join(row)}</tr>" for row in body)
        told = f'<caption style="caption-side:top;color:inherit">{html.escape(self.caption or "")}</caption>'
        caption = told if self.caption else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def __repr__(self):
        lines = [[str(cell) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.columns))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join(([self.caption] if self.caption else []) + text)

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/html": self.html(), "text/plain": repr(self)}


def number(value, digits=3):
    """A value as a reader wants it: ``digits`` significant figures, no needless exponent, a pair as a ± b.

    >>> [number(v) for v in (0.123456, 999.9, 1234.56, 20000, 3.2e-7, (0.5, 0.0123), "GAN")]
    ['0.123', '1,000', '1,235', '20,000', '3.2e-07', '0.500 ± 0.0123', 'GAN']
    """
    if hasattr(value, "item") and getattr(value, "size", None) is not None and not isinstance(value, str):
        value = value.item()
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return f"{number(value[0], digits)} ± {number(value[1], digits)}"
    if isinstance(value, (bool, str)) or value is None or not isinstance(value, (int, float)):
        return "" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "∞" if value == math.inf else "-∞" if value == -math.inf else "not a number"
    size = abs(float(f"{value:.{digits}g}"))  # as it will be shown: 999.9 is 1,000
    if value == 0 or 1e-3 <= size < 10**digits:
        return f"{value or 0.0:#.{digits}g}".rstrip(".")  # no minus before zero
    return f"{value:,.0f}" if 10**digits <= size < 1e9 else f"{value:.{digits}g}"


def table(rows, columns=None, *, caption=None, digits=3):
    """A table of results, numbers rounded for reading.

    Args:
        rows: ``{name: values}``, the name becoming the first column and the values a list, a dict, or one
            value; or a list of rows.
        columns: the headings, that of the first column included; with dicts as rows they may be left out.
        caption: a line that says what is in the table.
        digits: significant figures. A pair (mean, sd) is written mean ± sd.

    Raises:
        ArgumentError: if a row does not fit the columns.

    >>> table({"GAN": [0.12345, 20000], "VAE": [(0.5, 0.01), 7]}, ["model", "distance", "steps"])
    model  distance         steps
    GAN    0.123            20,000
    VAE    0.500 ± 0.0100   7
    """
    filled = isinstance(rows, (dict, list, tuple)) and len(rows) > 0
    require(filled, "rows", rows, "a dict {name: values} or a list of rows, not empty")
    lines = list(rows.items()) if isinstance(rows, dict) else [("", row) for row in rows]
    if all(isinstance(row, dict) for _, row in lines):
        keys = list(dict.fromkeys(key for _, row in lines for key in row))
        columns = columns or ([""] if isinstance(rows, dict) else []) + keys
        lines = [(name, [row.get(key) for key in keys]) for name, row in lines]
    require(columns is not None and len(columns) > 0, "columns", columns, "the headings, one for each column")
    if isinstance(rows, dict):
        lines = [(name, [name, *(row if isinstance(row, list) else [row])]) for name, row in lines]
    for _, row in lines:
        fits = isinstance(row, (list, tuple)) and len(row) == len(columns)
        require(fits, "rows", row, f"{len(columns)} cells, one for each of {list(columns)}")
    return Table([[number(cell, digits) for cell in row] for _, row in lines], list(columns), caption)
