"""Prompt templates: jinja files that can run nothing, and out of which corpus text cannot break.

A template is text, variables and conditions on them: no call, filter, loop or include, so one from
elsewhere is as harmless as a text. It is rendered in jinja's immutable sandbox all the same.

A template is rendered with placeholders, then the placeholders are replaced by the texts, so
corpus text never passes through jinja. Its tags cannot be closed from inside either: every tag is
written with `{{ fence }}` in its name, which is empty unless a text holds one of the tags; then it
is the first `-1`, `-2`, … that no text holds. What looks like a tag counts as one: a model reads
`＜／passage＞`, or a tag with an invisible character in it, as people do. The choice depends on the
texts alone, so prompts are reproducible, and it is almost always the empty one, so they share their
prefix.
"""

import hashlib
import itertools
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Self

from jinja2 import Environment, StrictUndefined, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from prewrite.base.errors import ConfigError
from prewrite.base.text import one_line
from prewrite.prompts.lookalikes import as_read

_ECHO = 8
"""Words in a row that nobody writes by chance as the template has them."""

_LONGEST, _MOST = 1 << 20, 256
"""Characters of a template, and places in it that name a variable."""

TextPieces = str | Sequence[str]
"""A text, or the pieces of one (the chunks of a context), which stay pieces of the prompt."""


class Template:
    """A template, the variables it may use and those of which it must insert each; ConfigError when
    it is wrong.
    """

    def __init__(
        self, name: str, source: str, accepted: Sequence[str], needed: Sequence[str] = ()
    ) -> None:
        self.name, self.source = name, source
        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True)
        tree = _parsed(name, environment, source)
        used = {node.name for node in _below(tree) if isinstance(node, nodes.Name)}
        if unknown := used - {*accepted, "fence"}:
            raise ConfigError(
                f"{name}: unknown variable '{min(unknown)}'; accepted: fence, {', '.join(accepted)}"
            )
        self.variables = used - {"fence"}
        outputs = (node for node in _below(tree) if isinstance(node, nodes.Output))
        inserted = {name.name for output in outputs for name in output.find_all(nodes.Name)}
        for variable in needed:
            if variable not in inserted:
                raise ConfigError(
                    f"{name}: found no {{{{ {variable} }}}}; accepted: a template that inserts it"
                )
        self._tags = sorted({*_fenced(name, tree)})
        self._seen = [as_read(tag) for tag in self._tags]
        self._tag = re.compile(rf"<[^\w<>]*({'|'.join(self._seen)})")
        self._labels = frozenset(_LABEL.findall(source))
        self._own = {run for part in _JINJA.split(source) for run in _runs(as_read(part))}
        self._telling: set[str] = set()
        for run in self._own:
            if self._telling.isdisjoint(run):
                self._telling.add(max(run, key=len))
        try:
            self._template = environment.from_string(source)
            self._frame(frozenset(accepted), frozenset(), "")
        except Exception as error:
            raise _none(name, error) from None

    @classmethod
    def read(cls, path: Path, accepted: Sequence[str], needed: Sequence[str] = ()) -> Self:
        """The template in a file."""
        try:
            return cls(str(path), path.read_text(encoding="utf-8"), accepted, needed)
        except OSError as error:
            raise ConfigError(f"{path}: cannot read the template: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path}: cannot read the template: {error}") from None

    @property
    def sha256(self) -> str:
        """Digest of the template text."""
        return hashlib.sha256(self.source.encode()).hexdigest()

    def fence(self, texts: Sequence[str]) -> str:
        """What makes the tags unlike anything in `texts`."""
        seen = [as_read(text) for text in texts]
        if not self._tags or not any(self._tag.search(text) for text in seen):
            return ""
        numbers = re.compile(rf"(?:{'|'.join(self._seen)})-([1-9][0-9]{{0,8}})")
        told = {number for text in seen for number in numbers.findall(text)}
        taken = {number[:end] for number in told for end in range(1, len(number) + 1)}
        return next(f"-{n}" for n in itertools.count(1) if str(n) not in taken)

    def ends(self, fence: str) -> tuple[str, ...]:
        """The tags that close a text of the prompt: where an answer holds one, it is over."""
        return tuple(f"</{tag}{fence}>" for tag in self._tags)

    def before_tags(self, answer: str, fence: str) -> str:
        """An answer up to the first of the prompt's tags in it."""
        if "<" not in answer:
            return answer
        tags = [f"<{slash}{tag}{fence}>" for tag in self._tags for slash in ("", "/")]
        return answer[: min((answer.find(tag) for tag in tags if tag in answer), default=None)]

    def without_labels(self, answer: str) -> str:
        """An answer without the line before a tag ("The passage:") as its first or last."""
        first, *more = answer.strip().split("\n")
        if first.strip() in self._labels:
            return "\n".join(more)
        if more and more[-1].strip() in self._labels:
            return "\n".join([first, *more[:-1]])
        return answer

    def repeated(self, answer: str) -> bool:
        """Whether an answer holds eight words in a row of the template's own text; of one that is
        longer than any template, its beginning.
        """
        seen = as_read(answer[:_LONGEST])
        # Each run of the template's has one of a few words, and most answers have none of them.
        if not any(word in seen for word in self._telling):
            return False
        return not self._own.isdisjoint(_runs(seen))

    def render(self, texts: Mapping[str, TextPieces], fence: str = "") -> tuple[str, ...]:
        """The pieces of the prompt; joined they are its text. An empty text is false to `if`."""
        empty = frozenset(name for name, text in texts.items() if not text)
        pieces: list[str] = []
        for number, part in enumerate(self._frame(frozenset(texts), empty, fence)):
            if number % 2 == 0:
                pieces.append(part)
            else:
                text = texts[part]
                pieces += [text] if isinstance(text, str) else text
        return tuple(piece for piece in pieces if piece)

    @lru_cache(maxsize=64)  # noqa: B019  (a handful of templates live as long as the process)
    def _frame(self, names: frozenset[str], empty: frozenset[str], fence: str) -> tuple[str, ...]:
        """The template's own text and the variables between it, alternating."""
        mark = secrets.token_hex(16)
        values = {name: "" if name in empty else f"{mark}:{name}:{mark}" for name in names}
        rendered = self._template.render(values, fence=fence)
        return tuple(re.split(rf"{mark}:(\w+):{mark}", rendered))


_LABEL = re.compile(
    r"^[ \t]*([^\s<{][^\n<{]*?)[ \t]*\n[ \t]*<[\w-]+\{\{[-+]?\s*fence", re.MULTILINE
)
_JINJA = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """Every `_ECHO` words in a row of a text as it is read."""
    words = re.findall(r"\w+", text)
    return zip(*(words[start:] for start in range(_ECHO)), strict=False)


_ACCEPTED = (
    nodes.And,
    nodes.CondExpr,
    nodes.Const,
    nodes.If,
    nodes.Name,
    nodes.Not,
    nodes.Or,
    nodes.Output,
    nodes.TemplateData,
)
"""Text, variables, constants, and conditions on them. Whatever else jinja has either runs something
or would be done to a placeholder and not to its text. Without it a prompt is no longer than the
template and the texts that it inserts.
"""


def _parsed(name: str, environment: Environment, source: str) -> nodes.Template:
    """The syntax tree of a template that keeps to `_ACCEPTED`, else ConfigError."""
    if len(source) > _LONGEST:
        raise ConfigError(f"{name}: found {len(source)} characters; accepted: at most {_LONGEST}")
    try:
        tree = environment.parse(source)
        found = _below(tree)
        "".join(str(node.value) for node in found if isinstance(node, nodes.Const)).encode()
    except (TemplateError, ValueError, RecursionError, MemoryError) as error:
        raise _none(name, error) from None
    for node in found:
        if not isinstance(node, _ACCEPTED):
            raise ConfigError(
                f"{name}: line {node.lineno}: found jinja's '{type(node).__name__}'; accepted: "
                "{{ variable }}, and if, elif, else with and, or, not"
            )
    inserted = sum(not isinstance(node, nodes.Output | nodes.TemplateData) for node in found)
    if inserted > _MOST:
        raise ConfigError(
            f"{name}: found {inserted} variables, constants and conditions; accepted: at most "
            f"{_MOST}"
        )
    return tree


def _none(name: str, error: Exception) -> ConfigError:
    deep = isinstance(error, RecursionError | MemoryError)
    reason = "nested too deep" if deep else one_line(str(error), 200)
    return ConfigError(f"{name}: not a jinja template: {reason}")


def _below(tree: nodes.Node) -> list[nodes.Node]:
    """Every node of a syntax tree but its root, in order, however deep it is."""
    found, left = list[nodes.Node](), [*tree.iter_child_nodes()][::-1]
    while left:
        found.append(left.pop())
        left += [*found[-1].iter_child_nodes()][::-1]
    return found


def _fenced(name: str, tree: nodes.Node) -> Iterator[str]:
    """The names of the tags that have a fence; ConfigError for a fence that stands elsewhere, where
    it would not keep a text inside.
    """
    found = [node for node in _below(tree) if isinstance(node, nodes.Name) and node.name == "fence"]
    for output in (node for node in _below(tree) if isinstance(node, nodes.Output)):
        for before, node in pairwise(output.nodes):
            data = before.data if isinstance(before, nodes.TemplateData) else ""
            tag = re.search(r"</?([\w-]+)\Z", data)
            if tag and node in found:
                found = [other for other in found if other is not node]
                yield tag[1]
    if found:
        raise ConfigError(
            f"{name}: line {found[0].lineno}: found 'fence' outside of the name of a tag; "
            "accepted: <name{{ fence }}> and </name{{ fence }}>"
        )
