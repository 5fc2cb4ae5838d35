"""Two stories on a real engine, with the real service, seen and done in a real browser.

`SCREENSHOTS=docs/screenshots` writes the pictures that the documentation shows, here and in test_dashboard.
"""

import re
from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.conftest import PICTURES, picture, sign_in
from tests.integration.served import TOKEN, serving
from tests.integration.world import Cluster, Images, World, eventually

pytestmark = pytest.mark.engine
Browse = Callable[..., BrowserContext]

CONFIG = """\
cluster: shop
driver: service
health:
  settle_seconds: 2
  deadline_seconds: 15
"""


def compose(images: Images, web: str, extra: str = "") -> str:
    return (
        f"services:\n"
        f"  api:\n    image: {images.ref('api:1.4')}\n    init: true\n"
        f"  web:\n    image: {images.ref(web)}\n    init: true\n{extra}"
    )


@pytest.fixture
def cluster(world: World, images: Images) -> Cluster:
    """A shop that runs api:1.4 and web:2.0, deployed by us."""
    images.push("api:1.4", "api")
    images.push("web:2.0", "two")
    images.push("web:2.1", "two one")
    images.push("web:2.2", "two two", "unhealthy")
    files = {"compose.yml": compose(images, "web:2.0"), ".github/dual-update.yml": CONFIG}
    made = world.repo(files)
    made.git("init", "--quiet", "--bare", str(world.folder / "origin.git"))
    made.git("remote", "add", "origin", str(world.folder / "origin.git"))
    made.git("push", "--quiet", "--set-upstream", "origin", "main")
    state = made.directory.parent / "state"
    done = made.dual_update("apply", "--auto", "--state-dir", str(state))
    assert done.returncode == 0, done.stderr
    return made


def push(cluster: Cluster, files: dict[str, str], message: str) -> None:
    """Somebody pushes a commit; the host's checkout stands where it stood."""
    deployed = cluster.head
    cluster.commit(files, message)
    cluster.git("push", "--quiet", "origin", "HEAD:main")
    cluster.git("reset", "--quiet", "--hard", deployed)


def faults(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{one['id']}: {one['help']}" for one in found if one["impact"] in {"serious", "critical"}]


def pending(page: Page, url: str) -> None:
    """Ask for a check by the button, and see it end."""
    page.goto(url)
    page.get_by_role("link", name="Check now…").click()
    expect(page.get_by_role("heading", name="What will happen")).to_be_visible()
    page.get_by_role("button", name="Check now").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "All is well, and an update waits", timeout=30_000
    )


def test_see_a_pending_change_read_the_plan_apply_it_watch_it_run_see_it_healthy_take_it_back(
    cluster: Cluster, images: Images, browse: Browse, complaints: list[str]
) -> None:
    before = cluster.container("web")
    with serving(cluster, cluster.directory.parent / "state") as served:
        eventually(served.quiet, within_seconds=30)
        page = browse().new_page()
        sign_in(page, served.url, token=TOKEN)
        expect(page.get_by_role("heading", level=1)).to_have_text("All is well")
        push(
            cluster,
            {"compose.yml": compose(images, "web:2.1", "    environment: {THEME: calm}\n")},
            "web 2.1",
        )

        pending(page, served.url)
        waits = page.get_by_role("region", name="An update waits")
        expect(waits.get_by_role("heading", name="web")).to_be_visible()
        expect(waits.get_by_text("web:2.1")).to_be_visible()
        expect(waits.get_by_text("environment: A field of the service changed")).to_be_visible()
        picture(page, "pending")
        waits.get_by_text(re.compile(r"The plan, \d+ steps")).click()
        expect(waits.get_by_text("Way back:").first).to_be_visible()
        assert cluster.container("web").id == before.id
        assert faults(page) == []

        page.get_by_role("link", name="Apply the update…").click()
        expect(page.get_by_role("heading", name="Apply this update?")).to_be_visible()
        assert faults(page) == []
        picture(page, "confirm")
        page.get_by_role("button", name="Apply it").click()

        page.wait_for_url(re.compile(r"/runs/"))
        steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
        expect(steps.filter(has_text="under way")).to_have_count(1, timeout=30_000)
        if PICTURES is not None:
            expect(steps.filter(has_text="Prove").filter(has_text="under way")).to_have_count(
                1, timeout=30_000
            )
        picture(page, "running")
        expect(page.get_by_role("heading", level=1)).to_have_text("Succeeded", timeout=60_000)
        expect(page.get_by_text("the engine was read again to be sure")).to_be_visible()
        expect(steps.filter(has_text="Audit")).to_have_count(1)
        assert faults(page) == []
        picture(page, "succeeded")

        page.get_by_role("link", name="Now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("All is well", timeout=15_000)
        expect(page.get_by_role("region", name="Services").get_by_text("web:2.1")).to_be_visible()
        page.get_by_role("link", name="Figures").click()
        expect(page.get_by_text("2 of 2 succeeded")).to_be_visible()
        assert faults(page) == []
        after = cluster.container("web")
        assert (after.image, after.state, after.health) == (images.ref("web:2.1"), "running", "healthy")

        page.get_by_role("link", name="Now").click()
        page.get_by_role("link", name="Roll back…").click()
        expect(page.get_by_text("web returns from image")).to_be_visible()
        page.get_by_role("button", name="Roll back").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Taken back", timeout=60_000)
        assert cluster.container("web").image_id == before.image_id
    assert complaints == []


def test_a_broken_update_rolls_back_before_my_eyes(
    cluster: Cluster, images: Images, browse: Browse, complaints: list[str]
) -> None:
    before = cluster.container("web")
    with serving(cluster, cluster.directory.parent / "state") as served:
        eventually(served.quiet, within_seconds=30)
        push(cluster, {"compose.yml": compose(images, "web:2.2")}, "web 2.2, which never gets well")
        page = browse().new_page()
        sign_in(page, served.url, token=TOKEN)
        pending(page, served.url)
        page.get_by_role("link", name="Apply the update…").click()
        page.get_by_role("button", name="Apply it").click()

        steps = page.get_by_role("region", name="Steps").get_by_role("listitem")
        expect(steps.filter(has_text="Prove").filter(has_text="failed")).to_have_count(1, timeout=60_000)
        expect(page.get_by_role("heading", level=1)).to_have_text("Rolled back", timeout=60_000)
        expect(page.get_by_text("the cluster is as it was")).to_be_visible()
        expect(page.get_by_text("Why:")).to_be_visible()
        assert faults(page) == []
        picture(page, "rolled-back")

        page.get_by_role("link", name="History").click()
        row = page.get_by_role("listitem").filter(has_text="Rolled back").filter(has_text="New images")
        expect(row).to_have_count(1)
        picture(page, "history")
        page.get_by_role("link", name="Now").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("All is well, but the update failed")
        page.get_by_role("link", name="Check now…").click()
        page.get_by_role("button", name="Check now").click()
        expect(page.get_by_role("heading", name="This content failed before")).to_be_visible(timeout=30_000)
        page.get_by_role("link", name="Apply the update…").click()
        expect(page.get_by_label(re.compile("I have read that this content failed before"))).to_be_visible()
    after = cluster.container("web")
    assert (after.image_id, after.image) == (before.image_id, before.image)
    assert after.health == "healthy"
    assert complaints == []
