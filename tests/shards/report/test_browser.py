"""The page in a real browser: the form filters, by keyboard alone; text does not run; it prints."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from prewrite.shards.report.command import make
from tests import browser
from tests.shards.report import sets
from tests.shards.report.test_page import HOSTILE

pytestmark = browser.needed


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with rows of all kinds; one text is an attack, with a word nothing else has."""
    folder = tmp_path_factory.mktemp("set")
    rows = sets.rows(300)
    rows[0] |= {"original": f"Zanzibar {HOSTILE}", "rewrite": HOSTILE, "rewrite_status": "ok"}
    rows[0] |= {"original_score": 0.0, "rewrite_score": 2.0}
    target = folder / "report.html"
    target.write_text(make([sets.write(folder, [rows])]), encoding="utf-8")
    return target


@pytest.fixture
def page(file: Path) -> Iterator[Page]:
    with browser.opened(file) as page:
        yield page


def shown(page: Page) -> int:
    return page.locator(".row:visible").count()


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.name || document.activeElement.textContent"))


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called `name` has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page) == name:
            return
    raise AssertionError(f"{name} cannot be reached by keyboard")


def test_a_person_without_a_mouse_finds_a_row(page: Page) -> None:
    page.keyboard.press("Tab")
    assert focused(page) == "Skip to the report"
    page.keyboard.press("Enter")
    tab_to(page, "words")
    every = shown(page)
    page.keyboard.type("zanzibar")
    assert shown(page) == 1 < every
    assert page.locator("#found").text_content() == f"1 of {every} rows shown"
    row = page.locator(".row:visible")
    before = row.get_attribute("open")
    tab_to(page, "All rows")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # on the summary of the only row
    assert row.get_attribute("open") != before
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    page.wait_for_function(f"document.querySelectorAll('.row:not([hidden])').length == {every}")


@pytest.mark.parametrize(
    ("field", "value", "attribute"),
    [
        ("kind", "worst", "data-kind"),
        ("status", "refused", "data-status"),
        ("source", "1", "data-source"),
    ],
)
def test_rows_are_filtered(page: Page, field: str, value: str, attribute: str) -> None:
    every = shown(page)
    page.select_option(f"[name={field}]", value)
    values = [row.get_attribute(attribute) or "" for row in page.locator(".row:visible").all()]
    assert 0 < len(values) < every
    assert all(value in one.split() for one in values)


def test_hostile_text_is_only_text(page: Page) -> None:
    text = page.locator(".row", has_text="Zanzibar").locator("pre").first.text_content()
    assert text and "<script>alert(1)</script><img src=http://a.example/x" in text
    assert page.locator("main img, main script").count() == 0


def test_every_control_and_plot_has_a_name(page: Page) -> None:
    for control in page.locator("input, select").all():
        assert control.evaluate("e => e.labels.length === 1 && e.labels[0].textContent.trim()")
    for plot in page.locator("figure > svg").all():
        assert plot.get_attribute("aria-label") and plot.get_attribute("role") == "img"
    assert page.locator("th:not([scope])").count() == 0


def test_print_leaves_out_what_paper_cannot_do(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#filter").is_visible() and not page.locator("nav").is_visible()
    assert page.locator(".row[open] pre").first.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.pdf(format="A4")) > 10_000


@pytest.mark.parametrize(("scheme", "light"), [("light", True), ("dark", False)])
def test_text_and_plots_can_be_read_by_day_and_night(file: Path, scheme: str, light: bool) -> None:
    """Contrast of text on its ground is 4.5 or more, WCAG's AA; also of text in plots and diffs."""
    with browser.opened(file, color_scheme=scheme) as page:
        grounds = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (brightness(grounds) > 0.5) == light
        for what in ("body", "small", "figure svg text", "a", "summary"):
            colour = page.locator(what).first.evaluate(
                "e => getComputedStyle(e)[e.tagName === 'text' ? 'fill' : 'color']"
            )
            assert contrast(colour, grounds) >= 4.5, (what, colour)
        for tag in ("del", "ins"):
            ground = page.locator(tag).first.evaluate("e => getComputedStyle(e).backgroundColor")
            colour = page.locator(tag).first.evaluate("e => getComputedStyle(e).color")
            assert contrast(colour, ground) >= 4.5, tag


def brightness(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in colour[4:-1].split(",")]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted([brightness(one), brightness(other)])
    return (high + 0.05) / (low + 0.05)
