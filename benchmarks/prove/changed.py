"""`python -m benchmarks.prove.changed CONTROL --config …`: `prewrite train` with one thing changed.

Only the controls of the proof need these changes, so the configuration has no keys for them.
`ungated`: an answer of the wrong form is weighed like any other. `apart`: each order of a pair is a
group of its own.
"""

import sys

WORKER = (
    "import sys; from benchmarks.prove.changed import ungated; ungated(); "
    "from prewrite.train.online.worker import main; main(*map(int, sys.argv[1:]))"
)


def main() -> int:
    """Change it, then train."""
    from prewrite.commands import main as command

    control = sys.argv[1]
    if control == "ungated":
        from prewrite.train.online import client

        client._COMMAND = WORKER
    else:
        from prewrite.train.data.trees import Candidate, Tokens, Tree
        from prewrite.train.tasks import prompted

        def apart(sample: int, trunk: Tokens, found: tuple[Candidate, ...], whole: bool) -> Tree:
            return Tree(sample, trunk, found)

        vars(prompted)["Tree"] = apart
    return command(["train", *sys.argv[2:]])


def ungated() -> None:
    """Every answer that holds a text is weighed, refusals and cut ones too."""
    from prewrite.prompts.checks import Checked
    from prewrite.train.messages import Rollout, RolloutPrompt
    from prewrite.train.tasks.rewriting import RewriteEarnings

    def formed(
        self: RewriteEarnings, prompt: RolloutPrompt, rollouts: tuple[Rollout, ...]
    ) -> list[Checked]:
        found = [one.text.strip() for one in rollouts]
        return [Checked("ok", text or None, None if text else "no_text") for text in found]

    RewriteEarnings._formed = formed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    sys.exit(main())
