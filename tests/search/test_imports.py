import ast
from pathlib import Path

import search

FOLDER = Path(search.__file__).parent


def imported_by(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_the_search_knows_neither_flows_nor_storage_formats() -> None:
    for path in FOLDER.rglob("*.py"):
        assert not imported_by(path) & {"prefect", "pipelines", "pyarrow"}, path.name


def test_deap_and_optuna_have_their_places() -> None:
    for path in FOLDER.rglob("*.py"):
        modules = imported_by(path)
        assert ("deap" in modules) == (path.name in ("toolbox.py", "nsga2.py")), path.name
        assert "optuna" not in modules or path.parent.name == "tuning", path.name
