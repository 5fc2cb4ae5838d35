"""One look at the cluster: what is wanted, what it would take, and whether that may be done unasked."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dual_update.core import report
from dual_update.core.decision import Decision
from dual_update.usecases.apply import ApplyRequest, Proposal, needs_person, propose
from dual_update.usecases.quarantine import refused_before
from dual_update.usecases.site import Site
from dual_update.usecases.situation import last_success


@dataclass(frozen=True)
class Look:
    """What a check found. `fingerprint` names the plan exactly; `accepts_drift` says that the plan undoes
    the foreign edits in `drift`; `needs_person` and `quarantined` are sentences."""

    cluster: str
    commit: str
    decision: Decision
    strategy: str
    fingerprint: str
    steps: tuple[Mapping[str, Any], ...] = ()
    outage_seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    needs_person: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    accepts_drift: bool = False
    quarantined: str = ""
    is_news: bool = False
    is_first: bool = False
    has_unknown_base: bool = False
    is_base_deployed: bool = False

    @property
    def has_plan(self) -> bool:
        return bool(self.steps)

    def to_json(self) -> dict[str, Any]:
        """The pending update as API and pages show it; values only where they are harmless."""
        return {
            "schema": "dual-update/pending/v1",
            "cluster": self.cluster,
            "commit": self.commit,
            "update_type": self.decision.update_type,
            "strategy": self.strategy,
            "fingerprint": self.decision.fingerprint,
            "plan_fingerprint": self.fingerprint,
            "decision": report.report(self.decision),
            "reasons": {
                name: list(one.reasons) for name, one in self.decision.services.items() if one.reasons
            },
            "steps": [dict(one) for one in self.steps],
            "outage_seconds": dict(self.outage_seconds),
            "notes": list(self.notes),
            "needs_person": list(self.needs_person),
            "drift": list(self.drift),
            "accepts_drift": self.accepts_drift,
            "quarantined": self.quarantined or None,
        }


def look(site: Site, commit: str) -> Look:
    """Compute the plan for a commit. Where someone changed the running cluster, the plan is the one that a
    person could agree to: it undoes the foreign edits. Touches nothing."""
    request = ApplyRequest(commit, site.config.scope)
    proposal = propose(site, request)
    seen = proposal.seen
    is_drifted = bool(seen.drift)
    if is_drifted:
        proposal = propose(site, replace(request, accepts_drift=True))
    last = last_success(site)
    plan = proposal.plan
    return Look(
        cluster=site.cluster,
        commit=commit,
        decision=proposal.seen.situation.decision,
        strategy=plan.strategy,
        fingerprint=proposal.fingerprint,
        steps=tuple(
            {
                "op": s.op,
                "target": s.target,
                "cause": s.cause,
                "undo": s.way_back,
                "services": list(s.services),
            }
            for s in plan.steps
        ),
        outage_seconds=dict(plan.outage_seconds),
        notes=plan.notes,
        needs_person=needs_person(proposal.seen),
        drift=seen.drift,
        accepts_drift=is_drifted,
        quarantined=_quarantined(site, proposal),
        is_news=last is None or str(last["to"]) != commit,
        is_first=proposal.seen.situation.is_first,
        has_unknown_base=proposal.seen.has_unknown_base,
        is_base_deployed=last is not None,
    )


def _quarantined(site: Site, proposal: Proposal) -> str:
    """Why this content is not tried again unasked, or nothing."""
    return "" if proposal.has_nothing_to_do else refused_before(site, proposal.seen) or ""
