"""Prompt templates: jinja files in which corpus text can neither break out nor be executed.

A template is rendered with placeholders, then the placeholders are replaced by the texts, so
corpus text never passes through jinja. Its tags cannot be closed from inside either: every tag is
written with `{{ fence }}` in its name, which is empty unless a text holds one of the tags; then it
is the first `-1`, `-2`, … that no text holds. What looks like a tag counts as one: a model reads
`＜／passage＞`, or a tag with an invisible character in it, as people do. The choice depends on the
texts alone, so prompts are reproducible, and it is almost always the empty one, so they share their
prefix.
"""

import hashlib
import html
import itertools
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError, meta, nodes

from base.errors import ConfigError

_ECHO = 8
"""Words in a row that nobody writes by chance as the template has them."""

Text = str | Sequence[str]
"""A text, or the pieces of one (the chunks of a context), which stay pieces of the prompt."""


class Template:
    """A template and the variables it may use; ConfigError when it is wrong."""

    def __init__(self, name: str, source: str, accepted: Sequence[str]) -> None:
        self.name, self.source = name, source
        environment = Environment(undefined=StrictUndefined, autoescape=False, trim_blocks=True)  # noqa: S701  (prompts, not HTML)
        try:
            tree = environment.parse(source)
            used = meta.find_undeclared_variables(tree)
            self._template = environment.from_string(source)
        except TemplateError as error:
            raise ConfigError(f"{name}: not a jinja template: {error}") from None
        if unknown := used - {*accepted, "fence"}:
            raise ConfigError(
                f"{name}: unknown variable '{min(unknown)}'; accepted: fence, {', '.join(accepted)}"
            )
        if changed := _changed(tree, accepted):
            raise ConfigError(
                f"{name}: '{changed}' can only be inserted and tested by if: "
                "texts are put in after the template has been rendered"
            )
        self.variables = used - {"fence"}
        self._tags = sorted(set(re.findall(r"</?([\w-]+)\{\{ ?fence ?\}\}", source)))
        self._seen = [_seen(tag) for tag in self._tags]
        self._tag = re.compile(rf"<[^\w<>]*({'|'.join(self._seen)})")
        self._own = {run for part in _JINJA.split(source) for run in _runs(part)}
        try:
            self._frame(frozenset(accepted), frozenset(), "")
        except Exception as error:  # a template is a program, which can do anything wrong
            raise ConfigError(f"{name}: not a jinja template: {error}") from None

    @classmethod
    def read(cls, path: Path, accepted: Sequence[str]) -> "Template":
        """The template in a file."""
        try:
            return cls(str(path), path.read_text(encoding="utf-8"), accepted)
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
        seen = [_seen(text) for text in texts]
        if not self._tags or not any(self._tag.search(text) for text in seen):
            return ""
        for number in itertools.count(1):
            mark = f"-{number}"
            if not any(f"{tag}{mark}" in text for text in seen for tag in self._seen):
                return mark
        raise AssertionError("unreachable")

    def leaked(self, answer: str, fence: str) -> bool:
        """Whether an answer holds one of the prompt's tags."""
        return any(f"<{slash}{tag}{fence}>" in answer for tag in self._tags for slash in ("", "/"))

    def repeated(self, answer: str) -> bool:
        """Whether an answer holds eight words in a row of the template's own text."""
        return not self._own.isdisjoint(_runs(answer))

    def render(self, texts: Mapping[str, Text], fence: str = "") -> tuple[str, ...]:
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


_JINJA = re.compile(r"\{[{%#].*?[}%#]\}", re.DOTALL)


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """Every `_ECHO` words in a row."""
    words = re.findall(r"\w+", _seen(text))
    return zip(*(words[start:] for start in range(_ECHO)), strict=False)


def _seen(text: str) -> str:
    """`text` as a reader takes it: in lower case, without what is invisible, with letters, brackets
    and dashes of other scripts as the plain ones they look like.
    """
    if "&" in text:
        text = html.unescape(text)
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).translate(_LOOKALIKES)
    return text.lower()


_PLANES = (*range(0x10000), *range(0xE0000, 0xE0200))  # without historic scripts and music
_INVISIBLE = [c for c in map(chr, _PLANES) if unicodedata.category(c) in ("Cf", "Mn", "Me")]
_LOOKALIKES = str.maketrans(
    # Cyrillic and Greek letters, brackets, slashes and dashes that NFKD leaves alone.
    "аАсСԁеЕһНіІјЈкКмМոոоОрРѕЅтТυѵԝхХуУαΑεΕιΙκΚνΝοΟρΡτΤχΧ‹⟨〈❬❮⟪《˂ᐸ«›⟩〉❭❯⟫》˃ᐳ»∕⁄╱⧸⟋‐‒–—―−",
    "aAcCdeEhHiIjJkKmMnnoOpPsStTuvwxXyYaAeEiIkKvNoOpPtTxX<<<<<<<<<<>>>>>>>>>>/////------",
    "".join(_INVISIBLE),
)


_CHANGING = (
    nodes.Assign,
    nodes.AssignBlock,
    nodes.BinExpr,
    nodes.Call,
    nodes.CallBlock,
    nodes.Compare,
    nodes.Concat,
    nodes.Filter,
    nodes.FilterBlock,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Macro,
    nodes.Test,
)


def _changed(tree: nodes.Template, names: Sequence[str]) -> str | None:
    """A variable of `names` that the template does more with than insert or test it, which would be
    done to its placeholder and not to its text.
    """
    for node in tree.find_all(nodes.Node):
        found: list[nodes.Node] = []
        if isinstance(node, nodes.For):
            found = [node.iter, *node.iter.find_all(nodes.Name)]
        elif isinstance(node, _CHANGING) and not isinstance(node, nodes.And | nodes.Or):
            found = [*node.find_all(nodes.Name)]
        for name in found:
            if isinstance(name, nodes.Name) and name.name in names:
                return name.name
    return None
