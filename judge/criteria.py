"""Criteria as data: one YAML file says what is judged, how, and what a verdict is worth.

Shipped criteria are found by name, a user's own by path; `base` takes over all keys of another one.
Whatever the kind, a verdict is a number on the criterion's `scale`, and what is stored and combined
is its place on it, 0..1.

asked: a model is asked; `pairwise` compares two candidates, `pointwise` looks at one alone. Either
may see the context and a reference. likelihood, classifier, python: nothing is asked; they look at
one candidate, and cost a forward pass, a small model, a function call.
"""

import inspect
import pkgutil
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from prewrite.base.config import Section, explain, parse_yaml, refuse
from prewrite.base.errors import ConfigError
from prewrite.base.secret import refuse_secrets
from prewrite.engine.digest import model_digest
from prewrite.prompts.template import Template
from prewrite.shards.schema import CRITERION_NAME

_SHIPPED = Path(__file__).parent / "criteria"

_VARIABLES = {
    "pairwise": ("context", "reference", "first", "second", "reasoning"),
    "pointwise": ("context", "reference", "candidate", "reasoning"),
}
Form = Literal["letters", "words", "both"]
_FORM = ("words", "form")
_NEEDED = {"pairwise": ("first", "second"), "pointwise": ("candidate",)}


class _Criterion(Section):
    """What every kind has. weight: in the score, unless `judge.weights` says otherwise.

    needs_engine: whether the judge's model has a part in it.
    """

    needs_engine: ClassVar[bool] = False

    name: str = Field(pattern=CRITERION_NAME)
    version: int
    weight: float = Field(1.0, ge=0)

    @field_validator("name")
    @classmethod
    def _own_column(cls, name: str) -> str:
        if name in ("score", "status", "tokens"):
            raise ValueError(f"a name other than '{name}', which is a column of every set")
        return name

    @property
    def has_reference(self) -> bool:
        """Whether a text is judged against the original, which then is no candidate itself."""
        return False

    def check(self) -> None:
        """ConfigError where it names what is not there; loads no model."""

    def identity(self) -> dict[str, Any]:
        """What verdicts depend on (the weight is not among it: it changes the score only)."""
        return self.model_dump(mode="json", exclude={"weight"})


class _Scaled(_Criterion):
    """scale: lowest and highest value of a verdict."""

    scale: list[float] = Field([0.0, 1.0], min_length=2, max_length=2)

    @field_validator("scale")
    @classmethod
    def _rising(cls, scale: list[float]) -> list[float]:
        if not scale[0] < scale[1]:
            raise ValueError("[lowest, highest]")
        return scale

    def on_scale(self, value: float) -> bool:
        """Whether a verdict may have this value; NaN may not."""
        return self.scale[0] <= value <= self.scale[1]

    def share(self, value: float) -> float:
        """The place 0..1 of a value on the scale."""
        low, high = self.scale
        return (value - low) / (high - low)


class PromptedCriterion(_Scaled):
    """A model is asked. verdicts: single-token answer → its value on the scale (pairwise: for the
    candidate that stands first); none: the answer is a number on the scale, which only reasoning
    can read.

    words: a word for each verdict. form: verdicts are asked for as they stand (`letters`), as
    `words`, or in `both` assignments of the letters: once as they stand and once dealt out the
    other way round, and the mean counts, so that a liking for a letter cancels.

    answer: how an answer begins, so that the verdict comes next; a reasoned answer ends with it,
    the verdict and a closing bracket. rules: what `{{ rules }}` in the template stands for, so that
    a criterion can take over a template and bring rules of its own.
    """

    needs_engine = True

    kind: Literal["pairwise", "pointwise"]
    verdicts: dict[str, float] = {}
    words: dict[str, str] = {}
    form: Form = "letters"
    answer: str
    rules: str = ""
    template: str

    @model_validator(mode="after")
    def _fits(self) -> "PromptedCriterion":
        names = self.verdicts
        if not names and self.kind == "pairwise":
            raise refuse("verdicts: this key is required for kind: pairwise")
        if len(names) == 1:
            raise refuse("verdicts: found one; accepted: two or more, or none for a number")
        if not all(self.on_scale(value) for value in names.values()):
            raise refuse(f"verdicts: accepted: values on the scale, {self.scale}")
        if "" in names or len({name.casefold() for name in names}) < len(names):
            raise refuse("verdicts: accepted: ones that differ by more than case, none empty")
        if self.rules and "{{ rules }}" not in self.template:
            raise refuse("rules: the template does not insert them with {{ rules }}")
        return self

    @model_validator(mode="after")
    def _form_fits(self) -> "PromptedCriterion":
        names, words = self.verdicts, self.words
        alike = len({word.casefold() for word in words.values()} - {""}) < len(words)
        if words and (words.keys() != names.keys() or alike):
            raise refuse(
                f"words: found {words}; accepted: a word for each of {', '.join(names)}, no two of "
                "them alike"
            )
        if self.form == "words" and not self.words:
            raise refuse("words: this key is required for form: words")
        if self.form == "both" and (self.kind == "pairwise" or not names):
            raise refuse("form: found 'both'; accepted with pointwise verdicts: it is for letters")
        return self

    @property
    def as_asked(self) -> "PromptedCriterion":
        """With the names of its verdicts that its form asks for; ConfigError where the template
        does not name them.
        """
        return self.renamed(self.words) if self.form == "words" else self

    @cached_property
    def assignments(self) -> tuple["PromptedCriterion", ...]:
        """What is asked for it: itself; with `form: both` also itself with the letters the other
        way round.
        """
        names = [*self.verdicts]
        turned = dict(zip(names, reversed(names), strict=True))
        return (self, self.renamed(turned)) if self.form == "both" else (self,)

    def renamed(self, names: Mapping[str, str]) -> "PromptedCriterion":
        """The same with other names for its verdicts, also where the template has one right after
        the answer form; `words` then leads back.
        """
        any_name = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
        told = re.compile(rf"{re.escape(self.answer)}({any_name})(?!\w)")
        if missing := names.keys() - set(told.findall(self.template)):
            raise ConfigError(
                f"criterion {self.name}: template: does not say '{self.answer}{min(missing)}'; "
                "accepted with words, or form: both: one that names each verdict in this way"
            )
        template = told.sub(lambda found: self.answer + names[found[1]], self.template)
        verdicts = {names[name]: value for name, value in self.verdicts.items()}
        back = {new: old for old, new in names.items()}
        return self.changed(verdicts=verdicts, template=template, words=back)

    def changed(self, **keys: Any) -> "PromptedCriterion":
        """With other keys; nothing is left of what followed from the old ones."""
        return PromptedCriterion.model_validate(self.model_dump() | keys)

    @property
    def has_reference(self) -> bool:
        """Whether its template shows one."""
        return "reference" in self.prompt.variables

    @cached_property
    def prompt(self) -> Template:
        """The compiled template; ConfigError when it is wrong."""
        source = self.template.replace("{{ rules }}", self.rules.strip())
        name = f"criterion {self.name}"
        return Template(name, source, _VARIABLES[self.kind], _NEEDED[self.kind])

    def check(self) -> None:
        """A wrong template is a wrong criterion, and so are verdicts that it does not name."""
        self.prompt  # noqa: B018
        if self.words or self.form == "both":
            self.renamed({name: name for name in self.verdicts})

    def identity(self) -> dict[str, Any]:
        """The prompt by its digest, which also tells words from letters."""
        known = self.model_dump(mode="json", exclude={"weight", "template", "rules", *_FORM})
        both = {"form": self.form} if self.form == "both" else {}
        return known | {"template": self.prompt.sha256} | both


class Likelihood(_Criterion):
    """How likely the judge finds the candidate after its context: the geometric mean of its tokens'
    probabilities, 0..1. Plain text, no chat template; nothing is generated.
    """

    needs_engine = True

    kind: Literal["likelihood"]


class Classifier(_Scaled):
    """A classifier or a reward model. model: a folder or id that vLLM can classify with, a
    scikit-learn pipeline in a `.skops` file, or an `.onnx` file; the last two take text.

    label: the class whose probability is the value; none: the model's one output is the value, and
    one outside the scale counts as the scale's end. input: the candidate, or context and candidate
    as a pair (vLLM only). args: further arguments of vllm.LLM.
    """

    kind: Literal["classifier"]
    model: str
    revision: str | None = None
    label: str | None = None
    input: Literal["candidate", "pair"] = "candidate"
    args: dict[str, Any] = {}

    @property
    def in_file(self) -> bool:
        """Whether the model is a scikit-learn or ONNX file."""
        return self.model.endswith((".skops", ".onnx"))

    @model_validator(mode="after")
    def _pairs_are_vllms(self) -> "Classifier":
        if self.in_file and (self.input == "pair" or self.revision or self.args):
            raise refuse("input: pair, revision and args are for vLLM models, not for files")
        if self.label is not None and self.scale != [0, 1]:
            raise refuse("scale: a probability's is [0, 1]; leave it out where there is a label")
        return self

    def check(self) -> None:
        """A file must be there; an id is vLLM's to find."""
        if self.in_file and not Path(self.model).is_file():
            raise ConfigError(f"criterion {self.name}: model: no file at '{self.model}'")

    def identity(self) -> dict[str, Any]:
        """The model by its content, too."""
        return super().identity() | {"digest": model_digest(self.model, self.revision)}


class PythonFunction(_Scaled):
    """A function of the user's: `package.module:name`, called with context, reference and candidate
    (three texts), gives a number on the scale. Raise `version` when it changes.
    """

    kind: Literal["python"]
    function: str = Field(pattern=r"^[\w.]+:[\w.]+$")

    @cached_property
    def call(self) -> Callable[[str, str, str], float]:
        """The function; ConfigError when it is not there or takes something else."""
        try:
            found = pkgutil.resolve_name(self.function)
            inspect.signature(found).bind("context", "reference", "candidate")
        except Exception as error:  # importing runs the user's code
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise ConfigError(
                f"criterion {self.name}: function: '{self.function}' cannot be used: {reason}; "
                "accepted: module:function, which takes context, reference and candidate"
            ) from None
        return found  # type: ignore[no-any-return]

    def check(self) -> None:
        """Import it now and not after hours."""
        self.call  # noqa: B018


Criterion = PromptedCriterion | Likelihood | Classifier | PythonFunction
_Any: TypeAdapter[Criterion] = TypeAdapter(Annotated[Criterion, Field(discriminator="kind")])


def load_criterion(name: str) -> Criterion:
    """A shipped criterion by name, or a file by path; ConfigError in one sentence."""
    path = _shipped().get(name, Path(name))
    return criterion_of(_read(name, path, ()), str(path))


def criterion_of(data: Any, source: str = "the criterion") -> Criterion:
    """The criterion that `data` describes; ConfigError names `source`."""
    try:
        refuse_secrets(data)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    try:
        criterion = _Any.validate_python(data)
    except ValidationError as error:
        sentence = explain(error.errors()[0], data).removeprefix("the recipe").lstrip(".: ")
        raise ConfigError(f"{source}: {sentence}") from None
    if isinstance(criterion, PromptedCriterion):
        criterion = criterion.as_asked
    criterion.check()
    return criterion


def _shipped() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def _read(name: str, path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    """The keys of a file, over those of its `base`: a shipped criterion, or a path from here. With
    other verdicts or another template it has no words, or its own.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(
            f"judge.criteria: found '{name}'; accepted: {', '.join(_shipped())}, "
            "or the path of a criterion file"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: the criterion: found {data!r}; a criterion is a mapping")
    base = data.pop("base", None)
    if base is None:
        return data
    below = _shipped().get(base, path.parent / str(base))
    if not below.is_file() or below in (path, *seen):
        raise ConfigError(
            f"{path}: base: found '{base}'; accepted: {', '.join(_shipped())}, "
            "or the path of another criterion file"
        )
    found = _read(base, below, (path, *seen))
    if data.keys() & {"verdicts", "template"}:  # which the words of the other one may not fit
        found.pop("words", None)
    return found | data
