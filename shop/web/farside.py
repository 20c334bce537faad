"""Shopping from the far side: the visitor's choice, what the session remembers for it, and one product as both sides have it.

Only the pages of the goods are read from there. The cart, the checkout, orders and logins are always the primary's, and so is the answer
to anything that was sent. Without a choice nothing here reads a store or sets a cookie.
"""

import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, cast

from flask import Blueprint, Flask, Response, flash, g, redirect, render_template, request, session
from flask.typing import ResponseReturnValue

from shop.errors import Invalid, NotFound
from shop.models import Product
from shop.replication.contract import Anomaly, FarReads, Policy, Reading, Token
from shop.units import ReadUnit
from shop.web.filters import money
from shop.web.services import services, services_of

bp = Blueprint("farside", __name__)

POLICY_KEY = "far"  # in the visitor's signed session, like the two tokens
WROTE_KEY = "wrote"  # position of the visitor's last write
SEEN_KEY = "seen"  # highest position that the visitor was shown
SLUG_LENGTH_MAX = 100
BACK_LENGTH_MAX = 500
_OWN_PATH = re.compile(r"/(?![/\\])[!-\[\]-~]*")  # never another host's

CHOICES = {
    "": ("As usual", "From the primary, like everybody."),
    Policy.PRIMARY: ("This side", "From the primary, and each page says so."),
    Policy.REPLICA: (
        "Far side, as it is",
        "From the replica, however old it is. You may miss what you have just done.",
    ),
    Policy.OWN_WRITES: (
        "Far side, with what I did",
        "From the replica once it has your own last change; after a second of waiting, from the primary.",
    ),
    Policy.MONOTONIC: (
        "Far side, never backwards",
        "From the replica once it has everything you have seen; after a second of waiting, from the primary.",
    ),
}
ANOMALIES = {
    Anomaly.LOST_WRITE: (
        "Lost write",
        "Your last change was lost: the side it was made on failed before it had reached the other side. Please look at your cart"
        " and your order, and make it again.",
    ),
    Anomaly.LOST_SIGHT: (
        "Lost in a failover",
        "Something you saw earlier is gone: the side it was on failed before it had reached the other side. This page goes back to"
        " before it.",
    ),
    Anomaly.MISSED_WRITE: (
        "Missed own write",
        "Your own last change was made, but not to what this page was read from: it has not arrived at the far side yet.",
    ),
    Anomaly.WENT_BACK: ("Time went backwards", "You have already seen the shop newer than it is on this page."),
}


# ---- for the pages of the goods


def view() -> AbstractContextManager[ReadUnit]:
    """The side that the visitor chose, the same snapshot for all of one page; without a choice, and for what was sent, the primary."""
    reads, chosen = services().reads, policy()
    if reads is None or chosen is None or request.method not in ("GET", "HEAD"):
        return services().repository.view()
    return nullcontext(_chosen_unit(reads, chosen))


def policy() -> Policy | None:
    """What this visitor has chosen, None when nothing."""
    value = session.get(POLICY_KEY)
    return Policy(value) if value and value in list(Policy) and services().reads is not None else None


def unit_of_page() -> ReadUnit | None:
    """What the page that is being made is read from, where the visitor has chosen."""
    return cast(ReadUnit | None, g.get("far_unit"))


def reading() -> Reading | None:
    """What the page that is being made was read from; None when nothing was chosen, or the page shows no goods."""
    return cast(Reading | None, g.get("far_reading"))


def tag() -> str:
    """What to add to a page's ETag, so that a page of one side is never taken for the same of the other."""
    read = reading()
    return f"-{read.file}-{read.position.timeline}-{read.position.lsn}" if read else ""


def _chosen_unit(reads: FarReads, chosen: Policy) -> ReadUnit:
    if "far_unit" not in g:
        unit, read = reads.read(chosen, wrote=_token(WROTE_KEY), seen=_token(SEEN_KEY))
        g.far_unit, g.far_reading = unit, read
        _keep(SEEN_KEY, read.seen)
        _keep(WROTE_KEY, read.wrote)
    return cast(ReadUnit, g.far_unit)


def _token(key: str) -> Token | None:
    match session.get(key):
        case [int(timeline), int(lsn)]:
            return Token(timeline=timeline, lsn=lsn)
    return None


def _keep(key: str, token: Token | None) -> None:
    if token == _token(key):
        return
    if token is None:
        session.pop(key, None)
    else:
        session[key] = [token.timeline, token.lsn]


# ---- what is said about a page


class Told(NamedTuple):
    """A reading in words."""

    is_far: bool
    sentence: str
    anomalies: Sequence[tuple[str, str]]  # name and explanation


def told(read: Reading) -> Told:
    return Told(read.side == "replica", " ".join(_sentences(read)), [ANOMALIES[anomaly] for anomaly in read.anomalies])


def _sentences(read: Reading) -> Sequence[str]:
    if read.side == "primary":
        if not read.fell_back:
            return ["This page was read from the primary: nothing is newer."]
        waited = f" (waited {read.waited_seconds:.1f} s)" if read.waited_seconds else ""
        return [f"{read.fell_back}{waited}, so this page was read from the primary."]
    waited = f"It waited {read.waited_seconds:.1f} s for that." if read.waited_seconds else ""
    return [staleness(read), *filter(None, [waited])]


def staleness(read: Reading) -> str:
    """How old what was read from the replica is."""
    if not read.commits_behind:
        return "This page was read from the far side, which has everything."
    behind = f"{read.commits_behind:,} commit{'' if read.commits_behind == 1 else 's'} behind"
    if read.age_seconds is None:
        return f"This page is {behind}, and older than the journal can tell."
    return f"This page is {read.age_seconds:,.1f} s old: {behind}."


def missing(sentence: str) -> str:
    """*sentence*, about something that is not there, and on the far side that it may be there yet to come."""
    read = reading()
    if read is None or read.side == "primary":
        return sentence
    told_of = " ".join((staleness(read), *(f"{name}: {why}" for name, why in told(read).anomalies)))
    return f"{sentence} You are looking from the far side. {told_of}"


class FarFrame:
    """What the frame around every page asks. It is `far_side` in the templates."""

    choices = CHOICES

    def is_offered(self) -> bool:
        return services().reads is not None

    def policy(self) -> str:
        return policy() or ""

    def told(self) -> Told | None:
        read = reading()
        return told(read) if read else None

    def both_address(self) -> str:
        """Of the split view of the product that is shown; "" when none is."""
        return (
            f"/products/{(request.view_args or {}).get('slug', '')}/both" if request.endpoint == "catalog.show" else ""
        )

    def back(self) -> str:
        """Where to return to after choosing."""
        is_of_goods = request.method == "GET" and (request.endpoint or "").startswith("catalog.")
        return own_path(request.full_path.rstrip("?")) if is_of_goods else "/"


# ---- choosing


@bp.get("/far-side")
def show() -> ResponseReturnValue:
    """What there is to choose from, and what it means."""
    _offered()
    return render_template("farside/show.html")


@bp.post("/far-side")
def choose() -> ResponseReturnValue:
    _offered()
    chosen = request.form.get("policy", "")
    if chosen not in CHOICES:
        raise Invalid({"policy": "There is no such way to read."}, "There is no such way to read.")
    if chosen:
        session[POLICY_KEY] = chosen
        session.permanent = True
    else:
        session.pop(POLICY_KEY, None)
        session.pop(SEEN_KEY, None)
    return redirect(own_path(request.form.get("back", "")), 303)


def own_path(target: str) -> str:
    """*target* if it is an address of this shop, else the front page."""
    return target if len(target) <= BACK_LENGTH_MAX and _OWN_PATH.fullmatch(target) else "/"


def _offered() -> FarReads:
    reads = services().reads
    if reads is None:
        raise NotFound("This shop is read from one side.")
    return reads


# ---- both sides at once


class Row(NamedTuple):
    """One field of a product as both sides have it."""

    name: str
    here: str
    there: str

    @property
    def differs(self) -> bool:
        return self.here != self.there


@bp.get("/products/<slug>/both")
def both(slug: str) -> ResponseReturnValue:
    """One product from both sides at one moment. Raises `NotFound` when neither knows it."""
    near, far, read = _offered().both()
    here, there = _same_product(slug[: SLUG_LENGTH_MAX + 1], near, far)
    known = here or there
    if known is None:
        raise NotFound("There is no such product on either side.")
    rows = [
        Row(name, ours, theirs)
        for (name, ours), (_, theirs) in zip(_fields(here, near), _fields(there, far), strict=True)
    ]
    return render_template(
        "farside/both.html", product=known, here=here, there=there, rows=rows, reading=read, staleness=staleness(read)
    )


def _same_product(slug: str, near: ReadUnit, far: ReadUnit) -> tuple[Product | None, Product | None]:
    """The product of that address; its address may have changed, so the other side is asked for its id."""
    here = near.product_by_slug(slug)
    if here is not None:
        return here, far.product(here.id)
    there = far.product_by_slug(slug)
    return (near.product(there.id) if there else None), there


def _fields(product: Product | None, unit: ReadUnit) -> Sequence[tuple[str, str]]:
    names = ("Name", "Price", "In stock", "Category", "Description", "Item", "On sale")
    if product is None:
        return [(name, "") for name in names]
    category = unit.category(product.category_id)
    values = (
        product.name,
        money(product.price_cents),
        str(product.stock),
        category.name if category else "",
        product.description,
        product.sku,
        "no longer" if product.is_archived else "yes",
    )
    return list(zip(names, values, strict=True))


# ---- what visitors write


def register(app: Flask) -> None:
    app.jinja_env.globals["far_side"] = FarFrame()

    @app.before_request
    def _forget() -> None:
        """What an earlier request on this thread wrote and did not live to remember."""
        reads = services_of(app).reads
        if reads is not None:
            reads.take_committed()

    @app.after_request
    def _remember_write(response: Response) -> Response:
        reads = services_of(app).reads
        token = reads.take_committed() if reads is not None else None
        if reads is not None and token is not None and session:  # a machine's request has no session, and gets none
            _remember(reads, token)
        return response

    @app.teardown_request
    def _release(_error: BaseException | None) -> None:
        """The answer is made: what it was read from is not needed any more."""
        reads = services_of(app).reads
        if reads is not None:
            reads.release()


def _remember(reads: FarReads, token: Token) -> None:
    """Keep the position of what the visitor wrote. A write before it that was lost and not told yet is told now."""
    before = _token(WROTE_KEY)
    if before is not None and reads.is_lost(before):
        flash("An earlier change of yours was lost in a failover. Please look at your cart.", "warning")
    _keep(WROTE_KEY, token)
