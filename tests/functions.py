"""Functions that criteria of `kind: python` name in tests."""


def share_of_a_kilobyte(context: str, reference: str, candidate: str) -> float:
    """How much of a thousand characters the candidate has."""
    return len(candidate) / 1000
