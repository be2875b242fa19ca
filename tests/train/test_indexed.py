"""`prewrite train export`: the real Megatron reads what is written, token by token."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from prewrite.engine.tokenizer import load_tokenizer
from prewrite.shards.export import Export
from prewrite.train.megatron_export import export
from tests.commands import train as main
from tests.shards.scored import scored_set
from tests.train.data.sets import EOS, MODEL, write_set


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scored_set(tmp_path_factory.mktemp("scored") / "set")


@pytest.mark.parametrize("each", ["document", "chunk"])
def test_megatron_reads_the_texts_back(url: str, each: str, tmp_path: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    command = ["export", url, "--to", f"{tmp_path}/a", "--tokenizer", MODEL, "--each", each]
    assert main(command) == 0
    found = IndexedDataset(f"{tmp_path}/a")
    texts = [record["text"] for record in Export(url, "chunk" if each == "chunk" else "document")]
    tokenizer = load_tokenizer(MODEL)
    assert len(found) == len(texts) > 5
    assert list(found.document_indices) == list(range(len(texts) + 1))
    for ids, text in zip((found[i] for i in range(len(found))), texts, strict=True):
        assert ids.dtype == np.uint16
        assert list(ids) == [*tokenizer.encode(text).ids, EOS]


class Ends:
    """What Megatron's own data set asks of a tokenizer."""

    eod, pad, vocab_size = EOS, 0, 49152
    unique_identifiers: ClassVar[dict[str, str]] = {}


def test_megatron_makes_training_samples_of_it(url: str, tmp_path: Path) -> None:
    """GPTDataset packs documents into samples of a fixed length; one epoch holds every token."""
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
    from megatron.core.datasets.indexed_dataset import IndexedDataset
    from megatron.core.datasets.utils import Split

    tokens = export(Export(url, "document"), f"{tmp_path}/a", MODEL)
    low = IndexedDataset(f"{tmp_path}/a")
    assert (tmp_path / "a.bin").stat().st_size == 2 * tokens
    config = GPTDatasetConfig(
        random_seed=0,
        sequence_length=64,
        split="1,0,0",
        blend=([f"{tmp_path}/a"], None),
        tokenizer=Ends(),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
    )
    documents = np.arange(len(low), dtype=np.int32)
    samples = GPTDataset(low, f"{tmp_path}/a", documents, None, Split.train, config)
    assert len(samples) == (tokens - 1) // 64
    drawn = np.concatenate([samples[i]["tokens"].numpy() for i in range(len(samples))])
    stored = np.concatenate([low[i] for i in range(len(low))])
    assert not set(drawn) - set(stored) and len(drawn) > 0.9 * len(stored)


def test_special_tokens_in_a_text_are_characters(tmp_path: Path) -> None:
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    given = {"original": "a<|endoftext|>b", "original_quality": 1.0, "original_score": 1.0}
    url = write_set(tmp_path / "set", [[[given]]])
    export(Export(url, "document"), f"{tmp_path}/a", MODEL)
    found = IndexedDataset(f"{tmp_path}/a")  # closes its memory map when it goes
    ids = list(found[0])
    assert EOS not in ids[:-1] and 0 not in ids and ids[-1] == EOS
    assert load_tokenizer(MODEL).decode(ids[:-1]) == "a<|endoftext|>b"


def test_an_export_that_fails_leaves_no_index(url: str, tmp_path: Path) -> None:
    """An old index beside new tokens would be read as if it fitted them."""
    (tmp_path / "a.idx").write_text("old")
    command = ["export", url, "--to", f"{tmp_path}/a", "--tokenizer", MODEL]
    assert main([*command, "--filter", "chunk < 0"]) == 2
    assert not list(tmp_path.iterdir())


def test_no_file_that_is_read_can_be_replaced(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").symlink_to(url)
    (tmp_path / "tokenizer").symlink_to(Path(MODEL).absolute())
    for place, sentence in (
        ("set/part-0", "of the set"),
        ("tokenizer/a", "of the tokenizer"),
    ):
        command = ["export", url, "--to", f"{tmp_path}/{place}", "--tokenizer", MODEL]
        assert main(command) == 2
        assert f"inside {sentence}" in capsys.readouterr().err


def test_a_wrong_tokenizer_is_one_sentence(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", url, "--to", f"{tmp_path}/a", "--tokenizer", "models/none"]
    assert main(command) == 1
    assert capsys.readouterr().err == "error: models/none: no such folder\n"
