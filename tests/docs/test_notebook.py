# SPDX-License-Identifier: Apache-2.0
"""The notebook in examples/ runs from its first to its last cell, and is stored without outputs."""

from pathlib import Path

import nbclient
import nbformat
import pytest


NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "quickstart.ipynb"


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_stored_without_outputs(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def test_it_runs(notebook, tmp_path):
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.get("text", "") for output in outputs)
    assert "status:      ok" in printed
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 1
