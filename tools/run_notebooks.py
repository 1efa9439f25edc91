"""Runs the notebooks and keeps their outputs in their files: `make notebooks`.

A cell with the tag `varies` prints times, or numbers that depend on the processor: the
tests compare its words alone. See tests/test_notebooks.py.
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
SECONDS = 600  # that a cell may take


def run(path: Path) -> nbformat.NotebookNode:
    """Runs a notebook in its folder, from its first cell to its last; returns it."""
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": path.parent}}
    NotebookClient(notebook, timeout=SECONDS, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times, which change with each run
    notebook.metadata.pop("widgets", None)
    return notebook


def main(names: list[str]) -> None:
    """Runs the notebooks that are named, or all, and writes them."""
    for path in map(Path, names) if names else NOTEBOOKS:
        print(path.name, flush=True)
        nbformat.write(run(path), path)


if __name__ == "__main__":
    main(sys.argv[1:])
