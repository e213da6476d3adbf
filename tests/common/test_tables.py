# SPDX-License-Identifier: Apache-2.0
"""Tables that spreadsheets read: no cell is a formula, and each can be read back."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfake_video.common.tables import escape_formula, format_table, unescape_formula


@given(st.text())
def test_no_cell_of_a_table_is_a_formula_and_each_can_be_read_back(cell):
    assert not escape_formula(cell).startswith(("=", "+", "-", "@", "\t", "\r"))
    assert unescape_formula(escape_formula(cell)) == cell


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_line_end_in_a_name_does_not_begin_a_row(end):
    name = f"a{end}=cmd|' /C calc'!A0.mp4"
    table = format_table(["path", "status"], [{"path": name, "status": "ok"}])
    # RFC 4180, 2.6: a field that contains a line end is enclosed in double quotes.
    assert table == f'path,status\n"{name}",ok\n'
    assert list(csv.reader(io.StringIO(table, newline=""))) == [["path", "status"], [name, "ok"]]
