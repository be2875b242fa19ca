"""Text from outside, made fit to be shown: corpus, answers and servers may send anything."""


def printable(text: str) -> str:
    """Corpus text is hostile: control characters must not reach a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )


def one_line(text: str, longest: int) -> str:
    """`text` in one printable line of at most `longest` characters; `…` at its end: it was cut."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def span(seconds: float) -> str:
    """A length of time for a person."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
