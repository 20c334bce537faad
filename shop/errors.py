"""Every way the shop says no.

A *refusal* is a `ShopError`: one sentence for the person who asked, and an HTTP status. It is turned into a page once, in
`shop/web/errors.py`. Anything else that is raised is a *fault*: it propagates, is logged once at the edge, and the person
sees an apology.
"""

from collections.abc import Mapping


class ShopError(Exception):
    """A refusal. `message` is for the person who asked; `status` is the HTTP status that says the same."""

    status = 400

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Invalid(ShopError):
    """What was typed cannot be accepted; `fields` holds a sentence per field, to be shown beside it."""

    status = 400

    def __init__(self, fields: Mapping[str, str], message: str = "Please look at the fields marked below.") -> None:
        super().__init__(message)
        self.fields = dict(fields)


class NotFound(ShopError):
    """There is no such thing, or it is not for this visitor: the two are not told apart."""

    status = 404


class NotAllowed(ShopError):
    """The visitor may not do this."""

    status = 403


class Conflict(ShopError):
    """The world moved between looking and acting (an old version, a price or a stock that changed, an order already sent)."""

    status = 409


class StaleVersion(Conflict):
    """The record was changed by somebody else since it was shown; what was typed is kept by the page."""


class CartChanged(Conflict):
    """A price or a stock changed since the cart was shown; `problems` maps a product id to a sentence beside its line."""

    def __init__(self, message: str, problems: Mapping[str, str]) -> None:
        super().__init__(message)
        self.problems = dict(problems)


class TooManyRequests(ShopError):
    """Asked too often; `retry_seconds` is how long to wait."""

    status = 429

    def __init__(self, message: str, retry_seconds: int) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class Unavailable(ShopError):
    """The shop cannot do this now, and nothing is wrong with what was asked. `retry_seconds` is a hint, or None when only an
    operator can help."""

    status = 503

    def __init__(self, message: str, retry_seconds: int | None = 5) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class WritesUnavailable(Unavailable):
    """The shop can be read but not written now (disk full, failed fsync, replica required and away). Nothing was kept
    unless `message` says that the outcome is unknown."""


class Crossed(WritesUnavailable):
    """Two updates were in each other's way and this one was broken off; nothing of it was kept, so that it can be made again."""

    def __init__(self) -> None:
        super().__init__(
            "Somebody changed the same thing at the same moment. Nothing was changed. Please try again.", 1
        )


class SettingError(Exception):
    """A setting, a folder or a file stops the program from starting; the text is one line that names it and the remedy."""
