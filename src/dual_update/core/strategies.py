"""From a Decision and what is observed to a Plan: pure. A user's own strategy enters by the same door."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from dual_update.core.decision import Decision, tied_to
from dual_update.core.durations import seconds
from dual_update.core.model import NAMESPACES, Rendered, image_of, replicas
from dual_update.core.origin import is_built_elsewhere, is_built_here, is_pulled
from dual_update.core.plan import Plan, Step, listed
from dual_update.core.rolling import notes, rolling_of, why_not_beside
from dual_update.core.running import start_order
from dual_update.core.situation import Situation, missing, unwanted

REPLACED = ("poke", "roll", "recreate", "rebuild")
"""Actions that end in a new container."""


class Strategy(Protocol):
    """How to bring a cluster from what is observed to what is wanted."""

    @property
    def name(self) -> str: ...

    def plan(self, situation: Situation) -> Plan: ...


@dataclass(frozen=True)
class WatchtowerLane:
    """Image changes, service by service; nothing else is touched."""

    name: str = "watchtower"

    def plan(self, situation: Situation) -> Plan:
        decision = situation.decision
        order = start_order(situation.after)
        touched = [s for s in order if decision.services[s].action in REPLACED]
        absent = missing(situation)
        fetched = [s for s in _without_container(situation, absent) if s not in touched]
        steps = [*prepare(situation, [*touched, *fetched]), *_checkout(situation)]
        said: list[str] = []
        for service in order:
            if service in touched:
                steps.append(_replacing(situation, service))
                said += notes(service, situation.after, situation.observed.of(service))
            elif service in absent:  # in its turn: who depends on it could not be proven without it
                steps += _heal(situation, [service], {*touched, *absent})
            else:
                continue
            steps.append(
                Step("prove", service, "the next service waits until this one is well", "", (service,))
            )
        return Plan(self.name, (*steps, *closing(situation)), outages(situation, touched), tuple(said))


@dataclass(frozen=True)
class Revamp:
    """The whole cluster anew (scope `cluster`), or just what changed (scope `changed`).

    Everything is pulled and built before; the outage holds only stop and start.
    """

    name: str = "revamp"

    def plan(self, situation: Situation) -> Plan:
        decision, after = situation.decision, situation.after
        active = start_order(after)
        replaced = [s for s in active if decision.services[s].action in REPLACED]
        created = [s for s in active if decision.services[s].action == "create"]
        removed = unwanted(situation)
        scaled = [s for s in active if decision.services[s].action == "scale"]
        is_whole = situation.scope == "cluster" and bool(replaced or created or removed)
        if situation.is_first or situation.old_project is not None:
            is_whole = True
        others = {*replaced, *created, *scaled}
        absent = [s for s in missing(situation) if s not in others]
        images = (
            active if is_whole else [*replaced, *created, *scaled, *_without_container(situation, absent)]
        )
        steps = [*prepare(situation, images), *_checkout(situation)]
        if situation.old_project is not None:
            old = situation.old_project
            steps.append(
                Step(
                    "retire",
                    old.project,
                    "the project has a new name",
                    f"{old.project} is started again",
                    old.services,
                )
            )
        steps += [
            Step("remove", service, _gone(situation, service), f"{service} is created again", (service,))
            for service in removed
        ]
        if is_whole:
            cause = "first deployment" if situation.is_first else _cause(decision)
            undo = (
                "everything is removed, volumes stay"
                if situation.is_first
                else "every service returns to what it was"
            )
            steps.append(
                Step("revamp", "cluster", cause, undo, tuple(active), is_forced=not situation.is_first)
            )
        else:
            if replaced or created:
                names = tuple(s for s in active if s in replaced or s in created)
                causes = "; ".join(f"{s}: {_why(situation, s)}" for s in names)
                steps.append(
                    Step(
                        "recreate",
                        listed(names),
                        causes,
                        f"{listed(names)} return to what they were",
                        names,
                        is_forced=True,
                    )
                )
            for service in scaled:
                count = replicas(after.services[service])
                steps.append(
                    Step(
                        "scale", service, f"{count} containers are wanted", "the old number again", (service,)
                    )
                )
            steps += _heal(situation, absent, {*others, *absent})
        return Plan(
            self.name,
            (*steps, *closing(situation)),
            outages(situation, images if is_whole else [*replaced, *removed]),
        )


@dataclass(frozen=True)
class Settle:
    """Nothing changed: the checkout follows, and what should run and does not is started."""

    name: str = "none"

    def plan(self, situation: Situation) -> Plan:
        heal = missing(situation)
        steps = [*_checkout(situation), *_heal(situation, heal)]
        if not steps:
            return Plan(self.name)
        fetched = _without_container(situation, heal)
        return Plan(self.name, (*prepare(situation, fetched), *steps, *closing(situation)))


def _replacing(situation: Situation, service: str) -> Step:
    """The step that gives a service new containers, by the hand that serves it best; the cause says why."""
    one = situation.decision.services[service]
    cause, op = _why(situation, service), "roll"
    if starts_first(service, situation):
        op, cause = "beside", f"{cause} The new one is well before the old one stops."
    elif one.action == "poke" and service not in situation.why_rolled:
        op, cause = "poke", f"{cause} Watchtower can replace it faithfully."
    elif one.action == "poke":
        cause = f"{cause} It is rolled: {situation.why_rolled[service]}"
    elif one.action == "roll":
        cause = f"{cause} It is rolled: a poke cannot move a tag."
    elif one.action == "rebuild" and is_built_elsewhere(situation.after.services[service]):
        cause = f"{cause} The image comes from the registry, where its build puts it."
    undo = f"{service} returns to the image that ran before"
    return Step(op, service, cause, undo, (service,), is_forced=one.action in {"rebuild", "recreate"})  # type: ignore[arg-type]


def prepare(situation: Situation, services: Sequence[str]) -> list[Step]:
    """What comes first: images of these services are fetched, running ones and files are kept."""
    after = situation.after
    built = tuple(s for s in services if is_built_here(after.services[s]))
    pulled = tuple(s for s in services if is_pulled(after, s))
    steps: list[Step] = []
    if pulled:
        steps.append(Step("pull", listed(pulled), "images are here before anything stops", "", pulled))
    if not situation.is_first:
        steps.append(Step("keep", "running images", "the way back must not depend on a tag or a registry"))
    if built:
        steps.append(Step("build", listed(built), "images are here before anything stops", "", built))
    steps.append(Step("backup", "compose and env files", "they can be restored by hand"))
    return steps


def _checkout(situation: Situation) -> list[Step]:
    head = situation.decision.head
    if situation.current_commit == head:
        return []
    undo = f"back to {situation.current_commit[:12]}" if situation.current_commit else ""
    return [Step("checkout", head[:12], "compose works from this commit's files", undo)]


def _without_container(situation: Situation, services: Sequence[str]) -> list[str]:
    """Those of them whose images may not be here. What is only started again needs no registry."""
    return [s for s in services if len(situation.observed.of(s)) < replicas(situation.after.services[s])]


def _heal(situation: Situation, services: Sequence[str], others: Collection[str] = ()) -> list[Step]:
    """One step: compose has those wait that depend on others of them. Who runs in namespaces of one that is
    started gets into the new ones by a new container, unless the `others` that are seen to hold it."""
    if not services:
        return []
    cause = "they should run and do not" if len(services) > 1 else "it should run and does not"
    steps = [Step("heal", listed(services), cause, "", tuple(services))]
    tied = sorted(tied_to(services, situation.after, NAMESPACES).difference(others))
    if tied:
        cause = f"namespaces of {listed(services)} are new ones"
        steps.append(Step("recreate", listed(tied), cause, "", tuple(tied), is_forced=True))
    return steps


def closing(situation: Situation) -> list[Step]:
    """What comes last: proof, audit, and networks that nobody uses any more."""
    active = situation.after.active
    return [
        Step("prove", "cluster", "every service is well and stays so", "", active),
        Step("audit", "cluster", "success is said by the engine, not by an exit code", "", active),
        Step("tidy", "networks", "networks that nobody uses any more"),
    ]


def _cause(decision: Decision) -> str:
    changed = [name for name, one in decision.services.items() if one.action not in {"none", "record"}]
    return f"structure changed ({listed(changed)})" if changed else "structure changed"


def _why(situation: Situation, service: str) -> str:
    reasons = situation.decision.services[service].reasons
    return reasons[0] if reasons else "it is not what is wanted"


def _gone(situation: Situation, service: str) -> str:
    if service not in situation.after.services:
        return "no longer in the compose files"
    is_new = service in situation.before.services and situation.before.is_active(service)
    return "behind a profile now" if is_new else "a network that it is on is made anew or goes"


def starts_first(service: str, situation: Situation) -> bool:
    """Can the new container run beside the old one, and does the file ask for it.

    Source: Compose Deploy Specification, `update_config.order`. A fixed host port or name is one
    thing that two containers cannot have.
    """
    model = situation.after.services.get(service)
    if model is None or not rolling_of(model).is_start_first:
        return False
    return not why_not_beside(service, situation.after, situation.observed.of(service))


def outages(situation: Situation, services: Sequence[str]) -> dict[str, float]:
    """Estimated seconds without an answer: this cluster's own history, else the start of the health check.

    Without history: one second to stop and start, and for a health check its start period and two
    intervals. Services that start first have none.
    """
    found: dict[str, float] = {}
    if situation.is_first:  # what never answered cannot stop answering
        return found
    for service in services:
        model = situation.after.services.get(service) or situation.before.services.get(service) or {}
        if service in situation.timings:
            found[service] = situation.timings[service]
        elif starts_first(service, situation):
            found[service] = 0.0
        else:
            check = model.get("healthcheck") or {}
            waits = seconds(check.get("start_period")) + (
                2 * seconds(check.get("interval")) if check.get("test") else 0
            )
            found[service] = 2.0 + min(waits, 60.0)
    return found


def strategy_for(decision: Decision, situation: Situation) -> Strategy:
    """The built-in strategy for a Decision. A first deployment is a revamp of nothing."""
    if situation.is_first or situation.old_project is not None:
        return Revamp()
    if unwanted(situation):
        return Revamp()
    if decision.update_type == "image_only":
        return WatchtowerLane()
    if decision.update_type == "none":
        return Settle()
    return Revamp()


def wanted_images(rendered: Rendered) -> dict[str, str]:
    """Reference that each active service's containers are to run."""
    return {s: image_of(rendered.name, s, rendered.services[s]) for s in rendered.active}
