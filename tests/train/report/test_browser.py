"""The page of a run in a real browser: nothing is asked for, nothing complains, links lead on."""

from pathlib import Path

import pytest

from prewrite.train.report.command import make
from tests import browser
from tests.train.report.test_report import line, write

pytestmark = browser.needed


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_opens_without_a_complaint(tmp_path: Path, scheme: str) -> None:
    url = write(tmp_path / "run", *(line(step, "all", **{"time/step": 1.0}) for step in (1, 2, 3)))
    file = tmp_path / "report.html"
    file.write_text(make([url]), encoding="utf-8")
    with browser.opened(file, color_scheme=scheme) as page:
        assert page.locator("figure > svg[aria-label]").count() == 5
        assert page.locator("th:not([scope])").count() == 0
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"
        targets = [link.get_attribute("href") or "" for link in page.locator("nav a").all()]
        assert targets and all(page.locator(target).count() == 1 for target in targets)
