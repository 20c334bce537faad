"""What the admin's long lists have in common: words, a page number, and addresses that ask for both."""

from urllib.parse import urlencode

from flask import request

WORDS_LENGTH_MAX = 100


def words_asked() -> str:
    return " ".join(request.args.get("q", "")[:WORDS_LENGTH_MAX].split())


def page_asked() -> int:
    """The number of the page; 1 for anything that is none."""
    text = request.args.get("page", "")[:9]
    return max(1, int(text)) if text.isascii() and text.isdigit() else 1


def address(path: str, **asked: str | int) -> str:
    """*path* that asks for what is not empty; the first page is asked for anyway."""
    given = {name: value for name, value in asked.items() if value and not (name == "page" and value == 1)}
    return f"{path}?{urlencode(given)}" if given else path
