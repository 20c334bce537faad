"""Pages that were drawn once and are kept for as long as everything they show stays the same.

What a page shows and the frame around it are kept apart, each under *what it shows*: the very fields that were read from the snapshot
for this request, and nothing else is handed to its template. It is not kept under a time or a version, and no edit has to tell anybody.
Whoever reads another price looks for another page, and does not find the old one.

Nothing that tells one visitor from another is kept. What is in a cart or an order, and what it costs, is part of what the page is kept
under: whoever buys the same reads the same. Where a name, an address, a key, a form's token or a message belongs a kept page has gaps,
which are filled for each visitor. A chosen side or a reason why nothing can be changed makes a page that is not kept.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha1
from typing import Any, NamedTuple, Protocol, cast

from flask import Flask, render_template
from jinja2 import StrictUndefined, UndefinedError
from markupsafe import Markup, escape
from msgspec import Struct

from shop.web.services import running_app

PAGES_MAX = 512  # without their frames: some 3 MB, 12 at the most; the least recently used go first
LINES_MAX = 12  # a longer cart or order is drawn each time: it is long, and hardly anybody else has the same
FRAMES_MAX = 256  # some 1 MB
PARTS_MAX = 256

TOKEN = "csrf_token"  # noqa: S105 - the name of a gap
MESSAGES = "messages"
BLOCKS = ("title", "head", "main")  # what a page's template puts in its frame, in the order of kept/page.html
_KEY = "antipode.fragments"
_SECRET = secrets.token_hex(16)  # begins a gap: nobody can type it into a name or a search
_GAPS = re.compile(rf"{_SECRET}-(\w+)-")
_CUT = Markup(f"{_SECRET}|")  # noqa: S704 - our own
_is_kept: ContextVar[bool] = ContextVar("is_kept", default=False)
# What a template must not ask for: it is about the request, or the frame, and not in what the page is kept under.
_HIDDEN_NAMES = ("request", "session", "g", "config", "get_flashed_messages", "shop", "far_side")
_HIDDEN: Mapping[str, Any] = {name: StrictUndefined(name=name) for name in _HIDDEN_NAMES}


class _NotForKept:
    """A global of the templates as it is, and an error for a page that is to be kept: a macro sees it whatever its page is given."""

    def __init__(self, name: str, it: Any) -> None:
        self._name = name
        self._it = it

    def _asked(self) -> Any:
        if _is_kept.get():
            raise UndefinedError(f"{self._name!r} is nothing that this page is kept under")
        return self._it

    def __getattr__(self, name: str) -> Any:
        return getattr(self._asked(), name)

    def __getitem__(self, name: str) -> Any:
        return self._asked()[name]

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        return self._asked()(*arguments, **more)


class Shown(Protocol):
    """Everything that a page shows in its frame; frozen, and equal to another that would look the same."""

    @property
    def template(self) -> str: ...

    @property
    def line_count(self) -> int:
        """Lines of a cart or an order that it shows."""
        ...

    def variables(self) -> dict[str, Any]:
        """For the template, worked out of the fields and of nothing else."""
        ...

    def __hash__(self) -> int: ...


class Frame(Struct, frozen=True):
    """What stands around it, the same for many. It takes the place of `shop` in the template."""

    menu: tuple["MenuEntry", ...]
    pieces: int  # in the visitor's cart
    is_stage_public: bool
    is_far_side_offered: bool
    words: str = ""  # that were searched for
    menu_slug: str | None = None  # where in the menu the visitor is; "" for everything, None elsewhere

    def categories(self) -> tuple["MenuEntry", ...]:
        return self.menu

    def cart_quantity(self) -> int:
        return self.pieces

    def why_read_only(self) -> str:
        return ""

    def messages(self) -> Markup:
        return gap(MESSAGES)

    def has_public_stage(self) -> bool:
        return self.is_stage_public


class MenuEntry(Struct, frozen=True):
    """One category in the menu."""

    slug: str
    name: str


class _NearSide(NamedTuple):
    """What takes the place of `far_side` in the template of a kept page: nothing was chosen."""

    offered: bool

    def is_offered(self) -> bool:
        return self.offered

    def policy(self) -> str:
        return ""

    def told(self) -> None:
        return None

    def both_address(self) -> str:
        return ""


class Drawn(NamedTuple):
    """A page, encoded, and between its parts the names of gaps: there belongs what is the visitor's, or drawn anew each time."""

    parts: Sequence[bytes | str]
    tag: str  # equal for equal texts

    def body(self, **texts: str) -> bytes:
        """The page with its gaps filled, those of every page too: what is to be said is said, and once. A text that is no `Markup` is
        escaped."""
        of_every_page = _kept().texts
        filled: dict[str, bytes] = {}
        for name in self.parts:
            if isinstance(name, str) and name not in filled:
                filled[name] = escape(texts[name] if name in texts else of_every_page[name]()).encode()
        return b"".join([filled[part] if isinstance(part, str) else part for part in self.parts])


def page(shown: Shown, frame: Frame | None) -> Drawn:
    """The page that shows *shown* in *frame*; without one, and when it is long, it is drawn for this request alone."""
    if frame is None or shown.line_count > LINES_MAX:
        return _drawn(render_template(shown.template, **shown.variables()))
    around, blocks = _kept().frame(frame), _kept().blocks(shown)
    parts: list[bytes | str] = []
    for part in around.parts:
        parts += blocks[part].parts if part in blocks else (part,)
    return Drawn(parts, around.tag + "".join([blocks[name].tag for name in BLOCKS]))


def part(shown: Shown) -> Markup:
    """What shows *shown* and stands in a page, kept in the same way."""
    return Markup(_kept().part(shown).body().decode())  # noqa: S704 - drawn by a template


def gap(name: str) -> Markup:
    """For a template: where the text of that name belongs, which `Drawn.body` is handed."""
    return Markup(_gap(name))  # noqa: S704 - our own


def tag_of(body: bytes) -> str:
    """Equal for equal texts."""
    return sha1(body, usedforsecurity=False).hexdigest()


def token_in_template() -> str:
    """What stands in a form: the visitor's token, or in a page that is to be kept the gap for it."""
    return _gap(TOKEN) if _is_kept.get() else _kept().texts[TOKEN]()


def register(app: Flask, *, token: Callable[[], str], messages: Callable[[], str]) -> None:
    """Keep the pages of *app*, whose templates have all their globals; *token* is that of the visitor's forms, *messages* what is to be
    said on the page that is made."""

    @lru_cache(PAGES_MAX)
    def blocks(shown: Shown) -> Mapping[bytes | str, Drawn]:
        drawn = _draw_to_keep(app, shown.template, **shown.variables(), layout="kept/page.html", cut=_CUT)
        return dict(zip(BLOCKS, map(_drawn, drawn.split(_CUT)), strict=True))

    @lru_cache(FRAMES_MAX)
    def around(frame: Frame) -> Drawn:
        return _drawn(_draw_to_keep(app, "kept/frame.html", **_of_frame(frame)))

    @lru_cache(PARTS_MAX)
    def part(shown: Shown) -> Drawn:
        return _drawn(_draw_to_keep(app, shown.template, **shown.variables()))

    app.extensions[_KEY] = _Kept(around, blocks, part, {TOKEN: token, MESSAGES: messages})
    app.jinja_env.globals["csrf_token"] = token_in_template
    app.jinja_env.globals["layout"] = "base.html"
    for name in _HIDDEN_NAMES:
        app.jinja_env.globals[name] = _NotForKept(name, app.jinja_env.globals[name])


class _Kept(NamedTuple):
    frame: Callable[[Frame], Drawn]
    blocks: Callable[[Shown], Mapping[bytes | str, Drawn]]
    part: Callable[[Shown], Drawn]
    texts: Mapping[str, Callable[[], str]]  # for gaps of every page


def _kept() -> _Kept:
    return cast(_Kept, running_app().extensions[_KEY])


def _of_frame(frame: Frame) -> dict[str, Any]:
    gaps = {name: gap(name) for name in BLOCKS}
    far_side = _NearSide(frame.is_far_side_offered)
    return {"shop": frame, "far_side": far_side, "words": frame.words, "menu_slug": frame.menu_slug, "gaps": gaps}


def _draw_to_keep(app: Flask, template: str, **variables: Any) -> str:
    before = _is_kept.set(True)
    try:
        return app.jinja_env.get_template(template).render({**_HIDDEN, **variables})
    finally:
        _is_kept.reset(before)


def _drawn(text: str) -> Drawn:
    parts = _GAPS.split(text)  # the odd ones are names of gaps
    return Drawn([part if place % 2 else part.encode() for place, part in enumerate(parts)], tag_of(text.encode()))


def _gap(name: str) -> str:
    return f"{_SECRET}-{name}-"
