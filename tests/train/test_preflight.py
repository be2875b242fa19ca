"""Models and sets that a run cannot use, or would use wrongly, are refused before its first step.

Most of it goes through the dry run, in this process: it is the same function that a start calls.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoTokenizer

from prewrite.base.errors import ConfigError, EngineError, InputError, PrewriteError, ShardError
from prewrite.shards.reader import ShardSet
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.stored import references_of
from prewrite.train.feed import open_loader
from prewrite.train.learnt import POINTS, cut_points
from prewrite.train.model.shape import load_shape
from prewrite.train.plan import plan
from prewrite.train.tally import LearningTally
from tests.commands import train as main
from tests.train.small import Command, Edit, make_set, metrics, settings

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
QUERY = "model.layers.0.self_attn.q_proj"

Spoil = Callable[[Path], object]


@pytest.fixture
def model(small: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to spoil."""
    return Path(shutil.copytree(small / "model", tmp_path / "model"))


def dry_run(small: Path, model: Path, init: str = "pretrained", **changed: Any) -> str:
    """The plan of a run of `model`; it leaves nothing but the index of the set."""
    output = model.parent / "run"
    train = settings(small, str(output), **changed)
    train["model"] = {"path": str(model), "init": init}
    try:
        return plan(TrainConfig.model_validate(train))
    finally:
        assert [path.name for path in output.glob("*")] in ([], ["cache"])


def tensors(edit: Callable[[dict[str, Tensor]], Mapping[str, Tensor | None]]) -> Spoil:
    """A change of the weights: what `edit` gives is put in, None is taken out."""

    def spoil(model: Path) -> None:
        found: dict[str, Any] = load_file(model / SINGLE)
        found |= edit(found)
        kept = {name: tensor for name, tensor in found.items() if tensor is not None}
        save_file(kept, model / SINGLE, metadata={"format": "pt"})

    return spoil


def text(file: str, content: str) -> Spoil:
    return lambda model: (model / file).write_text(content)


def values(file: str, **changed: Any) -> Spoil:
    """A change of a JSON file."""

    def spoil(model: Path) -> None:
        found = json.loads((model / file).read_text())
        (model / file).write_text(json.dumps(found | changed))

    return spoil


def _eights(found: dict[str, Tensor]) -> dict[str, Tensor]:
    scale = found[f"{QUERY}.weight"].abs().max() / 448
    eights = (found[f"{QUERY}.weight"] / scale).to(torch.float8_e4m3fn)
    return {f"{QUERY}.weight": eights, f"{QUERY}.weight_scale_inv": scale.reshape(1, 1)}


def _quantised(model: Path) -> None:
    tensors(_eights)(model)
    values("config.json", quantization_config={"quant_method": "fp8", "fmt": "e4m3"})(model)


def _split(model: Path, **renamed: str) -> dict[str, dict[str, Tensor]]:
    """The weights in two files with an index."""
    found = load_file(model / SINGLE)
    names = sorted(found)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: found[name] for name in some}, model / file, metadata={"format": "pt"})
    where = {name: renamed.get(file, file) for file, some in parts.items() for name in some}
    (model / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": where}))
    (model / SINGLE).unlink()
    return {file: {name: found[name] for name in some} for file, some in parts.items()}


def _two_files_hold_one(model: Path) -> None:
    parts = _split(model)
    twice = next(iter(parts["a.safetensors"].items()))
    save_file(parts["b.safetensors"] | dict([twice]), model / "b.safetensors")


def _index_and_single(model: Path) -> None:
    whole = (model / SINGLE).read_bytes()
    _split(model)
    (model / SINGLE).write_bytes(whole)


def _another_version(model: Path) -> None:
    shutil.copyfile(model / SINGLE, model / "model.fp16.safetensors")


def _pickled(model: Path) -> None:
    (model / SINGLE).rename(model / "pytorch_model.bin")


def _cut(model: Path) -> None:
    os.truncate(model / SINGLE, (model / SINGLE).stat().st_size - 100)


def _dangling(model: Path) -> None:
    (model / SINGLE).unlink()
    (model / SINGLE).symlink_to(model / "blobs/none")


def _as_pipe(name: str) -> Spoil:
    def spoil(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        os.mkfifo(model / name)

    return spoil


def _longer_tokenizer(model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<ext>"])
    tokenizer.save_pretrained(model)


_LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


def _rope(**changed: Any) -> Spoil:
    known = {"rope_type": "default", "rope_theta": 1e4}
    return values("config.json", rope_parameters=known | changed)


HEAD_DIFFERS = "lm_head.weight differs from the embedding; set tie_word_embeddings: false"
NOT_READ = "cannot be read by transformers: "

REFUSED: dict[str, tuple[Spoil, type[PrewriteError], str]] = {
    "quantised": (_quantised, ConfigError, "quantization_config: found 'quant_method fp8'"),
    "quantised by its config alone": (
        values("config.json", quantization_config={"quant_method": "bitsandbytes"}),
        ConfigError,
        "quantization_config: found 'quant_method bitsandbytes'",
    ),
    "compressed": (values("config.json", compression_config={"a": 1}), ConfigError, "compression"),
    "fp8": (tensors(_eights), EngineError, f"{QUERY}.weight: found the type F8_E4M3; accepted: F"),
    "int8": (
        tensors(lambda found: {f"{QUERY}.weight": found[f"{QUERY}.weight"].to(torch.int8)}),
        EngineError,
        "found the type I8",
    ),
    "packed": (
        tensors(lambda found: {f"{QUERY}.qweight": torch.zeros(4, 32, dtype=torch.int32)}),
        EngineError,
        f"{QUERY}.qweight: found the type I32",
    ),
    "scales": (
        tensors(lambda found: {f"{QUERY}.weight_scale": torch.ones(1)}),
        EngineError,
        f"does not have: {QUERY}.weight_scale; accepted",
    ),
    "own head": (
        tensors(lambda found: {HEAD: found[EMBEDDING] * 1.01}),
        EngineError,
        HEAD_DIFFERS,
    ),
    "own head in the last row": (
        tensors(lambda found: {HEAD: torch.cat([found[EMBEDDING][:-1], torch.ones(1, 32)])}),
        EngineError,
        HEAD_DIFFERS,
    ),
    "a head of another size": (
        tensors(lambda found: {HEAD: found[EMBEDDING][:-1].clone()}),
        EngineError,
        HEAD_DIFFERS,
    ),
    "no head": (values("config.json", tie_word_embeddings=False), EngineError, f"tensor {HEAD}"),
    "biases": (
        tensors(lambda found: {f"{QUERY}.bias": torch.ones(32), f"{HEAD[:-6]}bias": torch.ones(9)}),
        EngineError,
        "does not have: lm_head.bias and 1 more; accepted: those of LlamaForCausalLM alone",
    ),
    "norms of queries": (
        tensors(lambda found: {"model.layers.1.self_attn.q_norm.weight": torch.ones(8)}),
        EngineError,
        "model.layers.1.self_attn.q_norm.weight",
    ),
    "one layer more": (values("config.json", num_hidden_layers=1), EngineError, "model.layers.1."),
    "one layer less": (
        values("config.json", num_hidden_layers=3),
        EngineError,
        "hold no tensor model.layers.2.input_layernorm.weight and 8 more",
    ),
    "other sizes": (
        tensors(lambda found: {"model.norm.weight": torch.ones(31)}),
        EngineError,
        "tensor model.norm.weight: found the sizes [31]; accepted (by config.json): [32]",
    ),
    "no file of the index": (
        lambda model: _split(model, **{"b.safetensors": "c.safetensors"}),
        EngineError,
        "no c.safetensors; found: a.safetensors, b.safetensors",
    ),
    "index of other files": (
        lambda model: _split(model, **{"b.safetensors": "a.safetensors"}),
        EngineError,
        f"{INDEX} says that a.safetensors holds tensor ",
    ),
    "index of a file elsewhere": (
        lambda model: _split(model, **{"b.safetensors": "../model/b.safetensors"}),
        EngineError,
        f"{INDEX}: found the file '../model/b.safetensors'; accepted: names of files beside it",
    ),
    "a pipe": (
        _as_pipe(SINGLE),
        EngineError,
        "found a pipe, a socket or a",
    ),
    "a pipe for an index": (
        _as_pipe(INDEX),
        EngineError,
        "found a pipe, a socket or a",
    ),
    "a pipe for tokens": (
        _as_pipe("tokenizer.json"),
        EngineError,
        "found a pipe, a socket or a",
    ),
    "no index": (text(INDEX, "{}"), EngineError, f"weights there: {INDEX}: "),
    "twice": (_two_files_hold_one, EngineError, "in a.safetensors and in b.safetensors; accepted"),
    "index and single": (_index_and_single, EngineError, f"in {SINGLE}, which is not read"),
    "another version": (_another_version, EngineError, "in model.fp16.safetensors, which is not"),
    "pickled": (_pickled, EngineError, f"no {SINGLE}; found: pytorch_model.bin"),
    "cut": (_cut, EngineError, f"no usable safetensors weights there: {SINGLE}: "),
    "dangling": (_dangling, EngineError, f"no usable safetensors weights there: no {SINGLE}"),
    "adapter": (text("adapter_config.json", "{}"), EngineError, "with the adapter merged"),
    "architecture": (
        values("config.json", architectures=["LlamaForSequenceClassification"]),
        ConfigError,
        "architectures: found ['LlamaForSequenceClassification']; accepted: ['LlamaForCausalLM']",
    ),
    "tokenizer": (
        _longer_tokenizer,
        EngineError,
        "tokenizer.json has ids up to 49152 ('<ext>'); the model has 49152 embeddings",
    ),
    "eos": (values("config.json", eos_token_id=[2, 50000]), EngineError, "eos_token_id: found 5"),
    "bos": (values("config.json", bos_token_id=-1), EngineError, "bos_token_id: found -1"),
    "padding": (values("config.json", pad_token_id=49152), EngineError, "pad_token_id: found 49"),
    "ids of generation": (
        values("generation_config.json", eos_token_id=[2, 49152]),
        EngineError,
        "generation_config.json: eos_token_id: found 49152; accepted: an id of the model's 49152",
    ),
    "true for an id": (
        values("generation_config.json", eos_token_id=[True]),
        EngineError,
        "generation_config.json: eos_token_id: found True; accepted: an id of the model's 49152",
    ),
    "no json": (text("generation_config.json", "{"), EngineError, "found no JSON object"),
    "no JSON for transformers": (
        lambda model: (model / "config.json").write_bytes(
            (model / "config.json").read_text().encode("utf-16")
        ),
        ConfigError,
        "config.json: It looks like the config file",
    ),
    "nested": (text("config.json", "[" * 100_000), EngineError, "no config.json of a model in it"),
    "nested ids": (text("generation_config.json", "[" * 100_000), EngineError, "no JSON object"),
    "nested index": (text(INDEX, "[" * 100_000), EngineError, f"weights there: {INDEX}: "),
    "no heads": (values("config.json", num_attention_heads=0), ConfigError, "config.json: integer"),
    "no values": (
        values("config.json", num_key_value_heads=0),
        ConfigError,
        "num_key_value_heads: found 0; accepted: a number above 0",
    ),
    "no epsilon": (
        values("config.json", rms_norm_eps=float("nan")),
        ConfigError,
        "rms_norm_eps: found nan; accepted: a number above 0",
    ),
    "no angles": (_rope(rope_theta=0.0), ConfigError, "rope_theta: found 0.0; accepted: a number"),
    "angles in words": (_rope(rope_theta="10k"), ConfigError, "rope_theta: found '10k'; accepted"),
    "no factor": (
        _rope(**_LLAMA_3 | {"factor": 0}),
        ConfigError,
        "factor: found 0; accepted: a nu",
    ),
    "no band": (
        _rope(**_LLAMA_3 | {"high_freq_factor": 1.0}),
        ConfigError,
        "high_freq_factor: found 1.0; accepted: more than low_freq_factor, 1.0",
    ),
    "a token of transformers": (
        values("tokenizer_config.json", eos_token="<|nowhere|>"),
        EngineError,
        "ids up to 49152 ('<|nowhere|>'); accepted: ids up to 49151, the model's embeddings",
    ),
    "an added token": (
        text("added_tokens.json", '{"<x>": 60000}'),
        EngineError,
        "ids up to 49152 ('<x>'); accepted: ids up to 49151",
    ),
    "odd generation": (
        values("generation_config.json", max_new_tokens=0),
        EngineError,
        f"generation_config.json and what belongs to it {NOT_READ}",
    ),
    "odd tokenizer": (text("tokenizer_config.json", "{"), EngineError, NOT_READ),
    "provenance": (text("prewrite.json", "{"), InputError, "prewrite.json: found something else"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_such_a_model_is_refused(small: Path, model: Path, case: str) -> None:
    spoil, kind, sentence = REFUSED[case]
    spoil(model)
    with pytest.raises(kind) as error:
        dry_run(small, model)
    assert str(error.value).startswith(str(model)) and sentence in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def _linked(model: Path) -> None:
    """As the hub's cache keeps a snapshot."""
    blobs = model.with_name("blobs")
    blobs.mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        file.rename(blobs / str(number))
        file.symlink_to(f"../blobs/{number}")


def _folders(model: Path) -> None:
    """Names of side files, and none of them a file."""
    (model / "tokenizer_old").mkdir()
    (model / "tokenizer_old/tokenizer.json").touch()
    (model / "vocab.json").symlink_to(model / "none")
    (model / "merges").symlink_to(model)
    os.mkfifo(model / "chat_template.pipe")
    (model / "generation_config.json").unlink()
    (model / "generation_config.json").mkdir()


def _pipe(model: Path) -> None:
    """Which nothing is written to."""
    (model / "generation_config.json").unlink()
    os.mkfifo(model / "generation_config.json")


USED: dict[str, Spoil] = {
    "as it is": lambda model: None,
    "a head that is the embedding": tensors(lambda found: {HEAD: found[EMBEDDING].clone()}),
    "angles": tensors(
        lambda found: {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    ),
    "half": tensors(lambda found: {name: tensor.half() for name, tensor in found.items()}),
    "in two files": _split,
    "of a hub": _linked,
    "folders and links": _folders,
    "a pipe": _pipe,
    "Llama 3": _rope(**_LLAMA_3),
    "no padding": values("config.json", pad_token_id=-1),
    "another format beside": lambda model: save_file(
        {"layers.0.attention.wq.weight": torch.ones(3)}, model / "consolidated.safetensors"
    ),
}


@pytest.mark.parametrize("case", USED)
def test_such_a_model_is_used(
    small: Path, model: Path, case: str, capfd: pytest.CaptureFixture[str]
) -> None:
    USED[case](model)
    assert "llama, 1,588,384 parameters" in dry_run(small, model)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_not_read_may_be_anything(small: Path, model: Path) -> None:
    (model / SINGLE).unlink()
    assert dry_run(small, model, init="scratch")
    _longer_tokenizer(model)
    with pytest.raises(EngineError, match="tokenizer.json has ids up to 49152"):
        dry_run(small, model, init="scratch")


def test_sequences_have_the_positions_of_the_model(small: Path, model: Path) -> None:
    batch = {"samples": 4, "sequence_tokens": 256, "context_tokens": 16}
    assert dry_run(small, model, batch=batch | {"max_seq_len": 128})
    with pytest.raises(ConfigError) as error:
        dry_run(small, model, batch=batch | {"max_seq_len": 129})
    assert str(error.value) == (
        "train.batch.max_seq_len: found 129; accepted: at most 128, max_position_embeddings of "
        f"{model}"
    )


def test_an_output_that_cannot_be_written(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, file = tmp_path / "recipe.yaml", tmp_path / "file"
    file.write_text("a file, no folder")
    train = settings(small, str(file / "run"))
    recipe.write_text(yaml.safe_dump({"output": "unused", "train": train}))
    assert main(["--config", str(recipe), "--dry-run"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(file) in line


@pytest.mark.slow
@pytest.mark.parametrize(("words", "ranks"), [((), 2), (("reference",), 1)])
def test_no_command_begins_with_such_a_model(
    small: Path, model: Path, words: tuple[str, ...], ranks: int
) -> None:
    tensors(lambda found: {HEAD: found[EMBEDDING] * 1.01})(model)
    train = settings(small, str(model.parent / "run"), model={"path": str(model)})
    command = Command(train, *words, ranks=ranks)
    assert command.end() == 1, command.text
    assert command.text == f"error: {model}: {HEAD_DIFFERS} in its config.json\n"
    assert metrics(command.output) == [] and not (small / "set/_references").exists()


def _refused(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None for name in row if name.startswith("rewrite_")} | {
        "rewrite": None,
        "rewrite_status": "refused",
    }


def _copied(row: dict[str, Any]) -> dict[str, Any]:
    return {"rewrite": row["original"], "rewrite_status": "copied", "rewrite_score": 9.0}


def _unscored(row: dict[str, Any]) -> dict[str, Any]:
    return {"original_score": None, "rewrite_score": None}


def _equal(row: dict[str, Any]) -> dict[str, Any]:
    return {"original_score": 0.5, "rewrite_score": 0.5}


def _mixed(row: dict[str, Any]) -> Mapping[str, Any]:
    edits = (_refused, _unscored, _equal, _copied)
    return edits[row["chunk"] % 4](row)


REWRITES = {"kind": "nll", "text": "rewrite"}
NOTHING: list[tuple[Edit, list[Any], list[Any], str]] = [
    (_refused, ["dpo", "grpo", REWRITES], ["nll", "rf_nll"], "no usable rewrite or rollout"),
    (_unscored, ["dpo", "grpo", "rf_nll"], ["nll", REWRITES, ["dpo", "nll"]], "no scores"),
    (_equal, ["dpo", ["dpo", "grpo"]], ["nll", "rf_nll"], "equal scores or equal texts"),
    (_copied, ["dpo", "grpo"], ["rf_nll", REWRITES], "equal scores or equal texts"),
    (_mixed, ["dpo", "grpo"], ["rf_nll"], "no usable rewrite or rollout"),
]


@pytest.mark.parametrize(("edit", "empty", "learnt", "why"), NOTHING)
def test_sets_with_nothing_to_learn(
    small: Path, tmp_path: Path, edit: Edit, empty: list[Any], learnt: list[Any], why: str
) -> None:
    make_set(tmp_path / "set", edit=edit)
    rows = ShardSet(str(tmp_path / "set")).manifest.rows
    for objective in empty:
        train = _config(small, tmp_path, objective)
        found, laid = _counts(train)
        assert found["learnt"] == 0 and found.total() == rows
        assert found == laid, "what is found beforehand is what the steps find"
    with pytest.raises(InputError) as error:
        plan(train)
    assert str(error.value).startswith(
        f"train.curriculum, phase only: found nothing to learn from in {rows} rows: "
    )
    assert re.search(rf" rows: \d+ with {why}", str(error.value))
    for objective in learnt:
        found, laid = _counts(_config(small, tmp_path, objective))
        assert found["learnt"] and laid["learnt"]


def test_a_filter_may_leave_nothing_to_learn(small: Path, tmp_path: Path) -> None:
    make_set(tmp_path / "set", edit=lambda row: _equal(row) if row["chunk"] else {})
    assert _counts(_config(small, tmp_path, "dpo"))[0]["learnt"]
    filtered = _config(small, tmp_path, "dpo", filter="chunk > 0 and rewrite_status == 'ok'")
    with pytest.raises(InputError, match=r"rows: \d+ with equal scores or equal texts;"):
        plan(filtered)


def _config(small: Path, folder: Path, objective: Any, **changed: Any) -> TrainConfig:
    phase = {"name": "only", "objective": objective, "until": {"step": 8}} | changed
    train = settings(folder, curriculum=[phase], model={"path": str(small / "model")})
    return TrainConfig.model_validate(train)


def _counts(config: TrainConfig) -> tuple[Counter[str], Counter[str]]:
    """Rows by what is found of them beforehand, and the cut points of an epoch by what they are."""
    (phase,), laid = config.curriculum, Counter[str]()
    with open_loader(config, load_shape(config.model.path)) as loader:
        found = loader.learnable(phase)
        for first in range(0, 32, config.batch.samples):
            batch, tally = loader.batch(first, phase), LearningTally()
            points = cut_points(phase.objective, batch.rows)
            named = dict(zip(POINTS, points.tolist(), strict=True))
            tally = tally.after(True, False, batch.counts["cut_points"], named)
            laid.update(tally.model_dump(include={"learnt", "equal", "unscored", "missing"}))
    return found, laid


def test_what_a_late_phase_reads_is_opened_before_the_first(small: Path, tmp_path: Path) -> None:
    """Its probe and its pools to replay would be missed after all other phases."""
    batch = {"samples": 4, "sequence_tokens": 128, "max_seq_len": 64, "context_tokens": 16}
    rollouts = {"engine": "policy", "samples": 3, "tokens": 10}
    late = {"name": "late", "objective": "dpo", "candidates": ["rollout"], "until": {"step": 9}}

    def check(**changed: Any) -> None:
        train = settings(small, str(tmp_path / "run"), batch=batch, rollouts=rollouts | changed)
        train["curriculum"].append(late)
        plan(TrainConfig.model_validate(train))

    preferred = {"prefer": ["rollout"]}
    with pytest.raises(ShardError, match=f"{tmp_path}/none: found no pools of rollouts; accepted"):
        check(**preferred, replay=str(tmp_path / "none"))
    judged = {"judge": {"engine": "judge", "criteria": ["quality"]}}
    probe = {"set": str(tmp_path / "held-out"), "cut_points": 2}
    with pytest.raises(ShardError, match=f"{tmp_path}/held-out: no shard set here"):
        check(**judged, probe=probe)
    make_set(tmp_path / "held-out", seed=9)
    with pytest.raises(ConfigError, match=r"^train\.rollouts\.probe\.filter: no row of .* passes"):
        check(**judged, probe=probe | {"filter": "chunk > 99"})
    check(**judged, probe=probe)


@pytest.mark.parametrize("missing", [None, "00001-00000.pq"])
def test_stored_references_are_all_there_before_the_first_step(
    small: Path, tmp_path: Path, missing: str | None
) -> None:
    phase = {"name": "prefer", "objective": {"kind": "dpo", "reference": "stored"}}
    shutil.copytree(small / "set", tmp_path / "set")
    train = settings(small, str(tmp_path / "run"), data=[{"set": str(tmp_path / "set")}])
    train["curriculum"] = [phase | {"until": {"step": 8}}]
    config, shape = TrainConfig.model_validate(train), load_shape(str(small / "model"))
    (references,) = references_of(config, shape).values()
    for part in ("00000-00000.pq", "00001-00000.pq"):
        if missing and part != missing:
            references.write(part, [])
    with pytest.raises(
        ShardError, match=f"{missing or '00000-00000.pq'}: not there, damaged, or of another part"
    ):
        open_loader(config, shape)


def test_references_that_0_1_stored_are_found(small: Path, tmp_path: Path) -> None:
    """Their folder is named by these keys: another name of one would hide them."""
    train = settings(small, str(tmp_path / "run"), data=[{"set": str(small / "set")}])
    config, shape = TrainConfig.model_validate(train), load_shape(str(small / "model"))
    (references,) = references_of(config, shape).values()
    known = "context_tokens dtype filter init max_seq_len model parts row_tokens seed"
    assert sorted(references.identity) == known.split()


def test_references_behind_a_link_out_of_the_set_are_refused(small: Path, tmp_path: Path) -> None:
    shutil.copytree(small / "set", tmp_path / "set")
    train = settings(small, str(tmp_path / "run"), data=[{"set": str(tmp_path / "set")}])
    config, shape = TrainConfig.model_validate(train), load_shape(str(small / "model"))
    (references,) = references_of(config, shape).values()
    references.write("00000-00000.pq", [])
    assert references.read("00000-00000.pq") == {}
    (tmp_path / "set/_references").rename(tmp_path / "elsewhere")
    (tmp_path / "set/_references").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ShardError, match="found a link to .*elsewhere/.*, out of the folder"):
        references.read("00000-00000.pq")
