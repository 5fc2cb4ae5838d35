"""The transaction: the cluster ends as wanted and proven, or exactly as it was."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

from dual_update.core import plan as plans
from dual_update.core.errors import DualUpdateError, NotNow, Refused
from dual_update.core.hooks import begun, commands_of, with_hooks
from dual_update.core.model import image_of, replicas
from dual_update.core.origin import origin
from dual_update.core.plan import PREPARING, Plan, Step
from dual_update.core.run import Outcome, RunReport, ServiceResult, run_id
from dual_update.core.running import jobs
from dual_update.core.situation import Scope, Situation
from dual_update.core.snapshot import Snapshot, take
from dual_update.core.strategies import strategy_for, wanted_images
from dual_update.usecases.evidence import evidence
from dual_update.usecases.execute import Hands
from dual_update.usecases.journaled import Run
from dual_update.usecases.preflight import check_after_pull, check_before_pull, refuse_dirty
from dual_update.usecases.prove import Wanted, look
from dual_update.usecases.provenance import check_revisions
from dual_update.usecases.quarantine import content, held, refused_before, with_images
from dual_update.usecases.recover import lock_key, recover
from dual_update.usecases.restore import Return, go_back, passing_checks, retag
from dual_update.usecases.retention import forget_the_old
from dual_update.usecases.scene import is_reference
from dual_update.usecases.site import Site
from dual_update.usecases.situation import WANTED_DIRECTORY, Seen, last_success, see
from dual_update.usecases.witness import witness

Ask = Callable[["Proposal"], bool]
Deaf = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class ApplyRequest:
    """What to apply and who agreed: `is_approved` by `--auto`, `is_approved_by_person` by one who read it;
    `approved_by` is their name, where it is known.

    `comes_from` is the commit that was taken to run when this was judged; empty where nobody compares.
    `allows_older`: to a commit that what runs contains already, too.
    """

    ref: str
    scope: Scope = "cluster"
    is_approved: bool = False
    is_approved_by_person: bool = False
    approved_by: str = ""
    accepts_drift: bool = False
    expect: str = ""
    comes_from: str = ""
    allows_older: bool = True
    wait_seconds: float = 0.0
    why: str = "apply"


@dataclass(frozen=True)
class Proposal:
    """What would be done, before anything is."""

    seen: Seen
    plan: Plan
    fingerprint: str
    images: Mapping[str, str] = field(default_factory=dict)
    """Reference -> digest that was shown with the plan; empty where nobody compares it with another."""

    is_older: bool = False
    """What runs contains the wanted commit already: this would go back."""

    @property
    def has_nothing_to_do(self) -> bool:
        return not self.plan.steps


def propose(site: Site, request: ApplyRequest) -> Proposal:
    """Compute the plan from what is wanted and what runs. Touches nothing."""
    seen = see(site, request.ref, request.scope, accepts_drift=request.accepts_drift)
    situation = seen.situation
    usual = strategy_for(situation.decision, situation)
    # What changes nothing is not a matter of taste: every strategy heals and follows alike.
    strategy = (site.strategy() if usual.name != "none" else None) or usual
    plan = with_hooks(strategy.plan(situation), site.config.hooks, is_first=situation.is_first)
    notes = [*plan.notes, *_origins(plan, situation)]
    notes += [*(f"a person must agree: {why}" for why in needs_person(seen)), *seen.drift]
    runs, head = situation.came_from, situation.decision.head
    is_older = runs not in {None, head} and site.repository.is_ancestor(head, str(runs))
    here = situation.current_commit
    if here not in {None, head, runs} and site.repository.is_ancestor(head, str(here)):
        notes.append(f"{str(here)[:12]}, which is checked out, is newer. Push it, or name it with --ref.")
    if is_older:
        notes.append(f"{head[:12]} is older than what runs, {str(runs)[:12]}: this goes back.")
    if any(step.op in {"revamp", "recreate", "roll"} for step in plan.steps):
        notes.append("what a new version writes into volumes is not taken back by a rollback.")
    is_compared = bool(request.expect) or not request.is_approved
    if is_compared and plan.steps and (reason := refused_before(site, seen)):
        notes.append(f"this content failed before and is quarantined, so --auto would not try it: {reason}")
    plan = replace(plan, notes=tuple(notes))
    facts = evidence(site, seen, plan, asks_registry=is_compared)
    fingerprint = plans.plan_fingerprint(situation.decision, plan, situation.observed, facts)
    return Proposal(seen, plan, fingerprint, facts.images, is_older)


def _origins(plan: Plan, situation: Situation) -> list[str]:
    """Where the images of services come from that have both `build` and `image`: a reader cannot tell."""
    services = situation.after.services
    prepared = {name for step in plan.steps if step.op in {"pull", "build"} for name in step.services}
    return [f"{name}: {said}." for name in sorted(prepared) if (said := origin(services.get(name, {})))]


def needs_person(seen: Seen) -> tuple[str, ...]:
    """Sentences for which `--auto` is not enough: data, or the way back, could be lost."""
    if seen.situation.is_first:
        return ()
    reasons = seen.situation.decision.needs_person
    if not seen.has_unknown_base:
        return reasons
    return (*reasons, "No known commit describes what runs, so a rollback could not restore it exactly.")


def apply(site: Site, request: ApplyRequest, ask: Ask, deaf: Deaf) -> RunReport:
    """Bring the cluster to `request.ref`, or leave it exactly as it is.

    `ask` shows the plan to a person. `deaf` shields the way back from further interrupts. Raises
    NotNow (5) and UsageError (2) before anything is recorded; every other end is in the report.
    """
    _settle_first(site, request, deaf)
    shown = propose(site, request)
    request = _agreed(shown, request, ask)
    project = shown.seen.situation.after.name
    with site.store.lock(lock_key(site, project), request.why, request.wait_seconds):
        settled = recover(site, deaf)
        proposal = propose(site, request)
        if settled is None and proposal.fingerprint != shown.fingerprint and not request.is_approved:
            raise NotNow(
                "The cluster changed while the plan was read.", hint="Look at the new plan and decide again."
            )
        _as_expected(proposal, request)
        _as_judged(proposal, request)
        _refuse(site, proposal, request)
        if proposal.has_nothing_to_do:
            return _unchanged(site, proposal)
        is_bound = request.is_approved_by_person or request.expect == proposal.fingerprint
        bound = proposal if is_bound else replace(proposal, images={})
        return _Transaction(site, bound, deaf, request.approved_by).run()


def _settle_first(site: Site, request: ApplyRequest, deaf: Deaf) -> None:
    """A plan made from the wreck of a run that died would ask for things that nobody has to decide."""
    record = site.store.unfinished(site.cluster)
    if record is not None:
        with site.store.lock(lock_key(site, str(record["project"])), request.why, request.wait_seconds):
            recover(site, deaf)


def _agreed(proposal: Proposal, request: ApplyRequest, ask: Ask) -> ApplyRequest:
    """The request with the word of whoever had to give it. Raises NotNow without."""
    _as_expected(proposal, request)
    if proposal.has_nothing_to_do or request.is_approved_by_person:
        return request
    has_word = request.accepts_drift  # a person's word on what runs, not on data
    reasons = proposal.seen.situation.decision.needs_person if has_word else needs_person(proposal.seen)
    if request.is_approved and not reasons:
        return request
    if request.is_approved and reasons:
        raise NotNow(
            "A person must agree: " + " ".join(reasons),
            hint="Run it without --auto and confirm, once the data is safe.",
        )
    if not ask(proposal):
        raise NotNow("Not approved; nothing was changed.")
    return replace(request, is_approved_by_person=True, allows_older=True)  # the plan said so


def _as_expected(proposal: Proposal, request: ApplyRequest) -> None:
    """Raise NotNow unless this is the plan, or the decision, that was agreed to."""
    decision = proposal.seen.situation.decision
    if not request.expect or request.expect in {proposal.fingerprint, decision.fingerprint}:
        return
    reasons = plans.differences(request.expect, proposal.fingerprint)
    if not reasons:
        reasons = ("another commit, other files, or a plan for another cluster",)
    raise NotNow(
        f"This is not the plan that was expected: {'; '.join(reasons)}.",
        hint=f"The plan is now {proposal.fingerprint}. Look at it with `dual-update plan`.",
    )


def _as_judged(proposal: Proposal, request: ApplyRequest) -> None:
    """Raise NotNow where another commit runs than the one this was judged from, or it would go back unasked.

    A job may come late: an approval given yesterday, a run that is started again. What came to the cluster
    meanwhile must not be undone by it.
    """
    situation = proposal.seen.situation
    head, runs = situation.decision.head, situation.came_from
    if runs is None or runs == head:
        return
    if request.comes_from not in {"", runs}:
        raise NotNow(
            f"This was judged as an update from {request.comes_from[:12]}, and the cluster runs {runs[:12]}.",
            hint="Judge it again: run the workflow once more, or look at it with `dual-update plan`.",
        )
    if proposal.is_older and not request.allows_older and request.expect != proposal.fingerprint:
        raise NotNow(
            f"Commit {head[:12]} is older than what runs, {runs[:12]}.",
            hint="To go back use `dual-update rollback`, or apply it with --allow-older.",
        )


def _refuse(site: Site, proposal: Proposal, request: ApplyRequest) -> None:
    situation = proposal.seen.situation
    is_asked = not proposal.has_nothing_to_do and not request.is_approved_by_person
    reason = refused_before(site, proposal.seen) if is_asked else None
    if reason is not None:
        raise NotNow(
            f"This content failed before and is quarantined: {reason}",
            hint="Change it, or lift it with `dual-update release`.",
        )
    if proposal.seen.drift and not request.accepts_drift:
        raise NotNow(
            "The running cluster was changed by someone else:\n" + "\n".join(proposal.seen.drift),
            hint="Take the change into git, or accept that it is undone with --accept-drift.",
        )
    if site.config.mode == "watchtower_only" and strategy_for(situation.decision, situation).name == "revamp":
        raise NotNow("This update changes the structure, and the mode watchtower_only never revamps.")
    refuse_dirty(site, situation)


def _unchanged(site: Site, proposal: Proposal) -> RunReport:
    """Nothing to do. Written down when that is news: a cluster taken over, a commit that changes nothing."""
    situation = proposal.seen.situation
    well = _well(site, situation)
    report = RunReport(
        run=run_id(site.clock.now(), site.salt()),
        cluster=site.cluster,
        outcome="unchanged",
        reason=None,
        update_type=situation.decision.update_type,
        strategy="none",
        from_commit=situation.came_from,
        to_commit=situation.decision.head,
        started_at=site.clock.now(),
        duration_seconds=0.0,
        services={
            name: ServiceResult("none", image, image, is_verified=name in well)
            for name in situation.observed.services
            for image in [situation.observed.of(name)[0].image_id]
        },
    )
    last = last_success(site)
    if last is None or last["to"] != report.to_commit:
        site.store.begin({**report.to_json(), **place(site, proposal), "snapshot": None})
        site.store.finish(report.run, report.outcome, report.to_json())
    return report


def _well(site: Site, situation: Situation) -> frozenset[str]:
    """Services that are well at one look."""
    after = situation.after
    counts = {name: replicas(after.services[name]) for name in after.active}
    readings = look(site, Wanted(after.name, counts, jobs(after), site.config.health.checks))
    return frozenset(counts) - {one.service for one in readings if not one.is_good}


def place(site: Site, proposal: Proposal) -> dict[str, Any]:
    """What a record says about where the cluster lies."""
    situation = proposal.seen.situation
    return {
        "checkout": site.checkout.path,
        "directory": site.project.directory,
        "project": situation.after.name,
        "fingerprint": situation.decision.fingerprint,
    }


class _Transaction:
    """One run from its first word in the journal to its last."""

    def __init__(self, site: Site, proposal: Proposal, deaf: Deaf, approved_by: str = "") -> None:
        self._site = site
        self._approved_by = approved_by
        self._proposal = proposal
        self._deaf = deaf
        self._situation = proposal.seen.situation
        self._started_at = site.clock.now()
        self._began = site.clock.monotonic()
        self._run = Run(site, run_id(self._started_at, site.salt()))
        self._snapshot = self._take_snapshot()
        self._hands = Hands(site, proposal.seen, self._snapshot, proposal.plan)
        self._was_interrupted = False
        self._content: tuple[str, ...] = ()
        self._evidence: Mapping[str, str] = {}

    def run(self) -> RunReport:
        self._begin()
        try:
            self._prepare()
        except (DualUpdateError, KeyboardInterrupt) as error:
            with self._deaf():
                return self._refused(error)
        try:
            self._hands.carry_out(self._run, self._steps(is_preparing=False))
        except (Exception, KeyboardInterrupt) as error:
            with self._deaf():
                return self._rolled_back(error)
        with self._deaf():  # it is proven; an interrupt now would only leave its record without an end
            return self._finish("succeeded", None)

    def _take_snapshot(self) -> Snapshot:
        situation = self._situation
        observed = situation.old_project or situation.observed
        directory = self._site.store.backup_directory(self._site.cluster, self._run.id)
        files = situation.before.files or situation.after.files
        return take(observed, situation.deployed_commit, files, directory, self._tags())

    def _tags(self) -> dict[str, str]:
        """What the references of the wanted cluster name now: a refused update leaves them so."""
        wanted = filter(is_reference, wanted_images(self._situation.after).values())
        found = {reference: self._site.engine.image_id(reference) for reference in sorted(set(wanted))}
        return {reference: image for reference, image in found.items() if image is not None}

    def _begin(self) -> None:
        situation = self._situation
        well = passing_checks(self._site) if not self._snapshot.is_empty else frozenset()
        self._well_before = well
        self._site.store.begin(
            {
                "run": self._run.id,
                "kind": "apply",
                "cluster": self._site.cluster,
                **place(self._site, self._proposal),
                "from": situation.came_from,
                "to": situation.decision.head,
                "update_type": situation.decision.update_type,
                "strategy": self._proposal.plan.strategy,
                "started_at": self._started_at,
                "approved_by": self._approved_by,
                "backup": self._snapshot.directory,
                "host_files": f"{self._snapshot.directory}/{WANTED_DIRECTORY}",
                "snapshot": self._snapshot.to_json(),
                "came": situation.after.name,
                "retired": situation.old_project.project if situation.old_project else "",
                "jobs": sorted(jobs(situation.after)),
                "wanted_networks": [
                    str(one.get("name") or f"{situation.after.name}_{key}")
                    for key, one in situation.after.networks.items()
                ],
                "well_before": sorted(well),
                "plan": [(s.op, s.target, s.cause, s.undo) for s in self._proposal.plan.steps],
                "commands": [one.to_json() for one in commands_of(self._proposal.plan.steps)],
            }
        )

    def _steps(self, *, is_preparing: bool) -> list[Step]:
        return [s for s in self._proposal.plan.steps if (s.op in PREPARING) == is_preparing]

    def _prepare(self) -> None:
        """Everything that can fail without touching what runs."""
        check_before_pull(self._site, self._situation, self._snapshot.directory)
        steps = self._steps(is_preparing=True)
        self._hands.carry_out(self._run, steps)
        self._refuse_moved()
        fetched = {s for step in steps if step.op in {"pull", "build"} for s in step.services}
        touched = {
            s for step in self._proposal.plan.steps if step.op in plans.TOUCHING for s in step.services
        }
        wanted = sorted((fetched | touched) & set(self._situation.after.active))
        self._hands.images.update(check_after_pull(self._site, self._situation, wanted))
        check_revisions(self._site, self._situation, self._hands.images)
        self._site.store.seal_backup(self._site.cluster, self._run.id)
        name = content(self._site, self._proposal.seen)
        self._content = (name, with_images(name, held(self._site, self._proposal.seen)))
        self._site.store.amend(self._run.id, {"content": self._content})

    def _refuse_moved(self) -> None:
        """Raise Refused where a tag moved after the plan was agreed to: these images nobody has seen."""
        after = self._situation.after
        shown = self._proposal.images
        for service, digest in sorted(self._hands.digests.items()):
            reference = image_of(after.name, service, after.services[service])
            if shown.get(reference, digest) != digest:
                raise Refused(
                    f"{reference} names another image now than when the plan was shown.",
                    hint="Look at the new plan and decide again.",
                )

    def _refused(self, error: BaseException) -> RunReport:
        self._was_interrupted = isinstance(error, KeyboardInterrupt)
        self._site.say("refused; names of images are put back")
        retag(self._site, self._snapshot, is_untouched=True)
        return self._finish("refused", _sentence(error))

    def _rolled_back(self, error: BaseException) -> RunReport:
        self._was_interrupted = isinstance(error, KeyboardInterrupt)
        reason = _sentence(error)
        self._site.say(f"failed: {reason}")
        if not self._was_interrupted:
            after = self._situation.after
            self._evidence = witness(self._site, after.name, jobs(after), after.hidden)
        self._site.say("going back to what ran before")
        self._site.store.amend(self._run.id, {"reason": reason, "is_going_back": True})
        if not self._was_interrupted:
            for name in self._content:
                self._site.store.quarantine(self._site.cluster, name, reason, self._run.id)
        started = [one.target for one in self._site.store.journal(self._run.id) if one.op == "run"]
        way = Return(
            self._snapshot,
            self._situation.after.name,
            well_before=self._well_before,
            commands=begun(commands_of(self._proposal.plan.steps), started),
        )
        try:
            go_back(self._site, self._run, way)
        except Exception as failure:  # whatever it was, a person has to know that the way back failed
            return self._finish("rollback_failed", f"{reason} Then: {_sentence(failure)}")
        return self._finish("rolled_back", reason)

    def _finish(self, outcome: Outcome, reason: str | None) -> RunReport:
        situation = self._situation
        is_good = outcome == "succeeded"
        if is_good and self._proposal.plan.changes_nothing:
            outcome = "unchanged"
        report = RunReport(
            run=self._run.id,
            cluster=self._site.cluster,
            outcome=outcome,
            reason=reason,
            update_type=situation.decision.update_type,
            strategy=self._proposal.plan.strategy,
            from_commit=situation.came_from,
            to_commit=situation.decision.head,
            started_at=self._started_at,
            duration_seconds=self._site.clock.monotonic() - self._began,
            services=self._services(is_good=is_good),
            steps=tuple(self._run.steps),
            was_interrupted=self._was_interrupted,
            evidence=self._evidence,
        )
        if is_good:  # a person tried it once more, and it was good
            for name in self._content:
                self._site.store.release(self._site.cluster, name)
        outages = self._hands.outages if is_good else {}
        self._site.store.finish(self._run.id, outcome, {**report.to_json(), "outages": outages})
        if is_good:
            forget_the_old(self._site, situation.after.name)
        return report

    def _services(self, *, is_good: bool) -> dict[str, ServiceResult]:
        """Read once more what runs: reports carry what the engine shows, not what was meant."""
        situation = self._situation
        observed = self._site.engine.observe(situation.after.name)
        results = {}
        for name, decision in situation.decision.services.items():
            kept, now = self._snapshot.of(name), observed.of(name)
            action = decision.action
            if situation.is_first and action not in {"none", "record"}:
                action = "create"
            results[name] = ServiceResult(
                action=action,
                image_id_before=kept[0].image_id if kept else None,
                image_id_after=now[0].image_id if now else None,
                is_verified=is_good and name in self._hands.verified,
            )
        return results


def _sentence(error: BaseException) -> str:
    if isinstance(error, DualUpdateError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    return f"An unexpected {type(error).__name__}."
