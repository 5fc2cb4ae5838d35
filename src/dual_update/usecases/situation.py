"""What is wanted, what runs, and how they differ: everything a plan is made from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from dual_update.core.cluster import Observed
from dual_update.core.decision import Decision, ServiceDecision
from dual_update.core.errors import DualUpdateError, UsageError
from dual_update.core.model import Rendered
from dual_update.core.placement import on_host
from dual_update.core.situation import Scope, Situation, altered
from dual_update.core.submodule import SubmoduleMove
from dual_update.usecases.detect import Detected, DetectRequest, detect
from dual_update.usecases.freshness import Freshness, freshness, why_rolled, with_moved
from dual_update.usecases.ports import FileChange, Json
from dual_update.usecases.site import HostTree, Site

WANTED_DIRECTORY = "wanted"
"""Folder of a backup that holds the host's own files a run was made with (an ignored `.env`)."""

SEARCHED_COMMITS = 50
"""How far back the origin of a cluster that someone else started is looked for."""

GOOD_OUTCOMES = frozenset({"succeeded", "unchanged"})


@dataclass(frozen=True)
class Seen:
    """A Situation and what stands against acting on it unasked.

    `host_files` are the host's own files that the wanted model rests on, `earlier_files` those that the
    running one was made with. `drift` names foreign edits.
    `is_adopted`: the project runs and was never deployed by us; `has_unknown_base`: nor is it known
    from which commit it was made.
    """

    situation: Situation
    host_files: Mapping[str, bytes] = field(default_factory=dict)
    earlier_files: Mapping[str, bytes] = field(default_factory=dict)
    drift: tuple[str, ...] = ()
    drift_by_service: Mapping[str, str] = field(default_factory=dict)
    is_adopted: bool = False
    has_unknown_base: bool = False


class _Deployed(str):
    """The base commit as it was deployed: with the host's files of then, which may be others now."""

    __slots__ = ()


class _HostRepository:
    """The repository as this host has it: beneath each commit lie the host's own files."""

    def __init__(self, site: Site, earlier: Mapping[str, bytes] | None) -> None:
        self._site = site
        self._earlier = earlier
        self.wanted: HostTree | None = None

    @property
    def root(self) -> str:
        return self._site.repository.root

    def resolve(self, revisions: Sequence[str]) -> tuple[str, ...]:
        commits = self._site.repository.resolve(revisions)
        return commits if len(commits) < 2 else (_Deployed(commits[0]), *commits[1:])

    def history(self, commit: str, limit: int) -> Sequence[str]:
        return self._site.repository.history(str(commit), limit)

    def is_ancestor(self, older: str, newer: str) -> bool:
        return self._site.repository.is_ancestor(str(older), str(newer))

    def tree(self, commit: str) -> HostTree:
        plain = self._site.repository.tree(str(commit))
        if isinstance(commit, _Deployed) and self._earlier is not None:
            return HostTree(plain, self._earlier.get)
        tree = HostTree(plain, self._now)
        if not isinstance(commit, _Deployed):
            if self.wanted is not None:
                return self.wanted
            self.wanted = tree
        return tree

    def changed(self, base: str, head: str) -> Sequence[FileChange]:
        changes = list(self._site.repository.changed(str(base), head))
        in_git = {*self._site.repository.tree(str(base)).list()} if self._earlier else set()
        changes += [
            FileChange(path, "100644", "100644", "earlier", "now")
            for path, content in (self._earlier or {}).items()
            if path not in in_git and self._now(path) != content
        ]
        return changes

    def submodules(self, base: str, head: str, changes: Sequence[FileChange]) -> Sequence[SubmoduleMove]:
        return self._site.repository.submodules(str(base), head, changes)

    def submodule_around(self, commit: str, path: str) -> tuple[str, str] | None:
        return self._site.repository.submodule_around(str(commit), path)

    def changed_inside(self, commit: str, submodule: str, revision: str) -> Sequence[FileChange]:
        return self._site.repository.changed_inside(str(commit), submodule, revision)

    def _now(self, path: str) -> bytes | None:
        return self._site.checkout.untracked([path]).get(path)


def see(site: Site, ref: str, scope: Scope, *, accepts_drift: bool = False) -> Seen:
    """Compare what `ref` wants with what runs. Raises UsageError for a commit that cannot be loaded."""
    last = last_success(site)
    head = site.checkout.head() or None
    seen = _see(site, ref, scope, str(last["to"]) if last else head, last)
    if last is None and seen.drift:
        origin = _made_from(site, seen.situation.observed, ref)
        if origin is not None:
            seen = _see(site, ref, scope, origin, None)
    situation = seen.situation
    is_adopted = last is None and not situation.observed.is_empty
    if not seen.drift or not (is_adopted or accepts_drift):
        return replace(seen, is_adopted=is_adopted, drift=tuple(seen.drift))
    decision = _remade(situation, seen.drift_by_service)
    return replace(
        seen,
        situation=replace(situation, decision=decision),
        drift=() if is_adopted else seen.drift,
        is_adopted=is_adopted,
        has_unknown_base=is_adopted,
    )


def _see(site: Site, ref: str, scope: Scope, base: str | None, last: Json | None) -> Seen:
    """One comparison, against one base."""
    earlier = site.disk.files(str(last["host_files"])) if last and last.get("host_files") else None
    detected, host_files = _detect(site, ref, base, earlier)
    observed = site.engine.observe(detected.after.name)
    old_project = _old_project(site, detected, last)
    if observed.is_empty and old_project is None:
        detected, host_files = _detect(site, ref, None, None)
    # Taking over a running cluster touches nothing: what moved meanwhile is looked at from the next run on.
    fresh = freshness(site, detected.after, observed, detected.decision) if last else Freshness()
    decision = with_moved(detected.decision, fresh, detected.after)
    situation = Situation(
        decision=decision,
        before=detected.before,
        after=detected.after,
        observed=observed,
        current_commit=site.checkout.head() or None,
        scope=scope,
        hashes=site.workshop.hashes(detected.after),
        old_project=old_project,
        timings=_timings(site),
        why_rolled=why_rolled(site, detected.after, observed, decision.needing("poke")),
    )
    drift = {} if observed.is_empty else _drift(site, situation)
    return Seen(
        situation,
        host_files,
        host_files if earlier is None else earlier,
        drift=tuple(drift.values()),
        drift_by_service=drift,
    )


def _made_from(site: Site, observed: Observed, ref: str) -> str | None:
    """The newest commit whose model carries the very hashes that the running containers carry.

    A cluster that someone else started is taken over from the commit it was made from, if there is one.
    """
    site.say("looking for the commit that the running containers were made from")
    for commit in site.repository.history(site.repository.resolve([ref])[0], SEARCHED_COMMITS):
        try:
            detected, _ = _detect(site, commit, None, None)
            hashes = site.workshop.hashes(detected.after)
        except DualUpdateError:
            continue
        made = {one.service: one.config_hash for one in observed.containers if not one.is_oneoff}
        known = {service: hashes[service] for service in made if service in hashes}
        if (
            known
            and all(made[service] == one for service, one in known.items())
            and made.keys() <= {*detected.after.services}
        ):
            return commit
    return None


def last_success(site: Site) -> Json | None:
    """The newest run after which the audit was content: its commit is what we know to run."""
    for run in site.store.runs(site.cluster, limit=1000):
        if run.get("outcome") in GOOD_OUTCOMES:
            return run
    return None


def _detect(
    site: Site, ref: str, base: str | None, earlier: Mapping[str, bytes] | None
) -> tuple[Detected, Mapping[str, bytes]]:
    repository = _HostRepository(site, earlier)
    request = DetectRequest(
        head=ref, base=base, project=site.project, cluster=site.cluster, overrides=site.config.rules
    )
    try:
        detected = detect(request, repository, site.renderer, site.sent_to_build)
    except UsageError:
        if base is None or _is_known(site, base):
            raise
        # the deployed commit is gone (a force push, a fresh clone): what runs is unknown, all counts as new
        detected = detect(replace(request, base=None), repository, site.renderer, site.sent_to_build)
    host_files = dict(repository.wanted.served) if repository.wanted else {}
    if host_files:  # the fingerprint is over git alone, so that every machine can name it
        plain = detect(replace(request, base=None), site.repository, site.renderer, site.sent_to_build)
        decision = replace(detected.decision, fingerprint=plain.decision.fingerprint)
        detected = replace(detected, decision=decision)
    return _on_host(site, detected), host_files


def _on_host(site: Site, detected: Detected) -> Detected:
    """The models as containers of this host are made from them."""
    before, after = (on_host(one, site.words) for one in (detected.before, detected.after))
    return replace(detected, before=before, after=after)


def compared(site: Site, base: str, head: str) -> Detected:
    """Two commits as this host would render them. Raises UsageError for a head that cannot be loaded."""
    return _detect(site, head, base, None)[0]


def _is_known(site: Site, commit: str) -> bool:
    try:
        site.repository.resolve([commit])
    except UsageError:
        return False
    return True


def _old_project(site: Site, detected: Detected, last: Json | None) -> Observed | None:
    """The cluster under the name it had before, when the name changed and it still runs."""
    name = str(last.get("project") or "") if last else detected.before.name
    if not name or name == detected.after.name:
        return None
    old = site.engine.observe(name)
    return None if old.is_empty else old


def _timings(site: Site) -> dict[str, float]:
    """Outage of each service in this cluster's newest run that replaced it, in seconds."""
    found: dict[str, float] = {}
    for run in site.store.runs(site.cluster, limit=20):
        for service, value in (run.get("outages") or {}).items():
            found.setdefault(service, float(value))
    return found


def _drift(site: Site, situation: Situation) -> dict[str, str]:
    """Services that someone altered, or whose containers were made from something else than the base
    commit says."""
    try:
        expected = site.workshop.hashes(situation.before)
    except UsageError:
        expected = {}
    found = altered(situation)
    stood_in = _stand_ins(site)
    for service in situation.observed.services:
        if service not in situation.before.services:
            if service not in situation.after.services:
                found[service] = f"{service}: its containers belong to no service of the last deployment."
            continue
        known = {expected.get(service), situation.hashes.get(service)} - {None}
        known |= stood_in.get(service, set()) if known else set()
        made_from = {c.config_hash for c in situation.observed.of(service)}
        if known and not made_from <= known:
            found[service] = (
                f"{service}: its containers were made from another configuration than we deployed."
            )
    return found


def _stand_ins(site: Site) -> dict[str, set[str]]:
    """Hashes that a way back gave to services whose image had lost its name (`restore`)."""
    found: dict[str, set[str]] = {}
    for run in site.store.runs(site.cluster, limit=20):
        for service, value in (run.get("stand_ins") or {}).items():
            found.setdefault(service, set()).add(str(value))
    return found


def _remade(situation: Situation, drift: Mapping[str, str]) -> Decision:
    """The Decision with drifted services made anew, as a person agreed to."""
    services: dict[str, ServiceDecision] = dict(situation.decision.services)
    for service, sentence in drift.items():
        one = services.get(service)
        if one is not None and one.action in {"none", "record", "scale", "poke", "roll"}:
            services[service] = replace(one, action="recreate", reasons=(sentence, *one.reasons))
    update_type = situation.decision.update_type
    return replace(
        situation.decision,
        services=services,
        update_type="mixed" if update_type in {"image_only", "mixed"} else "structural",
        strategy="revamp",
    )


def served(rendered: Rendered) -> tuple[str, ...]:
    """Compose files and env files of a model: what a backup holds."""
    return tuple(sorted({*rendered.files, *rendered.consulted}))
