"""Rounds of improvement: what makes a model, a gate that lets it in or not, and a ledger."""
