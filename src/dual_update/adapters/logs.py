"""The service's logs: one line an event, on standard error, with the run it belongs to.

    2026-01-01T00:00:00.000Z info     check done  job=1f2e3d4c5b6a outcome=nothing to do   a terminal, docker
    <6>check done  job=1f2e3d4c5b6a outcome=nothing to do                                  systemd's journal
    {"event": "check done", "level": "info", "at": "2026-...", "job": "1f2e3d4c5b6a"}      LOG_FORMAT=json

The journal writes times and levels itself: it gets the level as a prefix (sd-daemon(3)), so that
`journalctl -p err` finds what it should. Values of variables that look secret are masked in every line, and
so are passwords in URLs. What uvicorn says comes in the same shape.
"""

import logging
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TextIO

import structlog

from dual_update.core.errors import UsageError
from dual_update.core.secrecy import is_secret, masked_all

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("", "plain", "json")
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "31;1"}
_FIRST = ("run", "job", "cluster")

Event = MutableMapping[str, Any]


def set_up(
    level: str = "INFO",
    form: str = "",
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Say how events are written from now on, in this process. Raises UsageError for unknown words."""
    given = os.environ if environ is None else environ
    if level.upper() not in LEVELS:
        raise UsageError(f"LOG_LEVEL is {level!r}; one of {', '.join(LEVELS)} is meant.")
    if form.lower() not in FORMATS:
        raise UsageError(f"LOG_FORMAT is {form!r}; plain or json is meant.")
    output = stream or sys.stderr
    hidden = frozenset(value for name, value in given.items() if is_secret(name, value))

    def mask(_: object, __: str, event: Event) -> Event:
        return {key: masked_all(_plain(value), hidden) for key, value in event.items()}

    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_time,
        mask,
    ]
    last = _renderer(form.lower(), output, given)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = _Handler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[_foreign, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_trace, last],
        )
    )
    for name in ("dual_update", "uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers = [handler] if name in {"dual_update", "uvicorn", "uvicorn.access"} else []
        logger.propagate = name == "uvicorn.error"
        logger.setLevel(_level_of(name, level.upper()))
    access = logging.getLogger("uvicorn.access")
    access.filters = [_Requests(is_verbose=level.upper() == "DEBUG")]


def log(event: str, *, level: str = "info", **fields: object) -> None:
    """One event. `fields` are its facts; what is bound by `about` is added."""
    logger = structlog.stdlib.get_logger("dual_update")
    getattr(logger, level)(event, **fields)


@contextmanager
def about(**fields: object) -> Iterator[None]:
    """Every event of this thread within the block is about this run, job or cluster."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


def _level_of(name: str, level: str) -> str:
    """Uvicorn's DEBUG is about its own insides, and its INFO says that it starts, which we say ourselves."""
    if name in {"uvicorn", "uvicorn.error"}:
        return {"DEBUG": "INFO", "INFO": "WARNING"}.get(level, level)
    return level


def _add_time(_: object, __: str, event: Event) -> Event:
    event["at"] = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return event


def _renderer(form: str, output: TextIO, given: Mapping[str, str]) -> Any:
    if form == "json":
        return structlog.processors.JSONRenderer(default=str)  # ASCII: no character in it ends a line
    if _is_journal(output, given):
        return _journal_line
    is_terminal = output.isatty() and not given.get("NO_COLOR")

    def plain_line(_: object, __: str, event: Event) -> str:
        return _plain_line(event, has_colour=is_terminal)

    return plain_line


def _is_journal(output: TextIO, given: Mapping[str, str]) -> bool:
    """Does systemd's journal read our lines: it names the stream's device and inode (systemd.exec(5))."""
    try:
        found = os.fstat(output.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return given.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _journal_line(_: object, __: str, event: Event) -> str:
    return f"<{_PRIORITIES.get(event.get('level', 'info'), 6)}>{_words(event)}"


def _plain_line(event: Event, *, has_colour: bool) -> str:
    level = str(event.get("level", "info"))
    line = f"{event.get('at', '')} {level:<8} {_words(event)}"
    code = _COLOURS.get(level)
    return f"\x1b[{code}m{line}\x1b[0m" if has_colour and code else line


def _words(event: Event) -> str:
    """What happened, then its facts; the run first. Always one line."""
    facts = {key: value for key, value in event.items() if key not in {"event", "level", "at"}}
    ordered = {key: facts[key] for key in (*_FIRST, *facts) if key in facts and facts[key] not in (None, "")}
    told = " ".join(f"{key}={_one_line(value)}" for key, value in ordered.items())
    return f"{_one_line(event.get('event', ''))}  {told}".rstrip()


def _one_line(value: object) -> str:
    """Line ends and control characters as Python writes them: nobody's words can look like a line of ours."""
    text = value if isinstance(value, str) else str(value)
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _plain(value: object) -> object:
    """What JSON has, and words for everything else."""
    if value is None or isinstance(value, str | int | float | bool | list | tuple | dict):
        return value
    return str(value)


def _foreign(_: object, __: str, event: Event) -> Event:
    """Lines of uvicorn. One about a request becomes an event with facts."""
    request = getattr(event.get("_record"), "request", None)
    return event if request is None else {**event, "event": "request", **request}


def _without_trace(_: object, __: str, event: Event) -> Event:
    """An exception's name instead of its traceback, which quotes code and values."""
    error = event.pop("exc_info", None)
    if isinstance(error, tuple) and error[0] is not None:
        event["error"] = error[0].__name__
    event.pop("stack_info", None)
    return event


class _Requests(logging.Filter):
    """Takes the facts out of uvicorn's line about a request; queries are left out, for tokens in them.

    Pages that are read, and machines that ask every few seconds, are told at DEBUG only.
    """

    def __init__(self, *, is_verbose: bool) -> None:
        super().__init__()
        self._is_verbose = is_verbose

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, target, _, status = record.args
        path = str(target).split("?", 1)[0]
        record.request = {"method": method, "path": path, "status": status, "client": client}
        is_read = method in {"GET", "HEAD"} and isinstance(status, int) and status < 400
        return self._is_verbose or not is_read


class _Handler(logging.StreamHandler[TextIO]):
    """A closed pipe or a full disk under the log is no reason to stop, nor to print a traceback there."""

    def handleError(self, _: logging.LogRecord) -> None:  # noqa: N802
        return
