"""What all reports share: the policy of the page, the command line, plots of numbers alone."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from prewrite.base.cli import ending
from prewrite.base.report.command import write_report
from prewrite.base.report.page import render
from prewrite.base.report.plots import PALETTE, colours, svg


def command(*paths: str, to: str | None = None) -> int:
    return ending(lambda: write_report("THING", " and ".join, paths, to, "report.html"))


def test_one_path_has_its_report_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(f"{tmp_path}/") == 0
    assert (tmp_path / "report.html").read_text() == f"{tmp_path}/"
    assert capsys.readouterr().out == f"{tmp_path}/report.html\n"


def test_a_report_goes_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("a", "b", to="here.html") == 0
    assert (tmp_path / "here.html").read_text() == "a and b"
    assert command("a", to=f"{tmp_path}/new/folder/there.html") == 0
    assert (tmp_path / "new/folder/there.html").exists()


@pytest.mark.parametrize(("paths", "to"), [(["a", "b"], None), (["a"], "folder/")])
def test_a_report_without_a_file_is_refused(
    paths: list[str], to: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*paths, to=to) == 2
    assert capsys.readouterr().err.startswith("error: --to: ")


def test_a_report_replaces_nothing_of_what_it_is_about(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thing").mkdir()
    (tmp_path / "link").symlink_to("thing")
    for name in ("metrics.jsonl", "deep/part-0.parquet", "report"):
        assert command(f"{tmp_path}/thing", to=f"{tmp_path}/link/{name}") == 2
        assert "accepted there: a name that ends in .html" in capsys.readouterr().err
    assert not list((tmp_path / "thing").iterdir())
    assert command(f"{tmp_path}/thing", to=f"{tmp_path}/thing/mine.html") == 0


def test_a_place_that_cannot_be_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert command("a", to=f"{tmp_path}/file/x.html") == 1
    assert capsys.readouterr().err.startswith(f"error: {tmp_path}/file")


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("prewrite.shards.report", {"sets": []})


def test_a_plot_has_an_escaped_name_and_the_colours_of_the_page() -> None:
    drawn = svg(lambda axes: axes.plot([0, 1], color=PALETTE[1]), 'a "<b>" name')
    assert drawn.startswith('<svg role="img" aria-label="a &quot;&lt;b&gt;&quot; name"')
    assert "var(--c1)" in drawn and "currentColor" in drawn
    assert "http" not in drawn.replace("http://www.w3.org/", "")
    assert "#" not in drawn.replace("url(#", "").replace('href="#', "")


def test_colours_come_again() -> None:
    assert colours(len(PALETTE) + 1)[0] == colours(len(PALETTE) + 1)[-1]
    assert len(set(colours(len(PALETTE)))) == len(PALETTE)
