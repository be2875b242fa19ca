"""Every command of `prewrite`, with its options. What a command does is imported when it is called,
so help and mistakes come at once.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from prewrite import __version__
from prewrite.base.cli import Invocation, R, ending, run_recipe
from prewrite.base.config import Recipe, near
from prewrite.shards.export import Each

_FIRST = "prewrite.first"
"""The word of the command line whose second one is completed, in the context's `meta`."""


class Commands(TyperGroup):
    """Commands of one word or two, such as `judge` and `judge report`, in one flat list."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Take two words for a name where there is such a command."""
        first, *rest = args
        if rest and f"{first} {rest[0]}" in self.commands:
            return super().resolve_command(ctx, [f"{first} {rest[0]}", *rest[1:]])
        seconds = [name.split()[1] for name in self.commands if name.startswith(f"{first} ")]
        if ctx.resilient_parsing:  # a shell asks how the line may go on
            ctx.meta[_FIRST] = first if seconds and not rest else None
            return (None, None, []) if ctx.meta[_FIRST] else super().resolve_command(ctx, args)
        if seconds and first not in self.commands and rest[:1] in (["--help"], ["-h"]):
            self._list(first)
        if seconds and (first not in self.commands or (rest and rest[0].isalpha())):
            found = f"'{rest[0]}';{near(rest[0], seconds)}" if rest else "nothing;"
            ctx.fail(f"{first}: found {found} accepted: {', '.join(seconds)}")
        firsts = list(dict.fromkeys(name.split()[0] for name in self.commands))
        if first not in firsts:
            ctx.fail(f"found '{first}';{near(first, firsts)} accepted: {', '.join(firsts)}")
        return super().resolve_command(ctx, args)

    def _list(self, first: str) -> NoReturn:
        """Print the commands that begin with this word, and end."""
        for name, command in self.commands.items():
            if name.startswith(f"{first} "):
                print(f"  prewrite {name:<16} {command.get_short_help_str(70)}")
        raise typer.Exit

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What a word may become: never two at once, which a shell would take for one."""
        first = ctx.meta.get(_FIRST)
        found = super().shell_complete(ctx, f"{first} {incomplete}" if first else incomplete)
        for item in found:
            item.value = item.value.split()[1 if first else 0]
        found = list({item.value: item for item in reversed(found)}.values())[::-1]
        if own := self.commands.get(first):
            with own.make_context(first, [], parent=ctx, resilient_parsing=True) as below:
                found += own.shell_complete(below, incomplete)
        return found


app = typer.Typer(
    cls=Commands,
    help="Pre-train better language models with the help of a post-trained one.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["--help", "-h"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

ConfigFile = Annotated[
    str, typer.Option("--config", metavar="FILE", help="The recipe, a YAML file.")
]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Print the resolved configuration and the plan, then stop."),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", help="Of a complete set, ask again what failed, nothing else."),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="key.sub=value…", help="Override keys of the recipe.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
OneSet = Annotated[str, typer.Argument(metavar="SET", help="Folder or URL of the set.")]
Condition = Annotated[
    str | None,
    typer.Option("--filter", metavar="CONDITION", help="Take only rows for which it holds."),
]
What = Annotated[Each, typer.Option("--each", help="What a record is.")]
PageFile = Annotated[
    str | None,
    typer.Option("--to", metavar="FILE", help="The page; default: in the folder."),
]


@app.callback(invoke_without_command=True)
def main_options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of `prewrite` itself."""
    if version:
        print(f"prewrite {__version__}")
        raise typer.Exit


@app.command("rewrite")
def rewrite(
    config: ConfigFile,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
) -> None:
    """Rewrite and judge a corpus into scored shards.

    The scored set goes to `output`, the rewrites before judging to `output`/_rewrites, so
    another judge costs no rewriting. A recipe without `judge` leaves the rewrites at `output`.
    The same command continues a run that was stopped. --dry-run lists the input, but loads no
    model.
    """
    from prewrite.rewrite import command
    from prewrite.rewrite.config import RewriteRecipe

    run, plan = (command.retry, command.retry_plan) if retry_failed else (command.run, command.plan)
    _run(RewriteRecipe, run, plan, config, overrides, dry_run)


@app.command("plan")
def plan(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Estimate what a whole rewrite run costs, in a minute.

    A sample of the corpus is read; some of its documents are rewritten, then judged, for half a
    minute each. The result is scaled to the whole corpus: rows, tokens, hours, GPU-hours and
    bytes, each with a range. Nothing is written. Loading the engines comes on top.
    """
    from prewrite.rewrite import plan
    from prewrite.rewrite.config import RewriteRecipe

    _run(RewriteRecipe, plan.run, plan.dry_run, config, overrides, dry_run)


@app.command("judge")
def judge(
    config: ConfigFile,
    overrides: Overrides = None,
    dry_run: DryRun = False,
    retry_failed: RetryFailed = False,
) -> None:
    """Score the set at `judge.input` into one at `output`.

    The input is a complete set, with scores or without. Verdicts of the same judge on the same
    question are kept, so a new criterion or weight costs only its own questions.
    """
    from prewrite.judge import command
    from prewrite.judge.config import JudgeRecipe

    run, plan = (command.retry, command.retry_plan) if retry_failed else (command.run, command.plan)
    _run(JudgeRecipe, run, plan, config, overrides, dry_run)


def _measure(module: Any, config: str, overrides: Sequence[str] | None, dry_run: bool) -> None:
    """A command that looks at the judge itself."""
    from prewrite.judge.measure.config import MeasuredRecipe

    _run(MeasuredRecipe, module.run, module.plan, config, overrides, dry_run)


@app.command("judge report")
def judge_report(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Measure how far the judge can be trusted.

    Writes `output`/report/index.html and report.json, and changes nothing else there. It
    measures on labels, or on a sample of `judge.input`, or of `output` where that is null. It
    costs two verdicts a pair and one a single text, times the votes, of each judge; with
    `measure.report.canaries` some 400 more a criterion, twice that for a pairwise one.
    """
    from prewrite.judge.measure import command

    _measure(command, config, overrides, dry_run)


@app.command("judge canaries")
def judge_canaries(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Count the verdicts that known attacks change.

    Writes `output`/canaries.json and prints a table. It needs no set. A flip is a verdict that
    was right without the attack and wrong with it; the family `control` adds harmless text and
    measures the judge's noise. It costs about 400 questions a criterion, twice that for a
    pairwise one.
    """
    from prewrite.judge.measure import canaries

    _measure(canaries, config, overrides, dry_run)


@app.command("judge corrupt")
def judge_corrupt(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Make a set of known scores, from corrupted texts.

    Spoils originals of the set at `judge.input`: the set at `output` has each beside a text
    that is worse in a known way, with the scores 1 and 0. It serves `measure.report.labels`
    and trains judges. Only the kind `model` asks an engine. The same command continues a run
    that was stopped.
    """
    from prewrite.judge import corrupt
    from prewrite.judge.measure.config import CorruptRecipe

    _run(CorruptRecipe, corrupt.run, corrupt.plan, config, overrides, dry_run)


@app.command("judge calibrate")
def judge_calibrate(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Fit the judge's values to labels.

    Reads `measure.report.labels` and writes `output`/calibration.yaml, which `judge.calibration`
    names: scale and offset of each judge on each criterion. Half of the documents are fitted,
    the others say what it is worth. It costs two verdicts a pair and one a single text, of each
    judge; `judge.readout` is distribution.
    """
    from prewrite.judge.measure import calibrate

    _measure(calibrate, config, overrides, dry_run)


@app.command("judge schedule")
def judge_schedule(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Measure how many comparisons a pool needs.

    Every pair of a pool is asked about in both orders, K(K-1) verdicts for K texts; each
    schedule is then tried on these verdicts at no cost. Prints a table and writes
    `output`/schedule.json. The texts come from `judge.input`, or from `output` where that is
    null.
    """
    from prewrite.judge.measure import schedule_trial

    _measure(schedule_trial, config, overrides, dry_run)


@app.command("shards show")
def shards_show(
    shards: OneSet,
    rows: Annotated[int, typer.Option("--rows", min=1, help="How many rows.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Print rows readably, then a summary.

    The summary has counts, cost, mean scores, and why rows and verdicts failed, with examples.
    With --json it prints one row a line and no summary.
    """
    from prewrite.shards import command

    _do(lambda: command.show_set(shards, rows, as_json))


@app.command("shards verify")
def shards_verify(
    shards: OneSet,
    repair: Annotated[
        bool, typer.Option("--repair", help="Have damaged parts, and only these, made again.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hash every file again, and audit the rows.

    The exit code is 0 when the set is good; else 1, with one sentence a problem. After --repair
    the command that made the set makes the damaged parts again.
    """
    from prewrite.shards import command

    _do(lambda: command.repair_set(shards) if repair else command.verify_set(shards, as_json))


@app.command("shards stats")
def shards_stats(shards: OneSet, as_json: AsJson = False) -> None:
    """Print scores, correlations and statuses by source."""
    from prewrite.shards import command

    _do(lambda: command.print_stats(shards, as_json))


@app.command("shards remove")
def shards_remove(
    shards: OneSet,
    doc_id: Annotated[
        list[str], typer.Option("--doc-id", metavar="ID", help="The document; may be repeated.")
    ],
) -> None:
    """Take documents out of a finished set.

    Rows and raw verdicts go, here and in the rewrites of the set; the manifest keeps the ids and
    the number of rows. Readers find the old set or the new one. A training run that began on the
    old rows is refused; exports, copies and models are beyond its reach.
    """
    from prewrite.shards import command

    _do(lambda: command.remove_documents(shards, doc_id))


@app.command("shards upgrade")
def shards_upgrade(shards: OneSet) -> None:
    """Make a set of an older format one of today's.

    The rows stay the same, in their order, and so do recipes and training runs that name the set.
    Readers find the old set until the new one is whole. An interrupted upgrade continues.
    """
    from prewrite.shards import command

    _do(lambda: command.upgrade_set(shards))


@app.command("shards export")
def shards_export(
    shards: OneSet,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="A .jsonl or .parquet.")],
    each: What = "document",
    condition: Condition = None,
) -> None:
    """Write best texts or preference pairs to one file.

    `prewrite train export` writes token ids for Megatron.
    """
    from prewrite.shards import command

    _do(lambda: command.export_set(shards, to, each, condition))


@app.command("shards report")
def shards_report(
    shards: Annotated[list[str], typer.Argument(metavar="SET…", help="Folders or URLs of sets.")],
    to: PageFile = None,
) -> None:
    """Write one HTML page about a set: scores, changes, cost.

    The page loads nothing. Several sets are compared on one page, which then needs --to.
    """
    from prewrite.base.report.command import write_report
    from prewrite.shards.names import REPORT
    from prewrite.shards.report.command import make

    _do(lambda: write_report("SET", make, shards, to, REPORT))


@app.command("train")
def train(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Train a model on scored shards.

    Trains the run in `train.output`, continues it, or says that it is complete. The model is
    left in `train.output`/model, a Hugging Face folder. --dry-run prints parameters, memory,
    tokens and steps of each phase, and makes no step. Under torchrun it runs in many processes;
    torchrun itself exits 1 whatever a process exited with.
    """
    from prewrite.train import command

    raise typer.Exit(command.run_ranks(Invocation(config, overrides or (), dry_run), command.train))


@app.command("train reference")
def train_reference(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Store reference log-probabilities with the shards.

    The sets of `train.data` must be writable; the sums go to `_references/` of each. With
    `reference: stored` a `dpo` objective then needs no second model in memory. The same recipe
    and overrides serve both commands. An interrupted run continues with the next part.
    """
    from prewrite.train import command

    raise typer.Exit(
        command.run_ranks(Invocation(config, overrides or (), dry_run), command.reference)
    )


@app.command("train export")
def train_export(
    shards: OneSet,
    to: Annotated[str, typer.Option("--to", metavar="PREFIX", help="For PREFIX.bin, PREFIX.idx.")],
    tokenizer: Annotated[
        str, typer.Option("--tokenizer", metavar="MODEL", help="A Hugging Face folder or id.")
    ],
    each: What = "document",
    condition: Condition = None,
) -> None:
    """Write best texts as token ids for Megatron.

    PREFIX.bin and PREFIX.idx are in the indexed format of Megatron's data loaders.
    """
    from prewrite.train.megatron_export import export_tokens

    _do(lambda: export_tokens(shards, to, tokenizer, each, condition))


@app.command("train report")
def train_report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN…", help="Folders or URLs of runs.")],
    to: PageFile = None,
) -> None:
    """Write one HTML page about a run: losses, scores, time.

    The page loads nothing. Several runs are compared on one page, which then needs --to.
    """
    from prewrite.base.report.command import write_report
    from prewrite.train.report.command import make

    _do(lambda: write_report("RUN", make, runs, to, "report.html"))


@app.command("train pools")
def train_pools(
    pools: Annotated[
        str, typer.Argument(metavar="POOLS", help="Folder or URL of kept pools of rollouts.")
    ],
    to: Annotated[str, typer.Option("--to", metavar="SET", help="Folder or URL of the set.")],
) -> None:
    """Make a set of kept pools of rollouts.

    Each pool that `train.rollouts.dump_every` has kept becomes a row: its original, and as rewrite
    the rollout that the judge of the run scored highest. The set has no scores; `prewrite judge`
    gives them, by another judge, so that a judge can learn from them. The same command continues.
    """
    from prewrite.train.online import pool_set

    _do(lambda: pool_set.run(pools, to))


@app.command("evaluate")
def evaluate(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Compare models with a base model on held-out texts.

    Each continues the same texts; a judge compares, and numbers without a judge are added.
    Writes continuations, verdicts, results and table.md to `evaluate.output`. The same command
    continues an evaluation, and adds a model to one that is done.
    """
    from prewrite.evaluation import run
    from prewrite.evaluation.config import EvaluateRecipe

    _run(EvaluateRecipe, run.run, run.plan, config, overrides, dry_run)


@app.command("evaluate tasks")
def evaluate_tasks(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Run tasks of the lm-eval harness on trained models.

    Writes, under `evaluate.output`, results/MODEL.json in the harness's schema and tasks.md,
    the table that is printed; and a row a model in `evaluate.leaderboard`. A model that is done
    is not run again.
    """
    from prewrite.evaluation import tasks
    from prewrite.evaluation.config import EvaluateRecipe

    _run(EvaluateRecipe, tasks.run, tasks.plan, config, overrides, dry_run)


@app.command("evaluate prefixes")
def evaluate_prefixes(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Keep prefixes on which all votes agree.

    Judges prefixes of the set at `evaluate.unanimous.set`, and writes those of which every vote
    says `value` to `output`, a file that `evaluate.prefixes.NAME.prompts` takes: unsafe prefixes
    to test with, for example. The same command continues.
    """
    from prewrite.evaluation import unanimous
    from prewrite.evaluation.config import EvaluateRecipe

    _run(EvaluateRecipe, unanimous.run, unanimous.plan, config, overrides, dry_run)


@app.command("evaluate thoughts")
def evaluate_thoughts(
    config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False
) -> None:
    """Measure whether a model uses its thoughts.

    Takes the recipe of a run with `train.task.kind: think`. On the texts of
    `train.rollouts.probe` the model goes on after its own thought, a blank, a generic and a
    swapped one; what follows is scored and compared, before the run and after it. Writes
    thoughts.json and thoughts.md to `train.output`.
    """
    from prewrite.train.config.recipe import TrainRecipe
    from prewrite.train.thoughts import command

    _run(TrainRecipe, command.run, command.plan, config, overrides, dry_run)


@app.command("improve")
def improve(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Make judge, rewriter and policy better, in rounds.

    Runs the commands of the recipe, each once. A gate compares what they make with what there
    is, on an anchor that is never trained, and lets it in or not. The ledger is
    `improve.output`/rounds.jsonl, its page index.html. --dry-run checks everything and prints the
    commands of the next round. The same command continues.
    """
    from prewrite.evaluation.improve import run
    from prewrite.evaluation.improve.config import ImproveRecipe

    started = partial(run.run, known=_steps()), partial(run.plan, known=_steps())
    _run(ImproveRecipe, *started, config, overrides, dry_run)


def _steps() -> dict[str, type[Recipe]]:
    """The commands of which rounds may consist, and what each reads."""
    from prewrite.evaluation.config import EvaluateRecipe
    from prewrite.judge.config import JudgeRecipe
    from prewrite.judge.measure.config import CorruptRecipe, MeasuredRecipe
    from prewrite.rewrite.config import RewriteRecipe
    from prewrite.train.config.recipe import TrainRecipe

    return {
        "rewrite": RewriteRecipe,
        "judge": JudgeRecipe,
        "judge corrupt": CorruptRecipe,
        "judge report": MeasuredRecipe,
        "train": TrainRecipe,
        "evaluate": EvaluateRecipe,
    }


@app.command("reproduce")
def reproduce(config: ConfigFile, overrides: Overrides = None, dry_run: DryRun = False) -> None:
    """Print the paper's tables, printed and measured.

    Evaluates the models, texts and tasks of the recipe that are at hand, names the others, and
    writes `evaluate.output`/reproduce.md. What was not at hand is "not measured". The same
    command continues, and measures what has come to hand since.
    """
    from prewrite.evaluation.config import EvaluateRecipe
    from prewrite.evaluation.reproduce import run

    _run(EvaluateRecipe, run.run, run.plan, config, overrides, dry_run)


@app.command("ablation")
def ablation(
    only: Annotated[
        str | None, typer.Option("--only", metavar="A,B", help="These variants; default: all.")
    ] = None,
    output: Annotated[
        str, typer.Option("--output", metavar="DIR", help="Where everything goes.")
    ] = "runs/ablations-tiny",
    table: Annotated[
        bool, typer.Option("--table", help="Run nothing: print the table of what is there.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Train and compare all variants of configs/ablations.

    Each variant is trained at tiny scale, all are evaluated beside their base, and the table is
    printed. The same command continues. A variant that fails keeps its row; the command then
    ends with 1. --table prints the table of a folder of any scale.
    """
    from prewrite.evaluation.ablation.run import ablate

    _do(lambda: ablate(output, only, overrides or (), table))


def _run(
    recipe: type[R],
    run: Callable[[R], None],
    plan: Callable[[R], str],
    config: str,
    overrides: Sequence[str] | None,
    dry_run: bool,
) -> NoReturn:
    """Run a command that takes a recipe; typer then ends with its exit code."""
    raise typer.Exit(run_recipe(Invocation(config, overrides or (), dry_run), recipe, run, plan))


def _do(main: Callable[[], None]) -> NoReturn:
    """Run any other command; typer then ends with its exit code."""
    raise typer.Exit(ending(main))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0 done, 1 failed, 2 usage or configuration, 130 interrupted."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return ending(lambda: app(words, prog_name="prewrite"))
    except SystemExit as end:
        return int(end.code or 0)
