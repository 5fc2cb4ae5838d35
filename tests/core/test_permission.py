"""What the service applies without being asked again: each condition alone is enough to keep it from it."""

from dataclasses import replace

import pytest

from dual_update.core.permission import Facts, permission

IMAGES = Facts(
    is_pending=True,
    touches=True,
    update_type="image_only",
    driver="service",
    strategy="watchtower",
    is_auto_approved=True,
)
STRUCTURE = replace(IMAGES, update_type="structural", strategy="revamp", is_auto_approved=False)


@pytest.mark.parametrize(
    "facts", [IMAGES, STRUCTURE, replace(IMAGES, is_auto_approved=False, is_agreed=True)]
)
def test_what_is_approved_is_applied(facts: Facts) -> None:
    assert permission(facts).may_apply


@pytest.mark.parametrize(
    ("change", "answer", "word"),
    [
        ({"is_pending": False}, "never", "runs what is wanted"),
        ({"driver": "runner"}, "never", "driver"),
        ({"quarantined": "it crashed"}, "never", "it crashed"),
        ({"needs_person": "volume data: changed"}, "wait", "volume data"),
        ({"drift": "web was edited"}, "wait", "web was edited"),
        ({"paused": "a freeze"}, "wait", "a freeze"),
        ({"is_window_open": False, "opens_at": "2026-01-01T03:00Z"}, "wait", "2026-01-01T03:00Z"),
    ],
)
@pytest.mark.parametrize("facts", [IMAGES, STRUCTURE])
def test_one_reason_against_is_enough(
    facts: Facts, change: dict[str, object], answer: str, word: str
) -> None:
    found = permission(replace(facts, **change))  # type: ignore[arg-type]
    assert (found.answer, found.may_apply) == (answer, False)
    assert word in found.why


@pytest.mark.parametrize(
    "facts",
    [
        replace(IMAGES, is_auto_approved=False),
        replace(IMAGES, has_code=True, reviewed="Commit 1234 was pushed without a pull request."),
        replace(STRUCTURE, reviewed="Commit 1234 was pushed without a pull request."),
        replace(STRUCTURE, reviewed="x", is_auto_approved=True),  # AUTO_APPROVE is for images alone
        replace(STRUCTURE, has_moved_images=True),
        replace(STRUCTURE, is_first=True),
        replace(IMAGES, is_first=True),
    ],
)
def test_what_nobody_approved_waits(facts: Facts) -> None:
    assert permission(facts).answer == "wait"


def test_structure_is_never_changed_where_the_mode_forbids_it() -> None:
    assert permission(replace(STRUCTURE, mode="watchtower_only")).answer == "never"
    assert permission(replace(IMAGES, mode="watchtower_only")).may_apply


def test_what_touches_no_container_needs_no_word() -> None:
    record = replace(STRUCTURE, touches=False, update_type="none", strategy="none", reviewed="nobody knows")
    assert permission(record).may_apply
    assert not permission(replace(record, paused="a freeze")).may_apply
