"""Runs the notebooks of host/python/examples: python3 tests/python/notebooks.py [--write] [NAME ...]

Fails if a cell does. --write keeps what the cells show, without the interactive reports, which are half a megabyte each and which code hosts do not show.
Needs `pip install nbclient ipykernel matplotlib`, the wheel, and what each notebook names.
"""

import argparse
import pathlib

import nbformat
from nbclient import NotebookClient

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "host/python/examples"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="such as photo [default: all]")
    parser.add_argument("--write", action="store_true", help="keep what the cells show")
    arguments = parser.parse_args()
    for path in sorted(EXAMPLES.glob("*.ipynb")):
        if arguments.names and path.stem not in arguments.names:
            continue
        notebook = nbformat.read(path, as_version=4)
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
        print(f"{path.name}: {sum(cell.cell_type == 'code' for cell in notebook.cells)} cells")
        if arguments.write:
            for cell in notebook.cells:
                cell.metadata = {}
                for output in cell.get("outputs", []):
                    if "<iframe" in output.get("data", {}).get("text/html", ""):
                        del output["data"]["text/html"]
                cell["outputs"] = [output for output in cell.get("outputs", []) if output.get("name") != "stderr"] if cell.cell_type == "code" else []
                if cell.cell_type != "code":
                    del cell["outputs"]
            nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
