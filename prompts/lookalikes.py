"""Text as a reader takes it: what is invisible is gone, what only looks like a letter is one."""

import html
import re
import unicodedata

_ESCAPED = re.compile(r"&(?:(?:amp|#0*38|#x0*26);?)+", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_ODD = re.compile(r"[^\t-\r -~]+")  # the runs in which something may be translated
_BLANK = "\u115f\u1160\u3164\uffa0\u2800"  # Hangul fillers and the empty Braille pattern


def as_read(text: str) -> str:
    """`text` in lower case, without what is invisible, with letters, brackets and dashes of other
    scripts as the plain ones they look like, and entities as what they mean, however often escaped.
    """
    if "&" in text:
        text = html.unescape(_ESCAPED.sub("&", text))
    if _ODD.search(text):
        text = unicodedata.normalize("NFKD", text)
        text = _ODD.sub(lambda run: run[0].translate(_LOOKALIKES), text)
    return text.lower()


def _is_invisible(character: str) -> bool:
    """Whether nothing of it is seen; all of the plane of tags counts, assigned or not."""
    unseen = unicodedata.category(character) in ("Cf", "Mn", "Me") or character >= "\U000e0000"
    return unseen or character in _BLANK or bool(_CONTROL.match(character))


_PLANES = (*range(0x10000), *range(0xE0000, 0xE1000))  # without historic scripts and music
_LOOKALIKES = str.maketrans(
    # Cyrillic and Greek letters, brackets, slashes and dashes that NFKD leaves alone.
    "аАсСԁеЕһНіІјЈкКмМոոоОрРѕЅтТυѵԝхХуУαΑεΕιΙκΚνΝοΟρΡτΤχΧ‹⟨〈❬❮⟪《˂ᐸ«›⟩〉❭❯⟫》˃ᐳ»∕⁄╱⧸⟋‐‒–—―−"
    "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘʀꜱᴛᴜᴠᴡʏᴢɑɡıɩ",  # small capitals, alpha, script g, dotless i, iota
    "aAcCdeEhHiIjJkKmMnnoOpPsStTuvwxXyYaAeEiIkKvNoOpPtTxX<<<<<<<<<<>>>>>>>>>>/////------"
    "abcdefghijklmnoprstuvwyzagii",
    "".join(filter(_is_invisible, map(chr, _PLANES))),
)
