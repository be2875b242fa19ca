"""Scored shards to a trained model: Megatron-Core, one trunk a document, exact to the sample."""

import os

# torch reads it when it is first imported. A process that another one has left behind would print
# the stack of its connection; people get our own sentence.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
