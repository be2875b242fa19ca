"""The footer of a Parquet file whose row groups were copied from other files.

Arrow cannot write a footer for row groups that lie somewhere already, so the footers of the sources
are taken apart and put together: Thrift's compact protocol, and of Parquet's `FileMetaData` only
the fields that hold places. Every other field is passed on as it is, known or not. A footer is
input: one that lacks such a field, or holds another value there, is refused as a whole.
Source: github.com/apache/thrift `doc/specs/thrift-compact-protocol.md`, and
github.com/apache/parquet-format `src/main/thrift/parquet.thrift`.
"""

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from prewrite.base.errors import ShardError

MAGIC = b"PAR1"

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_NUMBERS = (4, 5, 6)  # of 16, 32 and 64 bits
_DEEPEST = 64  # structs and lists in one another; Parquet's own footers have 12

_ROWS, _GROUPS, _KEYS = 3, 4, 5  # of FileMetaData
_COLUMNS, _GROUP_ROWS, _OFFSET, _ORDINAL = 1, 3, 5, 7  # of RowGroup
_META, _INDEXES = 3, (4, 5, 6, 7)  # of ColumnChunk: its metadata; where its page indexes lie
_PLACE = 2  # of ColumnChunk: where its metadata lies; deprecated, 0 in newer files
_PAGES = (9, 10, 11)  # of ColumnMetaData: first data page, index page, dictionary page
_BLOOM = (14, 15)  # of ColumnMetaData: where its Bloom filter lies


class _Form(NamedTuple):
    """The fields of a struct that are used here, and what each is: a number, a text, a struct of
    this form or, in brackets, a list of such structs. needed: those that must be there.
    """

    needed: Mapping[int, Any]
    other: Mapping[int, Any] = {}


_NUMBER, _TEXT = "a number", "a text"
_KINDS: dict[str, tuple[int, ...]] = {_NUMBER: _NUMBERS, _TEXT: (_BINARY,)}
_COLUMN = _Form({_PLACE: _NUMBER, _META: _Form({}, dict.fromkeys(_PAGES, _NUMBER))})
_GROUP = _Form({_COLUMNS: [_COLUMN], _GROUP_ROWS: _NUMBER}, {_OFFSET: _NUMBER, _ORDINAL: _NUMBER})
_FOOTER = _Form({_ROWS: _NUMBER, _GROUPS: [_GROUP]}, {_KEYS: [_Form({1: _TEXT})]})


class Value(NamedTuple):
    """A value with its type of the compact protocol. A struct is a dict of these by field number, a
    list the type of its elements and these.
    """

    kind: int
    value: Any


Struct = dict[int, Value]


class Group(NamedTuple):
    """A row group that is copied: its struct, and how far it moves."""

    struct: Struct
    moves: int


def parsed(where: str, footer: bytes) -> Struct:
    """The `FileMetaData` in the bytes of a footer, with all fields that are used here; ShardError
    where they hold none. where: the file.
    """
    try:
        found = _CompactReader(footer).whole()
        _refuse_other(found, _FOOTER, "")
        return found
    except (IndexError, struct.error, ValueError) as error:
        why = "it ends too early" if isinstance(error, IndexError) else error
        raise ShardError(f"{where}: found a Parquet footer that cannot be read: {why}") from None


def _refuse_other(found: Struct, form: _Form, above: str) -> None:
    """ValueError where a struct is of another form. above: the fields that lead to it."""
    for number, inner in {**form.needed, **form.other}.items():
        if number in found:
            _refuse_other_value(found[number], inner, f"{above}{number}")
        elif number in form.needed:
            raise ValueError(f"field {above}{number} is not there")


def _refuse_other_value(found: Value, form: Any, field: str) -> None:
    if isinstance(form, str):
        if found.kind not in _KINDS[form]:
            raise ValueError(f"field {field} is not {form}")
        return
    inner = [found.value]
    if isinstance(form, list):
        kind, inner = found.value if found.kind == _LIST else (0, [])
        form, right = form[0], kind == _STRUCT or (found.kind == _LIST and not inner)
    else:
        right = found.kind == _STRUCT
    if not right:
        raise ValueError(f"field {field} holds no structs")
    for one in inner:
        _refuse_other(one, form, f"{field}.")


def row_groups(metadata: Struct) -> list[Struct]:
    """Its row groups."""
    found: list[Struct] = metadata[_GROUPS].value[1]
    return found


def joined(first: Struct, groups: Sequence[Group], keys: dict[str, str]) -> bytes:
    """The footer of a file with these row groups, with the schema of `first`, and with the keys of
    `first` but for `keys`, which are replaced.
    """
    moved = [_moved(group, number) for number, group in enumerate(groups)]
    rows = sum(group[_GROUP_ROWS].value for group in moved)
    replaced = {
        **first,
        _ROWS: Value(first[_ROWS].kind, rows),
        _GROUPS: Value(_LIST, (_STRUCT, moved)),
        _KEYS: Value(_LIST, (_STRUCT, _keys(first, keys))),
    }
    stream = io.BytesIO()
    _write_struct(stream, replaced)
    return stream.getvalue()


def ended(footer: bytes) -> bytes:
    """A footer with what stands behind it at the end of a file."""
    return footer + len(footer).to_bytes(4, "little") + MAGIC


def _moved(group: Group, number: int) -> Struct:
    """A row group at its new place."""
    columns = [_moved_column(column, group.moves) for column in group.struct[_COLUMNS].value[1]]
    result = {**group.struct, _COLUMNS: Value(_LIST, (_STRUCT, columns))}
    if _OFFSET in result:
        result[_OFFSET] = _plus(result[_OFFSET], group.moves)
    if _ORDINAL in result:
        result[_ORDINAL] = Value(result[_ORDINAL].kind, number)
    return result


def _moved_column(column: Struct, by: int) -> Struct:
    meta: Struct = column[_META].value
    meta = {number: value for number, value in meta.items() if number not in _BLOOM}
    meta |= {number: _plus(meta[number], by) for number in _PAGES if number in meta}
    kept = {number: value for number, value in column.items() if number not in _INDEXES}
    if kept[_PLACE].value:
        kept[_PLACE] = _plus(kept[_PLACE], by)
    return {**kept, _META: Value(_STRUCT, meta)}


def _plus(value: Value, by: int) -> Value:
    return Value(value.kind, value.value + by)


def _keys(first: Struct, replaced: dict[str, str]) -> list[Struct]:
    """The key-value pairs of a footer, some of them replaced."""
    kept = first[_KEYS].value[1] if _KEYS in first else []
    names = {name.encode() for name in replaced}
    return [pair for pair in kept if pair[1].value not in names] + [
        {1: Value(_BINARY, name.encode()), 2: Value(_BINARY, text.encode())}
        for name, text in replaced.items()
    ]


class _CompactReader:
    """Reads values one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def whole(self) -> Struct:
        """The struct that takes all bytes."""
        found = self.struct(0)
        if left := len(self._data) - self._at:
            raise ValueError(f"{left} bytes behind its end")
        return found

    def struct(self, depth: int) -> Struct:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        found: Struct = {}
        number = 0
        while header := self._byte():
            kind, step = header & 15, header >> 4
            number = number + step if step else self._zigzag()
            if number in found:
                raise ValueError(f"field {number} a second time")
            found[number] = Value(kind, self._value(kind, depth, inside=False))
        return found

    def _value(self, kind: int, depth: int, inside: bool) -> Any:
        if kind in (_TRUE, _FALSE):
            return self._byte() == _TRUE if inside else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            return self._list(depth + 1)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (4, 5, 6):
            return self._zigzag()
        raise ValueError(f"a value of type {kind}")

    def _list(self, depth: int) -> tuple[int, list[Any]]:
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        header = self._byte()
        kind, size = header & 15, header >> 4
        size = self._varint() if size == 15 else size
        if size > len(self._data) - self._at:  # each takes a byte and more
            raise ValueError(f"a list of {size} values")
        return kind, [self._value(kind, depth, inside=True) for _ in range(size)]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _bytes(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._data):
            raise ValueError("it ends too early")
        return self._data[self._at - size : self._at]

    def _varint(self) -> int:
        result = shift = 0
        while (byte := self._byte()) & 128:
            result |= (byte & 127) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return result | byte << shift

    def _zigzag(self) -> int:
        number = self._varint()
        return (number >> 1) ^ -(number & 1)


def _write_struct(stream: io.BytesIO, fields: Struct) -> None:
    before = 0
    for number, (kind, value) in sorted(fields.items()):
        kind = (_TRUE if value else _FALSE) if kind in (_TRUE, _FALSE) else kind
        step = number - before
        if 0 < step < 16:
            stream.write(bytes([step << 4 | kind]))
        else:
            stream.write(bytes([kind]))
            _write_zigzag(stream, number)
        before = number
        if kind not in (_TRUE, _FALSE):
            _write(stream, kind, value)
    stream.write(b"\0")


def _write(stream: io.BytesIO, kind: int, value: Any) -> None:
    if kind in (_TRUE, _FALSE):
        stream.write(bytes([_TRUE if value else _FALSE]))
    elif kind == _BYTE:
        stream.write(bytes([value]))
    elif kind == _DOUBLE:
        stream.write(struct.pack("<d", value))
    elif kind == _BINARY:
        _write_varint(stream, len(value))
        stream.write(value)
    elif kind in (_LIST, _SET):
        _write_list(stream, *value)
    elif kind == _STRUCT:
        _write_struct(stream, value)
    else:
        _write_zigzag(stream, value)


def _write_list(stream: io.BytesIO, kind: int, values: list[Any]) -> None:
    if len(values) < 15:
        stream.write(bytes([len(values) << 4 | kind]))
    else:
        stream.write(bytes([15 << 4 | kind]))
        _write_varint(stream, len(values))
    for value in values:
        _write(stream, kind, value)


def _write_zigzag(stream: io.BytesIO, number: int) -> None:
    _write_varint(stream, number << 1 if number >= 0 else (-number << 1) - 1)


def _write_varint(stream: io.BytesIO, number: int) -> None:
    while number > 127:
        stream.write(bytes([number & 127 | 128]))
        number >>= 7
    stream.write(bytes([number]))
