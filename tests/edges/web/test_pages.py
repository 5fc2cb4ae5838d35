"""Pages: what they show, what they escape, and that nothing is done without a form of this very session."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dual_update.adapters.store import SqliteStore
from dual_update.edges.web.app import create_app
from dual_update.edges.web.auth import WebSettings
from tests.edges.web.pages_world import FINGERPRINT, TOKEN, UNDER_WAY, PagesService, container, plan

ALL = ("/", "/history", "/figures", "/apply", "/check", "/pause", "/resume", "/rollback", "/login")
SAME_SITE = {"sec-fetch-site": "same-origin"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as found:
        yield found


@pytest.fixture
def service(store: SqliteStore) -> PagesService:
    return PagesService(store)


@pytest.fixture
def browser(service: PagesService) -> Iterator[TestClient]:
    """Nobody in particular, on loopback."""
    app = create_app(service, WebSettings(api_token=TOKEN))  # type: ignore[arg-type]
    with TestClient(app, base_url="http://127.0.0.1:8090", follow_redirects=False) as client:
        yield client


@pytest.fixture
def person(browser: TestClient) -> TestClient:
    """Somebody who signed in."""
    answer = browser.post("/login", data={"token": TOKEN, "next": "/history"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/history")
    browser.headers.update(SAME_SITE)
    return browser


def fields(page: str) -> dict[str, str]:
    """Hidden fields of a page's confirmation."""
    form = page.partition('<main id="content"')[2]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', form))


# --- what is shown


@pytest.mark.parametrize("path", ALL)
def test_every_page_is_whole_html_without_inline_script_or_style(browser: TestClient, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    page = answer.text
    assert page.rstrip().endswith("</html>")
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)|javascript:", page)
    assert not re.search(r'(?:src|href|action)="(?:https?:)?//', page)


def test_the_cluster_now(browser: TestClient) -> None:
    page = browser.get("/").text
    assert "All is well, and an update waits" in page
    assert "registry.example.org/shop/api:2.4.0" in page
    assert "environment.FEATURE_CART: an environment variable changed" in page
    assert "about 4 s" in page
    assert page.count("is replaced along with the others") == 1
    assert "Untouched: <bdi>mail</bdi>." in page
    assert "A commit did not come through a pull request." in page
    assert ">Healthy<" in page
    assert 'aria-current="page"' in page


def test_what_is_not_well_comes_first(service: PagesService, browser: TestClient) -> None:
    service.readings = [{"name": "web", "service": "web", "good": False, "detail": "unhealthy since 20 s"}]
    service.running["web"] = [container("web:1", health="unhealthy")]
    page = browser.get("/").text
    assert "Not everything is well" in page
    assert "web: unhealthy since 20 s" in page
    assert ">Unhealthy<" in page


def test_an_update_that_failed_is_not_offered_as_if_it_were_new(
    service: PagesService, browser: TestClient
) -> None:
    service.runs[0] |= {"outcome": "rolled_back", "to": service.pending["commit"]}  # type: ignore[index]
    page = browser.get("/").text
    assert "All is well, but the update failed" in page
    assert "It is not tried again unasked." in page


def test_an_engine_that_does_not_answer_is_said(service: PagesService, browser: TestClient) -> None:
    service.facts = {"complaint": "The engine does not answer.", "services": {}, "healthy": None}
    page = browser.get("/").text
    assert "The cluster cannot be seen" in page
    assert "The engine does not answer." in page


def test_the_front_page_is_about_its_own_cluster(service: PagesService, browser: TestClient) -> None:
    other = {**service.runs[0], "run": "of-another-cluster", "cluster": "other", "outcome": "succeeded"}
    service.runs.insert(0, other)
    assert "of-another-cluster" not in browser.get("/").text
    assert "of-another-cluster" not in browser.get("/rollback").text
    assert "of-another-cluster" in browser.get("/history").text


def test_a_history_that_cannot_be_read_is_a_sentence(
    service: PagesService, browser: TestClient, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "state.sqlite3").write_bytes(b"this is no database" * 100)
    with SqliteStore(broken) as store:
        service.memory = store
        browser.app.state.memory = store  # type: ignore[attr-defined]
        answer = browser.get("/figures")
    assert answer.status_code == 503
    assert "Something does not answer" in answer.text
    assert "Traceback" not in answer.text


def test_a_run_under_way_is_followed(service: PagesService, browser: TestClient) -> None:
    service.job = dict(UNDER_WAY)
    assert "Watch it step by step" in browser.get("/").text
    page = browser.get(f"/runs/{service.job['id']}").text
    assert f'data-live="/api/runs/{service.job["id"]}/events"' in page
    assert 'aria-live="polite"' in page
    assert "Prove cluster" in page
    assert "Show how far it is" in page
    part = browser.get(f"/runs/{service.job['id']}?part=run").text
    assert "<html" not in part
    assert "Prove cluster" in part


def test_a_run_that_ended_tells_how(service: PagesService, browser: TestClient) -> None:
    failed = next(one for one in service.runs if one["outcome"] == "rolled_back")
    page = browser.get(f"/runs/{failed['run']}").text
    assert "The update failed and was taken back; the cluster is as it was." in page
    assert "cannot bind 0.0.0.0:80" in page
    assert "was part of the update" in page
    assert "Verified" not in page
    assert "data-live" not in page


def test_a_run_that_nobody_knows_is_a_page_too(browser: TestClient) -> None:
    answer = browser.get("/runs/nothing")
    assert answer.status_code == 404
    assert "There is no run nothing." in answer.text
    assert "</html>" in answer.text


def test_an_address_without_a_page(browser: TestClient) -> None:
    answer = browser.get("/nothing", headers={"accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert "No page has this address." in answer.text
    machine = browser.get("/nothing", headers={"accept": "application/json"})
    assert (machine.status_code, machine.headers["content-type"]) == (404, "application/problem+json")


def test_history_is_paged_and_filtered(service: PagesService, browser: TestClient) -> None:
    first = browser.get("/history").text
    assert first.count("/runs/") == 25
    assert 'rel="next"' in first
    assert 'rel="first"' not in first
    second = browser.get(_href(first, "next")).text
    assert 'rel="first"' in second
    assert second.count("/runs/") == 25
    last = browser.get(_href(second, "next")).text
    assert last.count("/runs/") == 10
    assert 'rel="next"' not in last
    bad = browser.get("/history?outcome=rolled_back").text
    assert bad.count("/runs/") == sum(one["outcome"] == "rolled_back" for one in service.runs)
    assert '<option value="rolled_back" selected>' in bad
    day = service.runs[3]["started_at"][:10]
    of_a_day = browser.get(f"/history?since={day}&until={day}").text
    assert 1 <= of_a_day.count("/runs/") <= 3


def _href(page: str, relation: str) -> str:
    found = re.search(rf'href="([^"]+)" rel="{relation}"', page)
    assert found is not None
    return found[1].replace("&amp;", "&")


@pytest.mark.parametrize(
    "query", ["outcome=no'such", "since=yesterday", f"before={'9' * 50}", "cluster=%00", "until=9999-99-99"]
)
def test_a_strange_filter_is_no_fault_of_ours(browser: TestClient, query: str) -> None:
    answer = browser.get(f"/history?{query}")
    assert answer.status_code in {200, 422}
    assert "</html>" in answer.text


def test_figures_of_a_real_store(store: SqliteStore, service: PagesService, browser: TestClient) -> None:
    for run in reversed(service.runs):
        store.begin(run)
        store.finish(run["run"], run["outcome"], run)
    page = browser.get("/figures?days=90").text
    attempts = [one for one in service.runs if one["outcome"] != "unchanged"]
    good = [one for one in attempts if one["outcome"] == "succeeded"]
    assert f"{len(good)} of {len(attempts)} succeeded" in page
    assert page.count('class="dot"') >= len(good)
    assert "week by week" in page
    assert "day by day" in browser.get("/figures?days=30").text


# --- what strangers name things

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202egnp.exe'


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script" and dict(attrs).get("src") is None
        self.handlers += [name for name, _ in attrs if name.startswith("on") or name == "style"]


def test_hostile_names_are_inert(service: PagesService, browser: TestClient) -> None:
    services = {
        HOSTILE: {"action": "roll", "image": {"before": HOSTILE, "after": HOSTILE}, "reasons": [HOSTILE]}
    }
    steps = [{"op": HOSTILE, "target": HOSTILE, "cause": HOSTILE, "undo": HOSTILE}]
    service.pending = plan(
        decision={"base": None, "head": HOSTILE, "update_type": HOSTILE, "services": services},
        steps=steps,
        notes=[HOSTILE],
        needs_person=[HOSTILE],
        drift=[HOSTILE],
        quarantined=HOSTILE,
        gate={"answer": "wait", "why": HOSTILE},
        issue_url=f"javascript:{HOSTILE}",
    )
    service.running = {HOSTILE: [container(HOSTILE, health=HOSTILE, state=HOSTILE)]}
    service.readings = [{"name": HOSTILE, "service": HOSTILE, "good": False, "detail": HOSTILE}]
    service.facts = {"complaint": HOSTILE, "cluster": HOSTILE, "deployed": HOSTILE}
    service.runs[0] |= {"reason": HOSTILE, "outcome": "refused", "cluster": HOSTILE, "update_type": HOSTILE}
    service.log = [HOSTILE, "pull https://user:secret@registry.example.org/x", "\x1b[2J\x07"]
    for path in (*ALL, f"/runs/{service.runs[0]['run']}"):
        page = browser.get(path).text
        found = _Elements()
        found.feed(page)
        assert (found.scripts, found.handlers) == (0, []), path
        assert "javascript:" not in page
        assert "user:secret" not in page
        assert "\x1b" not in page
    assert "&lt;script&gt;" in browser.get("/").text


# --- what is done


def test_buttons_lead_to_a_page_that_says_what_will_happen(browser: TestClient) -> None:
    page = browser.get("/").text
    for path in ("/apply", "/check", "/pause", "/rollback"):
        assert f'href="{path}"' in page
        assert "What will happen" in browser.get(path).text


def test_applying(service: PagesService, person: TestClient) -> None:
    page = person.get("/apply").text
    assert "Ask Watchtower" not in page
    assert "Replace every container of the cluster" in page
    answer = person.post("/apply", data=fields(page))
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{'a' * 12}")
    assert service.asked == [("apply", FINGERPRINT, "dashboard", True)]


def test_another_plan_than_the_one_that_was_read_is_not_applied(
    service: PagesService, person: TestClient
) -> None:
    sent = fields(person.get("/apply").text)
    service.pending = plan(plan_fingerprint="cd" * 32)
    answer = person.post("/apply", data=sent)
    assert answer.status_code == 409
    assert "Look at the plan and decide again." in answer.text
    assert service.asked == []


def test_a_risk_has_to_be_accepted_by_its_own_box(service: PagesService, person: TestClient) -> None:
    service.pending = plan(needs_person=["volume data: its driver changed"])
    page = person.get("/apply").text
    assert "Data is at risk" in page
    assert "volume data: its driver changed" in page
    assert person.post("/apply", data=fields(page)).status_code == 409
    assert service.asked == []
    assert person.post("/apply", data={**fields(page), "accepts_risk": "yes"}).status_code == 303
    assert len(service.asked) == 1


def test_nothing_pending_is_nothing_to_apply(service: PagesService, person: TestClient) -> None:
    service.pending = None
    page = person.get("/apply").text
    assert "There is nothing to apply" in page
    assert "<button" not in page.partition("<main")[2]


def test_rolling_back(service: PagesService, person: TestClient) -> None:
    newest = next(one for one in service.runs if one["outcome"] == "succeeded")
    page = person.get("/rollback").text
    assert newest["run"] in page
    assert "api returns from image bbbbbbbbbbbb to aaaaaaaaaaaa." in page
    answer = person.post("/rollback", data=fields(page))
    assert answer.headers["location"] == f"/runs/{'b' * 12}"
    assert service.asked == [("rollback", newest["run"], "dashboard")]


def test_checking(service: PagesService, person: TestClient) -> None:
    answer = person.post("/check", data=fields(person.get("/check").text))
    assert (answer.status_code, service.asked) == (303, [("check", "dashboard")])


def test_pausing_and_resuming(store: SqliteStore, person: TestClient) -> None:
    sent = fields(person.get("/pause").text)
    answer = person.post("/pause", data={**sent, "span": "8h", "reason": "the <fair> is on"})
    assert answer.headers["location"] == "/?said=paused"
    pause = store.notes.paused("shop")
    assert pause is not None
    assert pause.until is not None
    assert 8 * 3600 - 60 < pause.until - pause.since < 8 * 3600 + 60
    page = person.get("/").text
    assert "nothing is applied unasked" in page
    assert "the &lt;fair&gt; is on" in page
    assert 'href="/resume"' in page
    person.post("/resume", data=fields(person.get("/resume").text))
    assert store.notes.paused("shop") is None


@pytest.mark.parametrize("path", ["/apply", "/check", "/rollback", "/pause", "/resume", "/logout"])
@pytest.mark.parametrize("kind", ["no csrf", "wrong csrf", "another site", "no session"])
def test_a_forged_form_does_nothing(
    service: PagesService, store: SqliteStore, person: TestClient, path: str, kind: str
) -> None:
    sent = {"fingerprint": FINGERPRINT, **fields(person.get("/apply").text)}
    if kind == "no csrf":
        del sent["csrf"]
    elif kind == "wrong csrf":
        sent["csrf"] = "0" * 64
    elif kind == "another site":
        person.headers["sec-fetch-site"] = "cross-site"
    else:
        person.cookies.clear()
    answer = person.post(path, data=sent)
    if kind == "no session":  # it may be over since the page was loaded
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    else:
        assert answer.status_code == 403
    assert service.asked == []
    assert store.notes.pauses() == ()


# --- who is there


def test_a_wrong_token_is_said_on_the_page(browser: TestClient) -> None:
    answer = browser.post("/login", data={"token": "wrong", "next": "/"})
    assert answer.status_code == 401
    assert 'role="alert"' in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "path", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:x", ""]
)
def test_a_login_leads_to_this_service_only(browser: TestClient, path: str) -> None:
    answer = browser.post("/login", data={"token": TOKEN, "next": path})
    assert answer.headers["location"] == "/"


def test_whoever_is_not_signed_in_is_led_to_the_login(browser: TestClient) -> None:
    assert "/login?next=/apply" in browser.get("/apply").text
    assert 'name="csrf"' not in browser.get("/apply").text


def test_without_a_token_pages_say_why_nothing_can_be_changed(service: PagesService) -> None:
    app = create_app(service, WebSettings())  # type: ignore[arg-type]
    page = TestClient(app, base_url="http://127.0.0.1:8090").get("/apply").text
    assert "until <code>API_TOKEN</code> is set" in page
    assert "<button" not in page


def test_off_loopback_nothing_is_shown_to_strangers(service: PagesService) -> None:
    settings = WebSettings(host="0.0.0.0", api_token=TOKEN)
    app = create_app(service, settings)  # type: ignore[arg-type]
    stranger = TestClient(app, base_url="http://127.0.0.1:8090", follow_redirects=False)
    for path in ALL:
        answer = stranger.get(path)
        if path == "/login":
            assert "shop" not in answer.text
        else:
            assert (answer.status_code, answer.headers["location"]) == (303, "/login")


def test_signing_out(person: TestClient) -> None:
    form = person.get("/").text
    token = re.search(r'action="/logout"><input type="hidden" name="csrf" value="(\w+)"', form)
    assert token is not None
    answer = person.post("/logout", data={"csrf": token[1]})
    assert answer.status_code == 303
    assert "Sign out" not in person.get("/").text


def test_static_files_are_kept_by_version(browser: TestClient) -> None:
    page = browser.get("/").text
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', page):
        answer = browser.get(address)
        assert answer.status_code == 200
        assert ("immutable" in answer.headers["cache-control"]) == ("?" in address)
    assert browser.get("/static/../pages.py").status_code == 404
