"""A Watchtower for tests: the same HTTP contract, version by version, and the same way with containers.

It really pulls, stops, removes and recreates on the engine, and loses or passes over what the true one does:
it never changes a tag, freezes the environment, copies compose's labels unchanged, knows nothing of configs
that compose wrote into a container, gives anonymous volumes anew, stops everything before it starts anything,
and answers 200. `Fault` makes it lie, die or talk nonsense. tests/integration/test_watchtower_contract.py
holds it against the true image wherever that one can be had.

Not imitated: lifecycle hooks, cooldowns, links, the scheduler, notifications, its own update.
"""

import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qs, urlsplit

import docker
import docker.errors

Version = Literal["1.7.1", "1.12", "1.14.3", "1.16", "1.20", "openserbia"]
Fault = Literal[
    "",
    "lie",  # says that all went well, and does nothing
    "zero",  # does nothing, and answers 200 with zeroes: a failure of everything
    "stop",  # removes the old containers and dies before it makes new ones: the connection drops
    "create",  # removes the old containers and fails to make new ones; counted as failed
    "drop",  # closes the connection at once, having done nothing
    "deaf",  # does all, and closes the connection instead of an answer (write time-out of 1.9 to 1.11)
    "slow",  # waits `slow_seconds` before it begins
    "trickle",  # sends an endless answer byte by byte
    "html",
    "json",  # JSON, but none of Watchtower's
    "echo",  # an error page that repeats the request's headers, token and all
    "async",  # 202 at once; the work follows
    "limit",  # the rate limiter: 429 without JSON
    "timeout",  # 408
    "waited",  # 503: the request ended while it waited for the lock
    "panic",  # 500
    "redirect",
]
LABEL = "com.centurylinklabs.watchtower"
TRUE = ("1", "t", "true")
FEATURES: Mapping[Version, frozenset[str]] = {
    "1.7.1": frozenset({"cut"}),
    "1.12": frozenset({"report", "queue", "watched"}),
    "1.14.3": frozenset({"report", "restarted", "429"}),
    "1.16": frozenset({"report", "restarted", "429", "post", "skipped"}),
    "1.20": frozenset({"report", "restarted", "429", "post", "skipped", "container", "config", "parsed"}),
    "openserbia": frozenset({"report", "flat", "429"}),
}


@dataclass
class Counts:
    scanned: int = 0
    updated: int = 0
    failed: int = 0
    restarted: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    images: tuple[str, ...]
    containers: tuple[str, ...]
    authorization: str = field(repr=False)


class WatchtowerStandIn:
    """Listens on 127.0.0.1 while entered; `url` and `token` are for the client, `requests` for the test.

    Without an engine it has no containers to handle and answers with `counts`.
    """

    def __init__(
        self,
        engine: docker.DockerClient | None = None,
        *,
        version: Version = "1.20",
        token: str = "stand-in-token",
        scope: str = "",
        needs_label: bool = True,
        has_cleanup: bool = False,
        is_monitor_only: bool = False,
        fault: Fault = "",
        slow_seconds: float = 1.0,
        retry_after: str | None = "30",
        counts: Counts | None = None,
        stop_seconds: int = 30,
    ) -> None:
        self.version = version
        self.features = FEATURES[version]
        self.token = token
        self.scope = scope
        self.needs_label = needs_label
        self.has_cleanup = has_cleanup
        self.is_monitor_only = is_monitor_only
        self.fault: Fault = fault
        self.slow_seconds = slow_seconds
        self.retry_after = retry_after
        self.counts = counts or Counts(scanned=1)
        self.stop_seconds = 10 if version == "1.7.1" else stop_seconds
        self.requests: list[Request] = []
        self._api = engine.api if engine else None
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While it lasts, a scheduled run of its own holds the lock."""
        with self._lock:
            yield

    # what it does with containers

    def update(self, images: Sequence[str], patterns: Sequence[str]) -> Counts:
        if self._api is None:
            return self.counts
        counts = Counts()
        selected = self._selected(images, patterns)
        stale = [old for old in selected if self._is_stale(old, counts)]
        gone = {old["Name"].lstrip("/") for old in stale}
        hangers_on = [old for old in selected if old not in stale and _host(old) in gone]
        if self.fault == "lie":
            counts.updated += len(stale)
            return counts
        for old in [*hangers_on, *reversed(stale)]:
            self._api.stop(old["Id"], timeout=self._stop_seconds(old))
            with suppress(docker.errors.NotFound):  # one that removes itself
                self._api.remove_container(old["Id"], force=True)
        if self.fault == "stop" and stale:
            raise _DiedError
        for old in [*stale, *hangers_on]:
            try:
                self._recreate(old)
                if old in stale:
                    counts.updated += 1
                else:
                    counts.restarted += 1
            except docker.errors.APIError:
                counts.failed += 1
        if self.has_cleanup:
            for image in {old["Image"] for old in stale}:
                with suppress(docker.errors.APIError):
                    self._api.remove_image(image, force=True)
        return counts

    def _selected(self, images: Sequence[str], patterns: Sequence[str]) -> list[dict[str, Any]]:
        assert self._api is not None
        found = []
        for summary in self._api.containers():
            labels = summary["Labels"]
            if self.needs_label and f"{LABEL}.enable" not in labels:
                continue
            if labels.get(f"{LABEL}.enable", "true").lower() not in TRUE or labels.get(LABEL) == "true":
                continue
            if not self._is_in_scope(labels.get(f"{LABEL}.scope") or "none"):
                continue
            try:
                facts = self._api.inspect_container(summary["Id"])
                mode = facts["HostConfig"]["NetworkMode"]
                if mode.startswith("container:"):  # by name, for there will be another under it
                    host = self._api.inspect_container(mode.partition(":")[2])
                    facts["HostConfig"]["NetworkMode"] = f"container:{host['Name'].lstrip('/')}"
            except docker.errors.NotFound:
                continue
            name, reference = facts["Name"].lstrip("/"), facts["Config"]["Image"]
            if images and not any(self._is_named(reference, image) for image in images):
                continue
            if patterns and not any(_fits(pattern, name) for pattern in patterns):
                continue
            found.append(facts)
        return sorted(found, key=lambda facts: str(facts["Name"]))

    def _is_in_scope(self, scope: str) -> bool:
        if self.scope == "" and "cut" in self.features:
            return True
        return scope == (self.scope or "none")

    def _is_named(self, reference: str, wanted: str) -> bool:
        if "cut" in self.features:  # the text before the first colon, wherever that is
            return reference.partition(":")[0] == wanted
        if "parsed" in self.features:
            its, asked = _split(reference), _split(wanted)
            return its[0] == asked[0] and (not asked[1] or its[1] == asked[1])
        pieces, other = (
            reference.split(":"),
            wanted.split(":"),
        )  # a port counts as a tag, a tag behind it for nothing
        return pieces[0] == other[0] and (min(len(pieces), len(other)) < 2 or pieces[1] == other[1])

    def _is_stale(self, facts: Mapping[str, Any], counts: Counts) -> bool:
        """Pulls the container's own reference; an error is `skipped`, an unknown image is up to date."""
        assert self._api is not None
        reference, labels = facts["Config"]["Image"], facts["Config"]["Labels"]
        if "@" in reference:
            counts.scanned += 1
            return False
        if labels.get(f"{LABEL}.no-pull", "").lower() not in TRUE:
            try:
                for event in self._api.pull(reference, stream=True, decode=True):
                    if "error" in event and "cut" not in self.features:  # 1.7.1 does not read the stream
                        raise docker.errors.APIError(event["error"])
            except docker.errors.NotFound:
                if "parsed" in self.features:
                    counts.scanned += 1
                else:
                    counts.skipped += 1
                return False
            except docker.errors.APIError:
                counts.skipped += 1
                return False
        counts.scanned += 1
        if self._api.inspect_image(reference)["Id"] == facts["Image"]:
            return False
        is_told_off = self.is_monitor_only or labels.get(f"{LABEL}.monitor-only", "").lower() in TRUE
        if is_told_off and "watched" in self.features:
            counts.updated += 1  # what it would have updated counts as updated
        return not is_told_off

    def _stop_seconds(self, old: Mapping[str, Any]) -> int:
        own = old["Config"].get("StopTimeout")
        return own if own is not None and "cut" not in self.features else self.stop_seconds

    def _recreate(self, old: Mapping[str, Any]) -> None:
        """A new container of the same reference, with the old one's settings but its image's defaults."""
        assert self._api is not None
        if self.fault == "create":
            raise docker.errors.APIError("no space left on device")
        host, name = dict(old["HostConfig"]), old["Name"].lstrip("/")
        config = self._settings(old)
        endpoints = {
            network: _endpoint(settings, old["Id"][:12], is_host=host["NetworkMode"] == "host")
            for network, settings in old["NetworkSettings"]["Networks"].items()
        }
        first, *others = endpoints or [""]  # engines before API 1.44 take one network at creation
        new = self._api.create_container_from_config(
            {
                **config,
                "HostConfig": host,
                "NetworkingConfig": {"EndpointsConfig": {first: endpoints[first]} if first else {}},
            },
        )["Id"]
        self._api.rename(new, name)
        for network in others:
            ipam = endpoints[network].get("IPAMConfig") or {}
            self._api.connect_container_to_network(
                new,
                network,
                ipv4_address=ipam.get("IPv4Address"),
                ipv6_address=ipam.get("IPv6Address"),
                aliases=endpoints[network].get("Aliases"),
                links=endpoints[network].get("Links"),
            )
        try:
            self._api.start(new)
        except docker.errors.APIError:
            if "parsed" in self.features:  # older ones leave the half-made container behind
                self._api.remove_container(new, force=True)
            raise

    def _settings(self, old: Mapping[str, Any]) -> dict[str, Any]:
        assert self._api is not None
        config, image = dict(old["Config"]), self._api.inspect_image(old["Image"])["Config"]
        for key in ("WorkingDir", "User"):
            if config.get(key) == image.get(key):
                config[key] = ""
        if old["HostConfig"]["NetworkMode"].startswith("container:"):
            config["Hostname"] = ""
        if config.get("Entrypoint") == image.get("Entrypoint"):
            config["Entrypoint"] = None
            if config.get("Cmd") == image.get("Cmd"):
                config["Cmd"] = None
        check, its = config.get("Healthcheck"), image.get("Healthcheck")
        if check and its:
            config["Healthcheck"] = {key: value for key, value in check.items() if value != its.get(key)}
        config["Env"] = [one for one in config.get("Env") or () if one not in (image.get("Env") or ())]
        defaults = image.get("Labels") or {}
        config["Labels"] = {k: v for k, v in config["Labels"].items() if defaults.get(k) != v}
        config["Volumes"] = {
            path: {} for path in config.get("Volumes") or {} if path not in (image.get("Volumes") or {})
        }
        exposed = {*(config.get("ExposedPorts") or {})} - {*(image.get("ExposedPorts") or {})}
        config["ExposedPorts"] = {port: {} for port in {*exposed, *(old["HostConfig"]["PortBindings"] or {})}}
        return config


class _DiedError(Exception):
    """The connection ends without an answer."""


def _host(facts: Mapping[str, Any]) -> str | None:
    """The name of the container whose network this one shares."""
    kind, _, name = facts["HostConfig"]["NetworkMode"].partition(":")
    return name if kind == "container" else None


def _endpoint(settings: Mapping[str, Any], short_id: str, *, is_host: bool) -> dict[str, Any]:
    if is_host:
        return {}
    kept = {key: settings.get(key) for key in ("IPAMConfig", "Links", "DriverOpts") if settings.get(key)}
    return {**kept, "Aliases": [alias for alias in settings.get("Aliases") or () if alias != short_id]}


def _split(reference: str) -> tuple[str, str]:
    """Familiar name and tag, as distribution/reference sees them."""
    head, colon, tag = reference.partition("@")[0].rpartition(":")
    name, tag = (head, tag) if colon and "/" not in tag else (reference.partition("@")[0], "")
    return name.removeprefix("docker.io/").removeprefix("library/"), tag


def _fits(pattern: str, name: str) -> bool:
    """`^pattern$` without a group, so that `a|b` means: begins with a, or ends with b."""
    try:
        return re.search(f"^{pattern.removeprefix('/')}$", name) is not None
    except re.error:
        return pattern == name


def _handler(standin: WatchtowerStandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query)
            request = Request(
                self.command,
                parts.path,
                _list(query, "image"),
                _list(query, "container"),
                self.headers.get("Authorization", ""),
            )
            standin.requests.append(request)
            try:
                self._answer(request)
            except _DiedError:
                self._hang_up()
            except ConnectionError:
                self.close_connection = True

        do_GET = do_PUT = do_HEAD = do_POST  # noqa: N815 - the names are http.server's

        def _answer(self, request: Request) -> None:
            features = standin.features
            if standin.fault == "limit" and "post" in features:
                return self._send(429, "Too Many Requests", headers={"Retry-After": standin.retry_after})
            if request.path == "/v1/config" and "config" in features:
                return self._config(request)
            if request.path != "/v1/update":
                return self._send(404, "404 page not found\n")
            if "post" in features and request.method != "POST":
                return self._send(405, "Method Not Allowed", headers={"Allow": "POST"})
            if not self._is_allowed(request):
                return self._send(401, "missing or invalid API Key" if "container" in features else "")
            return self._update(request)

        def _is_allowed(self, request: Request) -> bool:
            given = request.authorization
            if "post" in standin.features and given[:7].lower() == "bearer ":
                given = f"Bearer {given[7:]}"
            return given == f"Bearer {standin.token}"

        def _config(self, request: Request) -> None:
            if not self._is_allowed(request):
                return self._send(401, "missing or invalid API Key")
            told = {
                "monitor_only": standin.is_monitor_only,
                "cleanup": standin.has_cleanup,
                "no_pull": False,
                "no_restart": False,
                "rolling_restart": False,
                "label_enable": standin.needs_label,
                "scope": standin.scope,
            }
            return self._json(200, {"config": told, "api_version": "v1"})

        def _update(self, request: Request) -> None:
            match standin.fault:
                case "drop":
                    raise _DiedError
                case "slow":
                    time.sleep(standin.slow_seconds)
                case "trickle":
                    return self._trickle()
                case "html":
                    return self._send(200, "<html><title>Welcome</title></html>", kind="text/html")
                case "json":
                    return self._json(200, {"summary": {"scanned": "1", "updated": True, "failed": -1}})
                case "echo":
                    return self._send(500, f"cannot proxy: {request.authorization}")
                case "timeout":
                    return self._send(408, "Request Timeout")
                case "waited":
                    return self._send(503, "Service Unavailable")
                case "panic":
                    return self._send(500, "Internal Server Error")
                case "redirect":
                    return self._send(302, "", headers={"Location": "/elsewhere"})
            return self._locked(request)

        def _locked(self, request: Request) -> None:
            containers = request.containers if "container" in standin.features else ()
            is_targeted = bool(request.images or containers)
            waits = "queue" in standin.features or (is_targeted and "flat" not in standin.features)
            if not standin._lock.acquire(blocking=waits):
                return self._busy()
            if standin.fault == "async":
                threading.Thread(target=self._work, args=(request, containers), daemon=True).start()
                return self._send(202, "Accepted")
            counts = self._work(request, containers)
            if standin.fault == "deaf":
                raise _DiedError
            return self._report(counts)

        def _work(self, request: Request, containers: Sequence[str]) -> Counts:
            try:
                return Counts() if standin.fault == "zero" else standin.update(request.images, containers)
            finally:
                standin._lock.release()

        def _busy(self) -> None:
            if "429" not in standin.features:
                return self._send(200, "")
            words = (
                {"status": "skipped", "reason": "another update is in progress"}
                if "flat" in standin.features
                else {"error": "another update is already running", "api_version": "v1"}
            )
            return self._json(429, words, headers={"Retry-After": standin.retry_after})

        def _report(self, counts: Counts) -> None:
            features = standin.features
            if "report" not in features:
                return self._send(200, "")
            told = {"scanned": counts.scanned, "updated": counts.updated, "failed": counts.failed}
            if "flat" in features:
                return self._json(200, {"status": "completed", **told})
            if "restarted" in features:
                told["restarted"] = counts.restarted
            if "skipped" in features:
                told["skipped"] = counts.skipped
            timing = {"duration_ms": 1, "duration": "1ms"}
            return self._json(200, {"summary": told, "timing": timing, "api_version": "v1"})

        def _trickle(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):
                while True:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                    time.sleep(0.02)
            self.close_connection = True

        def _hang_up(self) -> None:
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)

        def _json(
            self, code: int, document: object, *, headers: Mapping[str, str | None] | None = None
        ) -> None:
            self._send(code, json.dumps(document), kind="application/json", headers=headers)

        def _send(
            self,
            code: int,
            body: str,
            *,
            kind: str = "text/plain; charset=utf-8",
            headers: Mapping[str, str | None] | None = None,
        ) -> None:
            data = body.encode()
            self.send_response(code)
            for name, value in (headers or {}).items():
                if value is not None:
                    self.send_header(name, value)
            if data:
                self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Quiet: what was asked is in `requests`."""

    return Handler


def _list(query: Mapping[str, list[str]], name: str) -> tuple[str, ...]:
    return tuple(piece for value in query.get(name, ()) for piece in value.split(",") if piece)
