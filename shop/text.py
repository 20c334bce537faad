"""Text that people type: cleaned for keeping, folded for finding, shortened for addresses.

The cleaners raise `ValueError` whose text is the sentence to show beside the field.
"""

import re
import unicodedata

_WORD = re.compile(r"[^\W_]+")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
_DIRECTION = frozenset(
    "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)  # make a text read differently than it is

SLUG_LENGTH_MAX = 60


def clean_line(text: str, *, length_max: int, name: str, is_required: bool = True) -> str:
    """*text* stripped and on one line; *name* is what the sentence calls the field."""
    return _clean(text, length_max=length_max, name=name, is_required=is_required, allowed="")


def clean_text(text: str, *, length_max: int, name: str, is_required: bool = False) -> str:
    """*text* stripped, of any number of lines, each ending in a plain newline."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return _clean(lines, length_max=length_max, name=name, is_required=is_required, allowed="\n\t")


def fold(text: str) -> str:
    """*text* without case and accents: `Éclair` and `eclair` are the same to whoever searches."""
    if text.isascii():
        return text.casefold()
    # Decomposed before too, because that may bring forth capitals: U+2103 becomes a degree sign and a C.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).translate(_LETTERS)


def words_of(text: str) -> list[str]:
    """The words of *text*, folded, in their order; what stands between them is dropped."""
    return _WORD.findall(fold(text))


def slug_of(text: str) -> str:
    """An address made of *text*: `a-z`, `0-9` and single hyphens; "" when nothing of it is left."""
    return _NOT_SLUG.sub("-", fold(text)).strip("-")[:SLUG_LENGTH_MAX].rstrip("-")


def _clean(text: str, *, length_max: int, name: str, is_required: bool, allowed: str) -> str:
    cleaned = text.strip()
    if is_required and not cleaned:
        raise ValueError(f"Enter {name}.")
    if len(cleaned) > length_max:
        raise ValueError(f"Use at most {length_max:,} characters here; these are {len(cleaned):,}.")
    if cleaned.isascii() and cleaned.isprintable():
        return cleaned  # most of what is typed; none of the rules below has anything to say about it
    if any(_is_unprintable(letter) and letter not in allowed for letter in cleaned):
        raise ValueError("Take out the characters that cannot be printed.")
    cleaned = unicodedata.normalize("NFC", cleaned)
    if len(cleaned) > length_max:  # a few letters have no composed form and grow
        raise ValueError(f"Use at most {length_max:,} characters here; these are {len(cleaned):,}.")
    return cleaned


def _is_unprintable(letter: str) -> bool:
    return unicodedata.category(letter) in {"Cc", "Cs", "Cn", "Zl", "Zp"} or letter in _DIRECTION
