"""What a person is told while a pass runs."""

import io

import pytest
from rich.console import Console

from prewrite.pipeline.progress import Progress
from prewrite.shards.manifest import Usage
from prewrite.shards.show import cache_share


@pytest.fixture
def progress() -> Progress:
    console = Console(file=io.StringIO(), width=200)
    return Progress("rewrite", 1000, console, every=0.0)


def test_the_line_tells_everything(progress: Progress) -> None:
    progress.resumed(7)
    progress.consumed(500)
    progress.begun(4)
    usage = Usage(requests=2, prompt_tokens=100, cached_tokens=25, output_tokens=60)
    progress.finished(2, 1, usage)
    facts = progress.facts()
    for part in ("9 rows", "rows/s", "output tokens/s", "1 failed", "prefix cache 25%", "left"):
        assert part in facts


def test_rows_that_are_read_but_not_done_do_not_count_as_done(progress: Progress) -> None:
    progress.consumed(1000)
    progress.begun(10)
    progress.finished(4, 0, Usage())
    assert progress._share() == pytest.approx(0.4)


def test_log_lines_where_there_is_no_terminal() -> None:
    file = io.StringIO()
    with Progress("rewrite", 1000, Console(file=file, width=200), every=0.0) as progress:
        progress.begun(1)
        progress.finished(1, 0, Usage())
    assert file.getvalue().count("rewrite: 1 rows") == 2


def test_a_bar_on_a_terminal() -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=True, no_color=False)
    with Progress("rewrite", 1000, console) as progress:
        progress.begun(1)
        progress.finished(1, 0, Usage())
    assert isinstance(console.file, io.StringIO)
    assert "━" in console.file.getvalue()
    assert "1 rows" in console.file.getvalue()


def test_an_engine_that_does_not_tell_its_cache() -> None:
    known = Usage(prompt_tokens=10, cached_tokens=5)
    assert cache_share(known) == "50%"
    assert cache_share(known + Usage(prompt_tokens=10, cached_tokens=None)) == "unknown"
    assert cache_share(Usage()) == "0%"
