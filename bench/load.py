"""A load generator on raw sockets, in a process of its own: `python -m bench.load` reads a plan from stdin, prints a result.

The plan: {"address", "clients", "seconds", "kind": "get" | "purchase", "path", "cart"}.
The result: how many, in how many seconds.
"""

import json
import re
import socket
import sys
import threading
import time
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
    _, _, page = client.get(f"/products/product-{number}")
    fields = {"csrf_token": _hidden(page, "csrf_token"), "product_id": _hidden(page, "product_id"), "quantity": "1"}
    status, _, answer = client.post("/cart/lines", fields)
    _must(status, 303, answer)
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


def prepare(plan: dict[str, object], client: Client) -> None:
    """A cart, for the pages that show one."""
    if plan.get("cart"):
        _, _, page = client.get("/products/product-1")
        fields = {"csrf_token": _hidden(page, "csrf_token"), "product_id": _hidden(page, "product_id"), "quantity": "1"}
        client.post("/cart/lines", fields)


def run(plan: dict[str, object]) -> dict[str, float]:
    counts: list[int] = []
    errors: list[str] = []
    stop_at = time.perf_counter() + float(str(plan["seconds"]))

    def work(number: int) -> None:
        try:
            client = Client(str(plan["address"]))
            prepare(plan, client)
            count = 0
            while time.perf_counter() < stop_at:
                _one(plan, client, number * 1000 + count)
                count += 1
            counts.append(count)
        except Exception as error:
            errors.append(f"{type(error).__name__}: {error}")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(int(str(plan["clients"])))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise RuntimeError(errors[0])
    return {"count": sum(counts), "seconds": time.perf_counter() - started}


def _one(plan: dict[str, object], client: Client, number: int) -> None:
    if plan["kind"] == "purchase":
        purchase(client, number % 90)
    else:
        client.get(str(plan["path"]))


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
