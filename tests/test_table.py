"""Tables: numbers rounded for reading, names kept as text, rows that do not fit refused."""

import numpy as np
import pytest
import torch

from gencourse import ArgumentError, plot


def test_table_rounds_escapes_and_reads_as_text():
    table = plot.table({"GAN": {"KL": 0.123456, "<n>": 20000}, "VAE": {"KL": (0.5, 0.0123)}}, caption="a & b")
    assert repr(table).splitlines() == [
        "a & b",
        "     KL              <n>",
        "GAN  0.123           20,000",
        "VAE  0.500 ± 0.0123",
    ]
    html = table._repr_mimebundle_()["text/html"]
    assert "&lt;n&gt;" in html and "<n>" not in html and ">a &amp; b</caption>" in html
    assert html.count("<tr>") == 3 and html.count('scope="row"') == 2
    values = plot.table([[torch.tensor(0.25), np.float64(1e-7), np.int64(3), float("nan"), -0.0]], list("abcde"))
    assert values.rows == [["0.250", "1e-07", "3", "not a number", "0.00"]]


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([], None, r"rows=\[\]: must be a dict"),
        ({"GAN": [1, 2]}, None, "columns=None: must be the headings"),
        ({"GAN": [1, 2]}, ["model", "KL"], r"rows=\['GAN', 1, 2\]: must be 2 cells"),
    ],
)
def test_table_refuses_bad_arguments(rows, columns, message):
    with pytest.raises(ArgumentError, match=message):
        plot.table(rows, columns)
    plot.table({"GAN": [1, 2]}, ["model", "KL", "JSD"])
