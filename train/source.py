"""A shard set as the trainer reads it: its parts as tables, their rows as stretches."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import nan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from base.config import refuse
from base.errors import ConfigError, InputError
from base.files import Folder
from base.fingerprint import fingerprint
from shards.filters import Filter, parse_filter
from shards.reader import ShardSet
from shards.schema import USABLE, schema
from train.config import BatchConfig, DataConfig, Phase
from train.index import Mask, mask_of, read_part, spans, stretch_counts
from train.samples import Chunk, Stretch
from train.trees import KINDS, REWRITE

References = Mapping[tuple[str, int], float]
"""(row id, kind) → summed log-probability under the reference model, in nats."""
