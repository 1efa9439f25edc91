"""The notebooks run from first to last cell, and print what their files show."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import run_notebooks
from first_steps import NUMBER


def texts(cell):
    """What a cell printed or showed as text, one string; pictures are their kind."""
    found = []
    for output in cell.outputs:
        assert output.output_type != "error", output
        shown = output.get("data", {})
        text = shown.get("text/markdown") or shown.get("text/plain", "")
        found.append(output.get("text", text))
    text = "".join(found)
    if "varies" not in cell.metadata.get("tags", []):
        return text
    # Of times and of what depends on the processor the words alone, however wide.
    return " ".join(re.sub(r"[━─═]+", "", NUMBER.sub("#", text)).split())


@pytest.mark.slow
@pytest.mark.parametrize("path", run_notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_prints_what_its_file_shows(path):
    committed = nbformat.read(path, as_version=4)
    ran = run_notebooks.run(path)
    for before, after in zip(committed.cells, ran.cells, strict=True):
        if after.cell_type == "code":
            assert texts(after) == texts(before)


@pytest.mark.parametrize("path", run_notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_shows_its_outputs_and_fits_on_a_phone(path):
    cells = [c for c in json.loads(path.read_text())["cells"] if "outputs" in c]
    assert [c["execution_count"] for c in cells] == [*range(1, len(cells) + 1)]
    text = path.read_text()
    assert "/tmp/" not in text
    assert "/home/" not in text
    assert path.stat().st_size < 1_000_000
    for cell in cells:
        for output in cell["outputs"]:
            lines = "".join(output.get("text", [])).splitlines()
            assert max(map(len, lines), default=0) <= 80


def test_the_first_cell_says_what_to_install():
    for path in run_notebooks.NOTEBOOKS:
        first = next(
            "".join(cell["source"])
            for cell in json.loads(path.read_text())["cells"]
            if cell["cell_type"] == "code"
        )
        # Without lion_jax: another folder, without the packages of this environment.
        process = subprocess.run(
            [sys.executable, "-I", "-S", "-c", first],
            cwd=Path(sys.prefix),
            capture_output=True,
            text=True,
        )
        assert "ModuleNotFoundError: the commands of lion_jax" in process.stderr
        assert "%pip install 'SOURCE[train]'" in process.stderr
