"""What is written to a terminal: every text is shown, none is obeyed."""

import sys
from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from prewrite.base.text import printable


class PlainConsole(Console):
    """A console for texts from outside: brackets and `:names:` in them are characters, and control
    characters (escape, C1, bidi) are shown as replacement characters, in tables and panels, too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """The reader of a pipe has enough: a command ends well then, which rich would not."""
        raise BrokenPipeError

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """The segments of a renderable; rich's own control codes pass."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def accept_any_terminal() -> None:
    """Let a character that the terminal's encoding lacks be written as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            with suppress(ValueError):  # closed
                stream.reconfigure(errors="replace")
