"""Which files are the corpus: each one once, none dropped without a word."""

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from prewrite.base.errors import InputError
from prewrite.rewrite.listing import list_files
from tests.rewrite.test_corpus import line, write


def found(*patterns: object) -> list[str]:
    return [file.relative for file in list_files(map(str, patterns)).files]


def passed(*patterns: object) -> dict[str, str]:
    listing = list_files(map(str, patterns))
    return {Path(path).name: reason for path, reason in listing.passed.items()}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """One plain file, and what real folders hold besides."""
    root = tmp_path / "corpus"
    write(root / "a.jsonl", line("a"))
    write(root / ".ipynb_checkpoints" / "a.jsonl", line("a"))
    write(root / "de" / ".snapshot" / "hourly" / "a.jsonl", line("a"))
    write(root / "_temporary" / "0" / "part-0.json", line("a"))
    write(root / ".cache" / "huggingface" / "a.jsonl.metadata", b"x")
    write(root / "de" / "b.jsonl", line("b"))
    return root


@pytest.mark.parametrize("pattern", ["", "**", "**/*.jsonl"])
def test_hidden_and_temporary_folders_at_any_depth(corpus: Path, pattern: str) -> None:
    assert found(corpus / pattern) == ["a.jsonl", "de/b.jsonl"]
    assert passed(corpus / pattern) == {
        ".ipynb_checkpoints": "hidden",
        ".cache": "hidden",
        ".snapshot": "hidden",
        "_temporary": "temporary",
    }


def test_what_lies_in_a_hidden_folder_that_is_named(corpus: Path) -> None:
    assert found(corpus / ".ipynb_checkpoints") == ["a.jsonl"]
    assert found(corpus / "de/.snapshot/*/*.jsonl") == ["hourly/a.jsonl"]


@pytest.mark.parametrize("pattern", ["", "**", "**/*.jsonl"])
def test_links_are_followed_and_nothing_is_read_twice(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "disk" / "en" / "a.jsonl", line("a"))
    write(tmp_path / "one.jsonl", line("1"))
    root = tmp_path / "corpus"
    write(root / "b.jsonl", line("b"))
    (root / "en").symlink_to(tmp_path / "disk" / "en")
    (root / "one.jsonl").symlink_to(tmp_path / "one.jsonl")
    (root / "en" / "back").symlink_to(root)  # a circle
    (root / "twice").symlink_to(tmp_path / "disk" / "en")
    assert found(root / pattern) == ["b.jsonl", "en/a.jsonl", "one.jsonl"]
    assert passed(root / pattern) == {
        "back": "a folder that was entered before, by another name",
        "twice": "a folder that was entered before, by another name",
    }


@pytest.mark.parametrize("pattern", ["", "*.jsonl", "**/*.jsonl"])
def test_a_link_that_leads_nowhere_is_no_part_of_a_corpus(tmp_path: Path, pattern: str) -> None:
    write(tmp_path / "a.jsonl", line("a"))
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"b\.jsonl: found a link that leads nowhere; accepted"):
        list_files([str(tmp_path / pattern)])


def test_a_link_that_the_pattern_does_not_name_matters_not(tmp_path: Path) -> None:
    write(tmp_path / "d" / "a.parquet", b"x")
    (tmp_path / "d" / "b.jsonl").symlink_to(tmp_path / "nowhere")
    assert found(tmp_path / "**/*.parquet") == ["d/a.parquet"]


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    for path in (tmp_path, tmp_path / "a.jsonl"):
        with pytest.raises(
            InputError, match=r"a\.jsonl: found what is no file; accepted: a file of"
        ):
            list_files([str(path)])


@pytest.mark.parametrize("pattern", ["", "*", "*.json", "**", "**/part-*"])
def test_a_folder_with_the_name_of_a_corpus_file(tmp_path: Path, pattern: str) -> None:
    """As Spark writes them."""
    write(tmp_path / "out.json" / "part-0.json", line("a"))
    write(tmp_path / "out.json" / "_temporary" / "part-0.json", line("a"))
    assert found(tmp_path / pattern) == ["out.json/part-0.json"]


def test_a_folder_that_a_pattern_names_is_told(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", line("a"))
    write(tmp_path / "d" / "b.jsonl", line("b"))
    assert found(tmp_path / "*") == ["a.jsonl"]
    assert passed(tmp_path / "*") == {"d": "a folder, which only a pattern with ** enters"}


@pytest.mark.parametrize("name", ["a[1].jsonl", "a*.jsonl", "what?.jsonl", "[x]"])
def test_a_path_that_exists_is_that_path(tmp_path: Path, name: str) -> None:
    folder = not name.endswith(".jsonl")
    write(tmp_path / name / "a.jsonl" if folder else tmp_path / name, line("a"))
    write(tmp_path / "a1.jsonl", line("1"))
    assert found(tmp_path / name) == ["a.jsonl" if folder else name]
    fs, root = fsspec.filesystem("memory"), f"/{tmp_path.name}-{ord(name[0])}"
    fs.pipe_file(f"{root}/{name}/a.jsonl" if folder else f"{root}/{name}", line("a"))
    assert found(f"memory:/{root}/{name}") == ["a.jsonl" if folder else name]


def test_a_file_that_is_named_in_many_ways_is_read_once(tmp_path: Path) -> None:
    write(tmp_path / "d" / "a.jsonl", line("a"))
    (tmp_path / "d" / "b.jsonl").symlink_to(tmp_path / "d" / "a.jsonl")
    names = ["d/a.jsonl", "d", "d/*.jsonl", "d/./a.jsonl", "d/../d/a.jsonl", "d/b.jsonl"]
    listing = list_files([f"{tmp_path}/{name}" for name in names])
    assert [file.relative for file in listing.files] == ["a.jsonl"]
    assert listing.passed == {
        f"{tmp_path}/d/{name}": "a file that is read by another name"
        for name in ("./a.jsonl", "../d/a.jsonl", "b.jsonl")
    }


@pytest.mark.parametrize("name", ["a::b.jsonl", "data:b.jsonl", "memory:b.jsonl"])
def test_a_path_with_colons_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        list_files([name])
    write(tmp_path / name, line("a"))
    assert [file.relative for file in list_files([name]).files] == [name]


def test_a_name_is_shown_in_a_dry_run_and_not_obeyed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.commands import rewrite as main

    write(tmp_path / "in" / "a.jsonl", line("a"))
    write(tmp_path / "in" / ".\x1b[31m\u202e" / "a.jsonl", line("a"))
    recipe = {
        "input": {"paths": [str(tmp_path / "in")]},
        "output": str(tmp_path / "set"),
        "chunking": {"tokenizer": "models/smollm2-135m-instruct"},
        "engines": {"m": {"kind": "endpoint", "urls": ["http://127.0.0.1:9/v1"], "model": "m"}},
        "rewrite": {"engine": "m"},
    }
    (tmp_path / "r.yaml").write_text(json.dumps(recipe))
    assert main(["--config", str(tmp_path / "r.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "passed over: 1: hidden, such as" in said
    assert "\x1b" not in said and "\u202e" not in said


def test_a_name_that_is_not_utf8_is_one_sentence(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.jsonl", "wb") as stream:
        stream.write(line("a"))
    with pytest.raises(InputError) as caught:
        list_files([str(tmp_path)])
    assert "caf\\xe9.jsonl: found a name that is not UTF-8; accepted: one" in str(caught.value)


def test_hidden_folders_of_an_object_store() -> None:
    fs, root = fsspec.filesystem("memory"), "/hidden-folders"
    for name in ("a.jsonl", ".cache/b.jsonl", "d/_temporary/0/c.json", "d/.e/f.jsonl"):
        fs.pipe_file(f"{root}/{name}", line("a"))
    for pattern in ("", "/**"):
        listing = list_files([f"memory:/{root}{pattern}"])
        assert [file.relative for file in listing.files] == ["a.jsonl"]
        assert sorted(listing.passed.values()) == ["hidden", "hidden", "temporary"]


def test_only_what_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / ".hidden" / "a.jsonl", line("a"))
    with pytest.raises(InputError, match=r"no file to read; passed over: 1, such as .* \(hidden\)"):
        list_files([str(tmp_path)])


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server for the folder `web`."""
    (tmp_path / "web").mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *given: object) -> None:
            super().__init__(*given, directory=str(tmp_path / "web"))  # type: ignore[arg-type]

        def log_message(self, *words: object) -> None:
            pass

        def end_headers(self) -> None:
            if "unsized" in self.path:
                sent = self._headers_buffer  # type: ignore[has-type]
                self._headers_buffer = [header for header in sent if b"Length" not in header]
                self.close_connection = True
            super().end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_web_server(tmp_path: Path, web: str) -> None:
    data = write(tmp_path / "web" / "a.jsonl", line("a")).read_bytes()
    (file,) = list_files([f"{web}/a.jsonl"]).files
    assert (file.path, file.relative, file.bytes) == (f"{web}/a.jsonl", "a.jsonl", len(data))
    write(tmp_path / "web" / "unsized.jsonl", line("a"))
    with pytest.raises(InputError, match="the server does not say how long"):
        list_files([f"{web}/unsized.jsonl"])
    with pytest.raises(InputError, match=r"none\.jsonl"):
        list_files([f"{web}/none.jsonl"])


def test_the_manifest_and_the_dry_run_name_them(corpus: Path) -> None:
    from prewrite.rewrite.command import plan
    from prewrite.rewrite.config import RewriteRecipe
    from prewrite.rewrite.passes import RewritePass

    recipe = RewriteRecipe.model_validate(
        {
            "input": {"paths": [str(corpus)]},
            "output": str(corpus.parent / "set"),
            "chunking": {"tokenizer": "models/smollm2-135m-instruct"},
            "engines": {"m": {"kind": "endpoint", "urls": ["http://127.0.0.1:9/v1"], "model": "m"}},
            "rewrite": {"engine": "m"},
        }
    )
    said = plan(recipe)
    assert "rewrite 2 files" in said
    assert "\n  passed over: 3: hidden, such as " in said and "passed over: 1: temporary" in said
    made = RewritePass(recipe)
    manifest = made.begin(made.source.splits())
    assert manifest.passed_over == {"hidden": 3, "temporary": 1}
    assert f"{corpus}/_temporary" in manifest.passed_over_paths
    assert json.loads(manifest.model_dump_json())["passed_over"] == manifest.passed_over
