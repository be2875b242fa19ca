"""`python -m scripts.pages`: writes what is generated in the documentation, and the JSON Schema.

The pages are made of the code itself: commands of the typer app, configuration of the pydantic
models, the API of `prewrite.__all__`. The tests fail where a file is not what is generated here.
"""

from collections.abc import Callable
from pathlib import Path

from scripts.reference import api, commands, configuration, schema

ROOT = Path(__file__).parents[1]
GENERATED: dict[str, Callable[[], str]] = {
    "docs/api.md": api.page,
    "docs/commands.md": commands.page,
    "docs/configuration.md": configuration.page,
    "configs/schema.json": schema.text,
}


def main() -> None:
    """Write each file anew, and name those that have changed."""
    for name, make in GENERATED.items():
        path, text = ROOT / name, make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            print(f"{name}: renewed")


if __name__ == "__main__":
    main()
