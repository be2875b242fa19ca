"""Rows and summaries of a set, for people."""

from collections.abc import Iterator

from rich import box
from rich.columns import Columns
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from prewrite.base.text import one_line
from prewrite.shards.failures import answers
from prewrite.shards.manifest import CORRUPTED, CORRUPTION, THOUGHTS, Manifest, PassInfo, Usage
from prewrite.shards.names import MANIFEST
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, with_status

_REASONS, _ANSWER = 5, 120  # reasons of a pass, characters of an answer: the manifest has more


def print_summary(shards: ShardSet, console: Console) -> None:
    """The end of a run: counts, mean scores before and after, tokens, seconds, two examples."""
    console.print(summary(shards.manifest, mean_scores(shards)))
    for row in examples(shards, 2):
        console.print(side_by_side(row, shards.manifest))


MeanScores = dict[tuple[str, str], tuple[float | None, float | None, int]]
"""(criterion, rewrite) → mean of the original, of the rewrite, and the rows that they are of."""


def mean_scores(shards: ShardSet) -> MeanScores:
    """Means over the rows where original and rewrite were both judged. Rows with one score only are
    left out, so that the two means compare like with like.
    """
    names = [*shards.manifest.criteria, "score"] if shards.manifest.criteria else []
    texts = shards.manifest.texts
    sums = {(name, text): [0.0, 0.0, 0] for name in names for text in texts[1:]}
    for row in shards.rows([f"{text}_{name}" for name in names for text in texts]) if names else ():
        for name, text in sums:
            before, after = row[f"original_{name}"], row[f"{text}_{name}"]
            if before is not None and after is not None:
                total = sums[name, text]
                total[0], total[1], total[2] = total[0] + before, total[1] + after, total[2] + 1
    return {
        name: (before / n if n else None, after / n if n else None, int(n))
        for name, (before, after, n) in sums.items()
    }


def summary(manifest: Manifest, scores: MeanScores) -> Group:
    """Tables of what a set holds and what it cost."""
    kind = "corrupted" if manifest.corrupted else "shard"
    facts = Table(box=box.SIMPLE, show_header=False, title=f"{manifest.status} {kind} set")
    facts.add_row("rows", f"{manifest.rows} of {manifest.documents} documents")
    for name, count in manifest.statuses.items():
        facts.add_row(f"  {name}", f"{count} ({count / max(manifest.rows, 1):.0%})")
    for reason, count in manifest.passed_over.items():
        facts.add_row("files passed over", f"{count}: {reason}")
    for reason, count in manifest.skipped.items():
        facts.add_row("input records skipped", f"{count}: {reason}")
    for reason, count in manifest.left_out.items():
        facts.add_row("input records left out", f"{count}: {reason}")
    for what, reason, count in manifest.odd:
        facts.add_row(what, f"{count}: {reason}")
    for item in manifest.passes:
        for line in _told(item):
            facts.add_row(*line)
    several = len(manifest.texts) > 2
    means = Table("mean score", "original", "rewrite", "rows", box=box.SIMPLE)
    for (name, text), (before, after, count) in scores.items():
        told = f"{name}, {text}" if several else name
        means.add_row(told, _number(before), _number(after), str(count))
    warning = [CORRUPTED] if manifest.corrupted else []
    return Group(*warning, facts, *_failures(manifest), *([means] if scores else []))


def _told(made: PassInfo) -> Iterator[tuple[str, str]]:
    """What a pass cost, and how much of what it made or failed at."""
    use = made.usage
    yield (
        made.name,
        f"{made.seconds:.0f} s, {use.requests} requests, {use.prompt_tokens} prompt tokens "
        f"({cache_share(use)} from the prefix cache), {use.output_tokens} output tokens",
    )
    if use.untold:
        yield "  not told", f"tokens of {use.untold} of {use.requests} requests"
    for key, count in made.counts.items():
        if key.startswith(CORRUPTION):
            yield f"  {key.removeprefix(CORRUPTION)}", str(count)
        if key.startswith(THOUGHTS):
            yield "  thoughts", f"{count} {key.removeprefix(THOUGHTS)}"
    if made.failed:
        share = f"{made.failed} of {made.asked} rows asked about"
        yield "  failed", f"{share} ({made.failed / max(made.asked, 1):.0%})"


def _failures(manifest: Manifest) -> Iterator[Table]:
    """Why rows and verdicts failed: the commonest reasons of each pass, with what came back."""
    table = Table("pass", "times", "why", "answers", box=box.SIMPLE, title="failed")
    for made in manifest.passes:
        reasons = list(made.failures.items())
        for reason, found in reasons[:_REASONS]:
            said = "\n".join(
                f"{one.id}: {one_line(one.answer or '', _ANSWER)}" for one in answers(reason, found)
            )
            table.add_row(made.name, str(found.count), Text(reason), Text(said))
        if rest := reasons[_REASONS:]:
            count = sum(found.count for _, found in rest)
            table.add_row(made.name, str(count), f"{len(rest)} more; see passes in {MANIFEST}", "")
    if table.row_count:
        yield table


def examples(shards: ShardSet, count: int) -> list[Row]:
    """The first rows whose rewrite says something else than the original."""
    found: list[Row] = []
    for row in shards.rows() if shards.manifest.texts[1:] else ():
        if row["rewrite_status"] in ("ok", "truncated"):
            found.append(row)
            if len(found) == count:
                break
    return found


def side_by_side(row: Row, manifest: Manifest) -> Panel:
    """Original and rewrites of one row beside each other, with their scores."""
    table = Table(box=box.SIMPLE, expand=True, pad_edge=False)
    for text in manifest.texts:
        scores = _scores(row, text, manifest)
        table.add_column(Text(f"{text}{scores}"), ratio=1, overflow="fold")
    rewrites = manifest.texts[1:]
    told = [f"({why(row, text)})" if row[text] is None else row[text] for text in rewrites]
    table.add_row(Text(row["original"]), *map(Text, told))
    title = f"{row['doc_id']} · chunk {row['chunk'] + 1} of {row['chunks']} · {row['source']}"
    statuses = " · ".join(str(row[f"{text}_status"]) for text in with_status(manifest.texts))
    return Panel(table, title=Text(title), subtitle=Text(statuses))


def why(row: Row, text: str = "rewrite") -> str:
    """The status of a rewrite, and its reason where one is kept."""
    status, reason = row[f"{text}_status"], row.get(f"{text}_reason")  # format 1 keeps none
    return f"{status}: {reason}" if reason else str(status)


def show(shards: ShardSet, count: int) -> Columns:
    """The first `count` rows, readable."""
    rows = [row for row, _ in zip(shards.rows(), range(count), strict=False)]
    return Columns([side_by_side(row, shards.manifest) for row in rows], expand=True)


def _scores(row: Row, text: str, manifest: Manifest) -> str:
    found = [(name, row.get(f"{text}_{name}")) for name in (*manifest.criteria, "score")]
    return "".join(f"  {name} {value:.2f}" for name, value in found if value is not None)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def cache_share(usage: Usage) -> str:
    """Share of prompt tokens served by the prefix cache, or that nobody knows."""
    if usage.cached_tokens is None:
        return "unknown"
    return f"{usage.cached_tokens / usage.prompt_tokens:.0%}" if usage.prompt_tokens else "0%"
