"""The client against a server that answers as every version does, and as none should."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dual_update.adapters.watchtower import Watchtower, token_from
from dual_update.core.errors import UsageError
from dual_update.core.watchtower import PokeAnswer, WatchtowerPolicy
from tests.integration.world import free_port
from tests.standins.watchtower import FEATURES, Counts, Fault, Version, WatchtowerStandIn

TOKEN = "very-secret-token"
DONE = Counts(scanned=1, updated=1)
CONTAINERS, IMAGES = ["shop.example-web-1"], ["ghcr.io/shop/web:1.4"]


def standin(**options: object) -> WatchtowerStandIn:
    return WatchtowerStandIn(token=TOKEN, **options)  # type: ignore[arg-type]


def poke(server: WatchtowerStandIn, timeout_seconds: float = 5, **options: object) -> PokeAnswer:
    return Watchtower(server.url, TOKEN, timeout_seconds, **options).poke(CONTAINERS, IMAGES)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", [v for v in FEATURES if v != "1.7.1"])
def test_every_version_that_reports(version: Version) -> None:
    with standin(version=version, counts=DONE) as server:
        answer = poke(server)
    assert answer.status == "done"
    assert answer.counts is not None
    assert (answer.counts.scanned, answer.counts.updated, answer.counts.failed) == (1, 1, 0)
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/update")
    assert (request.images, request.containers) == (tuple(IMAGES), (r"shop\.example-web-1",))
    assert request.authorization == f"Bearer {TOKEN}"


def test_1_7_1_is_asked_again_without_the_tag_which_it_does_not_know() -> None:
    with standin(version="1.7.1", counts=DONE) as server:
        answer = poke(server)
    assert answer.status == "unknown", "its 200 says nothing"
    assert [request.images for request in server.requests] == [
        ("ghcr.io/shop/web:1.4",),
        ("ghcr.io/shop/web",),
    ]


def test_1_7_1_is_not_asked_for_what_it_cannot_name() -> None:
    with standin(version="1.7.1") as server:
        answer = Watchtower(server.url, TOKEN, 5).poke(CONTAINERS, ["registry:5000/web:1"])
    assert answer.status == "unknown"
    assert "registry with a port" in answer.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(("containers", "images"), [([], IMAGES), (CONTAINERS, []), ([], [])])
def test_nothing_is_ever_asked_that_means_everything(containers: list[str], images: list[str]) -> None:
    with standin(counts=DONE) as server, pytest.raises(ValueError, match="everything"):
        Watchtower(server.url, TOKEN, 5).poke(containers, images)
    assert server.requests == []


@pytest.mark.parametrize(
    ("containers", "images"), [(["web|db"], IMAGES), (["web,db"], IMAGES), (CONTAINERS, ["shop/web:1,other"])]
)
def test_names_that_would_mean_more_are_not_asked_for(containers: list[str], images: list[str]) -> None:
    with standin(counts=DONE) as server:
        answer = Watchtower(server.url, TOKEN, 5).poke(containers, images)
    assert answer.status == "failed"
    assert server.requests == []


@pytest.mark.parametrize("version", list(FEATURES))
def test_a_wrong_token(version: Version) -> None:
    with standin(version=version) as server:
        answer = Watchtower(server.url, "another-token", 5).poke(CONTAINERS, IMAGES)
    assert answer.status == "failed"
    assert "WATCHTOWER_TOKEN" in answer.detail
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("fault", "status", "requests"),
    [
        ("zero", "nothing", 1),
        ("drop", "unknown", 1),
        ("deaf", "unknown", 1),
        ("html", "unknown", 1),
        ("json", "unknown", 1),
        ("async", "unknown", 1),
        ("timeout", "unknown", 1),
        ("panic", "unknown", 1),
        ("redirect", "failed", 1),
    ],
)
def test_what_goes_wrong_is_asked_once_and_never_called_done(
    fault: Fault, status: str, requests: int
) -> None:
    with standin(fault=fault, counts=DONE) as server:
        assert poke(server).status == status
    assert len(server.requests) == requests


@pytest.mark.parametrize(("fault", "within_seconds"), [("slow", 1.5), ("trickle", 1.5)])
def test_a_poke_ends_in_time(fault: Fault, within_seconds: float) -> None:
    with standin(fault=fault, slow_seconds=2, counts=DONE) as server:
        begun = time.monotonic()
        answer = poke(server, timeout_seconds=0.5)
        assert time.monotonic() - begun < within_seconds
    assert answer.status == "unknown"
    assert "0.5 seconds" in answer.detail


def test_an_answer_without_end_is_cut() -> None:
    def endless() -> httpx.Response:
        return httpx.Response(200, content=(b"{" * 4096 for _ in iter(int, 1)))

    tower = Watchtower("http://tower", TOKEN, 5, transport=httpx.MockTransport(lambda _: endless()))
    answer = tower.poke(CONTAINERS, IMAGES)
    assert answer.status == "unknown"
    assert "is none that Watchtower gives" in answer.detail, "it did not take until the end of time"


def test_nobody_there() -> None:
    answer = Watchtower(f"http://127.0.0.1:{free_port()}", TOKEN, 5).poke(CONTAINERS, IMAGES)
    assert answer.status == "failed"
    assert "nothing was asked" in answer.detail


def test_a_proxy_that_lets_get_pass_alone() -> None:
    def proxy(request: httpx.Request) -> httpx.Response:
        if request.method != "GET":
            return httpx.Response(405, content=iter([b"no"]))
        return httpx.Response(200, content=iter([b'{"scanned": 1, "updated": 1, "failed": 0}']))

    tower = Watchtower("http://tower", TOKEN, 5, transport=httpx.MockTransport(proxy))
    assert tower.poke(CONTAINERS, IMAGES).status == "done"


# --- busy ------------------------------------------------------------------------------------------


class Clockwork:
    """A pause that is noted and lasts no time."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.pauses: list[float] = []
        self._then = then

    def __call__(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self._then()


@pytest.mark.parametrize(("retry_after", "pause"), [("30", 30.0), (None, 5.0), ("0", 0.1)])
def test_a_busy_one_is_asked_again_when_it_says(retry_after: str | None, pause: float) -> None:
    with standin(fault="limit", retry_after=retry_after, counts=DONE) as server:
        clockwork = Clockwork(lambda: setattr(server, "fault", ""))
        answer = poke(server, timeout_seconds=60, pause=clockwork)
    assert answer.status == "done"
    assert clockwork.pauses == [pause]
    assert len(server.requests) == 2


@pytest.mark.parametrize("fault", ["limit", "waited"])
def test_a_wait_beyond_the_budget_is_not_begun(fault: Fault) -> None:
    with standin(fault=fault) as server:
        clockwork = Clockwork()
        answer = poke(server, timeout_seconds=2, pause=clockwork)
    assert answer.status == "busy"
    assert clockwork.pauses == []
    assert answer.retry_after_seconds == (30.0 if fault == "limit" else None)


def test_openserbia_says_busy_in_its_own_words() -> None:
    with standin(version="openserbia") as server, server.busy():
        answer = poke(server, timeout_seconds=2)
    assert answer.status == "busy"
    assert "another update is in progress" in answer.detail


@pytest.mark.parametrize("version", ["1.7.1", "1.12", "1.14.3", "1.20"])
def test_a_poke_with_names_waits_for_the_lock(version: Version) -> None:
    with standin(version=version, counts=DONE) as server:
        with server.busy():
            assert poke(server, timeout_seconds=0.3).status == "unknown", "it waits, and may begin any moment"
        assert poke(server).status == ("unknown" if version == "1.7.1" else "done")


def test_the_lock_frees_and_the_answer_comes() -> None:
    with standin(counts=DONE) as server:
        answers: list[PokeAnswer] = []
        with server.busy():
            poker = threading.Thread(target=lambda: answers.append(poke(server)))
            poker.start()
            time.sleep(0.2)
            assert not answers
        poker.join(5)
    assert [answer.status for answer in answers] == ["done"]


# --- what it tells ---------------------------------------------------------------------------------


def test_policy_is_told_from_1_20_on_and_asking_changes_nothing() -> None:
    with standin(version="1.20", has_cleanup=True, scope="shop") as server:
        policy = Watchtower(server.url, TOKEN, 5).policy()
    assert policy == WatchtowerPolicy(is_known=True, has_cleanup=True, needs_label=True, scope="shop")
    assert [(r.method, r.path) for r in server.requests] == [("GET", "/v1/config")]


@pytest.mark.parametrize("version", [v for v in FEATURES if v != "1.20"])
def test_others_keep_their_policy_to_themselves(version: Version) -> None:
    with standin(version=version) as server:
        assert Watchtower(server.url, TOKEN, 5).policy() == WatchtowerPolicy()
    assert all(request.path == "/v1/config" for request in server.requests), "an update is never asked for"


def test_no_policy_where_nobody_answers() -> None:
    assert Watchtower(f"http://127.0.0.1:{free_port()}", TOKEN, 5).policy() == WatchtowerPolicy()
    with standin() as server:
        assert Watchtower(server.url, "another-token", 5).policy() == WatchtowerPolicy()


# --- address and token -----------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "/", "/v1/update", "/v1/update/"])
def test_the_address_may_be_written_in_full(end: str) -> None:
    with standin(counts=DONE) as server:
        assert Watchtower(server.url + end, TOKEN, 5).poke(CONTAINERS, IMAGES).status == "done"


def test_a_path_before_the_endpoint_is_kept() -> None:
    asked: list[str] = []

    def proxy(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(404, content=iter([b""]))

    Watchtower("https://host/tower/", TOKEN, 5, transport=httpx.MockTransport(proxy)).poke(CONTAINERS, IMAGES)
    assert asked == ["/tower/v1/update"]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "tower:8080",
        "file:///etc/passwd",
        "unix:///var/run/docker.sock",
        "ftp://tower",
        "http://",
        "http://user:very-secret-token@tower",
        "http://tower?token=very-secret-token",
        "http://tower:port",
    ],
)
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="WATCHTOWER_URL") as error:
        Watchtower(url, TOKEN, 5)
    assert TOKEN not in str(error.value)


@pytest.mark.parametrize("token", ["", "  \n", "two words", "line\nbreak", "täuschend"])
def test_a_token_that_is_none(token: str) -> None:
    with pytest.raises(UsageError, match="token") as error:
        Watchtower("http://tower", token, 5)
    assert not token.strip() or token not in str(error.value)


def test_a_token_from_text_or_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    assert token_from(None, file) == token_from(f" {TOKEN} ") == TOKEN
    with pytest.raises(UsageError, match="both"):
        token_from(TOKEN, file)
    with pytest.raises(UsageError, match="cannot be read"):
        token_from(None, tmp_path / "missing")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no text"):
        token_from(None, file)
    with pytest.raises(UsageError, match="empty"):
        token_from(None)


def test_the_token_is_in_no_answer_and_no_representation() -> None:
    tower = Watchtower("http://tower:8080", TOKEN, 5)
    assert TOKEN not in repr(tower)
    with standin(fault="echo") as server:
        answer = poke(server)
    assert server.requests, "it was sent"
    assert TOKEN not in repr(answer)
    assert "***" in answer.detail


def test_a_redirect_does_not_get_the_token() -> None:
    with standin(fault="redirect") as server:
        poke(server)
    assert [request.path for request in server.requests] == ["/v1/update"]
