"""Requests in, completions out: vLLM in the process, or any OpenAI-compatible endpoint."""
