"""The hands: one act per kind of step, without an opinion. What to do was decided in the plan."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from dual_update.core.cluster import Container
from dual_update.core.errors import DualUpdateError, StepFailed
from dual_update.core.model import image_of, replicas
from dual_update.core.plan import TOUCHING, Plan, Step, listed
from dual_update.core.rolling import Rolling, is_rolled_in_batches, rolling_of
from dual_update.core.running import awaited, jobs, patience
from dual_update.core.shape import shape_of
from dual_update.core.situation import left_alone
from dual_update.core.snapshot import Snapshot, keep_reference
from dual_update.usecases.audit import Expectation, audit, compare, verified
from dual_update.usecases.backup import write_backup
from dual_update.usecases.commands import can_run, run_command
from dual_update.usecases.freshness import is_mutable
from dual_update.usecases.journaled import Run
from dual_update.usecases.ports import ComposeProject
from dual_update.usecases.prove import Wanted, prove
from dual_update.usecases.site import Site
from dual_update.usecases.situation import Seen

UNCERTAIN_SECONDS = 30.0
"""How long a Watchtower that gave no clear answer is given to finish what it may be doing."""


@dataclass
class Hands:
    """What the acts of one run share. `images` is filled once everything is here: service -> image id.

    `verified` are services that the audit found as wanted; `digests` is what the registry named when images
    were pulled. `outages` is measured: seconds from the step that stopped a service's containers until it was
    well again.
    """

    site: Site
    seen: Seen
    snapshot: Snapshot
    plan: Plan
    images: dict[str, str] = field(default_factory=dict)
    outages: dict[str, float] = field(default_factory=dict)
    verified: frozenset[str] = frozenset()
    digests: dict[str, str] = field(default_factory=dict)
    compose: ComposeProject = field(init=False)

    _stopped_at: dict[str, float] = field(default_factory=dict)
    _watched: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        after = self.seen.situation.after
        self.compose = self.site.compose(after.name, after.files)

    def carry_out(self, run: Run, steps: Sequence[Step]) -> None:
        """Do each step in order; the first that fails ends it."""
        for step in steps:
            began = self.site.clock.monotonic()
            run.do(step, lambda step=step: self._acts[step.op](step))  # type: ignore[misc]
            self._measure(step, began)

    def _measure(self, step: Step, began: float) -> None:
        """Seconds that services did not answer, as far as this step tells: those that ran before it."""
        now = self.site.clock.monotonic()
        if step.op in {"roll", "poke", "recreate", "revamp"}:
            ran = {c.service for c in self.snapshot.containers if c.is_running}
            self.outages |= {s: round(now - began, 3) for s in step.services if s in ran}
            self._stopped_at |= {s: began for s in step.services if s in ran}
        elif step.op == "beside":
            self.outages[step.target] = 0.0

    @property
    def _acts(self) -> Mapping[str, Callable[[Step], str | None]]:
        return {
            "pull": self._pull,
            "build": self._build,
            "keep": self._keep,
            "backup": self._backup,
            "checkout": self._checkout,
            "retire": self._retire,
            "remove": self._remove,
            "roll": self._roll,
            "beside": self._beside,
            "poke": self._poke,
            "recreate": self._recreate,
            "scale": self._up,
            "heal": self._up,
            "revamp": self._revamp,
            "prove": self._prove,
            "audit": self._audit,
            "tidy": self._tidy,
            "run": self._run,
        }

    def _run(self, step: Step) -> None:
        """A command of the owner. Before the outage it runs in what is there, after it in what came."""
        situation = self.seen.situation
        if step.command is None:
            raise StepFailed(f"The step {step.target} runs a command and names none.")
        project = situation.after.name
        if situation.old_project is not None and not can_run(self.site, project, step.command):
            project = situation.old_project.project
        run_command(self.site, project, step.target, step.command, situation.after.hidden)

    def _pull(self, step: Step) -> None:
        """Pull, and see that what is here now is what the registry has: an exit code is no image."""
        after = self.seen.situation.after
        self.site.workshop.pull(after, step.services)
        stale = self._stale(step.services)
        if stale:  # a tag that moved between pull and look, for once
            self.site.workshop.pull(after, step.services)
            stale = self._stale(step.services)
        if stale:
            raise StepFailed(
                f"The pull said that all is well, and the image of {listed(stale)} is not the registry's."
            )

    def _stale(self, services: Sequence[str]) -> list[str]:
        """Services whose local image is not what the registry names; a silent registry says nothing."""
        after = self.seen.situation.after
        if self.site.registry is None:
            return []
        found = []
        for service in services:
            if not is_mutable(after.services[service]):
                continue
            reference = image_of(after.name, service, after.services[service])
            try:
                digest = self.site.registry.digest(reference)
            except DualUpdateError as error:
                self.site.say(f"the registry was not asked about {reference}: {error.message}")
                continue
            image = self.site.engine.image_id(reference)
            if digest is None or image is None:
                continue
            self.digests[service] = digest
            if digest not in {name.rpartition("@")[2] for name in self.site.engine.repo_digests(image)}:
                found.append(service)
        return found

    def _build(self, step: Step) -> None:
        situation = self.seen.situation
        tree = self.site.repository.tree(situation.decision.head)
        self.site.workshop.build(situation.after, tree, step.services)

    def _keep(self, _: Step) -> None:
        for image_id in {one.image_id for one in self.snapshot.containers}:
            self.site.engine.tag(image_id, keep_reference(self.snapshot.project, image_id))

    def _backup(self, _: Step) -> None:
        write_backup(self.site, self.seen, self.snapshot)

    def _checkout(self, _: Step) -> None:
        self.site.checkout.move(self.seen.situation.decision.head)

    def _retire(self, step: Step) -> None:
        for container in self.site.engine.observe(step.target).containers:
            self.site.engine.stop(container.id)

    def _remove(self, step: Step) -> None:
        observed = self.site.engine.observe(self.seen.situation.after.name)
        for service in step.services:
            for container in observed.of(service):
                self.site.engine.stop(container.id)
                self.site.engine.remove(container.id)

    def _roll(self, step: Step) -> None:
        """Compose replaces the containers; replicas go one batch after another where that loses nothing."""
        for service in step.services:
            running = self._containers(service)
            if is_rolled_in_batches(service, self.seen.situation.after, running):
                self._in_batches(service, running)
            else:
                self.compose.up([service], force=step.is_forced)

    def _beside(self, step: Step) -> None:
        """Old containers make room only after new ones beside them are well."""
        self._in_batches(step.target, self._containers(step.target))

    def _containers(self, service: str) -> tuple[Container, ...]:
        return self.site.engine.observe(self.seen.situation.after.name).of(service)

    def _in_batches(self, service: str, old: Sequence[Container]) -> None:
        """Replace a service's containers by `deploy.update_config`, a batch at a time.

        Compose makes the new ones (`--no-recreate`, a higher scale), so labels, names and numbers are its
        own; draining the old ones is their stop grace period.
        """
        self._watched.add(service)
        model = self.seen.situation.after.services[service]
        rolling, count = rolling_of(model), replicas(model)
        size = rolling.parallelism or max(len(old), 1)
        waiting, made = list(old), 0
        while waiting or made < count:
            batch, waiting = waiting[:size], waiting[size:]
            made = min(made + size, count) if waiting else count
            if not rolling.is_start_first:
                self._take_away(batch)
            here = made + len(waiting) + (len(batch) if rolling.is_start_first else 0)
            self.compose.up([service], keep_existing=True, scale={service: here})
            failure = self._batch_failure(service, old, made, rolling)
            if failure and rolling.on_failure != "continue":
                raise StepFailed(failure)
            if rolling.is_start_first:
                self._take_away(batch)
            if waiting and rolling.delay_seconds:
                self.site.clock.sleep(rolling.delay_seconds)

    def _batch_failure(self, service: str, old: Sequence[Container], count: int, rolling: Rolling) -> str:
        """Why the new containers are not well, or nothing. The old ones are not looked at."""
        after = self.seen.situation.after
        ignored = frozenset(one.id for one in old)
        wanted = Wanted(after.name, {service: count}, jobs(after), ignored=ignored, patience=patience(after))
        proof = prove(self.site, wanted, rolling.monitor_seconds)
        return "" if proof.is_good else f"{service} is not well: {proof.reason}."

    def _take_away(self, containers: Sequence[Container]) -> None:
        for one in containers:
            self.site.engine.stop(one.id)
            self.site.engine.remove(one.id)

    def _poke(self, step: Step) -> str:
        """Let Watchtower replace the container, and look. What it left wrong is repaired by rolling."""
        service = step.target
        before = self._containers(service)
        watchtower = self.site.watchtower
        if watchtower is None:
            raise StepFailed(f"{service} was to be poked, and there is no Watchtower any more.")
        answer = watchtower.poke([one.name for one in before], [one.image_ref for one in before])
        wrong = self._poked_wrong(service)
        if wrong and answer.status == "unknown":
            wrong = self._wait_for_poke(service)
        if not wrong:
            return f"Poked. {answer.detail}"
        self.compose.up([service], force=True)
        return f"Repaired by rolling. {wrong[0]} {answer.detail}"

    def _poked_wrong(self, service: str) -> list[str]:
        """What is wrong with a service after a poke: image, settings, mounted content, or that it is gone."""
        expected = self.expectation()
        mine = replace(
            expected, counts={service: expected.counts[service]}, untouched={}, aliases={}, commit=""
        )
        return [str(one) for one in compare(self.site, mine) if one.service == service]

    def _wait_for_poke(self, service: str) -> list[str]:
        """Watchtower may be at it still: its stop alone can take a while."""
        end = self.site.clock.monotonic() + UNCERTAIN_SECONDS
        while True:
            wrong = self._poked_wrong(service)
            if not wrong or self.site.clock.monotonic() >= end:
                return wrong
            self.site.clock.sleep(1.0)

    def _recreate(self, step: Step) -> None:
        self.compose.up(step.services, force=step.is_forced)

    def _up(self, step: Step) -> None:
        self.compose.up(step.services)

    def _revamp(self, step: Step) -> None:
        self.compose.up((), with_dependencies=True, force=step.is_forced, remove_orphans=True)

    def _prove(self, step: Step) -> None:
        # The audit that follows has the settle time.
        began = self.site.clock.monotonic()
        proof = prove(self.site, self._wanted(step.services, is_whole=step.target == "cluster"), 0.0)
        for service in set(self._stopped_at) & set(proof.well_seconds):
            stopped_at = self._stopped_at.pop(service)
            self.outages[service] = round(began - stopped_at + proof.well_seconds[service], 3)
        if not proof.is_good:
            raise StepFailed(f"Not healthy after {proof.seconds:.0f} s: {proof.reason}.")

    def _wanted(self, services: Sequence[str], *, is_whole: bool) -> Wanted:
        after = self.seen.situation.after
        counts = {s: replicas(after.services[s]) for s in services}
        checks = self.site.config.health.checks if is_whole else ()
        return Wanted(
            after.name, counts, jobs(after), checks, awaited=awaited(after), patience=patience(after)
        )

    def _audit(self, _: Step) -> None:
        expected = self.expectation()
        complaints = audit(self.site, expected, self._soak_seconds(expected.shapes))
        self.verified = verified(complaints, [*self.seen.situation.decision.services])
        if complaints:
            says = " ".join(dict.fromkeys(str(one) for one in complaints))
            raise StepFailed(f"The engine shows something else than was wanted: {says}")

    def _soak_seconds(self, touched: Iterable[str]) -> float:
        """The settle time, or the longest `monitor` of a service that was replaced and not watched yet."""
        models = self.seen.situation.after.services
        monitors = (rolling_of(models[s]).monitor_seconds for s in touched if s not in self._watched)
        return max(self.site.config.health.settle_seconds, *monitors, 0.0)

    def expectation(self) -> Expectation:
        """What the engine has to show when this plan is done."""
        situation = self.seen.situation
        after = situation.after
        active = after.active
        touched = {s for step in self.plan.steps if step.op in TOUCHING for s in step.services}
        untouched = {
            s: frozenset((c.id, c.started_at) for c in situation.observed.of(s))
            for s in active
            if s not in touched
        }
        return Expectation(
            project=after.name,
            counts={s: replicas(after.services[s]) for s in active},
            images={
                **{
                    one.service: one.image_id
                    for one in self.snapshot.containers
                    if one.service not in touched
                },
                **{s: image for s, image in self.images.items() if s in touched},
            },
            hashes={s: h for s, h in situation.hashes.items() if s in touched},
            untouched=untouched,
            jobs=jobs(after),
            shapes={s: shape_of(after, s, self.site.checkout.path) for s in active if s in touched},
            digests={s: d for s, d in self.digests.items() if s in touched},
            aliases={
                s: {n: frozenset(names) for n, names in c.aliases.items()}
                for s in untouched
                for c in situation.observed.of(s)[:1]
            },
            checks=self.site.config.health.checks,
            commit=situation.decision.head,
            left_alone=left_alone(situation),
        )

    def _tidy(self, _: Step) -> None:
        """Networks of the project that the wanted model does not have, and the old project's containers."""
        situation = self.seen.situation
        after = situation.after
        wanted = {str(one.get("name") or f"{after.name}_{key}") for key, one in after.networks.items()}
        if situation.old_project is not None:
            old = self.site.engine.observe(situation.old_project.project)
            for container in old.containers:
                self.site.engine.remove(container.id)
            for network in old.networks:
                self.site.engine.remove_network(network)
        for network in self.site.engine.observe(after.name).networks:
            if network not in wanted:
                self.site.engine.remove_network(network)
