"""The log: one JSON object a line, whatever happens."""

import json
import logging
import os

import pytest
import structlog

from shop import logs


@pytest.fixture
def lines(tmp_path):
    """What was logged so far, decoded."""
    root = logging.getLogger()
    before = root.handlers, root.level
    fd = os.open(tmp_path / "log", os.O_CREAT | os.O_RDWR)
    logs.configure(fd=fd)
    yield lambda: [json.loads(line) for line in (tmp_path / "log").read_bytes().splitlines()]
    os.close(fd)
    root.handlers, root.level = before
    structlog.reset_defaults()


def respond(environ, start_response):
    start_response("204 No Content", [("X-Kept", "1")])
    return []


def ask(application, path="/", **environ):
    said = {}

    def start_response(status, headers, exc_info=None):
        said.update(headers, status=status)

    application({"REQUEST_METHOD": "GET", "PATH_INFO": path, "QUERY_STRING": "token=secret", **environ}, start_response)
    return said


def test_a_request_is_a_line_with_the_id_of_its_reply(lines):
    said = ask(logs.log_requests(respond), "/orders/A1-10001")

    (line,) = lines()
    assert line["request_id"] == said["X-Request-ID"]
    assert said["X-Kept"] == "1"
    assert list(line)[:4] == ["at", "level", "area", "event"]
    assert (line["area"], line["method"], line["path"], line["status"]) == ("request", "GET", "/orders/A1-10001", 204)
    assert "secret" not in json.dumps(line)


def test_what_is_logged_while_a_request_is_served_carries_its_id(lines):
    def application(environ, start_response):
        structlog.get_logger("area").warning("odd", id=environ[logs.REQUEST_ID])
        return respond(environ, start_response)

    logged = logs.log_requests(application)
    ask(logged)
    ask(logged)

    first, _, second, _ = lines()
    assert first["request_id"] == first["id"]
    assert second["request_id"] == second["id"] != first["id"]


def test_an_application_that_raises_is_logged_as_500(lines):
    def application(environ, start_response):
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        ask(logs.log_requests(application))

    assert lines()[0]["status"] == 500


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_machines_that_ask_all_the_time_are_not_logged(lines, path):
    ask(logs.log_requests(respond), path)

    assert lines() == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ('/a\nb"\x1b[2J', '/a\nb"\x1b[2J'),  # escaped in the line: it is one line still
        ("/caf\xc3\xa9", "/café"),  # WSGI's latin-1 stands for UTF-8
        ("/\xff", "/\ufffd"),
        ("/" + "x" * 5000, "/" + "x" * 199),
    ],
)
def test_no_path_breaks_a_line(lines, path, shown):
    ask(logs.log_requests(respond), path)

    (line,) = lines()
    assert line["path"] == shown


def test_what_libraries_say_takes_the_same_road(lines):
    logging.getLogger("waitress").warning("something %s", "odd")
    try:
        raise KeyError("missing")
    except KeyError:
        logging.getLogger("shop").exception("it failed")
    logging.getLogger("waitress.queue").warning("Task queue depth is 7")
    logging.getLogger("apscheduler.scheduler").warning("maximum number of running instances reached")

    odd, failed = lines()
    assert (odd["area"], odd["level"], odd["event"]) == ("waitress", "warning", "something odd")
    assert "KeyError: 'missing'" in failed["exception"]
    assert "Traceback" in failed["exception"]


def test_a_value_that_json_has_no_word_for_is_written_as_text(lines):
    structlog.get_logger("area").info("odd", value=object, path=os.path)

    assert "object" in lines()[0]["value"]


def test_a_log_that_cannot_be_written_stops_nothing():
    end, log = os.pipe()
    os.close(end)
    before = logging.getLogger().handlers, logging.getLogger().level
    logs.configure(fd=log)
    try:
        said = ask(logs.log_requests(respond))
    finally:
        os.close(log)
        logging.getLogger().handlers, logging.getLogger().level = before
        structlog.reset_defaults()

    assert said["status"] == "204 No Content"
