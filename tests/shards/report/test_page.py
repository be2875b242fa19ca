"""The page and its command: one file that loads nothing, and in which corpus text is text."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prewrite.base.files import Folder
from prewrite.shards import names
from prewrite.shards.report.command import make
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.shards.report import sets

HOSTILE = (
    "</pre></details><script>alert(1)</script><img src=http://a.example/x onerror=alert(1)>"
    "{{ 7 * 7 }} \" onfocus=alert(1) ' <!-- <svg onload=alert(1)> \x00 $x^2$ \u202e"
)


class Tags(HTMLParser):
    """Every tag, and every attribute that could load or run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attributes:
            address = name in ("src", "href", "xlink:href", "action") and not str(value).startswith(
                "#"
            )
            if address or name.startswith("on"):
                self.loads.append((name, value))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a set in which every text and name is an attack."""
    folder = tmp_path_factory.mktemp("set") / "<b>set<"
    rows = [
        row
        | {"doc_id": HOSTILE, "source": HOSTILE if number % 2 else f"{HOSTILE}2"}
        | {"original": HOSTILE + row["original"]}
        | {"rewrite": row["rewrite"] and row["rewrite"] + HOSTILE}
        for number, row in enumerate(sets.rows(60))
    ]
    return make([sets.write(folder, [rows])])


def test_nothing_is_loaded_and_only_its_own_script_runs(hostile: str) -> None:
    found = Tags(hostile)
    assert found.loads == []
    assert not {"img", "link", "iframe", "object", "image", "b"} & set(found.tags)
    assert found.tags.count("script") == 1
    script = hostile.rpartition("<script>")[2].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'" in hostile
    assert not re.search(r"url\((?!#)", hostile)


def test_corpus_text_is_shown_as_text(hostile: str) -> None:
    assert "&lt;script&gt;alert(1)" in hostile
    assert "{{ 7 * 7 }}" in hostile
    assert "\x00" not in hostile and "\u202e" not in hostile


def test_no_name_gets_into_a_plot(hostile: str) -> None:
    plots = re.findall(r"<svg role.*?</svg>", hostile, re.DOTALL)
    assert len(plots) == 3 * 3 + 2  # all and two sources on three criteria; length and overlap
    assert "alert" not in "".join(plots)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("set")
    return sets.write(folder, [sets.rows(80)], skipped={"bad_json": 3})


@pytest.fixture(scope="module")
def html(url: str) -> str:
    return make([url])


def test_the_same_set_gives_the_same_page(url: str, html: str) -> None:
    assert make([url]) == html


@pytest.mark.parametrize(
    "text",
    [
        "3 input records gave no row: bad_json",
        "refused",
        "better",
        "quality_consistency",
        "first text",
        "from the prefix cache",
        "50%",
        "<del>",
        "drawn by chance",
    ],
)
def test_it_shows_every_part_of_a_report(html: str, text: str) -> None:
    assert text in html


def test_a_set_without_rows_or_scores_has_a_page(tmp_path: Path) -> None:
    empty = make([sets.write(tmp_path / "empty", [])])
    assert "0 rows of 0 documents" in empty and "quality_consistency" in empty
    bare = make(
        [sets.write(tmp_path / "bare", [sets.rows(20)], judged=False, status="interrupted")]
    )
    assert "Not judged" in bare and "No verdicts are kept" in bare
    assert "Its run is not over" in bare


def test_several_sets_are_laid_over_each_other(tmp_path: Path) -> None:
    urls = [sets.write(tmp_path / name, [sets.rows(40, seed)]) for seed, name in enumerate("ab")]
    html = make(urls)
    assert all(f'<option value="{n}">{url}</option>' in html for n, url in enumerate(urls))
    assert "var(--c0)" in html and "var(--c1)" in html


def test_one_set_has_no_choice_of_sets(html: str) -> None:
    assert '<select name="kind">' in html and '<select name="set">' not in html


def test_the_command_writes_beside_the_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = sets.write(tmp_path / "set", [sets.rows(20)], judged=False)
    assert main(["report", url]) == 0
    assert capsys.readouterr().out == f"{url}/{names.REPORT}\n"
    assert (tmp_path / "set" / names.REPORT).read_text().startswith("<!DOCTYPE html>")
    assert main(["report", url, url, "--to", str(tmp_path / "new/both.html")]) == 0
    assert (tmp_path / "new/both.html").exists()


def test_a_set_at_a_url_has_its_report_beside_it() -> None:
    url = sets.write("memory://reported", [sets.rows(20)], judged=False)
    assert main(["report", url]) == 0
    written = Folder(url).read(names.REPORT)
    assert written and written.startswith(b"<!DOCTYPE html>")


def test_a_report_is_no_part_of_the_set(tmp_path: Path) -> None:
    url = sets.write(tmp_path, [sets.rows(20)], judged=False)
    before = verify(url)
    assert main(["report", url]) == 0
    assert verify(url) == before and "report.html" not in str(before)


def test_mistakes_get_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "a", "b"]) == 2
    assert "--to: this key is required with more than one SET" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 1
    assert "no shard set here" in capsys.readouterr().err
