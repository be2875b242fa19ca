"""The JSON Schema of a recipe, by which editors complete keys and show their sentences.

No key is required in it: the rest of a recipe may come from its `base` or the command line. What
is missing, and what does not go together, is found by the command.
"""

import json
from typing import Any

from pydantic import create_model

from prewrite.base.config import Section
from scripts.reference.configuration import sections

_BASE = {"type": "string", "description": "another recipe, of which this one says the differences"}


def text() -> str:
    """configs/schema.json."""
    fields = {name: (field.annotation, field) for name, field in sections().items()}
    whole = create_model(  # type: ignore[call-overload]
        "Recipe", __base__=Section, __doc__="A recipe of Prewrite.", **fields
    )
    schema = _partial(whole.model_json_schema())
    schema["properties"] = {"base": _BASE} | schema["properties"]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return _lines(head | schema) + "\n"


def _lines(node: dict[str, Any], indent: str = "") -> str:
    """JSON with one line for each key of a recipe."""
    inner = indent + " "
    lines = []
    for key, value in node.items():
        opened = isinstance(value, dict) and (
            key in ("$defs", "properties") or "properties" in value
        )
        text = _lines(value, inner) if opened else json.dumps(value, ensure_ascii=False)
        lines.append(f"{inner}{json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def _partial(node: Any) -> Any:
    """The schema of recipes that leave something out; kinds are then not exclusive."""
    if isinstance(node, list):
        return [_partial(one) for one in node]
    if not isinstance(node, dict):
        return node
    left_out = {"required", "title", "discriminator"} | ({"default"} if "$ref" in node else set())
    kept = {key: value for key, value in node.items() if key not in left_out}
    return {"anyOf" if key == "oneOf" else key: _partial(value) for key, value in kept.items()}
