"""The corpus and the object store of the tests of the pipeline."""

from tests.pipeline.conftest import corpus, moto, store

__all__ = ["corpus", "moto", "store"]
