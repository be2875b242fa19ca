"""Prewrite: pre-train better language models with the help of a post-trained one.

The names below are for those who use a scored set: `ShardSet` opens one, `verify` checks it,
`Export` iterates its best texts or pairs, `export` writes them, and each raises a `PrewriteError`
with one sentence where something is wrong. No model library is needed.

In a checkout the folders below this one are links to those of the same name at the top.
"""

from prewrite.base.errors import PrewriteError
from prewrite.shards.export import Export
from prewrite.shards.export_files import export
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify

__version__ = "0.2.0"

__all__ = ["Export", "PrewriteError", "ShardSet", "__version__", "export", "verify"]
