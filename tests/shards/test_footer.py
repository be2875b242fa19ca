"""The Thrift parser of footers: what it reads it writes again, and whatever else it is given is
refused in one sentence, soon and without much memory.
"""

import io
import time
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from prewrite.base.errors import ShardError
from prewrite.shards.footer import MAGIC, Group, Struct, joined, parsed, row_groups
from prewrite.shards.schema import ROW_GROUPS, row_group, schema

ROW = {"id": "a-0", "doc_id": "a", "source": "web", "chunk": 0, "chunks": 1, "original": "text"}


def footer_of(data: bytes) -> bytes:
    size = int.from_bytes(data[-8:-4], "little")
    return data[-8 - size : -8]


FOOTER = footer_of(row_group([ROW] * 3, schema(["quality"]), {"prewrite.fingerprint": "0"}).data)


def again(footer: bytes) -> bytes:
    """What is parsed, written as a merge does, with nothing moved."""
    found = parsed("file", footer)
    keys = {key[1].value: key[2].value for key in found[5].value[1]} if 5 in found else {}
    groups = [Group(group, 0) for group in row_groups(found)]
    name = ROW_GROUPS.encode()
    return joined(found, groups, {ROW_GROUPS: keys[name].decode()} if name in keys else {})


def test_a_real_footer_stays_what_it_is() -> None:
    before, after = parsed("file", FOOTER), parsed("file", again(FOOTER))
    keys = before.pop(5).value[1], after.pop(5).value[1]
    assert before == after and sorted(map(str, keys[0])) == sorted(map(str, keys[1]))
    data = MAGIC + again(FOOTER) + len(again(FOOTER)).to_bytes(4, "little") + MAGIC
    assert pq.read_metadata(io.BytesIO(data)).num_rows == 3


flips = st.tuples(st.integers(0, len(FOOTER) - 1), st.integers(1, 255))
damages = st.one_of(
    st.lists(flips, min_size=1, max_size=4).map(lambda some: _flipped(dict(some))),
    st.integers(0, len(FOOTER) - 1).map(lambda size: FOOTER[:size]),
    st.tuples(st.integers(0, len(FOOTER)), st.binary(min_size=1, max_size=12)).map(
        lambda one: FOOTER[: one[0]] + one[1] + FOOTER[one[0] :]
    ),
    st.binary(max_size=200),
)


def _flipped(bits: dict[int, int]) -> bytes:
    return bytes(byte ^ bits.get(place, 0) for place, byte in enumerate(FOOTER))


@seed(8192)
@settings(max_examples=600, database=None)
@given(damages)
def test_a_damaged_footer_is_read_whole_or_refused(footer: bytes) -> None:
    begun = time.process_time()
    try:
        found: Struct | None = parsed("some/file", footer)
    except ShardError as error:
        found = None
        assert str(error).startswith("some/file: found a Parquet footer that cannot be read: ")
    if found is not None:
        groups = [Group(group, 1) for group in row_groups(found)]
        moved = joined(found, groups, {ROW_GROUPS: "0"})
        assert len(row_groups(parsed("some/file", moved))) == len(groups)
    assert time.process_time() - begun < 2


LIST, STRUCT = 9, 12
DEEP = {
    "structs": bytes([0x10 | STRUCT]) * 100_000,
    "lists": bytes([0x10 | LIST]) + bytes([0x10 | LIST]) * 100_000,
    "lists of structs": bytes([0x10 | LIST, 0x10 | STRUCT]) * 100_000,
}


@pytest.mark.parametrize("data", DEEP.values(), ids=DEEP)
def test_depth_counts_every_container(data: bytes) -> None:
    with pytest.raises(ShardError, match="cannot be read: nested too deeply"):
        parsed("file", data)


def test_the_size_of_a_list_is_not_believed() -> None:
    huge = bytes([0x10 | LIST, 0xF0 | STRUCT]) + b"\xff" * 8 + b"\x7f" + b"\0" * 1000
    tracemalloc.start()
    with pytest.raises(ShardError, match="cannot be read: a list of 9223372036854775807 values"):
        parsed("file", huge)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


WRONG = [
    (b"\0", "field 3 is not there"),
    (b"", "it ends too early"),
    (FOOTER + b"\0", "1 bytes behind its end"),
    (b"\x15\x02\x05\x02\x02\0", "field 1 a second time"),
    (b"\x36\x02\0", "field 4 is not there"),
    (b"\x38\x01a\0", "field 3 is not a number"),
    (b"\x36\x02\x16\x02\0", "field 4 holds no structs"),
    (b"\x36\x02\x19\x15\x02\0", "field 4 holds no structs"),
    (b"\x36\x02\x19\x1c\0\0", "field 4.1 is not there"),
]


@pytest.mark.parametrize(("footer", "why"), WRONG, ids=range(len(WRONG)))
def test_a_footer_without_what_a_merge_needs(footer: bytes, why: str) -> None:
    with pytest.raises(ShardError, match=f"^file: found .* cannot be read: {why}$"):
        parsed("file", footer)


def test_a_footer_without_row_groups_is_whole() -> None:
    stream = io.BytesIO()
    pq.write_table(pa.table({"a": pa.array([], pa.int32())}), stream)
    assert parsed("file", footer_of(stream.getvalue()))
