"""Megatron's GPTModel for rows of trees.

It differs in what it is given: explicit positions, and the layout of `train.model.attention` in
place of an attention mask. Padding of the vocabulary is never predicted: its logits are -inf, so
the log-probabilities of the others are those of the unpadded model, exactly. And only what is
trained is predicted: output layer and softmax see those places alone.

Shape suffixes: S tokens of the row, 4 fields of its layout, T places in it, H hidden units, V
entries of this rank's vocabulary.
"""

from typing import Any

import torch
from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from torch import Tensor

from prewrite.train.model.attention import attention_layout
from prewrite.train.model.rope import angles, speeds
from prewrite.train.model.shape import ModelShape


class TreeModel(GPTModel):  # type: ignore[misc]
    """This rank's stage of a model."""

    def __init__(self, shape: ModelShape, **arguments: Any) -> None:
        super().__init__(position_embedding_type="none", **arguments)
        # Not a buffer: it must stay float32 in a bfloat16 model.
        self.speed = speeds(shape)
        if self.post_process:
            # Padded rows lie behind the vocabulary, so on the last ranks.
            size = self.vocab_size // self.pg_collection.tp.size()
            used = min(max(shape.vocabulary - size * self.pg_collection.tp.rank(), 0), size)
            self.output_layer.register_forward_hook(lambda *call: _forbid(call[-1][0], used))
            self.output_layer.sequence_parallel = False  # `_postprocess` gathers for it
            self.output_layer.allreduce_dgrad = self.pg_collection.tp.size() > 1

    def forward(
        self,
        tokens_1S: Tensor,
        positions_1S: Tensor,
        layout_1S4: Tensor | None = None,
        labels: Tensor | None = None,
        at_T: Tensor | None = None,
    ) -> Tensor:
        """On the last stage: negative log-probability of each label in nats, [1, T] float32, or
        without labels this rank's logits [1, T, V]. On other stages: hidden states, for the next.

        labels: [1, T], what follows the places `at_T`; without them, what follows every token of
        the row. Without a layout each token sees all before it.
        """
        row = None if layout_1S4 is None else attention_layout(layout_1S4)
        out: Tensor = super().forward(
            # mcore hands `loss_mask` to `_postprocess` and to nothing else.
            tokens_1S,
            positions_1S,
            None,
            labels=labels,
            packed_seq_params=row,
            loss_mask=at_T,
        )
        return out

    def _preprocess(self, input_ids: Tensor, position_ids: Tensor, **others: Any) -> Any:
        embedded, _, *rest = super()._preprocess(input_ids, position_ids, **others)
        self.speed = self.speed.to(position_ids.device)
        return embedded, angles(position_ids, self.speed), *rest

    def _postprocess(
        self, hidden_states: Tensor, loss_mask: Tensor | None = None, **others: Any
    ) -> Any:
        hidden_S1H, at_T = hidden_states, loss_mask
        if self.post_process and self.config.sequence_parallel:
            # The output layer adds up the gradients of all ranks, at T places: each keeps its part.
            hidden_S1H = gather_from_sequence_parallel_region(
                hidden_S1H, tensor_parallel_output_grad=False
            )
        if self.post_process and at_T is not None:
            hidden_S1H = hidden_S1H.index_select(0, at_T)
        return super()._postprocess(hidden_states=hidden_S1H, **others)


def _forbid(logits_S1V: Tensor, used: int) -> None:
    # In place and unseen by autograd: the softmax there is 0, so the gradient is 0 anyway.
    with torch.no_grad():
        logits_S1V[..., used:] = -torch.inf
