"""Megatron's GPTModel for rows of trees.

It differs in what it is given: explicit positions, and the layout of `train.model.attention` in
place of an attention mask. And padding of the vocabulary is never predicted: its logits are -inf,
so the log-probabilities of the others are those of the unpadded model, exactly.

Shape suffixes: S tokens of the row, 4 fields of its layout, V entries of this rank's vocabulary.
"""

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from torch import Tensor

from train.model.attention import plan
from train.model.rope import angles, speeds
from train.model.shape import Shape


class TreeModel(GPTModel):  # type: ignore[misc]
    """This rank's stage of a model."""

    def __init__(self, shape: Shape, **arguments: Any) -> None:
        super().__init__(position_embedding_type="none", **arguments)
        # Not a buffer: it must stay float32 in a bfloat16 model.
        self.speed = speeds(shape)
        if self.post_process:
            # Padded rows lie behind the vocabulary, so on the last ranks.
            size = self.vocab_size // self.pg_collection.tp.size()
            used = min(max(shape.vocabulary - size * self.pg_collection.tp.rank(), 0), size)
            self.output_layer.register_forward_hook(lambda *call: _forbid(call[-1][0], used))

    def forward(
        self,
        tokens_1S: Tensor,
        positions_1S: Tensor,
        layout_1S4: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Tensor:
        """On the last stage: negative log-probability of each label in nats, [1, S] float32, or
        without labels this rank's logits [1, S, V]. On other stages: hidden states, for the next.

        Without a layout each token sees all before it.
        """
        row = None if layout_1S4 is None else plan(layout_1S4)
        out: Tensor = super().forward(
            tokens_1S, positions_1S, None, labels=labels, packed_seq_params=row
        )
        return out

    def _preprocess(self, input_ids: Tensor, position_ids: Tensor, **others: Any) -> Any:
        embedded, _, *rest = super()._preprocess(input_ids, position_ids, **others)
        self.speed = self.speed.to(position_ids.device)
        return embedded, angles(position_ids, self.speed), *rest


def _forbid(logits_S1V: Tensor, used: int) -> None:
    # In place and unseen by autograd: the softmax there is 0, so the gradient is 0 anyway.
    with torch.no_grad():
        logits_S1V[..., used:] = -torch.inf
