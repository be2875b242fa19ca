"""The rewriter's prompt templates: shipped ones by name, a user's own by path."""

from pathlib import Path

from prewrite.base.errors import ConfigError
from prewrite.prompts.template import Template

VARIABLES = ("context", "lead", "text")
"""What a rewriter template may use: the text before the chunk, its last five words, the chunk."""

_SHIPPED = Path(__file__).parent / "templates"


def load_template(name: str, key: str = "rewrite.template") -> Template:
    """The template `name`; ConfigError, which names `key`, when there is none or it is wrong."""
    shipped = {path.stem: path for path in _SHIPPED.glob("*.jinja")}
    path = shipped.get(name, Path(name))
    if not path.is_file():
        known = ", ".join(sorted(shipped))
        raise ConfigError(f"{key}: found '{name}'; accepted: {known}, or the path of a .jinja file")
    return Template.read(path, VARIABLES, needed=("text",))
