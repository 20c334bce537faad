"""A load generator on raw sockets, in a process of its own: `python -m bench.load` reads a plan from stdin, prints a result.

The plan: {"address", "clients", "seconds", "kind": "get" | "purchase" | "order", "path", "cart", "orders"}.
The result: how many, in how many seconds. What a client prepares is not counted: a cart; for orders, so many
checkouts; a purchase before the first that counts, which a new shop has to draw its pages for.
"""

import itertools
import json
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from urllib.parse import urlencode, urlsplit

CUSTOMER = {
    "name": "Test Customer",
    "email": "customer@example.com",
    "street": "1 Example Street",
    "postcode": "10115",
    "city": "Berlin",
    "country": "DE",
}
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_COOKIE = re.compile(rb"set-cookie: *([^=]+)=([^;\r]*)", re.IGNORECASE)
_STATUS = re.compile(rb"HTTP/1\.1 (\d+)")


class Client:
    """One keep-alive connection with cookies."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host = f"Host: {parts.netloc}\r\n".encode()
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._cookies: dict[bytes, bytes] = {}

    def get(self, path: str) -> tuple[int, bytes, bytes]:
        return self._send(b"GET %s HTTP/1.1\r\n" % path.encode(), b"")

    def post(self, path: str, fields: dict[str, str]) -> tuple[int, bytes, bytes]:
        body = urlencode(fields).encode()
        head = b"POST %s HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n"
        return self._send(head % (path.encode(), len(body)), body)

    def new_visitor(self, number: int) -> tuple[dict[bytes, bytes], dict[str, str]]:
        """A visitor of their own with a filled cart, ready to order: the cookies and the form."""
        self._cookies = {}
        fill_cart(self, number % 90)
        fields = order_fields(self.get("/checkout")[2])
        return self._cookies, fields

    def order(self, cookies: dict[bytes, bytes], fields: dict[str, str]) -> None:
        """Send that form as that visitor."""
        self._cookies = cookies
        send_order(self, fields)

    def _send(self, head: bytes, body: bytes) -> tuple[int, bytes, bytes]:
        cookies = b"; ".join(b"=".join(pair) for pair in self._cookies.items())
        cookie_line = b"Cookie: %s\r\n" % cookies if cookies else b""
        self._socket.sendall(head + self._host + cookie_line + b"\r\n" + body)
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._receive()
        header, _, rest = data.partition(b"\r\n\r\n")
        found = _LENGTH.search(header)
        length = int(found[1]) if found else 0
        parts, size = [rest], len(rest)
        while size < length:
            parts.append(self._receive())
            size += len(parts[-1])
        for name, value in _COOKIE.findall(header):
            self._cookies[name] = value
        status = _STATUS.match(header)
        return int(status[1]) if status else 0, header, b"".join(parts)

    def _receive(self) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        return data


def _hidden(page: bytes, name: str) -> str:
    found = re.search(rb'name="%s"[^>]*value="([^"]*)"' % name.encode(), page) or re.search(
        rb'value="([^"]*)"[^>]*name="%s"' % name.encode(), page
    )
    if found is None:
        raise LookupError(f"the page has no field {name}")
    return found[1].decode()


def _must(status: int, wanted: int, page: bytes) -> None:
    if status != wanted:
        raise RuntimeError(f"{status} instead of {wanted}: {page[:300]!r}")


def purchase(client: Client, number: int) -> None:
    """Catalog, product, add, cart, checkout, confirmation."""
    client.get("/")
    fill_cart(client, number)
    client.get("/cart")
    client.get(send_order(client, order_fields(client.get("/checkout")[2])))


def order_fields(page: bytes) -> dict[str, str]:
    form = page[page.index(b'action="/checkout"') :]
    hidden = {
        name.decode(): value.decode()
        for name, value in re.findall(rb'type="hidden" name="([^"]+)" value="([^"]*)"', form)
    }
    return {**hidden, **CUSTOMER}


def send_order(client: Client, fields: dict[str, str]) -> str:
    status, header, answer = client.post("/checkout", fields)
    _must(status, 303, answer)
    found = re.search(rb"location: *(\S+)", header, re.IGNORECASE)
    return urlsplit(found[1].decode())._replace(scheme="", netloc="").geturl() if found else "/"


def fill_cart(client: Client, number: int) -> None:
    _, _, page = client.get(f"/products/product-{number}")
    fields = {"csrf_token": _hidden(page, "csrf_token"), "product_id": _hidden(page, "product_id"), "quantity": "1"}
    status, _, answer = client.post("/cart/lines", fields)
    _must(status, 303, answer)


def work_of(plan: dict[str, object], client: Client, number: int) -> Iterator[Callable[[], object]]:
    """What a client does, one thing after the other; what it prepares is done before the first."""
    match plan["kind"]:
        case "order":
            checkouts = [client.new_visitor(number + count) for count in range(int(str(plan["orders"])))]
            yield from (partial(client.order, *checkout) for checkout in checkouts)
        case "purchase":
            purchase(client, number % 90)
            yield from (partial(purchase, client, (number + count) % 90) for count in itertools.count())
        case _:
            if plan.get("cart"):
                fill_cart(client, 1)
            yield from itertools.repeat(partial(client.get, str(plan["path"])))


def run(plan: dict[str, object]) -> dict[str, float]:
    counts: list[int] = []
    problems: list[Exception] = []
    clients, seconds = int(str(plan["clients"])), float(str(plan["seconds"]))
    ready = threading.Barrier(clients + 1)

    def work(number: int) -> None:
        try:
            todo = work_of(plan, Client(str(plan["address"])), number * 1000)
            first = next(todo)
            ready.wait()
            stop_at = time.perf_counter() + seconds
            count = 0
            for one in itertools.chain((first,), todo):
                if time.perf_counter() >= stop_at:
                    break
                one()
                count += 1
            counts.append(count)
        except Exception as problem:
            problems.append(problem)
            ready.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    with suppress(threading.BrokenBarrierError):
        ready.wait()
    started = time.perf_counter()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    return {"count": sum(counts), "seconds": time.perf_counter() - started}


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
