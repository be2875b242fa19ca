"""`python -m scripts.help`: puts each command's real `--help` on its page in docs/commands.

A help stands in a block that begins with ```text and "usage: python -m COMMAND". Every command has
a page of its own, named after it; a block for it on any other page is kept up to date as well.
"""

import contextlib
import io
import os
import re
import runpy
import sys
import warnings
from pathlib import Path
from unittest.mock import patch

DOCS = Path(__file__).parents[1] / "docs"
COMMANDS = (
    "rewrite",
    "rewrite plan",
    "judge",
    "judge canaries",
    "judge corrupt",
    "judge report",
    "judge schedule",
    "shards",
    "shards show",
    "shards verify",
    "shards stats",
    "shards export",
    "shards report",
    "train",
    "train reference",
    "train export",
    "train report",
    "evaluation",
    "evaluation tasks",
    "evaluation ablation",
)
_BLOCK = re.compile(r"(?<=^```text\n)usage: python -m .*?(?=^```$)", re.MULTILINE | re.DOTALL)


def page(command: str) -> Path:
    """Where the command is documented."""
    return DOCS / "commands" / f"{command.replace(' ', '-')}.md"


def real_help(command: str) -> str:
    """What `python -m COMMAND --help` prints, 80 columns wide and without colours."""
    module, *rest = command.split()
    with (
        patch.object(sys, "argv", [module, *rest, "--help"]),
        patch.dict(os.environ, COLUMNS="80", NO_COLOR="1"),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        contextlib.suppress(SystemExit),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", ".*found in sys.modules", RuntimeWarning)
        runpy.run_module(module, run_name="__main__")
    return printed.getvalue()


def usage(text: str) -> str:
    """The command that a help is of: what stands before its options."""
    return text.removeprefix("usage: python -m ").split("[")[0].split("-")[0].strip()


def renewed(text: str, helps: dict[str, str]) -> str:
    """A page with each of its helps as it is now."""
    return _BLOCK.sub(lambda found: helps.get(usage(found[0]), found[0]), text)


def main() -> None:
    """Renew all pages, and say which have changed."""
    helps = {command: real_help(command) for command in COMMANDS}
    for path in sorted(DOCS.rglob("*.md")):
        before = path.read_text(encoding="utf-8")
        if (after := renewed(before, helps)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"{path.relative_to(DOCS.parent)}: help renewed")


if __name__ == "__main__":
    main()
