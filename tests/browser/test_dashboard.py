"""Every page in a real browser: by axe's rules, on a phone, by keyboard, without a script, and inert."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from dual_update.edges.web.app import create_app
from dual_update.edges.web.auth import WebSettings
from tests.browser.conftest import DESKTOP, PHONE, picture, served, sign_in
from tests.edges.web.pages_world import FINGERPRINT, TOKEN, UNDER_WAY, PagesService, container, plan
from tests.integration.world import free_port

Browse = Callable[..., BrowserContext]

PATHS = (
    "/",
    "/history",
    "/figures",
    "/apply",
    "/rollback",
    "/pause",
    "/check",
    "/clusters",
    "/run",
    "/live",
    "/nothing",
)
LOOKS = {
    "desktop, light": {"viewport": DESKTOP, "color_scheme": "light"},
    "phone, dark": {"viewport": PHONE, "color_scheme": "dark"},
}


def at_risk(service: PagesService) -> None:
    """Everything that a page can have to say at once."""
    service.pending = plan(
        needs_person=["volume data: its driver changed"],
        drift=["web: its containers were made from another configuration than we deployed."],
        quarantined="web did not become well.",
        issue_url="https://github.example.org/shop/issues/7",
    )
    service.readings = [{"name": "web", "service": "web", "good": False, "detail": "unhealthy since 20 s"}]
    service.running["web"] = [container("web:1", health="unhealthy")]
    service.running["mail"] = [container("mail:1", state="restarting", health=None)]
    service.log = [f"line {number} of a log" for number in range(40)]


def visit(page: Page, site: str, path: str, service: PagesService) -> None:
    service.job = dict(UNDER_WAY) if path == "/live" else None
    name = {"/run": f"/runs/{service.runs[0]['run']}", "/live": f"/runs/{UNDER_WAY['id']}"}.get(path, path)
    page.goto(site + name)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_nothing_serious_and_nothing_is_cut_off(
    service: PagesService, site: str, browse: Browse, look: str, complaints: list[str]
) -> None:
    at_risk(service)
    page = browse(**LOOKS[look]).new_page()
    page.goto(f"{site}/login")
    faults = _faults(page)
    sign_in(page, site)
    for path in PATHS:
        visit(page, site, path, service)
        faults += [f"{path}: {one}" for one in _faults(page)]
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the screen"
        assert page.locator("h1").count() == 1
        assert page.locator("main").count() == 1
    assert faults == []
    assert [one for one in complaints if "404" not in one] == []


def test_figures_are_drawn(service: PagesService, site: str, browse: Browse, complaints: list[str]) -> None:
    page = browse().new_page()
    page.goto(f"{site}/figures?days=30")
    attempts = [one for one in service.runs[:33] if one["outcome"] != "unchanged"]
    plots = page.get_by_role("img")
    expect(plots.nth(0)).to_have_accessible_name(re.compile(r"\d+ updates from .*succeeded, \d+ failed"))
    expect(plots.nth(1)).to_have_accessible_name(re.compile("on average; 95 of 100 take at most"))
    expect(page.get_by_role("img", name=re.compile("^web was well in"))).to_be_visible()
    marks = page.locator("svg[role=img] .dot, svg[role=img] .ill-dot")
    assert len(attempts) - 3 <= marks.count() <= len(attempts) + 3
    drawn = page.locator("svg[role=img] rect").first.bounding_box()
    assert drawn is not None
    assert min(drawn["width"], drawn["height"]) > 3
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("row").nth(1)).to_be_visible()
    page.get_by_text("The same as a table").click()
    picture(page, "figures")
    assert complaints == []


def _faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['impact']}: {one['id']}: {node['html'][:200]}" for one in found for node in one["nodes"]]


def test_an_update_is_applied_by_keyboard_alone(service: PagesService, site: str, browse: Browse) -> None:
    page = browse().new_page()
    page.goto(f"{site}/login")
    page.keyboard.press("Tab")
    expect(page.get_by_text("Skip to the content")).to_be_focused()
    expect(page.get_by_text("Skip to the content")).to_be_in_viewport()
    sign_in(page, site)
    _tab_to(page, "Apply the update…")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/apply")
    service.job = dict(UNDER_WAY)
    _tab_to(page, "Apply it")
    page.keyboard.press("Enter")
    page.wait_for_url(f"{site}/runs/{UNDER_WAY['id']}")
    expect(page.get_by_role("heading", level=1)).to_have_text("Under way")
    assert service.asked == [("apply", FINGERPRINT, "dashboard", True)]


def _tab_to(page: Page, words: str, most: int = 40) -> None:
    for _ in range(most):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == words:
            return
    raise AssertionError(f"{most} presses of Tab do not reach {words!r}")


def test_steps_come_in_while_one_looks(
    service: PagesService, site: str, browse: Browse, complaints: list[str]
) -> None:
    service.job = dict(UNDER_WAY)
    page = browse().new_page()
    page.goto(f"{site}/runs/{UNDER_WAY['id']}")
    page.evaluate("window.isSamePage = true")
    steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
    expect(steps).to_have_count(4)
    expect(page.get_by_role("status")).to_have_text("")
    service.more = [("prove", "cluster", "finished", 22.0), ("audit", "cluster", "started", 22.1)]
    expect(steps).to_have_count(5)
    expect(page.get_by_role("status")).to_have_text("Audit cluster: under way.")
    service.job |= {"state": "ended", "sentence": "Done.", "exit_code": 0}
    service.facts = {"outcome": "succeeded", "duration_seconds": 22.4}
    expect(page.get_by_role("heading", level=1)).to_have_text("Succeeded")
    expect(page.get_by_role("status")).to_have_text("Succeeded.")
    assert page.evaluate("window.isSamePage") is True
    assert page.title().startswith("Succeeded")
    assert complaints == []


def test_a_service_that_restarts_is_said_and_found_again(service: PagesService, browse: Browse) -> None:
    app, port = create_app(service, WebSettings(api_token=TOKEN)), free_port()  # type: ignore[arg-type]
    service.job = dict(UNDER_WAY)
    page = browse().new_page()
    steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
    with served(app, port) as site:
        page.goto(f"{site}/runs/{UNDER_WAY['id']}")
        expect(steps).to_have_count(4)
        expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.get_by_role("alert")).to_contain_text("The service does not answer.", timeout=20_000)
    service.more = [("prove", "cluster", "finished", 22.0), ("audit", "cluster", "started", 22.1)]
    with served(app, port):
        expect(steps).to_have_count(5, timeout=20_000)
        expect(page.get_by_role("alert")).to_be_hidden()


def test_the_front_page_follows_what_happens(
    service: PagesService, site: str, browse: Browse, complaints: list[str]
) -> None:
    service.pending, service.job = None, {**UNDER_WAY, "kind": "check"}
    page = browse().new_page()
    page.goto(site)
    expect(page.get_by_role("heading", level=1)).to_have_text("Looking for updates")
    service.pending, service.job = plan(), None
    expect(page.get_by_role("heading", level=1)).to_have_text("All is well, and an update waits")
    expect(page.get_by_role("status")).to_have_text("All is well, and an update waits")
    assert page.title().startswith("All is well, and an update waits")
    page.get_by_text("The plan, 7 steps").click()
    page.get_by_role("link", name="Pause…").focus()
    service.readings = [{"name": "web", "service": "web", "good": False, "detail": "unhealthy"}]
    expect(page.get_by_role("heading", level=1)).to_have_text("Not everything is well", timeout=15_000)
    expect(page.get_by_text("Way back:").first).to_be_visible()
    expect(page.get_by_role("link", name="Pause…")).to_be_focused()
    assert complaints == []


def test_everything_works_without_a_script(service: PagesService, site: str, browse: Browse) -> None:
    page = browse(java_script_enabled=False).new_page()
    sign_in(page, site)
    page.get_by_role("link", name="Apply the update…").click()
    service.job = dict(UNDER_WAY)
    page.get_by_role("button", name="Apply it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Under way")
    service.job |= {"state": "ended"}
    service.facts = {"outcome": "succeeded"}
    page.get_by_role("link", name="Show how far it is").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Succeeded")
    page.get_by_role("link", name="History").click()
    page.get_by_label("Outcome").select_option("rolled_back")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("Succeeded", exact=True).locator("visible=true")).to_have_count(0)
    page.get_by_role("link", name="Figures").click()
    expect(page.get_by_role("img").first).to_be_visible()


HOSTILE = {
    "markup": '"><script>alert(1)</script><img src=x onerror="alert(2)"><svg onload=alert(3)>',
    "attribute": "' onmouseover=alert(4) autofocus onfocus=alert(5) x='",
    "turned": "\u202egnp.exe\u2066\u2067",
    "long": "w" * 400,
    "template": "{{ 7 * 7 }}{% raw %}${7*7}",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_names_of_strangers_stay_names(
    service: PagesService, site: str, browse: Browse, complaints: list[str], kind: str
) -> None:
    name = HOSTILE[kind]
    change: dict[str, Any] = {
        "action": "roll",
        "image": {"before": name, "after": name},
        "reasons": [f"{name}: changed"],
    }
    service.pending = plan(
        decision={"base": name, "head": name, "update_type": "mixed", "services": {name: change}},
        steps=[{"op": "roll", "target": name, "cause": name, "undo": name}],
        needs_person=[name],
        drift=[name],
        notes=[name],
    )
    service.running = {name: [container(name)]}
    service.runs[0] |= {"reason": name, "outcome": "refused", "cluster": name}
    service.log = [name]
    page = browse(viewport=PHONE).new_page()
    for path in ("/", "/apply", "/history", "/run"):
        visit(page, site, path, service)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} pixels wider than the screen"
        assert page.locator("img, script:not([src]), [onload], [onmouseover], [onfocus]").count() == 0
        if kind == "turned":
            heading = page.get_by_role("heading", name="Services") if path == "/" else page.locator("h1")
            assert page.evaluate("e => getComputedStyle(e).direction", heading.element_handle()) == "ltr"
    assert complaints == []
    assert "7 * 7" in page.content() or kind != "template"
