"""Criteria as data: one YAML file says what is asked, what may be answered, and what it is worth.

Shipped criteria are found by name, a user's own by path. A pairwise criterion compares two
candidates, a pointwise one looks at a candidate alone; either may see the context and a reference.
"""

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator

from base.config import Section, parse_yaml
from base.errors import ConfigError
from engine.template import Template

_SHIPPED = Path(__file__).parent / "criteria"

_VARIABLES = {
    "pairwise": ("context", "reference", "first", "second", "reasoning"),
    "pointwise": ("context", "reference", "candidate", "reasoning"),
}


class Criterion(Section):
    """One criterion. verdicts: single-token answer → its value 0..1 (pairwise: for the first).

    answer: how an answer begins, so that the verdict token comes next; a reasoned answer ends with
    it, the verdict and a closing bracket.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    version: int
    kind: Literal["pairwise", "pointwise"]
    verdicts: dict[str, float] = Field(min_length=2)
    answer: str
    template: str

    @field_validator("name")
    @classmethod
    def _own_column(cls, name: str) -> str:
        if name in ("score", "status", "tokens"):
            raise ValueError(f"a name other than '{name}', which is a column of every set")
        return name

    @field_validator("verdicts")
    @classmethod
    def _within_scale(cls, verdicts: dict[str, float]) -> dict[str, float]:
        if any(not 0 <= value <= 1 for value in verdicts.values()):
            raise ValueError("values from 0 to 1")
        if "" in verdicts or len({verdict.casefold() for verdict in verdicts}) < len(verdicts):
            raise ValueError("verdicts that differ by more than their case, none of them empty")
        return verdicts

    @cached_property
    def prompt(self) -> Template:
        """The compiled template."""
        return Template(f"criterion {self.name}", self.template, _VARIABLES[self.kind])

    def identity(self) -> dict[str, Any]:
        """What verdicts depend on."""
        known = self.model_dump(mode="json", exclude={"template"})
        return known | {"template": self.prompt.sha256}


def load_criterion(name: str) -> Criterion:
    """A shipped criterion by name, or a file by path; ConfigError in one sentence."""
    shipped = {path.stem: path for path in _SHIPPED.glob("*.yaml")}
    path = shipped.get(name, Path(name))
    try:
        criterion = Criterion.model_validate(parse_yaml(path.read_text(encoding="utf-8")))
        criterion.prompt  # noqa: B018  (a wrong template is a wrong criterion)
    except OSError:
        known = ", ".join(sorted(shipped))
        raise ConfigError(
            f"judge.criteria: found '{name}'; accepted: {known}, or the path of a criterion file"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the criterion"
        raise ConfigError(f"{path}: {key}: {first['msg']}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    return criterion
