"""The corpus as a Source: files in a fixed order, records parsed, cut in chunks, bad ones named."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import repeat

from pydantic import TypeAdapter, ValidationError

from prewrite.base.errors import InputError, ShardError
from prewrite.base.share import share
from prewrite.base.together import together
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.pipeline.passes import Document, End, Item, LeftOut, Skipped, Split
from prewrite.rewrite.chunker import Chunk, Chunker
from prewrite.rewrite.config import ChunkingConfig, InputConfig
from prewrite.rewrite.detect import corpus_layout, record_of
from prewrite.rewrite.doc_ids import DocIds
from prewrite.rewrite.files import CorpusFile, Fault, Raw
from prewrite.rewrite.layouts import BadRecord, Layout, Parsed, SourceRecord, layout_of
from prewrite.rewrite.listing import Found, Listing, list_files
from prewrite.rewrite.ranges import cut
from prewrite.rewrite.signals import Companion, shard_id
from prewrite.shards.manifest import Skip
from prewrite.shards.schema import NONE, TEXTS, Row

OTHER_SHARE = "share"
"""Why a record is left out that `input.share` does not hold."""

MOST_META = 64 << 20
"""Characters of `meta` in all rows of a document together."""


@dataclass(frozen=True)
class KnownCorpus:
    """What takes long to find out about a corpus."""

    found: Listing
    splits: list[Split]
    layout: str
    beside: list[int]


_KNOWN = TypeAdapter(KnownCorpus)


@dataclass(frozen=True)
class Corpus:
    """Documents of `input`, cut as `chunking` says, with room for each of `texts`. Picklable,
    with what it has found out about the files; the tokenizer loads at first use.
    """

    input: InputConfig
    chunking: ChunkingConfig
    texts: tuple[str, ...] = TEXTS

    def splits(self) -> list[Split]:
        """The files in the order of their relative paths, large ones cut in ranges."""
        self._layout_name  # noqa: B018  (two layouts are found before any work is done)
        return self._splits

    def listing(self) -> list[tuple[str, int, int | None]]:
        """What the rows depend on of each file: relative path, bytes, where a limit ends it."""
        if self.input.limit is None:
            return [(file.relative, file.bytes, None) for file in self.files]
        return [(self.relative(s), s.bytes, s.records) for s in self._splits]

    def beside(self) -> list[int]:
        """The bytes of each file that is joined to documents; InputError for one not there."""
        return self._beside

    def known(self) -> bytes:
        """What it has found out about the files, for another process to `recall`."""
        known = KnownCorpus(self.found, self.splits(), self._layout_name, self.beside())
        return _KNOWN.dump_json(known)

    def recall(self, where: str, data: bytes) -> None:
        """Take over what another process has found out, so that nothing is listed again. ShardError
        for what `known` has not written. What is wrong in it is another fingerprint.
        """
        try:
            known = _KNOWN.validate_json(data)
        except ValidationError:
            raise ShardError(f"{where}: damaged; run the first step of the pass again") from None
        vars(self).update(
            found=known.found,
            _splits=known.splits,
            _layout_name=known.layout,
            _beside=known.beside,
        )

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """See `pipeline.passes.Source.read`. Records before `start` are parsed, too, for the names
        of their documents.
        """
        file = CorpusFile(split.path, self.input.max_record_bytes, split.range)
        first = split.range.records if split.range else 0
        doc_ids, digest = DocIds(self._published(split)), hashlib.sha256()
        after = digest.hexdigest()
        for number, joined in enumerate(self._joined(file)):
            if number == split.records:
                break
            digest.update(_content(*joined))
            before, after = after, digest.hexdigest()
            item = self._item(*joined, split, first + number, doc_ids, number >= start)
            if item:
                item.before, item.after = before, after
                yield item
        yield End(file.sha256, before=after)

    def _item(
        self,
        found: Raw | Fault,
        left_out: str | None,
        more: SourceRecord,
        split: Split,
        number: int,
        doc_ids: DocIds,
        wanted: bool,
    ) -> Document | Skipped | LeftOut | None:
        """What becomes of record `number` of a file; None where nobody has `wanted` to know."""
        if left_out:
            return LeftOut(left_out, found.offset) if wanted else None
        try:
            parsed = self._layout.parse(record_of(found), doc_ids.path, more)
        except BadRecord as bad:
            skip = Skip(file=split.path, line=found.line, reason=str(bad))
            return Skipped(skip, found.offset) if wanted else None
        doc_id, fault = doc_ids.give(parsed, number)
        if not wanted:
            return None
        if not self._is_in_share(doc_id):
            return LeftOut(OTHER_SHARE, found.offset)
        document = self._document(parsed, doc_id, split, number, found.offset)
        document.counts.update([f"id:{fault}"] if fault else [])
        return document

    def relative(self, split: Split) -> str:
        """A split's path within the corpus, which stays when the corpus moves."""
        return self._relative[split.path]

    @cached_property
    def found(self) -> Listing:
        """Every file of the corpus, those behind a limit too, and what is passed over."""
        return list_files(self.input.paths)

    @property
    def files(self) -> list[Found]:
        """Every file of the corpus."""
        return self.found.files

    @cached_property
    def chunker(self) -> Chunker:
        """Cuts documents."""
        config = self.chunking
        tokenizer = load_tokenizer(config.tokenizer)
        return Chunker(tokenizer, config.tokens, config.cuts, config.seed, config.exact)

    @cached_property
    def _relative(self) -> dict[str, str]:
        return {file.path: file.relative for file in self.files}

    @cached_property
    def _layout_name(self) -> str:
        if self.input.layout != "auto":
            return self.input.layout
        # Where a limit ends the corpus depends on the share, that on ids, and these on the layout.
        known = self.files if self.input.limit and self.input.share else self._splits
        paths = dict.fromkeys(one.path for one in known)
        return corpus_layout(paths, self.input.max_record_bytes)

    @property
    def _layout(self) -> Layout:
        return layout_of(self._layout_name, self.input.text_field)

    @cached_property
    def _splits(self) -> list[Split]:
        if not sum(file.bytes for file in self.files):
            raise InputError(f"the corpus is empty: {len(self.files)} files of no bytes")
        splits = [*(self._cut() if self.input.limit is None else self._limited())]
        width = max(5, len(str(len(splits) - 1)))  # names sort as their splits do
        return [replace(split, name=f"{i:0{width}d}") for i, split in enumerate(splits)]

    @cached_property
    def _beside(self) -> list[int]:
        return self._companion.listing(file.path for file in self.files)

    @property
    def _companion(self) -> Companion:
        return Companion(self.input.filter, self.input.duplicates == "leave_out")

    def _joined(self, file: CorpusFile) -> Iterable[tuple[Raw | Fault, str | None, SourceRecord]]:
        """The records of a file, each with why it is left out and what else is known about it."""
        beside = self._companion
        if beside.filter is None and not beside.duplicates:
            return zip(file.records(), repeat(None), repeat({}))
        return beside.join(file.records(), file.path, file.max_record_bytes)

    def _published(self, split: Split) -> str:
        """What the documents of a split are called by where they have no id."""
        published = self._layout_name == "redpajama-v2" and "/documents/" in split.path
        return shard_id(split.path) if published else self.relative(split)

    def _document(
        self, parsed: Parsed, doc_id: str, split: Split, number: int, offset: int
    ) -> Document:
        path, chunks = self.relative(split), self.chunker(parsed.text, doc_id)
        counts, size = Counter[str](), len(parsed.meta)
        if size * len(chunks) > MOST_META:
            note = json.dumps({"left_out": "too_large", "characters": size})
            parsed, counts = parsed._replace(meta=note), Counter({"meta:too_large": 1})
        rows = [
            _rewrites(chunk, self.texts[1:])
            | _row(parsed, doc_id, row_id(path, number, index), index, len(chunks), chunk)
            for index, chunk in enumerate(chunks)
        ]
        return Document(rows, offset, counts=counts)

    def _cut(self) -> Iterator[Split]:
        """Every file, in ranges where it is large."""
        step, longest = self.input.split_bytes, self.input.max_record_bytes
        every = together(lambda file: cut(file.path, file.bytes, step, longest), self.files)
        for file, ranges in zip(self.files, every, strict=True):
            for place, size in ranges:
                yield Split("", file.path, size, range=place, version=file.version)

    def _limited(self) -> Iterator[Split]:
        """Whole files up to where `limit` records were kept; reads no further than that."""
        left = self.input.limit or 0
        for file in self.files:
            if not left:
                return
            split = Split("", file.path, file.bytes, 0, version=file.version)
            for count, (offset, is_kept) in enumerate(self._kept(split), start=1):
                left -= is_kept
                split = replace(split, records=count)
                if not left:
                    split = replace(split, bytes=offset)
                    break
            yield split

    def _kept(self, split: Split) -> Iterator[tuple[int, bool]]:
        """Of each record of a file where it ends, and whether it is not left out."""
        doc_ids = DocIds(self._published(split) if self.input.share else "")
        records = self._joined(CorpusFile(split.path, self.input.max_record_bytes))
        for number, (found, left_out, more) in enumerate(records):
            kept = not left_out and self._is_shared(found, more, doc_ids, number)
            yield found.offset, kept

    def _is_shared(
        self, found: Raw | Fault, more: SourceRecord, doc_ids: DocIds, number: int
    ) -> bool:
        """Whether a record is of this share; a bad one has no id, and is of every share."""
        if self.input.share is None:
            return True
        try:
            parsed = self._layout.parse(record_of(found), doc_ids.path, more)
        except BadRecord:
            return True
        return self._is_in_share(doc_ids.give(parsed, number)[0])

    def _is_in_share(self, doc_id: str) -> bool:
        if self.input.share is None:
            return True
        begin, end = self.input.share
        return begin <= share(doc_id) < end


def _content(found: Raw | Fault, left_out: str | None, more: SourceRecord) -> bytes:
    """Bytes that differ where records do."""
    if isinstance(found, Fault):
        return f"\0{found.reason}\0".encode()
    beside = repr((left_out, more)).encode("utf-8", "replace") if left_out or more else b""
    data = found.data
    text = data if isinstance(data, bytes) else repr(data).encode("utf-8", "surrogatepass")
    return b"%d %d " % (len(text), len(beside)) + text + beside


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
        "meta": parsed.meta,
    }


def _rewrites(chunk: Chunk, rewrites: Sequence[str]) -> Row:
    """The columns of the rewrites of a chunk, to be filled; or that there will be none."""
    if not rewrites:
        return {"rewrite_status": NONE if chunk.target else "skipped"}
    status = None if chunk.target else "skipped"
    return {k: v for text in rewrites for k, v in ((text, None), (f"{text}_status", status))}
