"""Lines that people and machines read, and what must never be in one."""

import asyncio
import io
import json
import logging
import os
import pty
import re
import socket
import threading
from collections.abc import Iterator

import httpx
import pytest
import structlog
import uvicorn

from dual_update.adapters.logs import about, log, set_up
from dual_update.core.errors import UsageError

ENVIRONMENT = {"API_TOKEN": "veryverysecretvalue", "PATH": "/usr/bin", "COUNT": "7"}


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    for name in ("dual_update", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers, logger.filters, logger.propagate = [], [], True
        logger.setLevel(logging.NOTSET)


def lines(level: str = "INFO", form: str = "", **more: str) -> io.StringIO:
    stream = io.StringIO()
    set_up(level, form, stream, {**ENVIRONMENT, **more})
    return stream


def test_a_line_for_people() -> None:
    told = lines()
    log("check done", outcome="nothing to do", job="1f2e", empty="", nothing=None)
    (line,) = told.getvalue().splitlines()
    assert re.fullmatch(
        r"20\d\d-\d\d-\d\dT[\d:.]+Z info     check done  job=1f2e outcome=nothing to do", line
    ), line


def test_a_line_for_machines() -> None:
    told = lines(form="json")
    with about(run="r1"):
        log("step", level="warning", op="pull", seconds=1.5, services=["web"], error=OSError("x"))
    (line,) = told.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("at").endswith("Z")
    assert event == {
        "event": "step",
        "level": "warning",
        "run": "r1",
        "op": "pull",
        "seconds": 1.5,
        "services": ["web"],
        "error": "x",
    }


def test_events_within_a_run_carry_its_name_and_others_do_not() -> None:
    told = lines()
    with about(run="r1"):
        log("one")
        other = threading.Thread(target=log, args=("other thread",))
        other.start()
        other.join()
    log("two")
    first, second, third = told.getvalue().splitlines()
    assert first.endswith("one  run=r1")
    assert "run=" not in second + third


@pytest.mark.parametrize("form", ["plain", "json"])
def test_secrets_are_masked_wherever_they_stand(form: str) -> None:
    told = lines(form=form)
    log(
        "token is veryverysecretvalue",
        words="x veryverysecretvalue y",
        deep={"a": ["veryverysecretvalue"]},
        url="https://user:pa55word@host/x",
        error=ValueError("veryverysecretvalue"),
    )
    logging.getLogger("uvicorn.error").error("it failed with %s", "veryverysecretvalue")
    assert "veryverysecretvalue" not in told.getvalue()
    assert "pa55word" not in told.getvalue()
    assert told.getvalue().count("***") >= 6


@pytest.mark.parametrize("form", ["plain", "json"])
def test_an_event_is_one_line_whatever_is_in_it(form: str) -> None:
    told = lines(form=form)
    log("a\nb", words="c\r\n2026-01-01T00:00:00Z error    forged\x1b[2J\u2028x")
    assert len(told.getvalue().splitlines()) == 1
    assert "\x1b" not in told.getvalue()


def test_levels() -> None:
    told = lines("WARNING")
    log("quiet")
    log("loud", level="error")
    assert [line.split()[2] for line in told.getvalue().splitlines()] == ["loud"]


@pytest.mark.parametrize(("level", "form"), [("LOUD", ""), ("INFO", "xml")])
def test_unknown_words_are_said(level: str, form: str) -> None:
    with pytest.raises(UsageError, match=r"LOG_(LEVEL|FORMAT) is"):
        set_up(level, form)


def test_colour_is_for_terminals_only() -> None:
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        set_up("INFO", "", terminal, {})
        log("bad", level="error")
        terminal.flush()
        assert os.read(leader, 1000).startswith(b"\x1b[31m")
        set_up("INFO", "", terminal, {"NO_COLOR": "1"})
        log("bad", level="error")
        terminal.flush()
        assert b"\x1b" not in os.read(leader, 1000)
    os.close(leader)


def test_the_journal_gets_levels_and_no_times(tmp_path: object) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as lines_read, os.fdopen(write, "w") as stream:
        found = os.fstat(stream.fileno())
        set_up("INFO", "", stream, {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"})
        log("bad thing", level="error", run="r1")
        stream.flush()
        assert lines_read.readline() == "<3>bad thing  run=r1\n"
        set_up("INFO", "", stream, {"JOURNAL_STREAM": "1:2"})  # another stream's: ours goes elsewhere
        log("bad thing", level="error")
        stream.flush()
        assert lines_read.readline().startswith("20")


def test_a_log_that_cannot_be_written_stops_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w")
    set_up("INFO", "", stream, {})
    for _ in range(3):
        log("into the void", words="x" * 100_000)
    assert capsys.readouterr().err == ""


async def _app(scope: dict[str, object], receive: object, send: object) -> None:
    if scope["path"] == "/bug":
        raise ValueError("veryverysecretvalue")
    status = 403 if scope["path"] == "/forbidden" else 204
    await send({"type": "http.response.start", "status": status, "headers": []})  # type: ignore[operator]
    await send({"type": "http.response.body", "body": b""})  # type: ignore[operator]


def served(paths: list[str], level: str = "INFO", form: str = "json") -> list[str]:
    told = lines(level, form)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(_app, log_config=None, lifespan="off", port=port))  # type: ignore[arg-type]
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
        thread.start()
        try:
            while not server.started:
                thread.join(0.02)
            for path in paths:
                httpx.get(f"http://127.0.0.1:{port}{path}", trust_env=False)
        finally:
            server.should_exit = True
            thread.join(10)
    return [line for line in told.getvalue().splitlines() if "request" in line or "rror" in line]


def test_requests_come_in_the_same_shape_without_their_queries() -> None:
    (line,) = served(["/forbidden?token=veryverysecretvalue"])
    event = json.loads(line)
    assert (event["event"], event["method"], event["status"]) == ("request", "GET", 403)
    assert event["path"] == "/forbidden"
    assert "secret" not in line


def test_what_is_only_read_is_told_at_debug_only() -> None:
    assert served(["/api/health?x=1", "/metrics"]) == []
    assert len(served(["/api/health", "/metrics"], "DEBUG")) == 2


@pytest.mark.parametrize("form", ["plain", "json"])
def test_a_bug_is_one_line_without_values(form: str) -> None:
    told = served(["/bug"], form=form)
    assert any("ValueError" in line for line in told)
    assert not any("Traceback" in line or "secret" in line for line in told)
