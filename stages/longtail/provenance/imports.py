"""Finds the files of this project that a module imports, directly or not, by reading the code without running it."""

from __future__ import annotations

import ast
import hashlib
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def _file(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _imports(path: Path) -> set[str]:
    """Modules below stages/ that a file imports, also inside functions, but not those for type checking alone."""
    names: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return {name for name in names if name.split(".")[0] == "stages"}


@lru_cache
def files(module: str) -> tuple[str, ...]:
    """The files of `module` and of all that it imports, directly or not, relative to the repository, sorted."""
    seen: set[Path] = set()
    queue = [module]
    while queue:
        path = _file(queue.pop())
        if path and path not in seen:
            seen.add(path)
            queue.extend(_imports(path))
    return tuple(sorted(path.relative_to(ROOT).as_posix() for path in seen))


@lru_cache
def digest(module: str) -> str:
    """Hash of the code of `module` and of all that it imports."""
    state = hashlib.sha256()
    for name in files(module):
        state.update(name.encode() + b"\0" + (ROOT / name).read_bytes())
    return state.hexdigest()


if __name__ == "__main__":
    import sys

    for module in sys.argv[1:]:
        print(*files(module), sep="\n")
