"""A report as one HTML file that loads nothing.

Corpus text is hostile here too: jinja escapes all of it. Should some ever get through, the page's
own policy forbids addresses, images, and every script but the one whose SHA-256 it names.
"""

import base64
import hashlib
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_HERE = PackageLoader("prewrite.base.report", ".")


def render(package: str, values: dict[str, Any], script: bool = False) -> str:
    """The template `page.html.jinja` of `package`, which extends `layout.html.jinja`.

    script: whether the page may filter its rows. A name that `values` lacks is an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "."), _HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    code = _own(environment, "rows.js") if script else ""
    template = environment.get_template("page.html.jinja")
    style = _own(environment, "style.css")
    return template.render(values | {"style": style, "script": code, "hash": _hash(code)}) + "\n"


def _own(environment: Environment, name: str) -> Markup:
    """A file of this package, as it is."""
    return Markup(_HERE.get_source(environment, name)[0])  # noqa: S704  (no text from outside)


def _hash(code: str) -> str:
    """How a content security policy names an inline script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
