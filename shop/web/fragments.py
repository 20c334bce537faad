"""Pages that were drawn once and are kept for as long as everything they show stays the same.

A page is kept under *what it shows*: the very fields that were read from the snapshot for this request, and nothing else is handed
to its template. It is not kept under a time or a version, and no edit has to tell anybody. Whoever reads another price looks for
another page, and does not find the old one.

Nothing of one visitor is in a kept page but how many pieces are in the cart, which is part of what it is kept under. A chosen side
or a reason why nothing can be changed makes a page that is not kept. Where a form's token and messages belong a kept page has gaps, which
are filled for each visitor; and of a page that is all one visitor's, like a cart, only what stands around is kept.
"""

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha1
from typing import Any, NamedTuple, Protocol, cast

from flask import Flask, current_app, render_template
from jinja2 import StrictUndefined
from markupsafe import Markup, escape
from msgspec import Struct

PAGES_MAX = 1024  # some 10 MB; the least recently used go first

TOKEN = "csrf_token"  # noqa: S105 - the name of a gap
MESSAGES = "messages"
_KEY = "antipode.fragments"
_SECRET = secrets.token_hex(16)  # begins a gap: nobody can type it into a name or a search
_GAPS = re.compile(rf"{_SECRET}-(\w+)-")
_is_kept: ContextVar[bool] = ContextVar("is_kept", default=False)
# What a template must not ask for: it is about the request and not in what the page is kept under.
_HIDDEN: Mapping[str, Any] = {
    name: StrictUndefined(name=name) for name in ("request", "session", "g", "config", "get_flashed_messages")
}


class Shown(Protocol):
    """Everything that the main part of a page shows; frozen, and equal to another that would look the same."""

    @property
    def template(self) -> str: ...

    def variables(self) -> dict[str, Any]:
        """For the template, worked out of the fields and of nothing else."""
        ...

    def __hash__(self) -> int: ...


class Frame(Struct, frozen=True):
    """What stands around the main part for everybody alike. It takes the place of `shop` in the template."""

    menu: tuple["MenuEntry", ...]
    pieces: int  # in the visitor's cart
    is_stage_public: bool
    is_far_side_offered: bool

    def categories(self) -> tuple["MenuEntry", ...]:
        return self.menu

    def cart_quantity(self) -> int:
        return self.pieces

    def why_read_only(self) -> str:
        return ""

    def messages(self) -> Markup:
        return Markup(_gap(MESSAGES))  # noqa: S704 - our own

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
    """A page in pieces; between them belong the visitor's token and what is drawn anew each time."""

    pieces: Sequence[str]  # the odd ones are names of gaps
    tag: str  # equal for equal texts

    def text(self, **texts: str) -> str:
        """The page with its gaps filled, those of every page too: what is to be said is said, and once."""
        pieces = list(self.pieces)
        of_every_page = _parts().texts
        for place in range(1, len(pieces), 2):
            name = pieces[place]
            if name not in texts:
                texts[name] = of_every_page[name]()
            pieces[place] = texts[name]
        return "".join(pieces)


def page(shown: Shown, frame: Frame | None) -> Drawn:
    """The page that shows *shown* in *frame*; without one it is drawn for this request alone."""
    if frame is None:
        return _drawn(render_template(shown.template, **shown.variables()))
    return _parts().kept(shown, frame)


def framed(template: str, frame: Frame | None, **texts: str) -> str:
    """A page whose *texts* are one visitor's and not kept; what stands around them is. A text that is no `Markup` is escaped."""
    if frame is None:
        return render_template(template, **texts)
    around = _parts().kept(_Around(template, tuple(texts)), frame)
    return around.text(**{name: escape(text) for name, text in texts.items()})


def tag_of(text: str) -> str:
    """Equal for equal texts."""
    return sha1(text.encode(), usedforsecurity=False).hexdigest()


def token_in_template() -> str:
    """What stands in a form: the visitor's token, or in a page that is to be kept the gap for it."""
    return _gap(TOKEN) if _is_kept.get() else _parts().texts[TOKEN]()


def register(app: Flask, *, token: Callable[[], str], messages: Callable[[], str]) -> None:
    """Keep the pages of *app*; *token* is that of the visitor's forms, *messages* what is to be said on the page that is made."""

    @lru_cache(PAGES_MAX)
    def kept(shown: Shown, frame: Frame) -> Drawn:
        return _drawn(_draw_to_keep(app, shown, frame))

    app.extensions[_KEY] = _Parts(kept, {TOKEN: token, MESSAGES: messages})
    app.jinja_env.globals["csrf_token"] = token_in_template


class _Parts(NamedTuple):
    kept: Callable[[Shown, Frame], Drawn]
    texts: Mapping[str, Callable[[], str]]  # for gaps of every page


def _parts() -> _Parts:
    return cast(_Parts, current_app.extensions[_KEY])


class _Around(Struct, frozen=True):
    """A page with a gap for each of its texts."""

    template: str
    names: tuple[str, ...]

    def variables(self) -> dict[str, Any]:
        return {name: Markup(_gap(name)) for name in self.names}  # noqa: S704 - our own


def _draw_to_keep(app: Flask, shown: Shown, frame: Frame) -> str:
    before = _is_kept.set(True)
    try:
        return app.jinja_env.get_template(shown.template).render(
            **_HIDDEN,
            shop=frame,
            far_side=_NearSide(frame.is_far_side_offered),
            **shown.variables(),
        )
    finally:
        _is_kept.reset(before)


def _drawn(text: str) -> Drawn:
    return Drawn(tuple(_GAPS.split(text)), tag_of(text))


def _gap(name: str) -> str:
    return f"{_SECRET}-{name}-"
