"""A check: look, tell GitHub what is found, and find out whether it may be applied unasked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from typing import Any

from dual_update.core import schedule
from dual_update.core.permission import Facts, Permission, permission
from dual_update.core.plan import TOUCHING
from dual_update.usecases.announce import LABEL, Announced, announce, issue_marker, quietly
from dual_update.usecases.approval import Circumstances, approval, has_code
from dual_update.usecases.looking import Look, look
from dual_update.usecases.memory_ports import Notes
from dual_update.usecases.service_ports import Forge
from dual_update.usecases.site import Site
from dual_update.usecases.submodules import submodules_of
from dual_update.usecases.upstream import follow_upstream

AGREED = "/dual-update apply "
"""What a person with a say in the repository writes on the issue to approve it, with the fingerprint."""


ANY_HOST = "github.com"


@dataclass(frozen=True)
class Surroundings:
    """What a check looks at beside the cluster. Without `forge` GitHub is neither asked nor told. `opened`
    gives a submodule's repository by OWNER/NAME, or None where there is no way to it."""

    notes: Notes
    forge: Forge | None
    zone: Callable[[str], tzinfo]
    now: datetime
    is_auto_approved: bool = False
    opened: Callable[[str], Forge | None] = lambda _: None


@dataclass(frozen=True)
class Checked:
    """What a check found. `opens_at` is when a maintenance window opens that this waits for."""

    look: Look
    permission: Permission
    branch: str = ""
    issue_url: str = ""
    opens_at: datetime | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The pending update and what becomes of it."""
        return {
            **self.look.to_json(),
            "gate": {"answer": self.permission.answer, "why": self.permission.why},
            "issue_url": self.issue_url or None,
        }


def check(site: Site, commit: str, around: Surroundings, earlier: Checked | None = None) -> Checked:
    """Look at the cluster, judge what is found, and offer what its submodules have that it does not name."""
    found = judge(site, look(site, commit), around, earlier)
    if around.forge is None or not site.repository.tree(commit).read(".gitmodules"):
        return found
    warnings = offer_upstream(around.forge, around.opened, commit, site.config.deploy_branch)
    return replace(found, warnings=(*found.warnings, *warnings))


def offer_upstream(
    forge: Forge, opened: Callable[[str], Forge | None], commit: str, branch: str
) -> tuple[str, ...]:
    """One pull request for each submodule that moved on. Returns what GitHub did not do."""
    warnings: list[str] = []

    def offer() -> None:
        url = f"https://{ANY_HOST}/{forge.repository}"  # only its OWNER counts, for relative addresses
        follow_upstream(forge, submodules_of(forge, commit, url, opened), branch)

    quietly(offer, warnings.append)
    return tuple(warnings)


def judge(site: Site, found: Look, around: Surroundings, earlier: Checked | None = None) -> Checked:
    """Tell GitHub, and find out who has agreed. What GitHub does not do is a warning, never an end.

    The `earlier` check spares telling the same again.
    """
    warnings: list[str] = []
    url = earlier.issue_url if earlier else ""
    if around.forge is not None and (earlier is None or earlier.look != found or earlier.warnings):
        told: list[Announced] = []
        footer = _footer(found)
        forge = around.forge
        quietly(lambda: told.append(announce(found.decision, forge, footer)), warnings.append)
        if told:
            url = told[0].issue.url if told[0].issue else ""
    windows = [schedule.window(words) for words in site.config.windows]
    opens = schedule.opens_at(windows, around.now, around.zone)
    facts = _facts(site, found, around)
    facts = replace(facts, is_window_open=opens == around.now, opens_at=_moment(opens))
    told_first = permission(replace(facts, reviewed="", is_agreed=True))
    if told_first.may_apply or told_first.answer == "wait":  # only then is GitHub's word worth its requests
        facts = replace(facts, **_agreements(site, found, around, warnings))
    may = permission(facts)
    waits = opens if permission(replace(facts, is_window_open=True)).may_apply else None
    waits = None if may.may_apply else waits
    return Checked(found, may, site.config.deploy_branch, url, waits, tuple(warnings))


def _facts(site: Site, found: Look, around: Surroundings) -> Facts:
    paused = around.notes.paused(site.cluster)
    decision = found.decision
    return Facts(
        is_pending=found.has_plan or found.is_news,
        touches=any(step["op"] in TOUCHING or step["op"] == "retire" for step in found.steps),
        update_type=decision.update_type,
        has_code=has_code(decision),
        has_moved_images=bool(decision.needing("poke")),
        driver=site.config.driver,
        mode=site.config.mode,
        strategy=found.strategy,
        is_auto_approved=around.is_auto_approved,
        quarantined=found.quarantined,
        needs_person=" ".join(found.needs_person),
        drift=" ".join(found.drift),
        is_first=found.is_first,
        paused=(paused.reason or "until somebody resumes.") if paused else "",
    )


def _agreements(site: Site, found: Look, around: Surroundings, warnings: list[str]) -> dict[str, Any]:
    """What people said on GitHub: by reviewing pull requests, or on the issue."""
    forge = around.forge
    if forge is None:
        return {"reviewed": "Without GITHUB_TOKEN nobody's review is known, so it waits for a person."}
    branch = site.config.deploy_branch
    answer = approval(
        found.decision,
        Circumstances(branch, branch, is_base_deployed=found.is_base_deployed),
        forge,
    )
    agreed: list[bool] = []
    quietly(lambda: agreed.append(_is_agreed(found, forge)), warnings.append)
    return {"reviewed": "" if answer.deploy == "auto" else answer.why, "is_agreed": any(agreed)}


def _is_agreed(found: Look, forge: Forge) -> bool:
    """Has somebody with a say written on the open issue that exactly this may be applied."""
    word = f"{AGREED}{found.decision.fingerprint}"
    issues = forge.find_issues(issue_marker(found.decision), LABEL.name)
    return any(forge.find_comments(one.number, word) for one in issues if one.is_open)


def _footer(found: Look) -> str:
    if found.needs_person or not found.has_plan:
        return ""
    return (
        "To let the cluster's service apply exactly this, a member of the repository comments:\n\n"
        f"```\n{AGREED}{found.decision.fingerprint}\n```"
    )


def _moment(at: datetime | None) -> str:
    return at.astimezone(UTC).isoformat(timespec="minutes").replace("+00:00", "Z") if at else ""
