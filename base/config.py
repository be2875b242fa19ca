"""Configuration files: YAML, `key.sub=value` overrides, and errors a person can act on.

One file configures a whole recipe; each command validates the sections it knows and leaves the
others alone, so a typo in a section name is found by every command. A recipe may name another one
as its `base` and say only what differs. Guarantee: whatever is wrong,
`load` raises ConfigError with one sentence a mistake, naming the key, what was found and what is
accepted, before anything else is loaded.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from prewrite.base.errors import ConfigError
from prewrite.base.secret import is_named_secret, redact, refuse_secrets, said

SECTIONS = (
    "input",
    "output",
    "chunking",
    "engines",
    "rewrite",
    "judge",
    "measure",
    "run",
    "train",
    "evaluate",
    "improve",
)
"""Every top-level key a recipe may have, whichever command reads it."""

RENAMED = {
    "judge.report": "measure.report",
    "judge.corrupt": "measure.corrupt",
    "judge.replay": "measure.schedule",
    **{
        f"{section}.judge.{old}": f"measure.{new}"
        for section in ("train.rollouts", "evaluate")
        for old, new in (("report", "report"), ("corrupt", "corrupt"), ("replay", "schedule"))
    },
    "train.rollouts.alarms": "train.alerts",
    "train.batch.row_tokens": "train.batch.sequence_tokens",
    "train.rollouts.places": "train.rollouts.cut_points",
    "train.rollouts.probe.places": "train.rollouts.probe.cut_points",
    "evaluate.prefixes.*.places": "evaluate.prefixes.*.cut_points",
}
"""Keys of 0.1 → what they are called since 0.2."""

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


class Section(BaseModel):
    """A part of a configuration: immutable, and an unknown key names its nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_key(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for key in data:
                if key not in cls.model_fields:
                    text = _unknown(str(key), cls.model_fields)
                    raise PydanticCustomError("unknown_key", "{text}", {"text": text})
        return data


def _not_empty(value: str) -> str:
    if not value.strip():
        raise refuse_value(value, "a folder, a file or a URL")
    return value


def _not_the_root(value: str) -> str:
    path = value.removeprefix("file://")
    if "://" not in path and os.path.realpath(path) == os.sep:
        raise refuse_value(value, "a folder of its own, not the root of a disk")
    return value


Location = Annotated[str, AfterValidator(_not_empty)]
"""Where something lies: a path, a URL or an id of a hub; not empty."""

WrittenLocation = Annotated[Location, AfterValidator(_not_the_root)]
"""Where something is written; not the root of a disk, whose folders are those of others."""


class Recipe(Section):
    """The sections one command reads; `load` drops the sections only other commands know."""

    output: WrittenLocation = Field(
        description="folder or fsspec URL of the scored set; a training run has `train.output`"
    )

    @model_validator(mode="before")
    @classmethod
    def _writable(cls, data: Any) -> Any:
        for key, what in _unwritable(data):
            raise refuse(f"{key}: found a text with {what}; accepted: a text without it")
        return data


R = TypeVar("R", bound=Recipe)


def _unwritable(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Key and fault of each text in `value` that no name of a file, and no UTF-8, can hold."""
    if isinstance(value, str):
        if "\0" in value:
            yield key, "a null byte"
        elif any("\ud800" <= letter <= "\udfff" for letter in value):
            yield key, "half a character (a lone surrogate)"
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unwritable(inner, f"{key}.{step}".lstrip("."))


def _unknown(key: str, accepted: Iterable[str]) -> str:
    names = list(accepted)
    return f"unknown key '{key}';{near(key, names)} accepted: {', '.join(names)}"


def near(name: str, accepted: Iterable[str]) -> str:
    """` did you mean '…'?` where one of `accepted` is like `name`, else nothing."""
    found = difflib.get_close_matches(name, list(accepted), n=1, cutoff=0.5)
    return f" did you mean '{found[0]}'?" if found else ""


def refuse(sentence: str) -> PydanticCustomError:
    """The error a validator raises when it can name the key itself."""
    return PydanticCustomError("sentence", "{text}", {"text": sentence})


def refuse_value(found: object, accepted: str) -> PydanticCustomError:
    """The error of a validator of one value, whose key pydantic knows."""
    text = {"found": found, "accepted": accepted}
    return PydanticCustomError("value", "found {found}; accepted: {accepted}", text)


def load(recipe: type[R], path: str, overrides: Sequence[str] = ()) -> R:
    """Read the YAML file `path`, apply `key.sub=value` overrides, validate as `recipe`.

    Where the file has the key `base`, it is laid over the recipe that this names, seen from its own
    folder: mappings are merged, everything else is replaced.
    """
    data = _read(path, ())
    for override in overrides:
        _apply(data, override)
    for key in data:
        if key not in SECTIONS:
            raise ConfigError(f"{path}: {_unknown(str(key), SECTIONS)}")
    if old := [f"{path}: {line}" for line in _of_0_1(data)]:
        raise ConfigError("\n".join(old))
    return validated(recipe, path, data)


def validated(recipe: type[R], where: str, data: dict[str, Any]) -> R:
    """What `recipe` knows of `data`. ConfigError with a sentence a mistake, behind `where`."""
    known = {key: value for key, value in data.items() if key in recipe.model_fields}
    try:
        refuse_secrets(data)
        return recipe.model_validate(known)
    except ValidationError as error:
        lines = [f"{where}: {explain(item, known)}" for item in error.errors()]
        raise ConfigError("\n".join(lines)) from None
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _of_0_1(data: Any) -> Iterator[str]:
    """A sentence for each key that has another name by now."""
    for old, new in RENAMED.items():
        for names in _found(data, old.split(".")):
            any_key = [
                name for name, step in zip(names, old.split("."), strict=True) if step == "*"
            ]
            accepted = new.replace("*", any_key[0]) if any_key else new
            yield f"{'.'.join(names)}: this key of 0.1 is called {accepted}"


def _found(data: Any, steps: list[str]) -> Iterator[list[str]]:
    """Every way that `steps` go through mappings; `*` is any key."""
    if not steps:
        yield []
    elif isinstance(data, dict):
        first, *rest = steps
        for key in data if first == "*" else {first} & data.keys():
            yield from ([key, *found] for found in _found(data[key], rest))


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: a key stands once, and 1e-3 is a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping of `node`."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1 and key != "<<":
                raise ValueError(f"the key '{key}' stands twice")
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str) -> Any:
    """The value of a YAML text; ValueError with one sentence when it is none."""
    try:
        return yaml.load(text, _Loader)  # noqa: S506  (a SafeLoader)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except yaml.MarkedYAMLError as error:  # its own text quotes the lines, keys and all
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(where + said(str(error.problem), 200)) from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise ValueError(said(str(error), 200)) from None


def _read(path: str, over: Sequence[str]) -> dict[str, Any]:
    """The recipe in `path` laid over its base. over: the files that are based on it."""
    data = _mapping(path)
    base = data.pop("base", None)
    if base is None:
        return data
    if not isinstance(base, str) or not base or any(_unwritable(base)):
        raise ConfigError(f"{path}: base: found {_show(base)}; accepted: the path of a recipe")
    below, over = str(Path(path).parent / base), [*over, path]
    if Path(below).resolve() in (Path(file).resolve() for file in over):
        raise ConfigError(f"{path}: base: found '{base}', which is based on this recipe")
    found: dict[str, Any] = laid_over(_read(below, over), data)
    return found


def laid_over(below: Any, above: Any) -> Any:
    """`above`, and of two mappings also what only `below` has."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: laid_over(below.get(key), value) for key, value in above.items()}


def _mapping(path: str) -> dict[str, Any]:
    try:
        data = parse_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(f"{path}: cannot read the configuration file: {reason}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: found {_show(data)} at the top; a recipe is a mapping of keys")
    return data


def _apply(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    shown = f"{key}=…" if is_named_secret(key.rpartition(".")[2]) else redact(override)
    if not equals or not key:
        raise ConfigError(f"'{shown}' is no override; give key.sub=value")
    try:
        value = parse_yaml(text)
    except ValueError:
        raise ConfigError(f"override '{shown}': the value is not valid YAML") from None
    *parents, last = key.split(".")
    inner: Any = data
    for number, parent in enumerate(parents):
        place = _place(inner, parent, shown)
        if isinstance(inner, dict) and inner.get(parent) is None:
            inner[parent] = {}
        inner = inner[place]
        if not isinstance(inner, dict | list):
            above = ".".join(parents[: number + 1])
            raise ConfigError(f"override '{shown}': '{above}' holds {_show(inner)}, no keys")
    inner[_place(inner, last, shown)] = value


def _place(inner: dict[str, Any] | list[Any], step: str, shown: str) -> Any:
    """What `step` of an override means: a key of a mapping, or the number of an item of a list."""
    if isinstance(inner, dict):
        return step
    if not step.isdecimal() or int(step) >= len(inner):
        items = f"0 to {len(inner) - 1}" if inner else "nothing: it is empty"
        raise ConfigError(f"override '{shown}': found '{step}' in a list; accepted: {items}")
    return int(step)


def explain(error: ErrorDetails, data: Any) -> str:
    """One mistake in `data` as a sentence: the key, what was found, what is accepted."""
    kind, found, context = error["type"], error["input"], error.get("ctx", {})
    key = _key(error["loc"], data, kind == "missing") or "the recipe"
    if kind == "sentence":
        return f"{key}.{error['msg']}" if error["loc"] else error["msg"]
    if kind == "value":
        return f"{key}: found {_show(found)}; accepted: {context['accepted']}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "unknown_key":
        return f"{key}: {error['msg']}"
    if kind == "union_tag_not_found":
        return f"{key}.kind: this key is required"
    if kind == "union_tag_invalid":
        return f"{key}.kind: found '{context['tag']}'; accepted: {context['expected_tags']}"
    return f"{key}: found {_show(found)}; accepted: {_accepted(error, context)}"


def _accepted(error: ErrorDetails, context: dict[str, Any]) -> str:
    kind = error["type"]
    if kind == "too_short":
        return f"at least {context['min_length']} item{'s' * (context['min_length'] > 1)}"
    if kind == "string_pattern_mismatch":
        return str(context["pattern"]).strip("^$()").replace("|", ", ")
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    return _CONVERTED.get(kind, message)


def _key(location: Sequence[Any], data: Any, absent: bool) -> str:
    """The dotted key as the user wrote it: pydantic adds union tags, which no file holds. The last
    step of an `absent` key is none of those.
    """
    parts: list[str] = []
    for number, step in enumerate(location, start=1):
        if _holds(data, step):
            data = data[step]
        elif not absent or number < len(location):
            continue
        parts.append(str(step))
    return ".".join(parts)


def _holds(data: Any, step: Any) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _show(value: Any) -> str:
    text = redact(repr(value))
    return f"{text[:60]}… ({type(value).__name__})" if len(text) > 60 else text
