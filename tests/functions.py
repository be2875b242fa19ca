"""Functions that criteria of `kind: python` name in tests."""


def share_of_a_kilobyte(context: str, reference: str, candidate: str) -> float:
    """How much of a thousand characters the candidate has."""
    return len(candidate) / 1000


def letters(context: str, reference: str, candidate: str) -> float:
    """The share of `e` among the letters: any two texts of some length differ in it."""
    return candidate.count("e") / max(1, len(candidate))
