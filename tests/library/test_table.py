"""Tables: numbers rounded for reading, names kept as text, rows that do not fit refused."""

import numpy as np
import pytest
import torch

from gencourse import plot


def test_table_rounds_escapes_and_reads_as_text():
    table = plot.table({"GAN": {"KL": 0.123456, "<n>": 20000}, "VAE": {"KL": (0.5, 0.0123)}}, caption="a & b")
    assert repr(table).splitlines() == [
        "a & b",
        "     KL              <n>",
        "GAN  0.123           20,000",
        "VAE  0.500 ± 0.0123",
    ]
    html = table._repr_html_()
    assert "&lt;n&gt;" in html and "<n>" not in html and ">a &amp; b</caption>" in html
    assert html.count("<tr>") == 3 and html.count('scope="row"') == 2
    values = plot.table([[torch.tensor(0.25), np.float64(1e-7), np.int64(3), float("nan"), -0.0]], list("abcde"))
    assert values.rows == [["0.250", "1e-07", "3", "not a number", "0.00"]]


def test_dictionaries_lists_and_named_rows_are_one_table():
    columns = ["model", "KL"]
    wanted = plot.table([["GAN", 0.5], ["VAE", 0.25]], columns).html()
    dictionaries = [{"KL": 0.5, "steps": 3, "model": "GAN"}, {"KL": 0.25, "model": "VAE"}]
    assert plot.table(dictionaries, columns).html() == wanted  # chosen and ordered by the columns
    assert plot.table({"GAN": 0.5, "VAE": 0.25}, columns).html() == wanted
    assert plot.table({"GAN": {"KL": 0.5}, "VAE": {"KL": 0.25}}, columns).html() == wanted
    assert plot.table(dictionaries).columns == ["KL", "steps", "model"]


@pytest.mark.parametrize(
    ("rows", "columns", "named"),
    [
        ({"GAN": [1, 2]}, None, "rows="),
        ({"GAN": [1, 2]}, ["model", "KL"], "rows="),
        ([{"KL": 1}], ["JSD"], "columns="),
    ],
)
def test_cells_under_no_heading_are_refused(rows, columns, named):
    with pytest.raises(ValueError, match=named):
        plot.table(rows, columns)
