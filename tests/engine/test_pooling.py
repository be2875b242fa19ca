"""PoolingModel with tiny random models: what comes back is what transformers computes."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
)

from prewrite.base.errors import ConfigError, EngineError
from prewrite.engine.pooling import PoolingModel
from prewrite.engine.registry import get_pooling
from prewrite.judge.classifiers import classify
from prewrite.judge.criteria import Classifier

pytestmark = pytest.mark.slow
SPECIAL = ["[UNK]", "[CLS]", "[SEP]", "[PAD]"]
WORDS = [*SPECIAL, "the", "a", "fox", "well", "moon", "good", "bad", "water", "is", "deep"]
WORDS += ["[", "]", "SEP"]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS),
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "initializer_range": 0.5,
    "pad_token_id": 3,
}


def save_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    names = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A classifier of three classes."""
    folder = tmp_path_factory.mktemp("bert")
    save_tokenizer(folder)
    torch.manual_seed(0)
    names = dict(enumerate(("bad", "fair", "good")))
    config = BertConfig(**SIZES, id2label=names, label2id={v: k for k, v in names.items()})
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return str(folder), model


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A reward model: one number."""
    folder = tmp_path_factory.mktemp("llama")
    save_tokenizer(folder)
    torch.manual_seed(1)
    config = LlamaConfig(**SIZES, num_labels=1, problem_type="regression")
    model = LlamaForSequenceClassification(config).eval()
    model.save_pretrained(folder)
    return str(folder), model


def ids(*texts: str) -> tuple[list[int], list[int]]:
    """Token ids and types by hand; only words of WORDS."""
    found, types = [1], [0]
    for number, text in enumerate(texts):
        found += [*(WORDS.index(word) for word in text.split()), 2]
        types += [number] * (len(text.split()) + 1)
    return found, types


def expected(model: Any, *texts: str) -> list[float]:
    found, types = ids(*texts)
    kinds = {"token_type_ids": torch.tensor([types])} if hasattr(model, "bert") else {}
    with torch.no_grad():
        logits = model(torch.tensor([found]), **kinds).logits[0]
    return (torch.softmax(logits, -1) if len(logits) > 1 else logits).tolist()


ASKED: list[tuple[str, ...]] = [
    ("the fox is good",),
    ("the water",),
    ("the fox", "is deep water"),
    ("a good well", "is deep water"),
]


def same(found: Sequence[list[float] | str], model: Any, asked: Sequence[tuple[str, ...]]) -> None:
    for one, texts in zip(found, asked, strict=True):
        assert one == pytest.approx(expected(model, *texts), abs=1e-4)


def test_a_classifier_tells_the_models_probabilities(bert: tuple[str, Any]) -> None:
    folder, model = bert
    pooling = get_pooling(folder, None, {})
    assert pooling is get_pooling(folder, None, {})
    assert pooling.labels == ["bad", "fair", "good"]
    same(pooling(ASKED), model, ASKED)
    # Special tokens are plain text; too long a text has no number, too long a context is cut.
    (hostile,) = pooling([("the [SEP] water",)])
    assert hostile == pytest.approx(expected(model, "the [ SEP ] water"), abs=1e-4)
    long, fits = pooling([("the " * 80,), ("the moon " * 40, "is deep")])
    assert long == "a text of 82 tokens; the model takes 64"
    assert fits == pytest.approx(expected(model, "moon " + "the moon " * 29, "is deep"), abs=1e-4)
    assert pooling([("the", "moon " * 80)]) == ["a text of 83 tokens; the model takes 64"]
    assert pooling([]) == []


def test_a_classifier_as_a_criterion(bert: tuple[str, Any]) -> None:
    folder, model = bert

    async def run(**keys: Any) -> list[Any]:
        data = {"name": "c", "version": 1, "kind": "classifier", "model": folder} | keys
        criterion = Classifier.model_validate(data)
        texts = [("the fox", "", "is good"), ("a well", "", "the moon")]
        return await asyncio.gather(*(classify(criterion, text) for text in texts))

    alone = asyncio.run(run(label="fair"))
    assert [v.value for v in alone] == pytest.approx(
        [expected(model, "is good")[1], expected(model, "the moon")[1]], abs=1e-4
    )
    pairs = asyncio.run(run(label="good", input="pair"))
    assert pairs[1].value == pytest.approx(expected(model, "a well", "the moon")[2], abs=1e-4)
    with pytest.raises(ConfigError, match="label: found none; accepted: bad, fair, good"):
        asyncio.run(run())


def test_a_reward_model_tells_its_number(llama: tuple[str, Any]) -> None:
    folder, model = llama
    pooling = PoolingModel(folder, None, {})
    assert len(pooling.labels) == 1
    same(pooling(ASKED), model, ASKED)


def test_a_model_that_is_not_there() -> None:
    with pytest.raises(EngineError, match="models/none: no such folder"):
        PoolingModel("models/none", None, {})


def test_a_model_without_weights(bert: tuple[str, Any], tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    with pytest.raises(EngineError, match="cannot load the model .* with vLLM: ") as raised:
        PoolingModel(str(tmp_path), None, {})
    assert "\n" not in str(raised.value)
