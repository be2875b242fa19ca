"""Configuration files: YAML, `key.sub=value` overrides, and errors a person can act on.

One file configures a whole recipe; each command validates the sections it knows and leaves the
others alone, so a typo in a section name is found by every command. Guarantee: whatever is wrong,
`load` raises ConfigError with one sentence a mistake, naming the key, what was found and what is
accepted, before anything else is loaded.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from base.errors import ConfigError

SECTIONS = ("input", "output", "chunking", "engines", "rewrite", "judge", "run", "train")
"""Every top-level key a recipe may have, whichever command reads it."""

_CONVERTED = {
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}


_BRACES = str.maketrans("{}", "()")  # pydantic reads braces in a message as fields


class Section(BaseModel):
    """A part of a configuration: immutable, and an unknown key names its nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    text = _unknown(str(key), cls.model_fields).translate(_BRACES)
                    raise PydanticCustomError("unknown_key", cast(Any, text))
        return data


class Recipe(Section):
    """The sections one command reads; `load` drops the sections only other commands know."""

    output: str


R = TypeVar("R", bound=Recipe)


def _unknown(key: str, accepted: Iterable[str]) -> str:
    names = list(accepted)
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f" did you mean '{near[0]}'?" if near else ""
    return f"unknown key '{key}';{hint} accepted: {', '.join(names)}"


def refuse(sentence: str) -> PydanticCustomError:
    """The error a validator raises when it can name the key itself."""
    return PydanticCustomError("sentence", cast(Any, sentence.translate(_BRACES)))


def load(recipe: type[R], path: str, overrides: Sequence[str] = ()) -> R:
    """Read the YAML file `path`, apply `key.sub=value` overrides, validate as `recipe`."""
    data = _read(path)
    for override in overrides:
        _apply(data, override)
    for key in data:
        if key not in SECTIONS:
            raise ConfigError(f"{path}: {_unknown(str(key), SECTIONS)}")
    known = {key: value for key, value in data.items() if key in recipe.model_fields}
    try:
        return recipe.model_validate(known)
    except ValidationError as error:
        lines = [f"{path}: {_explain(item, known)}" for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None


def _read(path: str) -> dict[str, Any]:
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{path}: cannot read the configuration file: {reason}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise ConfigError(f"{path}: not valid YAML: {text}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {_show(data)} at the top; a recipe is a mapping of keys")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"'{override}' is no override; give key.sub=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise ConfigError(f"override '{override}': the value is not valid YAML") from None
    *parents, last = key.split(".")
    for parent in parents:
        inner = data.setdefault(parent, {})
        if inner is None:
            inner = data[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"override '{override}': '{parent}' holds {_show(inner)}, no keys")
        data = inner
    data[last] = value


def _explain(error: ErrorDetails, data: Any) -> str:
    key = _key(error["loc"], data) or "the recipe"
    kind, found = error["type"], error["input"]
    if kind == "sentence":
        return error["msg"]
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "unknown_key":
        return f"{key}: {error['msg']}"
    if kind == "union_tag_not_found":
        return f"{key}.kind: this key is required; accepted: {error['ctx']['expected_tags']}"
    if kind == "union_tag_invalid":
        context = error["ctx"]
        return f"{key}.kind: found '{context['tag']}'; accepted: {context['expected_tags']}"
    accepted = _CONVERTED.get(kind)
    if accepted is None:
        accepted = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return f"{key}: found {_show(found)}; accepted: {accepted}"


def _key(location: Sequence[Any], data: Any) -> str:
    """The dotted key as the user wrote it: pydantic adds union tags, which no file holds."""
    parts: list[str] = []
    for step in location:
        if _holds(data, step):
            data = data[step]
        elif step is not location[-1]:
            continue
        parts.append(str(step))
    return ".".join(parts)


def _holds(data: Any, step: Any) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text[:60]}… ({type(value).__name__})" if len(text) > 60 else text
