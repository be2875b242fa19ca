"""The site as it is published: built by the real generator, and each of its pages read.

The generator ends at a broken link of the Markdown; here the HTML that came out is looked at again,
because a link can be right in the source and lead nowhere on the page.
"""

import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests import browser

ROOT = Path(__file__).parents[2]
INDEX = "docs/index.md"
GENERATED = {"genindex.html", "search.html", "index.html"}
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """What `make docs` runs."""
    arguments = ["-q", "-W", "--keep-going", "-c", f"{source}/docs", "-d", f"{site}/.doctrees"]
    command = [sys.executable, "-m", "sphinx", *arguments, str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT, folder)
    assert done.returncode == 0, done.stderr
    return folder


class Page(HTMLParser):
    """Names, links and what is loaded of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and given.get("rel") not in ("index", "search", "next", "prev", "author"):
            self.loaded.append(given["href"])
        if LOADED.get(tag) in given:
            self.loaded.append(given[LOADED[tag]])


def listed() -> list[str]:
    """Each page that the index names first in a row, as a path in the repository."""
    text = (ROOT / INDEX).read_text(encoding="utf-8")
    links = re.findall(r"^\| \[[^\]]+\]\(([^)#]+\.md)\)", text, re.MULTILINE)
    return [str((ROOT / INDEX).parent.joinpath(link).resolve().relative_to(ROOT)) for link in links]


def test_every_page_is_listed_once() -> None:
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")}
    counts = Counter(listed())
    assert pages - {"docs/index.md"} <= set(counts)
    assert {name: count for name, count in counts.items() if count > 1} == {}


def test_every_page_is_in_the_navigation_of_the_site(site: Path) -> None:
    front = Page(site / "docs/index.html")
    linked = {(site / "docs" / urlsplit(link).path).resolve() for link in front.links}
    for name in listed():
        assert (site / name).with_suffix(".html") in linked, name


def test_every_link_and_anchor_of_the_html_resolves(site: Path) -> None:
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    assert len(pages) == len({*listed(), "docs/index.md"}) + len(GENERATED)
    checked = 0
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or not link.strip("#"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{link} in {path.relative_to(site)}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].anchors, f"{link} in {path.name}"
            checked += 1
    assert checked > 1000


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = Page(path)
        assert page.loaded or path.name == "index.html", "nothing was found to be checked"
        for address in page.loaded:
            assert not urlsplit(address).netloc, f"{address} in {path.relative_to(site)}"
            file = path.parent / unquote(urlsplit(address).path)
            assert address == "#" or file.is_file(), f"{address} in {path.relative_to(site)}"
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style


@pytest.mark.parametrize(
    ("link", "complaint"),
    [("[x](nowhere.md)", "nowhere.md"), ("[x](other.md#no-such-heading)", "no-such-heading")],
)
def test_a_broken_link_ends_the_build(tmp_path: Path, link: str, complaint: str) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    for name in ("conf.py", "site"):
        copy = shutil.copytree if (ROOT / "docs" / name).is_dir() else shutil.copy
        copy(ROOT / "docs" / name, docs / name)
    (docs / "other.md").write_text("# Other\n\n[the list](index.md)\n")
    rows = "## Group\n\n| page |\n|---|\n| [Other](other.md) |\n"
    (docs / "index.md").write_text(f"# All\n\n{rows}")
    done = build(tmp_path, tmp_path / "good")
    assert done.returncode == 0, done.stderr
    (docs / "other.md").write_text(f"# Other\n\n{link}\n")
    done = build(tmp_path, tmp_path / "bad")
    assert done.returncode != 0
    assert complaint in done.stderr


@browser.needed
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_is_shown_without_a_network(site: Path, scheme: str) -> None:
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=browser.CHROMIUM,
            args=["--no-sandbox", "--allow-file-access-from-files"],
        )
        page = chromium.new_context(offline=True, color_scheme=scheme).new_page()  # type: ignore[arg-type]
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.wait_for_url("**/docs/index.html")
        page.goto((site / "README.html").as_uri())
        width = page.evaluate("document.querySelector('img[src$=\"flow.svg\"]').naturalWidth")
        text, ground = page.evaluate(
            "(style => [style.color, style.backgroundColor])(getComputedStyle(document.body))"
        )
        chromium.close()
    assert width > 0, "the picture of the flow is not shown"
    assert text != ground
    assert [url for url in asked if not url.startswith("file:")] == []
