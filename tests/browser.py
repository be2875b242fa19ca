"""A real Chromium without a window, where there is one on PATH; Debian: `apt-get install chromium`.

Pages are opened offline: what a page would load from elsewhere fails, and is reported.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

needed = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on PATH")


@contextmanager
def opened(path: Path, **context: str) -> Iterator[Page]:
    """The page at `path`; fails when it has logged anything or asked for any address.

    context: of playwright's browser context, such as `color_scheme`.
    """
    complaints: list[str] = []
    with sync_playwright() as driver:
        # Without the sandbox it also starts as root in a container; the page has no network.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(offline=True, **context).new_page()  # type: ignore[arg-type]
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("request", lambda request: complaints.append(request.url))
        page.goto(path.as_uri())
        yield page
        browser.close()
    assert complaints == [path.as_uri()]
