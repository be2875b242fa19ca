"""Corpus files are read whole or their damage is told: the run never dies of one."""

import gzip
import hashlib
import io
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from prewrite.base.errors import InputError
from prewrite.rewrite.files import CorpusFile, Fault, Raw

RECORDS = [{"text": f"Document {n}: naïve 漢字 \U0001f469\u200d", "n": n} for n in range(300)]
LINES = b"".join(
    json.dumps(r, ensure_ascii=n % 2 == 0).encode() + b"\n" for n, r in enumerate(RECORDS)
)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


def frames(data: bytes) -> bytes:
    """Several frames, one of them empty, one without its content size, cut inside lines."""
    third = len(data) // 3
    stream = zstandard.ZstdCompressor().compressobj()
    middle = stream.compress(data[third : 2 * third]) + stream.flush()
    return zstd(data[:third]) + zstd(b"") + middle + zstd(data[2 * third :])


def members(data: bytes) -> bytes:
    return gzip.compress(data[:1000]) + gzip.compress(b"") + gzip.compress(data[1000:])


def parquet(records: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records), buffer, row_group_size=100)
    return buffer.getvalue()


def read(path: Path, limit: int = 1 << 20) -> tuple[list[Raw], list[Fault], CorpusFile]:
    file = CorpusFile(str(path), limit)
    found = list(file.records())
    faults = [item for item in found if isinstance(item, Fault)]
    return [item for item in found if isinstance(item, Raw)], faults, file


def records(raws: list[Raw]) -> list[Any]:
    return [json.loads(raw.data) if isinstance(raw.data, bytes) else raw.data for raw in raws]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".jsonl", bytes),
        (".json", bytes),
        (".jsonl.gz", gzip.compress),
        (".json.gz", members),
        (".jsonl.zst", zstd),
        (".json.zst", frames),
        (".parquet", lambda _: parquet(RECORDS)),
    ],
)
def test_every_suffix_gives_the_same_records(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pack(LINES))
    raws, faults, file = read(path)
    assert records(raws) == RECORDS
    assert faults == []
    assert [raw.line for raw in raws] == list(range(1, 301))
    offsets = [raw.offset for raw in raws]
    assert offsets == sorted(offsets)
    assert offsets[-1] == path.stat().st_size
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b'{"a": 1}\r\n{"a": 2}\r\n', [1, 2]),
        (b'{"a": 1}\n\n  \n\r\n{"a": 2}', [1, 5]),
        (b'\xef\xbb\xbf{"a": 1}\n{"a": 2}\n', [1, 2]),
        (b"\n\n", []),
        (b"", []),
    ],
)
def test_line_ends_blank_lines_and_a_byte_order_mark(
    tmp_path: Path, data: bytes, lines: list[int]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    raws, faults, _ = read(path)
    assert [raw.line for raw in raws] == lines
    assert [record["a"] for record in records(raws)] == list(range(1, len(lines) + 1))
    assert faults == []


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".jsonl.gz", gzip.compress), (".jsonl.zst", zstd), (".json.zst", frames)]
)
@pytest.mark.parametrize("damage", ["cut", "cut at 5", "no archive", "text behind"])
def test_a_damaged_archive_is_one_fault_behind_its_whole_lines(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], damage: str
) -> None:
    # Noise, so that the archive is large and its damage comes late.
    noise = random.Random(1)
    many = [{"text": noise.randbytes(100).hex()} for _ in range(5000)]
    data = pack(b"".join(json.dumps(record).encode() + b"\n" for record in many))
    middle = len(data) * 3 // 4
    spoilt = {
        "cut": data[:middle],
        "cut at 5": data[:5],
        "no archive": LINES,
        "text behind": data + b'{"text": "not packed"}\n',
    }[damage]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(spoilt)
    raws, (fault,), file = read(path)
    found = records(raws)
    assert found == many[: len(found)]
    assert fault.reason == "truncated_or_damaged_archive"
    assert fault.line == len(found) + 1
    assert file.sha256 == hashlib.sha256(spoilt).hexdigest()
    if damage == "cut":
        assert len(found) > 3000
    if damage == "cut" and suffix == ".jsonl.gz":
        assert len(found) == zlib.decompressobj(31).decompress(spoilt).count(b"\n")
    if damage == "text behind":
        assert found == many


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("suffix", "pack"), [(".jsonl.gz", gzip.compress), (".jsonl.zst", zstd)])
def test_an_archive_spoilt_anywhere_never_raises(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes], seed: int
) -> None:
    """Without a checksum a spoilt byte is only another byte: such lines are broken JSON later."""
    noise = random.Random(seed)
    data = bytearray(pack(LINES))
    at = noise.randrange(len(data))
    data[at : at + 20] = noise.randbytes(20)
    path = tmp_path / f"a{suffix}"
    path.write_bytes(data)
    raws, faults, _ = read(path)
    assert len(faults) <= 1
    assert raws or faults


def test_an_empty_archive_has_no_record(tmp_path: Path) -> None:
    for name, data in (
        ("a.jsonl.gz", gzip.compress(b"")),
        ("a.jsonl.zst", zstd(b"")),
        ("b.jsonl.zst", b""),
    ):
        (tmp_path / name).write_bytes(data)
        assert read(tmp_path / name)[:2] == ([], [])


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".jsonl", bytes), (".jsonl.gz", gzip.compress), (".jsonl.zst", zstd)]
)
def test_a_line_over_the_limit_is_passed_over(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    huge = b'{"text": "' + random.Random(1).randbytes(5_000_000).hex().encode() + b'"}'
    path = tmp_path / f"a{suffix}"
    path.write_bytes(pack(b'{"n": 1}\n' + huge + b'\n{"n": 2}\n' + huge))
    tracemalloc.start()
    raws, faults, _ = read(path, limit=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records(raws) == [{"n": 1}, {"n": 2}]
    assert [(f.reason, f.line) for f in faults] == [("too_large", 2), ("too_large", 4)]
    assert peak < 8_000_000


def test_a_line_at_the_limit_is_read(tmp_path: Path) -> None:
    line = b'{"text": "' + b"x" * 1000 + b'"}'
    path = tmp_path / "a.jsonl"
    for end in (b"\n", b""):
        path.write_bytes(line + end)
        assert len(read(path, limit=len(line))[0]) == 1
        (fault,) = read(path, limit=len(line) - 1)[1]
        assert fault.reason == "too_large"


@pytest.mark.parametrize("damage", ["no parquet", "cut", "no footer", "empty", "spoilt pages"])
def test_an_unreadable_parquet_file_is_one_fault(tmp_path: Path, damage: str) -> None:
    data = parquet(RECORDS)
    spoilt = {
        "no parquet": LINES,
        "cut": data[: len(data) // 2],
        "no footer": data[:-4] + b"XXXX",
        "empty": b"",
        "spoilt pages": data[:4] + b"\xff" * 200 + data[204:],
    }[damage]
    path = tmp_path / "a.parquet"
    path.write_bytes(spoilt)
    raws, (fault,), file = read(path)
    assert (raws, fault.reason, fault.line) == ([], "unreadable_parquet", 1)
    assert file.sha256 == hashlib.sha256(spoilt).hexdigest()


def test_a_parquet_file_with_two_columns_of_one_name_is_one_fault(tmp_path: Path) -> None:
    texts = [pa.array(["one", "two"]), pa.array(["three", "four"])]
    pq.write_table(pa.Table.from_arrays(texts, ["text", "text"]), tmp_path / "a.parquet")
    raws, (fault,), file = read(tmp_path / "a.parquet")
    assert (raws, fault.reason, fault.line) == ([], "two_columns_of_one_name", 1)
    assert file.sha256 == hashlib.sha256((tmp_path / "a.parquet").read_bytes()).hexdigest()


def test_a_page_that_is_passed_over_is_no_end_of_a_parquet_file(tmp_path: Path) -> None:
    """No checksum covers the header of a page; Arrow passes over pages of kinds unknown to it."""
    data = bytearray(parquet([{"text": "one"}, {"text": "two"}]))
    column = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(0).column(0)
    kind = column.data_page_offset + 1  # the header's first field, as a zigzag number
    assert data[kind] == 0
    data[kind] = 8
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    raws, (fault,), _ = read(path)
    assert (raws, fault.reason) == ([], "unreadable_parquet")


@pytest.mark.parametrize("seed", range(40))
def test_parquet_spoilt_anywhere_never_raises(tmp_path: Path, seed: int) -> None:
    noise = random.Random(seed)
    data = bytearray(parquet(RECORDS))
    at = noise.randrange(4, len(data) - 600)
    data[at : at + 60] = noise.randbytes(60)
    path = tmp_path / "a.parquet"
    path.write_bytes(data)
    raws, faults, _ = read(path)
    assert len(raws) <= len(RECORDS)
    assert raws or faults


def test_a_parquet_row_with_a_value_python_lacks_is_one_fault(tmp_path: Path) -> None:
    """A text that is not UTF-8, a date after the year 9999: only that row is lost."""
    texts = pa.array([b"a", b"caf\xe9", b"c", b"d"]).view(pa.string())
    days = pa.array([1, 2, 3, 2**31 - 1], pa.int32()).view(pa.date32())
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": texts, "day": days}), path)
    raws, faults, _ = read(path)
    assert records(raws) == [
        {"text": "a", "day": date(1970, 1, 2)},
        {"text": "c", "day": date(1970, 1, 4)},
    ]
    assert [(fault.reason, fault.line) for fault in faults] == [("bad_value", 2), ("bad_value", 4)]


def test_a_parquet_row_over_the_limit_is_one_fault(tmp_path: Path) -> None:
    """Whatever it is made of; a text that rows share in a dictionary counts where it stands."""
    size = 1 << 20
    shared = pa.array(["short", "x" * size, "short", "short"]).dictionary_encode()
    lists = pa.array([[1], [2], list(range(size)), [4]], pa.list_(pa.int64()))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c", "d"], "s": shared, "l": lists}), path)
    raws, faults, file = read(path, size)
    assert [(raw.line, raw.data["text"]) for raw in raws if isinstance(raw.data, dict)] == [
        (1, "a"),
        (4, "d"),
    ]
    assert [(fault.reason, fault.line) for fault in faults] == [("too_large", 2), ("too_large", 3)]
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_few_large_rows_of_parquet_are_held_at_a_time(tmp_path: Path) -> None:
    table = pa.table({"text": [f"{n}" * 200_000 for n in range(10)] * 20})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, compression="zstd", use_dictionary=False)
    tracemalloc.start()
    raws = sum(isinstance(raw, Raw) for raw in CorpusFile(str(path), 1 << 20).records())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert raws == 200 and peak < 8 << 20


def test_an_error_of_the_storage_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run must stop at it, not skip what it could not fetch."""

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    store = type(fsspec.filesystem("memory"))
    monkeypatch.setattr(store, "open", lambda *_, **__: Broken(b"x" * 1000))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"):
        with pytest.raises(InputError, match=f"^memory://{name}: cannot read: Input/output error$"):
            list(CorpusFile(f"memory://{name}", 1000).records())


def test_a_file_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.jsonl: cannot read: No such file"):
        list(CorpusFile(f"{tmp_path}/none.jsonl", 1000).records())


def test_a_time_zone_that_nobody_knows_costs_no_row(tmp_path: Path) -> None:
    odd = pa.timestamp("us", tz="Mars/Olympus")
    times = [0, 1, None]
    inner = pa.array([[{"at": t}] for t in times], pa.list_(pa.struct([("at", odd)])))
    table = pa.table({"text": ["a", "b", "c"], "at": pa.array(times, odd), "inner": inner})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path)
    rows = [one.data for one in CorpusFile(str(path), 1 << 20).records() if isinstance(one, Raw)]
    assert [row["text"] for row in rows if isinstance(row, dict)] == ["a", "b", "c"]
    first = rows[1]
    assert isinstance(first, dict)
    assert first["at"].isoformat() == "1970-01-01T00:00:00.000001+00:00"
    assert first["inner"] == [{"at": first["at"]}]


def test_a_zstd_frame_with_a_long_window(tmp_path: Path) -> None:
    """As `zstd --long=28` makes it."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    line = json.dumps({"text": "x" * 1000}).encode() + b"\n"
    data = packer.compress(line * 3) + packer.flush()
    assert zstandard.get_frame_parameters(data).window_size > 128 << 20
    path = tmp_path / "a.jsonl.zst"
    path.write_bytes(data)
    assert [r.data for r in CorpusFile(str(path), 1 << 20).records() if isinstance(r, Raw)] == [
        line
    ] * 3
