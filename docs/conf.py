"""How the site is made: `make docs`, or `sphinx-build -W -c docs . site`.

The pages are plain Markdown that reads as well where the repository is shown, so nothing in them
is for Sphinx. The source folder is the repository, because pages link to files outside of `docs`;
what is taken of it stands in `include_patterns`. The navigation is read from `docs/index.md`: each
of its headings with a table is a group, and the first link of each row a page. Nothing is loaded
from elsewhere: the theme has its own script and no fonts.
"""

import posixpath
import re

from sphinx.application import Sphinx

project = "Prewrite"
project_copyright = "the authors of Prewrite, Apache-2.0"
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/**.md",
    "benchmarks/RESULTS.md",
    "configs/sample/README.md",
]
extensions = ["myst_parser"]
myst_heading_anchors = 4
nitpicky = True  # with -W an unknown target ends the build
templates_path = ["site"]
html_theme = "furo"
html_title = "Prewrite"
html_copy_source = False
html_show_sphinx = False
html_additional_pages = {"index": "front.html"}


def groups(page: str) -> dict[str, list[str]]:
    """The headings of a page with the pages that their tables list, as links from there."""
    found = {}
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        pages = re.findall(r"^\| \[[^\]]+\]\(([^)#]+\.md)\)", section, re.MULTILINE)
        if pages:
            found[section.partition("\n")[0]] = pages
    return found


def navigation(_: Sphinx, name: str, source: list[str]) -> None:
    """Append the tables of the index as navigation of the site."""
    if name != root_doc:
        return
    for heading, pages in groups(source[0]).items():
        paths = [posixpath.normpath(posixpath.join("docs", page)) for page in pages]
        entries = "\n".join(f"/{path.removesuffix('.md')}" for path in paths)
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {heading}\n\n{entries}\n```\n"


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", navigation)
