"""Who may do what, from where."""

import re
from typing import Any

import pytest

from dual_update.core.errors import UsageError
from dual_update.edges.web.auth import COOKIE, Buckets, Doorman, WebSettings, is_loopback
from dual_update.edges.web.security import hosts
from tests.edges.web.conftest import TOKEN, MakeWeb, Web

READS = ("/api/status", "/api/plan", "/api/history", "/api/runs/x", "/api/openapi.json", "/metrics")
WRITES: dict[str, Any] = {
    "/api/check": None,
    "/api/apply": {"fingerprint": "x" * 10},
    "/api/rollback": {},
    "/api/pause": {},
    "/api/resume": None,
}
ORIGIN = {"Origin": "http://127.0.0.1:8090", "Sec-Fetch-Site": "same-origin"}


@pytest.mark.parametrize("path", WRITES)
@pytest.mark.parametrize(
    "token",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"],
)
def test_changing_needs_the_token(web: Web, path: str, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": token}
    answer = web.client.post(path, json=WRITES[path], headers=headers)
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert web.service.status()["queued"] == 0


@pytest.mark.parametrize("path", WRITES)
def test_nothing_can_be_changed_where_no_token_is_set(make_web: MakeWeb, path: str) -> None:
    web = make_web(api_token="")
    for headers in ({}, {"Authorization": "Bearer "}, {"Cookie": f"{COOKIE}=x"}):
        answer = web.client.post(path, json=WRITES[path], headers=headers)
        assert answer.status_code in {401, 403}
    assert web.service.status()["queued"] == 0


@pytest.mark.parametrize("path", READS)
def test_reading_is_free_on_loopback_alone(make_web: MakeWeb, path: str) -> None:
    near = make_web()
    assert near.client.get(path).status_code != 401
    far = make_web(host="0.0.0.0", base_url="http://192.0.2.7:8090")
    assert far.client.get(path).status_code == 401
    assert far.as_owner("GET", path).status_code != 401
    assert far.client.get("/api/health").status_code == 200


def test_what_is_not_said_to_be_open_is_guarded(make_web: MakeWeb) -> None:
    """Every route that exists, and some that do not: off loopback only these answer a stranger."""
    web = make_web(host="0.0.0.0", base_url="http://192.0.2.7:8090")
    paths = {getattr(route, "path", "") for route in web.app.routes} | {
        "/nothing",
        "/api",
        "/api/health/",
        "/",
    }
    free = set()
    for path in paths:
        asked = re.sub(r"\{[^}]*\}", "x", path) or "/"
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH"):
            answer = web.client.request(method, asked)
            if answer.status_code not in {401, 303}:
                free.add(path)
    assert free <= {"/api/health", "/webhooks/github", "/login", "/static"}


@pytest.mark.parametrize(
    ("host", "is_ours"),
    [
        ("127.0.0.1:8090", True),
        ("localhost:8090", True),
        ("LOCALHOST", True),
        ("[::1]:8090", True),
        ("evil.example:8090", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.nip.io:8090", False),
        ("192.0.2.7:8090", False),
        ("", False),
        ("localhost:8090@evil.example", False),
        ("[::1", False),
    ],
)
def test_only_its_own_names_are_answered_to(web: Web, host: str, is_ours: bool) -> None:
    answer = web.client.get("/api/health", headers={"Host": host})
    assert answer.status_code == (200 if is_ours else 421)


def test_other_names_are_allowed_by_name() -> None:
    assert "updates.example.org" in hosts(WebSettings(allowed_hosts=("Updates.example.org",)))
    assert "0.0.0.0" not in hosts(WebSettings(host="0.0.0.0"))


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),
     ("::", False), ("192.168.0.1", False), ("example.org", False)],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_wrong_tokens_are_soon_not_looked_at(web: Web) -> None:
    codes = [
        web.client.post("/api/check", headers={"Authorization": f"Bearer guess-{n}"}).status_code
        for n in range(30)
    ]
    assert codes.count(401) == 10
    assert codes.count(429) == 20
    late = web.client.post("/api/check", headers={"Authorization": f"Bearer {TOKEN}"})
    assert late.status_code == 429, "no answer tells whether a guess was right"
    assert int(late.headers["Retry-After"]) >= 1
    assert web.client.get("/api/status").status_code == 200, "who does not guess is not held up"


def test_buckets_fill_again() -> None:
    now = 0.0
    buckets = Buckets(3, 10.0, lambda: now)
    for _ in range(3):
        assert buckets.wait_seconds("a") == 0
        buckets.take("a")
    assert 0 < buckets.wait_seconds("a") <= 10
    assert buckets.wait_seconds("b") == 0
    now = 10.0
    assert buckets.wait_seconds("a") == 0
    buckets.take("a")
    assert buckets.wait_seconds("a") > 0
    now = 1e6
    assert buckets.wait_seconds("a") == 0


def signed_in(web: Web) -> str:
    answer = web.client.post("/login", data={"token": TOKEN}, headers=ORIGIN)
    assert answer.status_code in {302, 303}
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    return cookie.partition(";")[0].partition("=")[2]


def test_a_session_reads_and_changes_with_its_own_forms(make_web: MakeWeb) -> None:
    web = make_web(host="0.0.0.0", base_url="http://192.0.2.7:8090")
    near = {"Origin": "http://192.0.2.7:8090"}
    answer = web.client.post("/login", data={"token": TOKEN}, headers=near)
    assert answer.status_code in {302, 303}
    assert web.client.get("/api/status").status_code == 200
    session = Doorman(web.app.state.settings).session(web.client.cookies[COOKIE])
    assert session is not None
    csrf = web.app.state.doorman.csrf(session)
    good = {"X-CSRF-Token": csrf, **near}
    assert web.client.post("/api/check", headers=near).status_code == 403, "no csrf"
    assert web.client.post("/api/check", headers={**near, "X-CSRF-Token": "0" * 64}).status_code == 403
    assert web.client.post("/api/check", headers={"X-CSRF-Token": csrf}).status_code == 403, "no origin"
    other = {"X-CSRF-Token": csrf, "Origin": "http://evil.example"}
    assert web.client.post("/api/check", headers=other).status_code == 403
    crossed = {**good, "Sec-Fetch-Site": "cross-site"}
    assert web.client.post("/api/check", headers=crossed).status_code == 403
    assert web.service.status()["queued"] == 0
    assert web.client.post("/api/check", headers=good).status_code == 202


def test_a_session_is_of_the_token_that_made_it(web: Web, make_web: MakeWeb) -> None:
    cookie = signed_in(web)
    other = make_web(api_token="another-token-0123456789")
    for value in (cookie, "", "x", cookie[:-1], cookie + "x", cookie.replace(".", "..", 1)):
        answer = other.client.post("/api/check", headers={"Cookie": f"{COOKIE}={value}", **ORIGIN})
        assert answer.status_code == 401
    for broken in (f"{COOKIE}", f"{COOKIE}=\xff;\x01", f"a=b; {COOKIE}=;;;"):
        answer = web.client.get("/api/status", headers={"Cookie": broken.encode("latin-1")})
        assert answer.status_code == 200


def test_wrong_tokens_make_no_session(web: Web) -> None:
    for _ in range(3):
        answer = web.client.post("/login", data={"token": "wrong"}, headers=ORIGIN)
        assert answer.status_code == 401
        assert "Set-Cookie" not in answer.headers


def test_what_goes_out_with_every_answer(web: Web) -> None:
    for path in ("/", "/api/status", "/nothing", "/api/health", "/login"):
        answer = web.client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Server" not in answer.headers
    preflight = web.client.options(
        "/api/status", headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "GET"}
    )
    assert "Access-Control-Allow-Origin" not in preflight.headers


def test_the_environment_takes_no_weak_token() -> None:
    from dual_update.adapters.environment import environment

    with pytest.raises(UsageError, match="API_TOKEN has 5 characters") as raised:
        environment({"API_TOKEN": "short"})
    assert "short" not in str(raised.value).replace("characters", "")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "updates.example.org"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-Real-IP": "203.0.113.9"},
        {"Via": "1.1 proxy"},
    ],
)
def test_whoever_comes_through_a_proxy_is_not_near(make_web: MakeWeb, headers: dict[str, str]) -> None:
    web = make_web(allowed_hosts=("updates.example.org",))
    assert web.client.get("/api/status", headers=headers).status_code == 401
    assert web.client.get("/", headers=headers).status_code == 303
    assert web.as_owner("GET", "/api/status", headers=headers).status_code == 200
    assert web.client.get("/api/health", headers=headers).status_code == 200


def test_another_site_cannot_sign_somebody_in(web: Web) -> None:
    for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
        answer = web.client.post("/login", data={"token": TOKEN}, headers=headers)
        assert answer.status_code == 403
        assert "Set-Cookie" not in answer.headers
