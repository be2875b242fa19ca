"""The page: one file that loads nothing, and in which corpus text is text."""

import asyncio
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from prewrite.judge.measure.build import build
from prewrite.judge.measure.page import page
from prewrite.judge.measure.report import Report
from prewrite.judge.pool import Pool
from tests.judge.measure.simulated import judging, pairs, texts, truth

HOSTILE = "</pre><script>alert(1)</script><img src=http://a.example/x onerror=alert(1)>{{ 7 * 7 }}"


def hostile_report() -> Report:
    items = pairs(60) + texts(60)
    items = [
        replace(
            item,
            group=HOSTILE,
            pool=Pool(item.pool.row_id, (HOSTILE,), HOSTILE,
                      {name: text + HOSTILE for name, text in item.pool.candidates.items()}),
        )
        for item in items
    ]  # fmt: skip
    judges = [judging(lambda q: [truth(q)], HOSTILE), judging(lambda q: [0.7])]
    return asyncio.run(build(judges, items, HOSTILE, {"engine": HOSTILE}))


@pytest.fixture(scope="module")
def html() -> str:
    return page(hostile_report())


class Tags(HTMLParser):
    """Every tag, and every attribute that could load or run something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.loads: list[tuple[str, str | None]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attributes:
            address = name in ("src", "href", "xlink:href") and not str(value).startswith("#")
            if address or name.startswith("on"):
                self.loads.append((name, value))


def test_nothing_is_loaded_or_run(html: str) -> None:
    found = Tags(html)
    assert found.loads == []
    assert not found.tags & {"script", "img", "link", "iframe", "object", "image"}
    assert "default-src 'none'" in html
    assert not re.search(r"url\((?!#)", html)


def test_corpus_text_is_shown_as_text(html: str) -> None:
    assert "&lt;script&gt;alert(1)" in html
    assert "{{ 7 * 7 }}" in html


def test_every_plot_is_there(html: str) -> None:
    assert html.count("<svg") == 2 * (4 + 3)
    for title in ("Calibration", "Values", "The two orders", "Length"):
        assert title in html


def test_the_same_report_gives_the_same_page(html: str) -> None:
    seconds = re.compile(r"seconds per verdict</td><td>[\d.]+")
    assert seconds.sub("", page(hostile_report())) == seconds.sub("", html)


def test_what_is_not_measured_says_why() -> None:
    items = [replace(item, label=None) for item in pairs(5)]
    report = asyncio.run(build([judging(lambda q: [None])], items, "items", {}))
    html = page(report)
    assert "Not measured: no labels" in html
    assert "Flips under the canaries: not measured" in html
    assert "<svg" not in html
