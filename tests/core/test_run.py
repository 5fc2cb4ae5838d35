"""The end of a run in words."""

import pytest

from dual_update.core.run import Outcome, RunReport, ServiceResult, text


def told(outcome: Outcome) -> str:
    services = {"web": ServiceResult("roll", "sha256:" + "a" * 64, "sha256:" + "a" * 64)}
    return text(
        RunReport(
            "run-1", "shop", outcome, "why", "image_only", "watchtower", "1", "2", "now", 1, services=services
        )
    )


def test_what_was_done_is_told() -> None:
    assert "web: roll, same image" in told("succeeded")


@pytest.mark.parametrize("outcome", ["refused", "rolled_back", "rollback_failed"])
def test_what_was_not_done_is_not_told_as_done(outcome: Outcome) -> None:
    assert "web" not in told(outcome)
    assert "why: why" in told(outcome)
