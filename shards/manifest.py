"""The manifest: the one truth about a shard set, and the commit records it is made from.

A running pass writes one small record a part; finishing (or interrupting) folds the records into
the commit log, a few files that the manifest lists with their digests (`shards.log`). So the
manifest stays small, and to replace it is to publish a set. A part that no log or record names does
not exist. Nothing of it holds a secret: configurations name environment variables, never values.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.base.text import one_line
from prewrite.shards import flat
from prewrite.shards.decoded import fault
from prewrite.shards.failures import Failures, FailureTally
from prewrite.shards.flat import FlatFiles
from prewrite.shards.names import LOG, MANIFEST, OWNER_FORM, is_log
from prewrite.shards.parts import SHA256, Part, refuse_name, refuse_wrong
from prewrite.shards.schema import (
    CRITERION_NAME,
    FORMAT_VERSION,
    TEMPLATE_NAME,
    refuse_other_columns,
    schema,
    texts_of,
)
from prewrite.shards.seal import DIGEST, opened, sealed

_AND = " | "  # between two versions

SetStatus = Literal["running", "interrupted", "complete"]
Count = Annotated[int, Field(ge=0, strict=True)]
CountByKey = dict[str, Count]
Digest = Annotated[str, Field(pattern=SHA256)]
MaybeDigest = Annotated[str, Field(pattern=f"{SHA256}|^$")]


class _ManifestModel(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LogFile(_ManifestModel):
    """A file of the commit log: its name in the folder, its records, bytes and SHA-256."""

    name: str
    records: Count
    bytes: Count
    sha256: Digest

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if not is_log(name):
            raise ValueError(f"found '{one_line(name, 60)}'; accepted: a file in {LOG}/")
        return name


class Usage(_ManifestModel):
    """What the engine was asked: requests, prompt tokens, those of them read from the prefix
    cache (null when the engine does not say), and generated tokens. untold: requests of which a
    server did not say how many tokens they took; these are missing from the sums.
    """

    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    output_tokens: int = 0
    untold: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        cached = None
        if self.cached_tokens is not None and other.cached_tokens is not None:
            cached = self.cached_tokens + other.cached_tokens
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            cached_tokens=cached,
            output_tokens=self.output_tokens + other.output_tokens,
            untold=self.untold + other.untold,
        )


class Skip(_ManifestModel):
    """One input record that gives no row: where it stands (line or row from 1) and why."""

    file: str
    line: int
    reason: str


class PassFacts(_ManifestModel):
    """What a pass tells of rows: added up from documents to parts, and from parts to the set. A new
    fact is written here, and nowhere else.

    versions: of the engines; usage: what they were asked; counts: rows and verdicts by status, and
    whatever else was counted.
    asked, failed: rows that were asked about, and those of them of which nothing can be used;
    failures: why, by reason; in a judge pass of its verdicts.
    abandoned: `doc_id` of documents that killed every worker that opened them.
    """

    versions: dict[str, str] = Field(default_factory=dict)
    usage: Usage = Field(default_factory=Usage)
    counts: dict[str, int] = Field(default_factory=dict)
    asked: int = 0
    failed: int = 0
    failures: dict[str, Failures] = Field(default_factory=dict)
    abandoned: list[str] = Field(default_factory=list)

    @property
    def tally(self) -> FailureTally:
        """What was asked about and failed."""
        return FailureTally(self.asked, self.failed, self.failures)

    def add(self, more: "PassFacts") -> None:
        """Add those of other rows."""
        tally = self.tally
        tally.add(more.tally)
        self.asked, self.failed, self.failures = tally.asked, tally.failed, tally.reasons
        self.versions = joined([self.versions, more.versions])
        self.usage += more.usage
        self.count(more.counts)
        self.abandoned += more.abandoned

    def count(self, more: Mapping[str, int]) -> None:
        """Add to `counts`."""
        self.counts = total([self.counts, more])

    def told(self) -> dict[str, Any]:
        """As a record and a manifest have them: of the reasons the commonest."""
        found = {name: getattr(self, name) for name in PassFacts.model_fields}
        return found | {"failures": self.tally.bounded()}


class TakenOut(_ManifestModel):
    """A document that a part lacks because it was taken out (`shards.takedown`), of this set or of
    the one that it was made of. at: its place among all documents of the part, with those that are
    taken out.
    """

    doc_id: str
    at: Count


class Record(PassFacts):
    """The commit of one part: which input records it covers and what it holds.

    turn: greater than that of every earlier worker on the split. line: names the worker that wrote
    it; after: the `line` of the record before it, empty for the first (`shards.commit_log`).
    start, stop: records of the split before and after this part (a part covers [start, stop)).
    read: digest of the input records [0, stop) of the split, where its source has one.
    last: the split ends with this part; then `sha256` is the digest of the whole input file.
    redo: the same documents are to be done again: the part was damaged, or holds what failed.
    removed: the documents that were taken out.
    known_as: of a part that is not there (to be made again, or all taken out): its name for passes.
    """

    split: str = Field(pattern=r"^[^/\\\p{C}]{1,200}$")
    block: int = Field(ge=0)
    start: Count
    stop: Count
    turn: Count = 0
    line: str = ""
    after: str = ""
    read: str = ""
    documents: Count
    part: Part | None
    judgements: Part | None = None
    skipped: list[Skip] = Field(default_factory=list)
    left_out: CountByKey = Field(default_factory=dict)
    last: bool = False
    sha256: str | None = None
    redo: bool = False
    removed: list[TakenOut] = Field(default_factory=list)
    known_as: str = ""

    @field_validator("part", "judgements")
    @classmethod
    def _inside(cls, part: Part | None, given: ValidationInfo) -> Part | None:
        if part and given.mode == "json":  # else from `shards.flat`, or this program's own
            refuse_wrong(part)
        elif part:
            refuse_name(part.file)
        return part


class Opened(_ManifestModel):
    """Documents that a worker may have open: those of the records [committed, stop) of a split.

    deaths: workers that died on just these; died: those that died on any of the split; command:
    that of the worker; turn: that of its records.
    """

    committed: int
    stop: int
    deaths: int = 0
    died: int = 0
    command: str = ""
    turn: int = 0


class Input(_ManifestModel):
    """An input file: size, digest, and how many records it holds (bad ones included).

    version: the store's ETag of it, or its time of change; where that has changed, the digest is
    taken again.
    """

    path: str
    bytes: Count
    sha256: str | None = None
    records: Count | None = None
    version: str | None = None


class _PassName(_ManifestModel):
    """Stands first in a manifest."""

    name: str
    fingerprint: str
    config: dict[str, Any]


class PassInfo(PassFacts, _PassName):
    """One pass that made this set: its configuration and everything its rows depend on, and what it
    tells of all of them.
    """

    seconds: float = Field(0.0, ge=0)


NAMED = 1000
"""Skipped records, and paths that were passed over, that a manifest names; it counts all."""


ODD = {
    "id:": "ids replaced",
    "meta:": "meta left out",
}
"""How `counts` of what was odd about input records begin, why follows; and what was counted."""


THOUGHTS, DROPPED = "thoughts:", "thoughts:dropped: "
"""How `counts` begin of thoughts in rewrites, and of those of them that were left out; why follows.
"""

CORRUPT = "corrupt"
"""The pass after which the rewrites of a set are originals that were spoiled on purpose."""

CORRUPTED = (
    "A corrupted set: its rewrites are originals that were spoiled on purpose, to measure or to "
    "train a judge. It was made with the score 1 for each original and 0 for its rewrite."
)
"""What people are told of such a set."""

CORRUPTION = "corruption:"
"""How `counts` of corrupted rows begin; the kind follows."""


REMOVED = "removed"
"""Why documents are left out that were taken out of the set (`shards.takedown`)."""


class Removed(_ManifestModel):
    """What was taken out of a set under one `doc_id`: how many rows, of how many documents, for two
    corpus files may hold the same ids.
    """

    doc_id: str
    rows: Count
    documents: Count = 1


_KEPT = (
    "criteria", "measures", "rewrites", "passed_over", "passed_over_paths", "statuses", "left_out",
    "skipped", "skipped_records", "removed", "rows", "documents",
)  # what a later pass knows of its input  # fmt: skip


class Manifest(_ManifestModel):
    """A shard set. `passes` is in the order they were made; the last one made this set.

    owners: the runs that wrote it, one after the other, as names of files have them.
    generation: 1 as it was first made, one more each time that what failed in it was asked again,
    or a document was taken out; before: `content` of the generation before, empty for the first.
    passed_over: why files and folders of the corpus were not read, with how many.
    log: the files of the commit log; parts: how many row groups with rows it lists; rows_digest,
    verdicts_digest: of the digests of all parts, in their order.
    known_as: the `rows_digest` that a pass over this set depends on; it stays when the set is
    upgraded, and when a document is taken out.
    rewrites: the names of its templates, empty where there is one without a name; null: there are
    no rewrites.
    """

    format_version: int = FORMAT_VERSION
    generation: int = Field(1, ge=1)
    before: MaybeDigest = ""
    owners: list[Annotated[str, Field(pattern=OWNER_FORM)]] = Field(default_factory=list)
    status: SetStatus = "running"
    rewrites: list[Annotated[str, Field(pattern=TEMPLATE_NAME)]] | None = Field(
        default_factory=list
    )
    criteria: list[Annotated[str, Field(pattern=CRITERION_NAME)]] = Field(default_factory=list)
    measures: list[str] = Field(default_factory=list)
    passes: list[PassInfo] = Field(min_length=1)
    inputs: list[Input]
    rows: Count = 0
    documents: Count = 0
    statuses: CountByKey = Field(default_factory=dict)
    left_out: CountByKey = Field(default_factory=dict)
    passed_over: CountByKey = Field(default_factory=dict)
    passed_over_paths: list[str] = Field(default_factory=list)
    skipped: CountByKey = Field(default_factory=dict)
    skipped_records: list[Skip] = Field(default_factory=list)
    removed: list[Removed] = Field(default_factory=list)
    parts: Count = 0
    log: list[LogFile] = Field(default_factory=list)
    rows_digest: str = ""  # of any form, so that a repair can write them anew
    verdicts_digest: str = ""
    known_as: MaybeDigest = ""
    _flat: FlatFiles | None = PrivateAttr(None)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        refuse_other_columns(self.criteria, self.measures, self.rewrites)
        names = [file.name for file in self.log]
        if len({*names}) < len(names):
            raise ValueError("log: found a file twice; accepted: each once")
        return self

    @property
    def owner(self) -> str:
        """The run that writes it, or has written it; empty for a set of 0.1."""
        return self.owners[-1] if self.owners else ""

    @property
    def odd(self) -> list[tuple[str, str, int]]:
        """What was odd about documents of the corpus: what was counted, why, and how many."""
        return odd(total([made.counts for made in self.passes]))

    @property
    def flat(self) -> FlatFiles | None:
        """What a manifest of an older format lists itself; None for one of today's."""
        return self._flat

    @property
    def content(self) -> str:
        """Digest of all rows, verdicts and of the configuration."""
        return fingerprint([self.passes[-1].fingerprint, self.rows_digest, self.verdicts_digest])

    def begun_by(self, made: PassInfo, **change: Any) -> "Manifest":
        """The manifest of the set that a pass starts to make of this one."""
        fresh = Manifest(passes=[*self.passes, made], inputs=self.inputs)
        known = {name: getattr(self, name) for name in _KEPT}
        return fresh.model_copy(update=known | change)

    @property
    def columns(self) -> pa.Schema:
        """The columns of every part."""
        return schema(self.criteria, self.measures, self.format_version, self.rewrites)

    @property
    def corrupted(self) -> bool:
        """Whether its rewrites are originals that were spoiled on purpose."""
        return any(made.name == CORRUPT for made in self.passes)

    @property
    def chunk_tokens(self) -> int:
        """Tokens of the longest chunk, as the pass that cut the documents was told; else 128."""
        told = (made.config.get("chunking", {}).get("tokens") for made in self.passes)
        return next((int(tokens) for tokens in told if tokens), 128)

    @property
    def texts(self) -> tuple[str, ...]:
        """The columns of its texts: the original, then every rewrite."""
        return texts_of(self.rewrites)

    @classmethod
    def load(cls, folder: Folder) -> "Manifest":
        """Read and check the manifest of the set in `folder`; ShardError when there is none."""
        found = cls.find(folder)
        if found is None:
            raise ShardError(f"{folder.url}: no shard set here (there is no {MANIFEST})")
        return found

    @classmethod
    def find(cls, folder: Folder) -> "Manifest | None":
        """The manifest of the set in `folder`, or None when there is none. ShardError for one that
        is damaged, or is not what was written.
        """
        found = cls.unchecked(folder)
        if found is None:
            return None
        if not found.is_whole:
            raise ShardError(
                f"{found.fault(folder)}; restore the file, or run prewrite shards verify --repair "
                f"{folder.url}; if you edited it on purpose, write {found.content} there"
            )
        return found.manifest

    @classmethod
    def unchecked(cls, folder: Folder) -> "Unchecked | None":
        """A manifest that may have been changed since it was written."""
        return cls.unchecked_at(folder, MANIFEST) or cls.unchecked_at(folder, flat.MANIFEST)

    @classmethod
    def unchecked_at(cls, folder: Folder, name: str) -> "Unchecked | None":
        """The one that is called `name`."""
        formats = flat.FORMATS if name == flat.MANIFEST else (FORMAT_VERSION,)
        data = folder.read(name)
        return None if data is None else cls._read(f"{folder.url}/{name}", data, formats)

    @classmethod
    def _read(cls, where: str, data: bytes, formats: Sequence[int]) -> "Unchecked":
        try:
            raw = json.loads(data)
            if not isinstance(raw, dict):
                raise ShardError(f"{where}: found {_kind(raw)}; accepted: a JSON object")
            version = raw.get("format_version")
            if type(version) is not int or version not in formats:
                raise ShardError(
                    f"{where}: found format version {one_line(repr(version), 60)}; accepted: "
                    f"{' and '.join(map(str, formats))}; a newer set needs a newer Prewrite"
                )
            content, given = opened(raw)
            digest = fingerprint(content)
            files = flat.taken(content) if formats is flat.FORMATS else None
            manifest = cls.model_validate(content)
            if files:
                manifest._flat = files
                manifest.parts = len(files.parts)
                manifest.known_as = fingerprint([part.sha256 for part in files.parts])
                manifest.rows_digest = manifest.known_as
            return Unchecked(manifest, digest, given)
        except RecursionError:
            raise ShardError(f"{where}: damaged: nested too deeply") from None
        except ValueError as error:
            if isinstance(error, ValidationError):
                raise ShardError(f"{where}: damaged: {fault(error)}") from None
            raise ShardError(f"{where}: damaged: not JSON: {one_line(str(error), 200)}") from None

    @property
    def digest(self) -> str:
        """That of its content as it would be written now."""
        return fingerprint(self.model_dump(mode="json"))

    def save(self, folder: Folder, name: str = MANIFEST) -> None:
        """Write the manifest atomically, with its digest."""
        folder.write(name, sealed(self.model_dump(mode="json")))


class Unchecked(NamedTuple):
    """A manifest as it was read, the digest of its content, and the one that the file gives."""

    manifest: Manifest
    content: str
    given: Any

    @property
    def is_whole(self) -> bool:
        """Whether it is what was written; of format 1, which has no digest, that is not known."""
        has_none = self.given is None and self.manifest.format_version < FORMAT_VERSION
        return has_none or self.given == self.content

    def fault(self, folder: Folder, name: str = MANIFEST) -> str:
        """The sentence of one that is not whole, up to what can be done. name: its file."""
        return (
            f"{folder.url}/{name}: found content of the digest {self.content}, with the "
            f"{DIGEST} {one_line(str(self.given), 64)}; accepted: content of that digest"
        )


def _kind(raw: Any) -> str:
    """What a JSON text holds instead of an object."""
    kinds = {list: "a list", str: "a text", type(None): "null"}
    return kinds.get(type(raw), "a single value")


def odd(counts: Mapping[str, int]) -> list[tuple[str, str, int]]:
    """See `Manifest.odd`."""
    return [
        (what, key.removeprefix(start), count)
        for start, what in ODD.items()
        for key, count in counts.items()
        if key.startswith(start)
    ]


def joined(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Each version once; what was made with two engines names both."""
    seen: dict[str, dict[str, None]] = {}
    for some in versions:
        for name, version in some.items():
            seen.setdefault(name, {}).update(dict.fromkeys(version.split(_AND)))
    return {name: _AND.join(values) for name, values in sorted(seen.items())}


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """The sum of several counters, keys in sorted order."""
    result: Counter[str] = Counter()
    for item in counts:
        result.update(item)
    return dict(sorted(result.items()))
