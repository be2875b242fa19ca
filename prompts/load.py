"""The rewriter's prompt templates: shipped ones by name, a user's own by path.

A template may have a head: YAML between two lines `---` before its text. It holds settings of the
template, such as its system message. Variables are refused there.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field, ValidationError, field_validator

from prewrite.base.config import Section, explain, parse_yaml, refuse_value
from prewrite.base.errors import ConfigError
from prewrite.prompts.config import LengthConfig, RewriteConfig, RewriteForm
from prewrite.prompts.template import Template

VARIABLES = ("context", "lead", "text")
"""What a rewriter template may use: the text before the chunk, its last five words, the chunk."""

_OF_THOUGHTS = ("context", "most", "text")
"""What one for thoughts may use: there the chunk's sentences are numbered, and `most` is the number
of thoughts that are kept.
"""

_SHIPPED = Path(__file__).parent / "templates"
_LINE = "---\n"


class TemplateHead(Section):
    """What a head may say. system: the system message of its prompts; length: accepted lengths of
    its rewrites, where the recipe gives none; form: what it asks for.
    """

    system: str = ""
    length: LengthConfig = Field(LengthConfig())
    form: RewriteForm = "text"

    @field_validator("system")
    @classmethod
    def _is_text(cls, system: str) -> str:
        if "{{" in system or "{%" in system or any("\ud800" <= c <= "\udfff" for c in system):
            raise refuse_value(system, "text without variables, conditions and half characters")
        return system.strip()


class RewriteTemplate(Template):
    """A template with its head.

    continues: whether it inserts `{{ lead }}`, so that its rewrites go on where the text before the
    chunk ends, and a copy is a good one; any other template makes a text of another kind.
    """

    def __init__(
        self, name: str, source: str, accepted: Sequence[str], needed: Sequence[str] = ()
    ) -> None:
        head, body = _parted(name, source)
        told = _head(name, head)
        accepted = _OF_THOUGHTS if told.form == "thoughts" else accepted
        super().__init__(f"{name}, below its head" if head else name, body, accepted, needed)
        self.source, self.system, self.length = source, told.system, told.length
        self.form = told.form
        self.continues = "lead" in self.variables
        self._told = Template(f"{name}: system", self.system, ())

    def repeated(self, answer: str) -> bool:
        """Whether an answer holds eight words in a row of the template or its system message."""
        return super().repeated(answer) or self._told.repeated(answer)


def load_template(name: str, key: str = "rewrite.template") -> RewriteTemplate:
    """The template `name`; ConfigError, which names `key`, when there is none or it is wrong."""
    shipped = {path.stem: path for path in _SHIPPED.glob("*.jinja")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        known = ", ".join(sorted(shipped))
        raise ConfigError(f"{key}: found '{name}'; accepted: {known}, or the path of a .jinja file")
    return RewriteTemplate.read(path, VARIABLES, needed=("text",))


def refuse_other_form(config: RewriteConfig, template: RewriteTemplate, key: str) -> None:
    """ConfigError where the recipe wants another form than its template. key: where it says so."""
    if config.form != template.form:
        raise ConfigError(
            f"{key}form: found {config.form} with the template {config.template}; accepted with "
            f"it: {template.form}"
        )


def length_of(
    config: RewriteConfig, template: RewriteTemplate, key: str = "rewrite."
) -> LengthConfig:
    """The accepted lengths: those of the template, but for what the recipe says. ConfigError where
    the two together accept none; key: where the recipe says it.
    """
    given = config.length.model_dump(exclude_unset=True)
    found = template.length.model_copy(update=given)
    if found.min > found.max:
        raise ConfigError(
            f"{key}length: found a min of {found.min:g} above the max of {found.max:g}, together "
            f"with the lengths of the template; accepted: a min not above the max"
        )
    return found


def _parted(name: str, source: str) -> tuple[str, str]:
    """The head of a template, empty where there is none, and its text."""
    if not source.startswith(_LINE):
        return "", source
    head, line, body = source.removeprefix(_LINE).partition(f"\n{_LINE}")
    if not line:
        raise ConfigError(
            f"{name}: found a first line '---' and no other; accepted: a head between two such "
            "lines, or none"
        )
    return f"{head}\n", body


def _head(name: str, head: str) -> TemplateHead:
    try:
        data = parse_yaml(head) if head else {}
        return TemplateHead.model_validate(data)
    except ValidationError as error:
        sentence = explain(error.errors()[0], data).removeprefix("the recipe").lstrip(".: ")
        raise ConfigError(f"{name}: its head: {sentence}") from None
    except ValueError as error:
        raise ConfigError(f"{name}: its head: not valid YAML: {error}") from None
