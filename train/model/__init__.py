"""Hugging Face models as Megatron-Core models: built, loaded, run on trees, exported."""
