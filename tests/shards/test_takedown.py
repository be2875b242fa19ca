"""A document is taken out of a set: its rows, its verdicts and every text that quotes it."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import fingerprint
from prewrite.judge.passes import SetSource
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Absent, Document, Split
from prewrite.pipeline.run import run_pass
from prewrite.shards import flat, log, names
from prewrite.shards.failures import FailedRow, Failures
from prewrite.shards.manifest import PassFacts, PassInfo, Record
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.takedown import remove
from prewrite.shards.upgrade import upgrade
from prewrite.shards.verify import verify
from prewrite.train.data.source import TrainingSet
from tests.commands import shards
from tests.faults.kill_changes import MADE, rows, said, without
from tests.pipeline.fake import InstantPass
from tests.shards.format1 import downgrade
from tests.shards.making import merge_set, row, write_set
from tests.train.data.sets import config as train_config


@pytest.fixture
def judged(tmp_path: Path) -> Path:
    """A set with its rewrites."""
    url = Path(shutil.copytree(MADE, tmp_path / "set"))
    upgrade(str(url))
    return url


def records_of(url: str) -> list[Record]:
    shown = ShardSet(url)
    return [*log.records(shown.folder, shown.manifest)]


def everything(folder: Path) -> bytes:
    """All bytes of all files, Parquet decoded."""
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    for url in (folder, folder / names.REWRITES):
        if (url / names.MANIFEST).exists():
            shown = [*ShardSet(str(url)).rows(), *said(url)]
            records = [*log.records(ShardSet(str(url)).folder, ShardSet(str(url)).manifest)]
            found += [json.dumps(shown).encode(), str(records).encode()]
    return b"".join(found)


def test_rows_verdicts_and_the_rewrites_are_gone(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, document = rows(judged), "corpus.jsonl/1"
    texts = [one["original"] for one in before if one["doc_id"] == document]
    assert shards(["remove", str(judged), "--doc-id", document]) == 0
    told = capsys.readouterr().out
    for url in (judged, judged / names.REWRITES):
        assert f"{url}: generation 2; removed 1 documents, {len(texts)} rows" in told
        assert verify(str(url))["problems"] == []
        (removed,) = ShardSet(str(url)).manifest.removed
        assert (removed.doc_id, removed.rows) == (document, len(texts))
    assert rows(judged) == without(before, document)
    ids = {one["id"] for one in rows(judged)}
    assert said(judged) and {one["id"] for one in said(judged)} == ids
    left = everything(judged)
    assert texts and not [text for text in texts if text.encode() in left]


def test_other_parts_keep_their_bytes(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    write_set(url, [[row(f"{part}-{n}") for n in range(3)] for part in range(4)])
    merge_set(url)
    before = {part.name: part.sha256 for part in ShardSet(url).parts}
    assert len({part.file for part in ShardSet(url).parts}) == 1
    remove(url, ["2-1"])
    after = ShardSet(url)
    changed = {part.name for part in after.parts if before[part.name] != part.sha256}
    assert changed == {"00002-00000"}
    assert [r["doc_id"] for r in after.rows()] == [
        f"{part}-{n}" for part in range(4) for n in range(3) if (part, n) != (2, 1)
    ]
    assert after.manifest.left_out == {"removed": 1} and verify(url)["problems"] == []


def test_the_last_documents_of_a_part_take_the_part_along(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    write_set(url, [[row("a"), row("b")], [row("c")]])
    remove(url, ["a", "b", "a"])
    assert [one["doc_id"] for one in ShardSet(url).rows()] == ["c"]
    assert verify(url)["problems"] == [] and ShardSet(url).manifest.parts == 1
    remove(url, ["c"])
    assert list(ShardSet(url).rows()) == [] and verify(url)["problems"] == []
    assert [one.doc_id for one in ShardSet(url).manifest.removed] == ["a", "b", "c"]


def test_an_unknown_document_changes_nothing(
    judged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["remove", str(judged), "--doc-id", "corpus.jsonl/0", "--doc-id", "corpus.jsonl/9"]
    assert shards(words) == 2
    told = capsys.readouterr().err
    assert f"--doc-id: found 'corpus.jsonl/9', which no row of {judged} has; accepted: a" in told
    assert ShardSet(str(judged)).manifest.generation == 1
    with pytest.raises(ConfigError, match="which no row of"):
        remove(str(judged), ["%"])


def test_twice_is_once(judged: Path) -> None:
    remove(str(judged), ["corpus.jsonl/0"])
    made = rows(judged)
    (first, second) = remove(str(judged), ["corpus.jsonl/0"])
    assert "holds none of these documents any more" in first and "holds none" in second
    assert rows(judged) == made and ShardSet(str(judged)).manifest.generation == 2


def test_examples_of_failures_say_no_text_of_it(tmp_path: Path) -> None:
    """The manifest, the log and the card quote answers to rows that failed."""
    url = str(tmp_path / "set")
    answers = [FailedRow(id=f"{name}-0", answer=f"secret {name}") for name in ("a", "b")]
    manifest = write_set(url, [[row("a"), row("b")]])
    facts = PassFacts(asked=2, failed=2, failures={"odd": Failures(count=2, examples=answers)})
    records = [*log.records(ShardSet(url).folder, manifest)]
    records[0].failures, records[0].asked, records[0].failed = facts.failures, 2, 2
    manifest.log = log.write(ShardSet(url).folder, records, "00000000ffff")
    manifest.passes[0].failures, manifest.passes[0].asked = facts.failures, 2
    manifest.passes[0].failed = 2
    manifest.save(ShardSet(url).folder)
    remove(url, ["a"])
    left = everything(tmp_path / "set")
    assert b"secret a" not in left and b"secret b" in left
    assert verify(url)["problems"] == []


def test_a_report_goes_too(judged: Path) -> None:
    assert shards(["report", str(judged)]) == 0
    assert (judged / names.REPORT).exists()
    *_, told = remove(str(judged), ["corpus.jsonl/0"])
    assert told == f"{judged}/{names.REPORT}: removed; it may show the documents"
    assert not (judged / names.REPORT).exists()


def test_a_repair_does_not_bring_it_back(corpus: Path, tmp_path: Path) -> None:
    """The record says which documents are left out when the part is made again."""
    url, job = str(tmp_path / "set"), InstantPass((f"{corpus}/*.jsonl",))
    run_pass(job, url, RunConfig(rows_per_part=40))
    before, documents = rows(tmp_path / "set"), {row["doc_id"] for row in rows(tmp_path / "set")}
    document = sorted(documents)[3]
    remove(url, [document])
    (record,) = [r for r in records_of(url) if r.removed]
    assert record.part and [one.doc_id for one in record.removed] == [document]
    data = bytearray((tmp_path / "set" / record.part.file).read_bytes())
    data[record.part.start + record.part.bytes // 2] ^= 1
    (tmp_path / "set" / record.part.file).write_bytes(data)
    assert "of 1 parts" in repair(url)[-1]
    run_pass(job, url, RunConfig(rows_per_part=40))
    assert rows(tmp_path / "set") == without(before, document)
    assert verify(url)["problems"] == []
    assert [one.doc_id for r in records_of(url) for one in r.removed] == [document]


def test_a_judged_set_is_repaired_after_a_takedown(judged: Path) -> None:
    """Its input has the document no more, and its record counts it all the same."""
    remove(str(judged), ["corpus.jsonl/1"])
    source = SetSource(f"{judged}/{names.REWRITES}")
    for record in records_of(str(judged)):
        items = list(source.read(Split(record.split, "", 0), record.start))
        documents = sum(isinstance(item, Document) for item in items)
        assert documents + len(record.removed) == record.stop - record.start
        known = {part.name: part.known_as for part in ShardSet(source.url).parts}
        assert {item.before for item in items} == {known[record.split]}


def test_a_training_run_on_the_old_rows_is_refused(judged: Path) -> None:
    """What a checkpoint remembers of the set is another thing afterwards."""
    before = TrainingSet(0, train_config({"set": str(judged)})).identity()
    remove(str(judged), ["corpus.jsonl/0"])
    after = TrainingSet(0, train_config({"set": str(judged)})).identity()
    assert (before["generation"], after["generation"]) == (1, 2)


def test_a_judge_pass_finds_its_input_unchanged(judged: Path) -> None:
    """So that the command that made both sets finds them complete, and asks nothing again."""
    remove(str(judged), ["corpus.jsonl/0"])
    inner = ShardSet(f"{judged}/{names.REWRITES}").manifest
    made = ShardSet(str(judged)).manifest.passes[-1]
    assert made.config["input"]["parts"] == inner.known_as != inner.rows_digest
    reads = {part.name: part.known_as for part in ShardSet(f"{judged}/{names.REWRITES}").parts}
    for record in log.records(ShardSet(str(judged)).folder, ShardSet(str(judged)).manifest):
        assert record.read in ("", reads.get(record.split))  # 0.1 has kept none


def test_each_rewrite_of_a_row_is_counted(tmp_path: Path) -> None:
    """A set of several templates counts the statuses of each of its rewrites."""
    url = str(tmp_path / "set")
    more = {"rewrite_faq": None, "rewrite_faq_status": "refused", "rewrite_faq_reason": "refusal"}
    write_set(url, [[row(name) | more for name in ("a", "b")]], rewrites=["plain", "faq"])
    assert ShardSet(url).manifest.statuses == {"ok": 2, "rewrite_faq: refused": 2}
    remove(url, ["a"])
    assert ShardSet(url).manifest.statuses == {"ok": 1, "rewrite_faq: refused": 1}
    assert verify(url)["problems"] == []


def test_the_rewrites_of_a_set_go_with_it(judged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the set could not be made again of them."""
    words = ["remove", f"{judged}/{names.REWRITES}/", "--doc-id", "corpus.jsonl/0"]
    assert shards(words) == 2
    assert f"accepted: the set itself, {judged}, which takes" in capsys.readouterr().err
    for url in (judged, judged / names.REWRITES):
        assert shards(["report", str(url)]) == 0
    told = remove(f"{judged}/", ["corpus.jsonl/0"])
    assert sum("removed; it may show" in line for line in told) == 2


def test_one_id_of_two_corpus_files_is_two_documents(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    write_set(url, [[row("a"), row("b")], [row("a")]])
    (told,) = remove(url, ["a"])
    assert told.endswith("removed 2 documents, 2 rows")
    (removed,) = ShardSet(url).manifest.removed
    assert (removed.rows, removed.documents) == (2, 2) and verify(url)["problems"] == []


def test_one_id_of_two_documents_of_a_part_of_version_0_1(tmp_path: Path) -> None:
    """It kept no two apart."""
    url = str(tmp_path / "set")
    write_set(url, [[row("a"), row("b"), row("a") | {"id": "a-again"}, row("c")]])
    downgrade(tmp_path / "set")
    upgrade(url)
    (told,) = remove(url, ["a"])
    assert told.endswith("removed 2 documents, 2 rows")
    (record,) = records_of(url)
    assert [(one.doc_id, one.at) for one in record.removed] == [("a", 0), ("a", 2)]
    assert verify(url)["problems"] == []
    remove(url, ["c"])
    assert [(one.doc_id, one.at) for one in records_of(url)[0].removed][2:] == [("c", 3)]
    assert verify(url)["problems"] == []


def test_what_its_input_has_left_out_stays_counted(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    made = [PassInfo(name=name, fingerprint=fingerprint({}), config={}) for name in ("a", "b")]
    write_set(url, [[row("a"), row("b")]], passes=made, left_out={"filter": 7})
    remove(url, ["a"])
    assert ShardSet(url).manifest.left_out == {"filter": 7, "removed": 1}
    assert verify(url)["problems"] == []


@pytest.mark.parametrize("document", ["\udcff", "a\ud800"])
def test_an_id_that_is_no_text_is_one_sentence(judged: Path, document: str) -> None:
    with pytest.raises(ConfigError, match="found bytes that are not UTF-8; accepted: a text"):
        remove(str(judged), [document])


@pytest.mark.parametrize("is_old", [True, False])
def test_rewrites_that_it_would_miss_are_named(
    judged: Path, is_old: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder that they had in an older format; a set there is also read with the rows."""
    inner = MADE / flat.REWRITES if is_old else judged / names.REWRITES
    shutil.copytree(inner, judged / flat.REWRITES)
    assert shards(["remove", str(judged), "--doc-id", rows(judged)[0]["doc_id"]]) == 1
    assert "found a set, which may hold the documents" in capsys.readouterr().err


@settings(max_examples=25)
@given(st.data())
def test_documents_keep_their_places_through_any_takedowns(data: st.DataObject) -> None:
    """Whatever is taken out, in any order: a source has each document at its place, or says which
    one is not there; and from any place on it has the same.
    """
    sizes = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    every = [[f"d{part}-{n}" for n in range(size)] for part, size in enumerate(sizes)]
    with TemporaryDirectory() as folder:
        url = f"{folder}/set"
        write_set(url, [[row(name) for name in names] for names in every])
        left = [name for names in every for name in names]
        gone, known = set[str](), [part.known_as for part in ShardSet(url).parts]
        for _ in range(data.draw(st.integers(0, 3))):
            if not left:
                break
            some = data.draw(st.lists(st.sampled_from(left), min_size=1, unique=True))
            remove(url, some)
            gone |= {*some}
            left = [name for name in left if name not in gone]
        source = SetSource(url)
        for split, names, digest in zip(source.splits(), every, known, strict=True):
            assert {item.before for item in source.read(split, 0)} == {digest}
            for start in range(len(names) + 1):
                items = [*source.read(split, start)][:-1]
                found = [
                    (item.rows[0]["doc_id"], False)
                    if isinstance(item, Document)
                    else (item.doc_id, True)
                    for item in items
                    if isinstance(item, Document | Absent)
                ]
                assert found == [(name, name in gone) for name in names[start:]]
        assert verify(url)["problems"] == []
