"""Tables of results, rounded for reading."""

import html
import math

from ..errors import require


class Table:
    """A small table of results; shown when it is the last value of a cell."""

    def __init__(self, rows, columns, caption=None):
        self.rows, self.columns, self.caption = rows, columns, caption

    def html(self):
        """The table as HTML that reads well in every theme."""

        def cell(tag, k, value):
            side = "right" if k else "left"
            return f'<{tag} style="padding:.25em .9em;text-align:{side}">{html.escape(str(value))}</{tag.split()[0]}>'

        head = "".join(cell('th scope="col"', k, name) for k, name in enumerate(self.columns))
        body = ""
        for name, *values in self.rows:
            cells = [cell('th scope="row"', 0, name), *(cell("td", k, v) for k, v in enumerate(values, 1))]
            body += f"<tr>{''.join(cells)}</tr>"
        caption = ""
        if self.caption:
            caption = f'<caption style="caption-side:top;color:inherit">{html.escape(self.caption)}</caption>'
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    _repr_html_ = html

    def __repr__(self):
        lines = [[str(cell) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(len(line[k]) for line in lines) for k in range(len(self.columns))]
        text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines]
        return "\n".join(([self.caption] if self.caption else []) + text)


def number(value, digits=3):
    """A value as a reader wants it: ``digits`` significant figures, no needless exponent, a pair as a ± b.

    >>> [number(v) for v in (0.123456, 999.9, 1234.56, 20000, 3.2e-7, (0.5, 0.0123), "GAN")]
    ['0.123', '1,000', '1,235', '20,000', '3.2e-07', '0.500 ± 0.0123', 'GAN']
    """
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return f"{number(value[0], digits)} ± {number(value[1], digits)}"
    if hasattr(value, "item"):  # a tensor or a number of numpy
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
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
        rows: a list of dictionaries, with the headings as keys; or a list of rows; or ``{name: values}``, the name
            becoming the first column and the values a dictionary, a list, or one value.
        columns: the headings, that of the first column included. Where rows are dictionaries it chooses and orders
            the keys, and may be left out for all of them.
        caption: a line that says what is in the table.
        digits: significant figures. A pair (mean, sd) is written mean ± sd.

    Returns:
        Table.

    Raises:
        ValueError: if a row does not fit the columns, or no row has one of them.

    >>> table([{"model": "GAN", "distance": 0.12345, "steps": 20000}, {"model": "VAE", "distance": (0.5, 0.01)}])
    model  distance        steps
    GAN    0.123           20,000
    VAE    0.500 ± 0.0100
    >>> table({"GAN": [0.12345, 20000]}, ["model", "distance", "steps"], digits=2)
    model  distance  steps
    GAN    0.12      20,000
    """
    if isinstance(rows, dict):
        first = columns[0] if columns else ""
        if all(isinstance(row, dict) for row in rows.values()):
            rows = [{first: name, **row} for name, row in rows.items()]
        else:
            rows = [[name, *(row if isinstance(row, list) else [row])] for name, row in rows.items()]
    if all(isinstance(row, dict) for row in rows):
        keys = list(dict.fromkeys(key for row in rows for key in row))
        columns = columns or keys
        for name in columns:
            require(name in keys, "columns", name, f"among the keys of the rows, {', '.join(map(str, keys))}")
        rows = [[row.get(name) for name in columns] for row in rows]
    for row in rows:
        fits = columns is not None and len(row) == len(columns)
        require(fits, "rows", row, f"as many cells as there are columns, {columns}")
    return Table([[number(cell, digits) for cell in row] for row in rows], list(columns), caption)
