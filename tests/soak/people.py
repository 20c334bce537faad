"""Who uses the shop during a soak: people who take what comes, a refusal too, and remember what they were told."""

import random
import threading
import time
from collections.abc import Callable

from tests.e2e.buyers import PLENTY, SERVER_GONE
from tests.e2e.shop_process import ADMIN_PASSWORD
from tests.e2e.shopper import CUSTOMER, Form, Reply, Shopper

REFUSALS = (303, 400, 409, 503)  # what a form may be answered while roles change or the cable is broken


class Person(threading.Thread):
    """Does `turn` again and again until told to stop; what it must never meet is kept in `fault`."""

    def __init__(self, url: str, seed: int, *, pause: float) -> None:
        super().__init__(daemon=True)
        self.fault: BaseException | None = None
        self.pages = 0
        self._url = url
        self._chance = random.Random(seed)
        self._pause = pause
        self._over = threading.Event()
        self.shopper = Shopper(url)

    def run(self) -> None:
        try:
            while not self._over.wait(self._chance.uniform(0.5, 1.5) * self._pause):
                self.turn()
        except SERVER_GONE as gone:
            self.fault = AssertionError(f"the server went away: {gone}")
        except BaseException as fault:
            self.fault = fault
        finally:
            self.shopper.close()

    def turn(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        self._over.set()
        self.join()

    def page(self, path: str) -> Reply:
        """A page, which is there whatever happens behind it."""
        reply = self.shopper.get(path)
        self.pages += 1
        assert reply.status in (200, 303), f"{reply.status} {path}\n{reply.text[:500]}"
        return reply


class Browser(Person):
    """Looks around."""

    PATHS = ("/", "/?q=ink", "/?sort=price", "/?in_stock=1&page=2", "/cart", "/replication")

    def turn(self) -> None:
        good = self._chance.choice(PLENTY)
        self.page(self._chance.choice((*self.PATHS, f"/products/{good.slug}")))


class Buyer(Person):
    """Buys one thing at a time; `confirmed` holds the orders it was told of, with what they cost."""

    def __init__(self, url: str, seed: int, *, pause: float) -> None:
        super().__init__(url, seed, pause=pause)
        self.confirmed: dict[str, str] = {}  # number -> e-mail
        self.sent = 0
        self.refused = 0

    def turn(self) -> None:
        good = self._chance.choice(PLENTY)
        added = self.shopper.send(self.page(f"/products/{good.slug}").form("/cart/lines"), quantity="1")
        assert added.status in REFUSALS, f"{added.status} when adding to the cart\n{added.text[:500]}"
        checkout = self.page("/checkout")
        forms = [form for form in checkout.forms() if form.action == "/checkout"]
        if not forms:  # the cart was lost with the primary, could not be kept, or a price has changed
            self.refused += 1
            self._accept_prices()
            return
        self.sent += 1
        email = f"{self.name}-{self.sent}@example.com".lower()
        form = forms[0]._replace(fields={**forms[0].fields, **CUSTOMER, "email": email})
        self._send(form, email)

    def _accept_prices(self) -> None:
        for form in self.page("/cart").forms():
            if form.action == "/cart/prices":
                assert self.shopper.send(form).status in REFUSALS

    def _send(self, form: Form, email: str) -> None:
        for _ in range(20):
            reply = self.shopper.send(form)
            assert reply.status in REFUSALS, f"{reply.status} at the checkout\n{reply.text[:500]}"
            if reply.status == 303 and reply.location.startswith("/orders/"):
                self.confirmed[reply.location.removeprefix("/orders/").partition("?")[0]] = email
                return
            if reply.status != 503:
                break
            time.sleep(0.1)  # what a person does who reads "please try again soon"
        self.refused += 1


class Admin(Person):
    """A shopkeeper who is logged in, and logs in again when asked to."""

    def __init__(self, url: str, seed: int, *, pause: float) -> None:
        super().__init__(url, seed, pause=pause)
        self.log_in()

    def log_in(self) -> None:
        assert self.shopper.log_in(ADMIN_PASSWORD).status == 303

    def admin_page(self, path: str) -> Reply:
        reply = self.shopper.get(path)
        if reply.status in (302, 303):
            self.log_in()
            reply = self.shopper.get(path)
        self.pages += 1
        assert reply.status == 200, f"{reply.status} {path}\n{reply.text[:500]}"
        return reply

    def press(self, page: str, action: str, **fields: str) -> Reply:
        """Send one form of an admin page."""
        reply = self.shopper.send(self.admin_page(page).form(action), **fields)
        assert reply.status in REFUSALS, f"{reply.status} {action}\n{reply.text[:500]}"
        return reply


class Editor(Admin):
    """Changes prices and descriptions; never a stock, so that the books can be checked."""

    def __init__(self, url: str, seed: int, *, pause: float) -> None:
        super().__init__(url, seed, pause=pause)
        self.edits = 0

    def turn(self) -> None:
        good = self._chance.choice(PLENTY)
        address = f"/admin/products/p-{good.sku.lower()}"
        reply = self.press(address, address, price=f"{self._chance.randint(100, 20_000) / 100:.2f}")
        self.edits += reply.status == 303


class Operator(Admin):
    """Breaks the cable, changes modes and roles, and decides on what was lost. Each trouble is one call."""

    PAGE = "/admin/replication"

    def __init__(self, url: str, seed: int, *, pause: float) -> None:
        super().__init__(url, seed, pause=pause)
        self.outages = self.promotions = self.switchovers = self.lost = 0
        self._troubles: list[Callable[[], None]] = [
            self.outage,
            self.promote,
            self.verify,
            self.switch_over,
            self.semi_sync,
            self.promote,
            self.bad_cable,
            self.switch_over,
        ]
        self._next = 0

    def turn(self) -> None:
        self._troubles[self._next % len(self._troubles)]()
        self._next += 1

    def outage(self) -> None:
        self.press(self.PAGE, f"{self.PAGE}/outage", outage="2")
        self.outages += 1

    def bad_cable(self) -> None:
        self.press(self.PAGE, f"{self.PAGE}/loss", loss="20")
        self.press(self.PAGE, f"{self.PAGE}/jitter", jitter="0.2")
        time.sleep(1)
        self.press(self.PAGE, f"{self.PAGE}/loss", loss="0")
        self.press(self.PAGE, f"{self.PAGE}/jitter", jitter="0")

    def semi_sync(self) -> None:
        self.press(self.PAGE, f"{self.PAGE}/mode", mode="semi-sync")
        time.sleep(2)
        self.press(self.PAGE, f"{self.PAGE}/mode", mode="async")

    def verify(self) -> None:
        self.press(self.PAGE, f"{self.PAGE}/verify")

    def switch_over(self) -> None:
        reply = self.press(f"{self.PAGE}/failover", f"{self.PAGE}/failover/switchover")
        self.switchovers += reply.location == f"{self.PAGE}/lost"

    def promote(self) -> None:
        reply = self.press(f"{self.PAGE}/failover", f"{self.PAGE}/failover/promote")
        self.promotions += reply.location == f"{self.PAGE}/lost"
        self.decide()

    def decide(self) -> None:
        """Re-enter what can be re-entered, discard the rest."""
        while actions := self._undecided():
            for action in actions:
                reply = self.shopper.send(self.admin_page(f"{self.PAGE}/lost").form(f"{action}/reenter"))
                assert reply.status in REFUSALS
            self.lost += len(actions)
            for action in self._undecided():
                self.press(f"{self.PAGE}/lost", f"{action}/discard", reason="It is out of date.")

    def _undecided(self) -> list[str]:
        forms = self.admin_page(f"{self.PAGE}/lost").forms()
        return [form.action.removesuffix("/reenter") for form in forms if form.action.endswith("/reenter")]
