"""Pages that were drawn once and are kept for as long as everything they show stays the same.

A page is kept under *what it shows*: the very fields that were read from the snapshot for this request, and nothing else is handed
to its template. It is not kept under a time or a version, and no edit has to tell anybody. Whoever reads another price looks for
another page, and does not find the old one.

Nothing of one visitor is in a kept page but how many pieces are in the cart, which is part of what it is kept under. A message, a
chosen side or a reason why nothing can be changed makes a page that is not kept. Where a form's token belongs a kept page has a
gap, which is filled for each visitor.
"""

import secrets
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import lru_cache
from hashlib import sha1
from typing import Any, NamedTuple, Protocol

from flask import Flask, current_app, render_template
from jinja2 import StrictUndefined
from msgspec import Struct

PAGES_MAX = 1024  # some 10 MB; the least recently used go first

_KEY = "antipode.fragments"
_GAP = secrets.token_hex(16)  # in the place of a token: nobody can type it into a name or a search
_is_kept: ContextVar[bool] = ContextVar("is_kept", default=False)
# What a template must not ask for: it is about the request and not in what the page is kept under.
_HIDDEN: Mapping[str, Any] = {name: StrictUndefined(name=name) for name in ("request", "session", "g", "config")}


class Shown(Protocol):
    """Everything that the main part of a page shows; frozen, and equal to another that would look the same."""

    @property
    def template(self) -> str: ...

    def variables(self) -> dict[str, Any]:
        """For the template, worked out of the fields and of nothing else."""
        ...

    def __hash__(self) -> int: ...


class Frame(Struct, frozen=True):
    """What stands around the main part for a visitor without anything to be told. It takes the place of `shop` in the template."""

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
    """A page in pieces; between them belongs the visitor's token."""

    pieces: tuple[bytes, ...]
    tag: str  # equal for equal bytes

    def body(self, token: Callable[[], str]) -> bytes:
        return self.pieces[0] if len(self.pieces) == 1 else token().encode().join(self.pieces)


def page(shown: Shown, frame: Frame | None) -> Drawn:
    """The page that shows *shown* in *frame*; without one it is drawn for this request alone."""
    if frame is None:
        return _drawn(render_template(shown.template, **shown.variables()))
    found: Drawn = current_app.extensions[_KEY](shown, frame)
    return found


def token_or_gap(token: Callable[[], str]) -> str:
    """What stands in a form: the visitor's token, or in a page that is to be kept the gap for it."""
    return _GAP if _is_kept.get() else token()


def register(app: Flask) -> None:
    app.extensions[_KEY] = lru_cache(PAGES_MAX)(lambda shown, frame: _drawn(_draw_to_keep(app, shown, frame)))


def _draw_to_keep(app: Flask, shown: Shown, frame: Frame) -> str:
    before = _is_kept.set(True)
    try:
        return app.jinja_env.get_template(shown.template).render(
            **_HIDDEN,
            shop=frame,
            far_side=_NearSide(frame.is_far_side_offered),
            get_flashed_messages=_no_messages,
            **shown.variables(),
        )
    finally:
        _is_kept.reset(before)


def _no_messages(**_: Any) -> tuple[()]:
    return ()


def _drawn(text: str) -> Drawn:
    whole = text.encode()
    return Drawn(tuple(whole.split(_GAP.encode())), sha1(whole, usedforsecurity=False).hexdigest())
