"""The corpus as a Source: files in a fixed order, records parsed, cut in chunks, bad ones named."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from base.errors import InputError
from base.files import resolve
from engine.encoding import load_tokenizer
from rewrite.chunker import Chunk, Chunker
from rewrite.config import ChunkingConfig, InputConfig
from rewrite.files import SUFFIXES, CorpusFile, Fault, Raw
from rewrite.layouts import BadRecord, Layout, Parsed, choose, parse_line
from shards.manifest import Skip
from shards.passes import Document, End, Item, Skipped, Split
from shards.schema import Row


@dataclass(frozen=True)
class Corpus:
    """Documents of `input`, cut as `chunking` says. Picklable; the tokenizer loads at first use."""

    input: InputConfig
    chunking: ChunkingConfig

    def splits(self) -> list[Split]:
        """One a file, in the order of their relative paths."""
        sizes = {path: size for pattern in self.input.paths for _, path, size in _expand(pattern)}
        if not sum(sizes.values()):
            raise InputError(f"the corpus is empty: {len(sizes)} files of no bytes")
        paths = sorted(sizes, key=lambda path: self._relative[path])
        splits = [Split(f"{i:05d}", path, sizes[path]) for i, path in enumerate(paths)]
        return splits if self.input.limit is None else list(self._limited(splits))

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """See `shards.passes.Source.read`."""
        relative = self.relative(split)
        file = CorpusFile(split.path, self.input.max_record_bytes)
        layout: Layout | None = None
        for number, found in enumerate(file.records()):
            if number == split.records:
                break
            if number < start and layout:
                continue
            try:
                record = self._record(found)
                layout = layout or choose(self.input.layout, record)
                parsed = layout.parse(record, relative)
            except BadRecord as bad:
                if number >= start:
                    skip = Skip(file=split.path, line=found.line, reason=str(bad))
                    yield Skipped(skip, found.offset)
                continue
            if number >= start:
                yield Document(self._rows(parsed, relative, number), found.offset)
        yield End(file.sha256)

    def relative(self, split: Split) -> str:
        """A split's path within the corpus, which stays when the corpus moves."""
        return self._relative[split.path]

    @cached_property
    def chunker(self) -> Chunker:
        """Cuts documents."""
        config = self.chunking
        tokenizer = load_tokenizer(config.tokenizer)
        return Chunker(tokenizer, config.tokens, config.cuts, config.seed)

    @cached_property
    def _relative(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for pattern in self.input.paths:
            for relative, path, _ in _expand(pattern):
                found.setdefault(path, relative)
        return _distinct(found)

    @staticmethod
    def _record(found: Raw | Fault) -> dict[str, object]:
        if isinstance(found, Fault):
            raise BadRecord(found.reason)
        return parse_line(found.data) if isinstance(found.data, bytes) else found.data

    def _rows(self, parsed: Parsed, path: str, number: int) -> list[Row]:
        doc_id = parsed.doc_id or f"{path}/{number}"
        chunks = self.chunker(parsed.text, doc_id)
        return [
            _row(parsed, doc_id, row_id(path, number, index), index, len(chunks), chunk)
            for index, chunk in enumerate(chunks)
        ]

    def _limited(self, splits: list[Split]) -> Iterator[Split]:
        """The splits that hold the first `limit` records; reads no further than that."""
        left = self.input.limit or 0
        for split in splits:
            if not left:
                return
            file = CorpusFile(split.path, self.input.max_record_bytes)
            count, size = 0, split.bytes
            for found in file.records():
                count += 1
                if count == left:
                    size = found.offset
                    break
            left -= count
            yield Split(split.name, split.path, size, count)


def row_id(path: str, record: int, chunk: int) -> str:
    """A row's id: 32 hexadecimal digits of SHA-256 over relative path, record and chunk."""
    return hashlib.sha256(f"{path}\0{record}\0{chunk}".encode("utf-8", "replace")).hexdigest()[:32]


def _row(parsed: Parsed, doc_id: str, name: str, index: int, count: int, chunk: Chunk) -> Row:
    return {
        "id": name,
        "doc_id": doc_id,
        "source": parsed.source,
        "chunk": index,
        "chunks": count,
        "original": chunk.text,
        "original_tokens": chunk.tokens,
        "rewrite": None,
        "rewrite_status": None if chunk.target else "skipped",
        "meta": parsed.meta,
    }


def _distinct(relative: dict[str, str]) -> dict[str, str]:
    """Path → relative path, where equal ones have as many folders more as tell them apart. Other
    files keep theirs, and ids stay the same when the folders move together.
    """
    while True:
        counts = Counter(relative.values())
        if len(counts) == len(relative):
            return relative
        relative = {
            path: _longer(path, name) if counts[name] > 1 else name
            for path, name in relative.items()
        }


def _longer(path: str, relative: str) -> str:
    """`relative` with one folder more of `path`."""
    return "/".join(path.split("/")[-relative.count("/") - 2 :])


def _expand(pattern: str) -> list[tuple[str, str, int]]:
    """(path relative to the pattern's fixed part, path, bytes) of each file of a pattern."""
    fs, path = resolve(pattern)
    try:
        if any(c in path for c in "*?["):
            fixed = path[: min(path.find(c) for c in "*?[" if c in path)].rsplit("/", 1)[0]
            names = fs.glob(path)
        elif fs.isdir(path):
            fixed, names = path.rstrip("/"), fs.find(path)
        else:
            fixed, names = os.path.dirname(path), [path]
        names = [n for n in names if fs.isfile(n) and not n.rsplit("/", 1)[-1].startswith(".")]
    except FileNotFoundError:
        names = []
    except (OSError, PermissionError) as error:
        raise InputError(f"{pattern}: cannot list: {error}") from None
    if not names:
        raise InputError(f"{pattern}: no such file, or a folder or pattern without files")
    return [_file(fs, pattern, fixed, name) for name in names]


def _file(fs: Any, pattern: str, fixed: str, name: str) -> tuple[str, str, int]:
    if not name.endswith(SUFFIXES):
        raise InputError(f"{name}: not a corpus file; accepted: {', '.join(SUFFIXES)}")
    local = isinstance(fs, LocalFileSystem)  # one file has one name, with or without file://
    protocol = "" if local or "://" not in pattern else pattern.split("://")[0] + "://"
    relative = name[len(fixed) :].lstrip("/")
    return relative, protocol + name, int(fs.size(name))
