"""What can be told of a text without a model: whether it is a refusal, how far it repeats itself,
how much of another one is in it.

A word is a segment of UAX 29, the Unicode standard's word boundaries, that is not white space, so a
punctuation mark is one too. Where a script writes no spaces between words it is mostly a single
character: there repetition is higher, and figures compare only with those of the same language.
Costs 0.2 ms for 600 characters.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

import regex

REPEATED = 4
"""Words of the n-grams in which repetition is counted."""

_CANNOT = r"""
    i(?:
      \ (?:can['’]?t|cannot(?:\ and\ will\ not)?|can\ not|could(?:n['’]t|\ not)|won['’]?t|will\ not)
    | (?:['’]?m|\ am)\ (?:unable|not\ (?:able|comfortable|allowed|permitted))
    | \ do(?:n['’]?t|\ not)\ (?:feel\ comfortable|think\ i\ (?:can|should))
    | (?:['’]d|\ would)\ (?:rather\ not|prefer\ not)
    )\b"""
"""How a model says that it will not: alone it says nothing (`I can't believe how good this is`)."""

_APOLOGY = r"""
    (?:(?:i['’]?m|i\ am)\ (?:\w+\ )?(?:sorry|afraid)|sorry|(?:my\ )?(?:\w+\ )?apologies
      |i\ (?:\w+\ )?apologi[sz]e)
    (?:\ for\ [\w\ ]{1,40})?(?:[,.;]\ (?:but\ )?|\ but\ )"""

_TASK = r"""
    (?:\ be\ able)?(?:\ to)?(?:\ \w+ly)?\ 
    (?: (?:assist|comply|condon|fulfil+)(?:e|ing)?\b
      | (?:help|provid|creat|generat|(?:re)?writ|produc|continu|engag|participat|discuss|support
          |offer|answer|complet|edit|revis|do)(?:e|ing)?\ 
        (?: (?:you\ )?(?:with\ |in\ )?(?:this|that)[.!]
          | [^.]{0,60}?\b(?:request|passage|text|content|prompt|rewrite|version|story|stories
              |material|topic|task|conversation|instruction|advice)s?\b
        )
    )"""
"""What a model declines to do, and with what."""

_MODEL = r"""
    (?:\w+\ ){0,3}(?:ai|artificial\ intelligence|language\ model|assistant)
    (?:\ (?:language\ )?(?:model|assistant))?"""

_REFUSAL = re.compile(
    rf"""^\W*(?:
      {_APOLOGY}(?:as\ an?\ [\w\ ]{{1,40}},\ )?(?:{_CANNOT}|i\ (?:must|have\ to)\ decline)
    | (?:(?:unfortunately|regrettably|i['’]?m\ afraid|i\ am\ afraid),?\ )?{_CANNOT}{_TASK}
    | i\ (?:(?:must|have\ to|respectfully)\ )?decline\ (?:to\b|th(?:is|at)\b|your\b)
    | as\ an?\ {_MODEL},\ (?:i\b|my\b)
    | (?:i['’]?m|i\ am)\ (?:just|only)\ an?\ {_MODEL}\b
    | (?:this|your|the)\ (?:request|prompt|passage|content|text)\b[^.]{{0,80}}
      (?:\b(?:my|our|safety|content)\ (?:guidelines|polic)|\b{_CANNOT})
    | (?:this|your|the)\ (?:request|prompt)\ (?:is|seems|appears)\ 
      [^.]{{0,40}}\b(?:inappropriate|harmful)
    )""",
    re.IGNORECASE | re.VERBOSE,
)

_BOUNDARY = regex.compile(r"(?V1w)\b")


_LITTLE = """
    a about after all also am an and any are as at be because been before being but by can could
    did do does doing down for from had has have having he her here hers him his how i if in into is
    it its just may me might more most must my no nor not of off on once only or other our out over
    own same shall she should so some such than that the their them then there these they this those
    through to too under until up upon very was we were what when where which while who whom whose
    why will with would you your"""
_FUNCTION_WORDS = frozenset(_LITTLE.split())
"""Words of English that say little by themselves."""


def is_refusal(text: str) -> bool:
    """Whether a text begins the way models refuse."""
    return _REFUSAL.match(text[:300]) is not None


def repetition(text: str) -> float | None:
    """The share of a text's 4-grams that stand earlier in it, 0..1: 1 - distinct / all, seq-rep-4
    of arXiv 1908.04319 (there of tokens). None for a text of fewer than four words.
    """
    distinct = distinct_share([text], REPEATED)
    return None if distinct is None else 1 - distinct


def distinct_share(texts: Sequence[str], n: int, words: int | None = None) -> float | None:
    """Distinct n-grams of words by all n-grams of `texts`, 0..1: distinct-n of arXiv 1510.03055,
    but for the divisor (there the words), so that 1 means that none comes twice. words: so many of
    each text, the first ones, and not all. None where no text has n words.
    """
    found = [gram for text in texts for gram in _grams(text, n, words)]
    return len(set(found)) / len(found) if found else None


def variety(context: str, reference: str, candidate: str) -> float:
    """The shipped criterion `variety`: 1 - repetition. ValueError where there is none to tell, for
    a text that ends at once must not be the best one.
    """
    repeated = repetition(candidate)
    if repeated is None:
        raise ValueError(f"fewer than {REPEATED} words, so nothing can repeat")
    return 1 - repeated


def kept(context: str, reference: str, candidate: str) -> float:
    """The shipped criterion `kept`: the share of the content words of `reference` that `candidate`
    has, too. One that comes three times there and once here has survived once. A content word has a
    letter or a digit and is none of English's function words; case does not matter. ValueError for
    a reference without any.
    """
    wanted, found = Counter(content_words(reference)), Counter(content_words(candidate))
    if not wanted:
        raise ValueError("no content word in the original, so none can be kept")
    return (wanted & found).total() / wanted.total()


def content_words(text: str) -> Iterator[str]:
    """The words of a text that say something, in small letters: see `kept`."""
    found = (word.casefold() for word in words_of(text))
    return (w for w in found if any(map(str.isalnum, w)) and w not in _FUNCTION_WORDS)


def words_of(text: str) -> list[str]:
    """The words and punctuation marks of a text in order."""
    return [word for word in _BOUNDARY.split(text) if word and not word.isspace()]


def _grams(text: str, n: int, most: int | None = None) -> Iterator[tuple[str, ...]]:
    words = words_of(text)[:most]
    return zip(*(words[start:] for start in range(n)), strict=False)
