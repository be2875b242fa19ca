"""Whatever is wrong in a recipe: exit code 2, one plain sentence a mistake, never a traceback."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from prewrite.base.cli import Invocation, run_recipe
from prewrite.base.config import Recipe, Section, load
from prewrite.base.errors import ConfigError
from prewrite.judge.config import JudgeRecipe
from prewrite.rewrite.config import RewriteRecipe
from tests.commands import rewrite

GOOD: dict[str, Any] = {
    "input": {"paths": ["corpus/*.jsonl"]},
    "output": "out",
    "chunking": {"tokenizer": "models/smollm2-135m-instruct"},
    "engines": {
        "main": {"kind": "vllm", "model": "models/smollm2-135m-instruct"},
        "far": {"kind": "endpoint", "urls": ["http://127.0.0.1:8000/v1"], "model": "m"},
    },
    "rewrite": {"engine": "main"},
    "judge": {"engine": "far"},
}


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD, sort_keys=False))
    return str(path)


class _Plain(Recipe):
    """A recipe whose section `train` may hold anything."""

    train: dict[str, Any]


def command(recipe: str, *overrides: str) -> tuple[int, list[RewriteRecipe]]:
    """What `prewrite rewrite` does, in this process, with a run that only notes its recipe."""
    seen: list[RewriteRecipe] = []
    dry_run = "--dry-run" in overrides
    invocation = Invocation(recipe, [word for word in overrides if word != "--dry-run"], dry_run)
    code = run_recipe(invocation, RewriteRecipe, seen.append, lambda _: "the plan")
    return code, seen


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        # A key that does not exist, with the near one for a typo.
        ("chunking.token=5", "chunking: unknown key 'token'; did you mean 'tokens'? accepted: "),
        ("input.pathes=[a]", "input: unknown key 'pathes'; did you mean 'paths'? accepted: "),
        ("rewrite.sampling.top_k=5", "rewrite.sampling: unknown key 'top_k'; did you mean 'top_p'"),
        ("engines.main.modle=x", "engines.main: unknown key 'modle'; did you mean 'model'? "),
        ("engines.far.url=x", "engines.far: unknown key 'url'; did you mean 'urls'? "),
        ("run.zzz=1", "run: unknown key 'zzz'; accepted: executor, tasks, workers, rows_per_part"),
        ("rewrit.engine=main", "unknown key 'rewrit'; did you mean 'rewrite'? accepted: input, "),
        ("input.=1", "input: unknown key ''; accepted: paths, "),
        ("chunking.{tokens}=5", "chunking: unknown key '{tokens}'; did you mean 'tokens'? "),
        ("chunking.{0}=5", "chunking: unknown key '{0}'; accepted: "),
        ("{}=5", "unknown key '{}'; accepted: input, "),
        # A value of the wrong type.
        ("chunking.tokens=many", "chunking.tokens: found 'many'; accepted: an integer"),
        ("chunking.tokens=1.5", "chunking.tokens: found 1.5; accepted: an integer"),
        ("chunking.tokens=null", "chunking.tokens: found None; accepted: an integer"),
        ("chunking.tokens=[1]", "chunking.tokens: found [1]; accepted: an integer"),
        ("chunking.tokens=true", "chunking.tokens: found True; accepted: an integer"),
        ("rewrite.length.max=false", "rewrite.length.max: found False; accepted: a number"),
        ("input.paths=a.jsonl", "input.paths: found 'a.jsonl'; accepted: a list"),
        ("input.paths=[1]", "input.paths.0: found 1; accepted: a text"),
        ("input=null", "input: found None; accepted: a mapping"),
        ("rewrite.sampling=hot", "rewrite.sampling: found 'hot'; accepted: a mapping"),
        ("engines=[]", "engines: found []; accepted: a mapping"),
        ("engines.main=x", "engines.main: found 'x'; accepted: a mapping"),
        ("engines.main.trust_remote_code=maybe", "accepted: true or false"),
        ("judge.weights={quality: much}", "judge.weights.quality: found 'much'; accepted: a num"),
        ("output=5", "output: found 5; accepted: a text"),
        ("output=2024-01-01", "output: found datetime.date(2024, 1, 1); accepted: a text"),
        # No place.
        ("output=''", "output: found ''; accepted: a folder, a file or a URL"),
        ("output=' '", "output: found ' '; accepted: a folder, a file or a URL"),
        ("output=/", "output: found '/'; accepted: a folder of its own, not the root of a disk"),
        ("output=file:///", "output: found 'file:///'; accepted: a folder of its own, not the ro"),
        ("output=/etc/..", "output: found '/etc/..'; accepted: a folder of its own, not the root"),
        ("input.paths=['']", "input.paths.0: found ''; accepted: a folder, a file or a URL"),
        ("judge.input=''", "judge.input: found ''; accepted: a folder, a file or a URL"),
        ("engines.main.model=''", "engines.main.model: found ''; accepted: a folder, a file or a"),
        (r'output="a\0b"', "output: found a text with a null byte; accepted: a text without it"),
        (r'input.paths=["a", "\0"]', "input.paths.1: found a text with a null byte; accepted: a"),
        (r'engines.main.args={a: ["\0"]}', "engines.main.args.a.0: found a text with a null by"),
        (r'output="a\ud800b"', "output: found a text with half a character (a lone surrogate); "),
        # A value out of range, or none of the known.
        ("chunking.tokens=0", "chunking.tokens: found 0; accepted: greater than or equal to 1"),
        ("input.max_bad_rows=2", "input.max_bad_rows: found 2; accepted: less than or equal to 1"),
        ("input.max_bad_rows=.nan", "input.max_bad_rows: found nan; accepted: "),
        ("rewrite.length.max=.inf", "rewrite.length.max: found inf; accepted: a finite number"),
        ("judge.weights={quality: .nan}", "judge.weights.quality: found nan; accepted: a finite"),
        ("input.paths=[]", "input.paths: found []; accepted: at least 1 item"),
        ("chunking.cuts=some", "chunking.cuts: found 'some'; accepted: 'every' or 'one'"),
        ("input.layout=pile", "input.layout: found 'pile'; accepted: "),
        ("engines.main.dtype=int3", "engines.main.dtype: found 'int3'; accepted: 'auto', 'bf"),
        ("rewrite.length.min=4", "rewrite.length: found {'min': 4}; accepted: a min not above"),
        # Engines.
        ("rewrite.engine=mian", "rewrite.engine: found 'mian'; did you mean 'main'? accepted "),
        ("judge.engine=x", "judge.engine: found 'x'; accepted (see engines): main, far"),
        ("engines.main.kind=vlm", "engines.main.kind: found 'vlm'; accepted: 'vllm', 'endpoint'"),
        ("engines.main={model: x}", "engines.main.kind: this key is required"),
        ("engines.main={kind: vllm}", "engines.main.model: this key is required"),
        ("engines.far.urls=[nohost]", "engines.far.urls: found ['nohost']; accepted: base URLs"),
        ("engines.far.urls=['http://[::1']", "engines.far.urls: found ['http://[::1']; accepted:"),
        ("engines.far.urls=['http://h:x/v1']", "accepted: base URLs such as http://127.0.0.1:8000"),
        ("engines.far.api=completions", "engines.far.tokenizer: required by api: completions"),
        # The judge.
        ("judge.weights={qualty: 1}", "judge.weights: found 'qualty'; did you mean 'quality'? "),
        (
            "judge.criteria=[qualty]",
            "judge.criteria: found 'qualty'; accepted: coherence, educational, factuality",
        ),
        ("judge.criteria=[quality, quality]", "judge.criteria: found 'quality' twice"),
        # A template.
        (
            "rewrite.template=nope",
            "rewrite.template: found 'nope'; accepted: cleanup, corrupt, digest, encyclopaedia",
        ),
        # Overrides that are none.
        ("tokens", "'tokens' is no override; give key.sub=value"),
        ("http://u:pw@h", "'http://…@h' is no override; give key.sub=value"),
        ("=5", "'=5' is no override; give key.sub=value"),
        ("input.limit={", "override 'input.limit={': the value is not valid YAML"),
        (
            "input.limit=2024-99-99",
            "override 'input.limit=2024-99-99': the value is not valid YAML",
        ),
        ("output.x=5", "override 'output.x=5': 'output' holds 'out', no keys"),
        ("input.paths.0.x=5", "'input.paths.0' holds 'corpus/*.jsonl', no keys"),
        ("input.paths.1=x", "override 'input.paths.1=x': found '1' in a list; accepted: 0 to 0"),
        ("input.paths.-1=x", "override 'input.paths.-1=x': found '-1' in a list; accepted: 0 to 0"),
        (
            "input.paths.first=x",
            "override 'input.paths.first=x': found 'first' in a list; accepted: 0 to 0",
        ),
        ("engines.far.urls.0=nohost", "engines.far.urls: found ['nohost']; accepted: base URLs"),
    ],
)
def test_a_mistake_is_one_sentence(
    recipe: str, override: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seen = command(recipe, override)
    output, said = capsys.readouterr()
    assert (code, seen, output) == (2, [], "")
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    assert sentence in line
    if "override" not in sentence and "=" in override and not sentence.startswith("'"):
        assert line.startswith(f"error: {recipe}: ")


@pytest.mark.parametrize(
    ("override", "new"),
    [
        ("judge.report.rows=3", ": judge.report: this key of 0.1 is called measure.report"),
        ("judge={engine: main, replay: {rows: 3}}", "measure.schedule"),
        ("train.rollouts.judge.corrupt.rows=3", "measure.corrupt"),
        ("evaluate.judge.report.labels=a", "measure.report"),
        ("train.rollouts.alarms.window=3", "train.alerts"),
        ("train.batch.row_tokens=3", "train.batch.sequence_tokens"),
        ("train.rollouts.places=3", "train.rollouts.cut_points"),
        ("train.rollouts.probe.places=3", "train.rollouts.probe.cut_points"),
        ("evaluate.prefixes.mine.places=3", "evaluate.prefixes.mine.cut_points"),
    ],
)
def test_a_key_of_0_1_is_refused_with_its_new_name(
    recipe: str, override: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command: this one reads neither `train` nor `evaluate`."""
    assert command(recipe, override) == (2, [])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {recipe}: ") and line.endswith(new)


@pytest.mark.parametrize("key", ["input", "output", "chunking", "engines", "rewrite"])
def test_a_missing_section_is_named(
    tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in GOOD.items() if k != key}))
    assert command(str(path))[0] == 2
    assert capsys.readouterr().err == f"error: {path}: {key}: this key is required\n"


def test_each_mistake_has_its_line(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(recipe, "chunking.tokens=x", "rewrite.sampling.top_p=2")[0] == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "chunking.tokens: found 'x'" in first
    assert "rewrite.sampling.top_p: found 2" in second


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"input: [", "not valid YAML: line 1, column 9: expected"),
        (b"a: b: c", "not valid YAML: line 1, column 5: mapping values are not allowed here"),
        (b"output: 2024-99-99", "not valid YAML: "),
        (b"output: \xff", "not valid YAML: "),
        (b"output: \x00", "not valid YAML: "),
        (b"? [a]\n: b", "not valid YAML: "),
        (b"", "found None at the top; a recipe is a mapping of keys"),
        (b"- a", "found ['a'] at the top; a recipe is a mapping of keys"),
        (b"1: 2", "unknown key '1'; accepted: input, "),
        (b"output: a\noutput: b", "not valid YAML: the key 'output' stands twice"),
        (b"[" * 5000, "not valid YAML: nested too deeply"),
    ],
)
def test_a_file_that_is_no_recipe(
    tmp_path: Path, content: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    assert command(str(path))[0] == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {path}: {sentence}")


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(str(tmp_path / "none.yaml"))[0] == 2
    assert command(str(tmp_path))[0] == 2
    missing, folder = capsys.readouterr().err.splitlines()
    start = f"error: {tmp_path}/none.yaml: cannot read the configuration file: "
    assert missing == start + "No such file or directory"
    assert folder.endswith("cannot read the configuration file: Is a directory")


def test_bad_usage_ends_with_code_2(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["--config"], ["--config", recipe, "--nope"]):
        assert rewrite(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        "http://user:s3cret@host/v1",
        "http://:s3cret@host/v1",
        "http://s3cret@host/v1",
        "http://user:s3c/ret@host/v1",
        "http://user:s3cret@/v1",
        "ftp://user:s3cret@host/v1",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_printed(
    recipe: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = command(recipe, f"engines.far.urls=['{url}']")
    output, said = capsys.readouterr()
    assert code == 2
    assert "engines.far.urls.0: " in said
    assert "s3c" not in output + said


def test_overrides_win_over_the_file(recipe: str) -> None:
    code, (loaded,) = command(
        recipe,
        "input.limit=7",
        "input.paths=[a.jsonl, b.jsonl]",
        "rewrite.sampling.max_tokens=9",
        "rewrite.sampling.seed=3",
        "judge.criteria=[safety]",
        "judge.weights.safety=2.5",
        "engines.main.args={gpu_memory_utilization: 0.5}",
        "engines.big={kind: vllm, model: m}",
        "rewrite.engine=big",
        "output=s3://bucket/a=b",
    )
    assert code == 0
    assert (loaded.input.limit, loaded.input.paths) == (7, ["a.jsonl", "b.jsonl"])
    assert loaded.rewrite
    assert (loaded.rewrite.sampling.max_tokens, loaded.rewrite.sampling.seed) == (9, 3)
    assert loaded.judge and loaded.judge.weights == {"safety": 2.5}
    assert loaded.engines["main"].model_dump()["args"] == {"gpu_memory_utilization": 0.5}
    assert loaded.rewrite.engine == "big"
    assert loaded.output == "s3://bucket/a=b"


def test_an_override_reaches_into_a_list(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("output: out\ntrain: {curriculum: [{name: a, until: {step: 9}}, {name: b}]}\n")
    overrides = ["train.curriculum.0.until.step=2", "train.curriculum.1.until.step=3"]
    found = load(_Plain, str(path), [*overrides, "train.curriculum.0.name=c"])
    assert found.train["curriculum"] == [
        {"name": "c", "until": {"step": 2}},
        {"name": "b", "until": {"step": 3}},
    ]


def test_a_recipe_says_what_differs_from_its_base(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    above = {"base": "../recipe.yaml", "input": {"limit": 3}, "engines": {"far": {"model": "n"}}}
    top = {"base": "middle.yaml", "output": "top", "judge": None, "input": {"paths": ["x"]}}
    (tmp_path / "deep/middle.yaml").write_text(yaml.safe_dump(above))
    (tmp_path / "deep/top.yaml").write_text(yaml.safe_dump(top))
    _, (loaded,) = command(str(tmp_path / "deep/top.yaml"), "chunking.tokens=7")
    assert (loaded.output, loaded.judge, loaded.chunking.tokens) == ("top", None, 7)
    assert (loaded.input.paths, loaded.input.limit) == (["x"], 3)
    assert loaded.engines["far"].model_dump()["urls"] == ["http://127.0.0.1:8000/v1"]
    assert loaded.engines["far"].model == "n"


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("gone.yaml", "gone.yaml: cannot read the configuration file: No such file or directory"),
        ("above.yaml", "above.yaml: base: found 'above.yaml', which is based on this recipe"),
        (5, "above.yaml: base: found 5; accepted: the path of a recipe"),
        ("list.yaml", "list.yaml: found [1] at the top; a recipe is a mapping of keys"),
    ],
)
def test_a_wrong_base_is_one_sentence(
    tmp_path: Path, base: Any, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.yaml").write_text("[1]")
    (tmp_path / "above.yaml").write_text(yaml.safe_dump({"base": base}))
    assert command(str(tmp_path / "above.yaml"))[0] == 2
    assert capsys.readouterr().err == f"error: {tmp_path}/{sentence}\n"


def test_null_takes_a_section_or_a_value_away(recipe: str) -> None:
    code, (loaded,) = command(recipe, "input.limit=5", "input.limit=null", "judge=null")
    assert (code, loaded.input.limit, loaded.judge) == (0, None, None)


def test_an_override_fills_an_empty_section(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD | {"run": None}))
    _, (loaded,) = command(str(path), "run.workers=2")
    assert loaded.run.workers == 2


def test_sections_of_other_commands_are_left_alone(recipe: str) -> None:
    assert command(recipe, "train.output=x", "train.anything.at.all=1")[0] == 0


def test_dry_run_prints_the_whole_recipe_and_the_plan(
    recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, seen = command(recipe, "--dry-run", "chunking.tokens=64")
    output, said = capsys.readouterr()
    assert (code, seen, said) == (0, [], "")
    text, _, plan = output.rpartition("\n\n")
    assert plan == "the plan\n"
    printed = yaml.safe_load(text)
    assert printed["chunking"]["tokens"] == 64
    assert printed["rewrite"]["sampling"]["temperature"] == 0.6


def test_the_judge_needs_the_set_to_score(recipe: str) -> None:
    with pytest.raises(ConfigError, match=r"judge\.input: this key is required here"):
        load(JudgeRecipe, recipe)
    assert load(JudgeRecipe, recipe, ["judge.input=data/set"]).judge.input == "data/set"


def test_the_quickstart_recipe_is_valid() -> None:
    load(RewriteRecipe, "configs/quickstart.yaml")


def test_the_command_line_is_frozen() -> None:
    """A key that comes, goes or gets another default changes what people's recipes mean: change
    tests/rewrite/keys.txt with it, on purpose.
    """
    lines = [
        line
        for command, recipe in (("rewrite", RewriteRecipe), ("judge", JudgeRecipe))
        for line in keys(recipe, f"{command}: ")
    ]
    assert "\n".join(lines) + "\n" == Path("tests/rewrite/keys.txt").read_text()


def keys(section: type[Section], prefix: str) -> list[str]:
    """Every dotted key under `section` with its default."""
    lines: list[str] = []
    for name, field in section.model_fields.items():
        inner = [part for part in sections(field.annotation) if part is not section]
        for part in inner:
            kind = part.model_fields.get("kind")
            step = f"{name}.<{kind.annotation.__args__[0]}>" if kind else name  # type: ignore[union-attr]
            lines += keys(part, f"{prefix}{step}.")
        if not inner:
            default = field.get_default(call_default_factory=True)
            shown = "(required)" if default is PydanticUndefined else repr(default)
            lines.append(f"{prefix}{name} = {shown}")
    return lines


def sections(annotation: Any) -> list[type[Section]]:
    """The sections a field's type speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in sections(part)]
