"""A cluster of the fleet behind its update-orchestrator's API: looks, asks and follows over HTTP.

Whatever a cluster answers was written by another machine: its size is bounded, its shape is checked, and its
sentences are cleaned before anybody reads them. The token goes into one header and nowhere else.

A wish is never carried out twice. It has a name (Idempotency-Key) that the service knows again, also from the
coordinator after this one; and an update names the fingerprint that it means.
"""

import json
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar

import httpx

from dual_update.core.errors import DualUpdateError, NotNow, Refused, WorldError
from dual_update.core.rollout import LastRun, Start, Word
from dual_update.usecases.errand import Errand
from dual_update.usecases.situation import GOOD_OUTCOMES

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
LONGEST_SECONDS = 60.0
"""How long one answer may take to arrive as a whole."""

LARGEST_ANSWER = 4 * 1024 * 1024
TRIES = 3
"""How often a question is asked that brought no answer; to ask twice does no harm."""

PAUSE_SECONDS = 0.5
FOLLOW_SECONDS = 1.0
CHECK_SECONDS = 180.0
"""How long a service may take to see the commit that is meant."""

SILENCE_SECONDS = 120.0
"""How long a service may be silent before its errand is left to the next look."""

DIED = "The process that made this update died."
"""What a run says whose deployer ended in the middle (usecases/recover): nothing about the version."""


T = TypeVar("T")

_PLAIN_LENGTH = 300


class _Unheard(WorldError):
    """No answer that could be read: nobody knows whether the question arrived."""


class ClusterApi:
    """Fits the port Member. `url` is the service's base, `token_name` what a person calls its token."""

    def __init__(
        self,
        url: str,
        token: str = "",
        token_name: str = "",
        *,
        silence_seconds: float = SILENCE_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._token_name = token_name
        self._silence_seconds = silence_seconds
        self._longest_seconds = longest_seconds
        self._pause = pause
        self._clock = clock
        self._errand = Errand()
        self._commit: str | None = None
        self._http = httpx.Client(
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            follow_redirects=False,
            verify=_trust(),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"ClusterApi({self._url!r})"

    def status(self) -> Mapping[str, Any]:
        """What the service says of its cluster. Raises WorldError and Refused."""
        return self._get("/api/status")

    def look(self) -> Word:
        if self._errand.is_under_way:
            return Word(commit=self._commit, is_busy=True)
        try:
            word = self._word(self.status(), self._runs())
        except Refused as error:
            return Word(is_seen=False, commit=self._commit, refusal=error.message)
        except DualUpdateError as error:
            return Word(is_reachable=False, commit=self._commit, detail=error.message)
        self._commit = word.commit
        return word

    def stand(self) -> tuple[Word, tuple[str, ...] | None, Mapping[str, Any] | None]:
        """A look, what drifted from the deployed commit (None: its service did not say), the newest run."""
        try:
            status = self.status()
            word = self._word(status, self._runs())
        except DualUpdateError as error:
            return Word(is_reachable=False, detail=error.message), None, None
        drift, run = status.get("drift"), status.get("last_run")
        sentences = tuple(_plain(one) for one in drift) if isinstance(drift, list) else None
        return word, sentences, _last_line(run) if isinstance(run, dict) else None

    def apply(self, commit: str, key: str) -> None:
        self._errand.begin(lambda: _as_far_as_heard(lambda: self._apply(commit, key)), key)

    def go_back(self, start: Start, target: str, key: str) -> None:
        self._errand.begin(lambda: _as_far_as_heard(lambda: self._go_back(start, target, key)), key)

    def settle(self) -> None:
        """A service settles what died by itself."""

    # --- looking

    def _runs(self) -> list[LastRun]:
        found = self._get("/api/history?size=100").get("runs")
        try:
            return [_run(one) for one in found or ()]
        except (KeyError, TypeError, AttributeError) as error:
            raise self._strange() from error

    def _word(self, status: Mapping[str, Any], runs: list[LastRun]) -> Word:
        try:
            return self._read_word(status, runs)
        except (KeyError, TypeError, AttributeError) as error:
            raise self._strange() from error

    def _read_word(self, status: Mapping[str, Any], runs: list[LastRun]) -> Word:
        run = runs[0] if runs else None
        commit = next((one.to for one in runs if one.outcome in GOOD_OUTCOMES), None)
        job = status.get("job")
        is_at_work = isinstance(job, dict) and job.get("kind") != "check"
        is_busy = is_at_work or (run is not None and run.outcome is None) or not _is_fresh(status, run)
        is_healthy = commit is None or status.get("healthy") is True
        detail = "" if is_healthy else _plain(status.get("complaint")) or self._complaint()
        is_same = run is not None and run.outcome == "unchanged" and run.to == commit
        return Word(
            commit=commit,
            is_healthy=is_healthy,
            is_busy=is_busy,
            is_unchanged=is_same,
            run=run,
            refusal=self._errand.refusal,
            detail=detail,
        )

    def _complaint(self) -> str:
        readings = self._get("/api/health").get("readings")
        bad = [one for one in readings or () if isinstance(one, dict) and not one.get("good")]
        return "; ".join(f"{_plain(one.get('name'))}: {_plain(one.get('detail'))}" for one in bad[:5])

    # --- doing

    def _apply(self, commit: str, key: str) -> None:
        fingerprint = self._pending(commit)
        if fingerprint:
            self._follow("/api/apply", {"fingerprint": fingerprint}, key)

    def _pending(self, commit: str) -> str:
        """The fingerprint of the update to this commit, once its service sees it; empty where it is done."""
        before = self._get("/api/status").get("last_check")
        self._patiently(lambda: self._post("/api/check", {}, ""))
        end = self._clock() + CHECK_SECONDS
        while True:
            status = self._patiently(self.status)
            pending, job = status.get("pending"), status.get("job")
            if isinstance(pending, dict) and pending.get("commit") == commit:
                return str(pending.get("plan_fingerprint") or pending.get("fingerprint") or "")
            if status.get("deployed") == commit:
                return ""
            has_looked = job is None and status.get("queued") == 0 and status.get("last_check") != before
            if has_looked or self._clock() >= end:
                raise NotNow(self._why_not(status, commit))
            self._pause(FOLLOW_SECONDS)

    def _why_not(self, status: Mapping[str, Any], commit: str) -> str:
        check, pending = status.get("last_check"), status.get("pending")
        if isinstance(check, dict) and check.get("outcome") == "failed":
            return f"Its service cannot look for updates: {_plain(check.get('sentence'))}"
        if isinstance(pending, dict):
            return f"Its service would apply {_plain(pending.get('commit'))[:12]}, not {commit[:12]}."
        return f"Its service sees no update to {commit[:12]}."

    def _go_back(self, start: Start, target: str, key: str) -> None:
        for run in self._patiently(self._runs):
            if run.id == start.run:
                break
            if run.to == target and run.outcome == "succeeded":
                self._follow("/api/rollback", {"run": run.id, "asked_by": "roll-out"}, key)
                return
        raise NotNow(f"No run brought it to {target[:12]} that could be taken back.")

    def _follow(self, path: str, wish: Mapping[str, str], key: str) -> None:
        """Ask, and wait for the end. A run tells how it ended; without one the sentence is a refusal."""
        job = self._patiently(lambda: self._post(path, wish, key))
        name = str(job.get("id"))
        while job.get("state") != "ended":
            self._pause(FOLLOW_SECONDS)
            found = self._patiently(lambda: self._get(f"/api/runs/{name}"))
            job = found["job"] if isinstance(found.get("job"), dict) else found
        if job.get("exit_code") not in {0, None} and not job.get("run"):
            raise NotNow(_plain(job.get("sentence")) or "It was refused.")

    def _patiently(self, ask: Callable[[], T]) -> T:
        """The answer, however often it takes to get one. The same wish has the same key each time."""
        end = self._clock() + self._silence_seconds
        while True:
            try:
                return ask()
            except _Unheard:
                if self._clock() >= end:
                    raise
            self._pause(FOLLOW_SECONDS)

    # --- HTTP

    def _get(self, path: str) -> dict[str, Any]:
        for left in range(TRIES - 1, -1, -1):
            try:
                return self._ask("GET", path, None, "")
            except _Unheard:
                if not left:
                    raise
            self._pause(PAUSE_SECONDS)
        raise AssertionError("unreachable")

    def _post(self, path: str, wish: Mapping[str, str], key: str) -> dict[str, Any]:
        return self._ask("POST", path, wish, key)

    def _ask(self, method: str, path: str, wish: Mapping[str, str] | None, key: str) -> dict[str, Any]:
        """One question. Raises _Unheard where nobody knows whether it was heard, Refused where the token is
        not taken, NotNow where the service says no."""
        headers = {"Idempotency-Key": key} if key else {}
        try:
            with self._http.stream(method, self._url + path, json=wish, headers=headers) as answer:
                content = _bounded(answer, self._clock, self._longest_seconds)
                status = answer.status_code
        except httpx.HTTPError as error:
            raise _Unheard(f"{self._url} does not answer: {_why(error)}") from error
        except httpx.InvalidURL as error:
            raise Refused(f"{self._url} is no address.") from error
        if status in {401, 403}:
            name = f"the token of {self._token_name}" if self._token_name else "a request without a token"
            raise Refused(f"{self._url} does not take {name}.")
        found = self._read(content)
        if status in {200, 202}:
            return found
        if status in {404, 409, 422}:
            raise NotNow(_plain(found.get("detail")) or f"{self._url}{path} answers {status}.")
        raise _Unheard(f"{self._url}{path} answers {status}.")

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            found = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._strange() from error
        if not isinstance(found, dict):
            raise self._strange()
        return found

    def _strange(self) -> WorldError:
        return _Unheard(f"What answers at {self._url} is no update-orchestrator.")


@cache
def _trust() -> ssl.SSLContext:
    """Whom this machine trusts (SSL_CERT_FILE and SSL_CERT_DIR are heeded); read once for all clusters."""
    return httpx.create_ssl_context()


def _as_far_as_heard(errand: Callable[[], None]) -> None:
    """Where no answer comes it is not known what was done: no refusal, the next look tells."""
    with suppress(_Unheard):
        errand()


def _bounded(answer: httpx.Response, clock: Callable[[], float], longest_seconds: float) -> bytes:
    """The whole answer. One that comes drop by drop never meets a time-out between two drops."""
    content, end = b"", clock() + longest_seconds
    for part in answer.iter_bytes():
        content += part
        if clock() > end:
            raise httpx.ReadTimeout("the answer does not end")
        if len(content) > LARGEST_ANSWER:
            raise httpx.DecodingError("the answer is too long")
    return content


def _why(error: httpx.HTTPError) -> str:
    """What went wrong, without addresses that httpx puts into some messages."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"its certificate is not trusted ({cause.reason or 'TLS'})."
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time."
    return f"{_plain(str(error)) or type(error).__name__}."


def _plain(words: object) -> str:
    """A sentence of another machine on one line, without control characters."""
    text = " ".join(str(words).split()) if isinstance(words, str) else ""
    return "".join(one if one.isprintable() else "?" for one in text)[:_PLAIN_LENGTH]


def _run(line: Mapping[str, Any]) -> LastRun:
    outcome, reason = line["outcome"], _plain(line.get("reason"))
    return LastRun(
        id=_plain(line["run"]),
        kind=_plain(line.get("kind")) or "apply",
        outcome=_plain(outcome) or None,
        to=_plain(line.get("to")) or None,
        came_from=_plain(line.get("from")) or None,
        reason=reason,
        was_interrupted=reason.startswith(DIED) and outcome not in GOOD_OUTCOMES,
    )


def _is_fresh(status: Mapping[str, Any], run: LastRun | None) -> bool:
    """Was the cluster observed after its newest run: health that is older says nothing of it.

    The status names the newest run that it knows.
    """
    known = status.get("last_run")
    seen = known.get("run") if isinstance(known, dict) else None
    ended = known.get("outcome") if isinstance(known, dict) else None
    return run is None or (seen == run.id and ended == run.outcome)


def _last_line(run: Mapping[str, Any]) -> dict[str, Any]:
    """What a fleet's view shows of a run: short sentences, and how long it took in seconds."""
    keys = ("run", "kind", "outcome", "reason", "update_type", "strategy", "from", "to", "started_at")
    seconds = run.get("duration_seconds")
    shown: dict[str, Any] = {key: _plain(run.get(key)) or None for key in keys}
    return {**shown, "duration_seconds": seconds if isinstance(seconds, int | float) else None}
