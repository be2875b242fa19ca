"""Names of types that mean something different in several files; exits 1 where there is one.

A class, or a name that a module gives to a type, has one meaning in the whole project. The same
alias of the same type in several files is one meaning.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

_BESIDE = ("benchmarks", "scripts")


def meanings(folders: list[Path]) -> dict[str, dict[str, list[str]]]:
    """Name of a type → its definition → the files that have it; a class is its own definition."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted(file for folder in folders for file in folder.rglob("*.py")):
        for name, definition in _types(ast.parse(path.read_text(encoding="utf-8"))):
            meaning = definition or f"a class of {path}"
            found.setdefault(name, {}).setdefault(meaning, []).append(str(path))
    return found


def _types(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Each class with an empty definition, and each alias of the module with its own."""
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name, ""
    for node in module.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper():
                yield target.id, ast.unparse(node.value)


def homonyms(folders: list[Path]) -> dict[str, dict[str, list[str]]]:
    """The names of `meanings` that have several."""
    return {name: known for name, known in meanings(folders).items() if len(known) > 1}


def folders() -> list[Path]:
    """The folders of the package, which `prewrite` links to, and those beside it."""
    links = [path.resolve() for path in (ROOT / "prewrite").iterdir() if path.is_symlink()]
    return [*links, ROOT / "prewrite", *(ROOT / name for name in _BESIDE)]


def main() -> int:
    """Print them."""
    found = homonyms(folders())
    for name, known in sorted(found.items()):
        print(f"{name}: {'; '.join(', '.join(files) for files in known.values())}")
    print(f"{len(found)} names of types with several meanings")
    return min(len(found), 1)


if __name__ == "__main__":
    sys.exit(main())
