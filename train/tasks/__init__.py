"""What the policy is asked, and what its answers earn.

`continuing`: documents are continued (the task of a run that names none). `rewriting`, `judging`:
a row of a set is a prompt. Each of the two has two sides: an `Asker`, in the trainer, makes the
prompts of a row; its `Earnings`, in the rollout worker, weigh the answers.
"""
