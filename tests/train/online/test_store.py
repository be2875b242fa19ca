"""The store gives back what was kept, whatever was torn off, and nothing else."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.train.messages import Rollout, RolloutGroup
from prewrite.train.online.store import RolloutStore, RolloutStoreWriter

ABOUT = {"seed": 1}
texts = st.text(max_size=12).filter(lambda text: text.isprintable() or "\n" in text)
logprobs = st.floats(-50, 0, width=32)
rollouts = st.builds(
    lambda text, pairs, ended: Rollout(
        text=text,
        tokens=tuple(token for token, _ in pairs),
        logprobs=tuple(value for _, value in pairs),
        ended=ended,
    ),
    texts,
    st.lists(st.tuples(st.integers(0, 50_000), logprobs), min_size=1, max_size=5),
    st.booleans(),
)


def group(sample: int, version: int = 0, some: tuple[Rollout, ...] = ()) -> RolloutGroup:
    scores = {f"rollout-{number}": 0.1 * number for number in range(len(some))}
    return RolloutGroup(
        sample=sample, id=f"row-{sample}", version=version, rollouts=some, scores=scores
    )


def claimed(folder: Path, about: object = ABOUT) -> RolloutStore:
    found = RolloutStore(Folder(str(folder)), about)
    found.claim()
    return found


def samples(folder: Path, first: int = 0) -> list[int]:
    return sorted(sample for sample, _ in claimed(folder).read(first)[0])


@settings(max_examples=40)
@given(st.lists(st.lists(rollouts, max_size=3), min_size=1, max_size=6), st.data())
def test_a_file_cut_anywhere_gives_every_record_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory,
    pools: list[list[Rollout]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("store")
    claimed(folder)
    groups = [group(number, 3, tuple(some)) for number, some in enumerate(pools)]
    writer = RolloutStoreWriter(folder, 0)
    for number, one in enumerate(groups):
        writer.append(number, [one])
    (file,) = folder.glob("*.jsonl")
    whole = file.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == ord("\n")]
    size = data.draw(st.integers(0, len(whole)))
    file.write_bytes(whole[:size])
    # A record whose line break alone is missing is whole.
    kept = [one for one, end in zip(groups, ends, strict=True) if end - 1 <= size]
    found, damaged = claimed(folder).read(0)
    assert list(found.values()) == kept
    assert damaged == (0 if size in {0, *ends, *(end - 1 for end in ends)} else 1)
    # A worker that goes on does not spoil what comes after the torn record.
    RolloutStoreWriter(folder, 0).append(0, [group(99)])
    assert samples(folder) == sorted([*(one.sample for one in kept), 99])


def test_a_changed_byte_costs_its_record_alone(tmp_path: Path) -> None:
    claimed(tmp_path)
    RolloutStoreWriter(tmp_path, 0).append(0, [group(1), group(2), group(3)])
    (file,) = tmp_path.glob("*.jsonl")
    lines = file.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"sample":2', b'"sample":7')
    file.write_bytes(b"".join(lines))
    found, damaged = claimed(tmp_path).read(0)
    assert ([sample for sample, _ in found], damaged) == ([1, 3], 1)


def test_trained_groups_go(tmp_path: Path) -> None:
    claimed(tmp_path)
    for worker in (0, 1):
        writer = RolloutStoreWriter(tmp_path, worker)
        for step in range(130):
            writer.append(step, [group(10 * step + worker)])
    assert len(list(tmp_path.glob("*.jsonl"))) == 6
    claimed(tmp_path).trim(127)
    assert len(list(tmp_path.glob("*.jsonl"))) == 4
    claimed(tmp_path).trim(128)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert samples(tmp_path, 1290) == [1290, 1291]
    assert samples(tmp_path, 1300) == []
    claimed(tmp_path).clear()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_another_configuration_starts_with_an_empty_store(tmp_path: Path) -> None:
    claimed(tmp_path)
    RolloutStoreWriter(tmp_path, 0).append(0, [group(1)])
    assert samples(tmp_path) == [1]
    assert claimed(tmp_path, {"seed": 2}).read(0) == ({}, 0)
    assert samples(tmp_path) == []


@pytest.mark.parametrize(
    "manifest", ["", "[]", '{"identity": 7}', "{", '{"identity": "a", "name": ""}']
)
def test_a_damaged_manifest_is_another_configuration(tmp_path: Path, manifest: str) -> None:
    claimed(tmp_path)
    RolloutStoreWriter(tmp_path, 0).append(0, [group(1)])
    (tmp_path / "manifest.json").write_text(manifest)
    assert samples(tmp_path) == []
    assert "identity" in json.loads((tmp_path / "manifest.json").read_text())


@pytest.mark.parametrize("identity", [ABOUT, {"seed": 2}], ids=["same", "other"])
@pytest.mark.parametrize("whole", [True, False], ids=["file", "record"])
def test_records_of_another_run_are_not_read(tmp_path: Path, identity: object, whole: bool) -> None:
    """Not even those of a run of the same configuration."""
    for folder, known, some in (
        (tmp_path / "a", ABOUT, (1, 2)),
        (tmp_path / "b", identity, (1, 3)),
    ):
        claimed(folder, known)
        RolloutStoreWriter(folder, 0).append(0, [group(n, version=some[1]) for n in some])
    (mine,), (others,) = ((tmp_path / one).glob("*.jsonl") for one in "ab")
    kept = b"" if whole else mine.read_bytes()
    mine.write_bytes(kept + others.read_bytes())
    found, damaged = claimed(tmp_path / "a").read(0)
    assert (sorted(one.version for one in found.values()), damaged) == ([] if whole else [2, 2], 2)


def test_the_manifest_of_another_run_makes_no_record_good(tmp_path: Path) -> None:
    for one in "ab":
        claimed(tmp_path / one)
        RolloutStoreWriter(tmp_path / one, 0).append(0, [group(1)])
    (tmp_path / "a/manifest.json").write_bytes((tmp_path / "b/manifest.json").read_bytes())
    assert claimed(tmp_path / "a").read(0) == ({}, 1)


def test_a_link_out_of_the_store_is_neither_read_nor_written(tmp_path: Path) -> None:
    claimed(tmp_path / "store")
    RolloutStoreWriter(tmp_path / "store", 0).append(1, [group(1)])
    (file,) = (tmp_path / "store").glob("*.jsonl")
    before = file.read_bytes()
    file.rename(tmp_path / "outside")
    file.symlink_to(tmp_path / "outside")
    with pytest.raises(ShardError, match="found a link to .*outside, out of the folder"):
        samples(tmp_path / "store")
    with pytest.raises(ShardError, match="found a link to .*outside, out of the folder"):
        RolloutStoreWriter(tmp_path / "store", 0).append(1, [group(2)])
    assert (tmp_path / "outside").read_bytes() == before


def test_nothing_is_kept_where_no_store_was_claimed(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"manifest.json: not there, or damaged"):
        RolloutStoreWriter(tmp_path, 0)
