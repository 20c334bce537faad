"""HTTP by hand, for what no well-behaved client would send."""

import socket
from urllib.parse import urlsplit


def connect(url: str, *, receive_buffer: int = 0) -> socket.socket:
    """A connection to the server at *url*; a small *receive_buffer* makes a reader that the kernel does not help."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = socket.socket()
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.settimeout(15)
    try:
        connection.connect((parts.hostname, parts.port))
    except BaseException:
        connection.close()
        raise
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def read_reply(connection: socket.socket) -> bytes:
    """One reply, of a connection that stays open."""
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += _more(connection)
    length = next(line for line in reply.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body_of(reply)) < int(length.partition(b":")[2]):
        reply += _more(connection)
    return reply


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(65536)
    assert part, "the server closed in the middle of a reply"
    return part


def exchange(url: str, request: bytes) -> bytes:
    """The reply to *request*, which has to end with the connection's end."""
    with connect(url) as connection:
        connection.sendall(request)
        return read_all(connection)


def is_refused(url: str) -> bool:
    """Whether nobody listens at *url* any more."""
    try:
        connect(url).close()
    except ConnectionRefusedError:
        return True
    return False


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


def body_of(reply: bytes) -> bytes:
    return reply.partition(b"\r\n\r\n")[2]
