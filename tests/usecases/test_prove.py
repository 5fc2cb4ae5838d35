"""When services count as well: asked of an engine that shows one scene after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from dual_update.core.cluster import Container, Observed
from dual_update.core.config import Config, Health
from dual_update.core.shape import Link
from dual_update.usecases.prove import Proof, Wanted, prove

JOB = Container("j", "shop-job-1", "job", 1, "sha256:1", "job:1", "running")
WEB = Container("w", "shop-web-1", "web", 1, "sha256:1", "web:1", "running", aliases={"net": ("web",)})
DONE = replace(JOB, state="exited")


@dataclass
class Scenes:
    """A second passes between two scenes; the last one stays. Fits what `prove` asks of engine and clock."""

    scenes: Sequence[tuple[Container, ...]]
    now: float = 0.0

    def observe(self, project: str) -> Observed:
        self.now += 0.001
        return Observed(project, self.scenes[min(int(self.now), len(self.scenes) - 1)])

    def execute(self, *_: object) -> tuple[int, str]:
        return 1, "not found"

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def proven(wanted: Wanted, *scenes: tuple[Container, ...], **deadlines: float) -> Proof:
    world = Scenes(scenes)
    config = Config(health=Health(services=deadlines))
    site: Any = SimpleNamespace(engine=world, clock=world, config=config)
    return prove(site, wanted, 0.0)


def test_a_job_that_others_wait_for_has_to_end() -> None:
    its_end = Wanted("shop", {"job": 1}, frozenset({"job"}), awaited=frozenset({"job"}))
    assert proven(its_end, (JOB,), (JOB,), (DONE,)).seconds >= 2
    assert not proven(its_end, (JOB,), (JOB,), (replace(DONE, exit_code=1),)).is_good
    assert proven(replace(its_end, awaited=frozenset()), (JOB,)).is_good


def test_a_job_that_others_wait_for_is_given_time() -> None:
    job = frozenset({"job"})
    its_end = Wanted("shop", {"job": 1}, job, awaited=job, patience={"job": 600.0})
    scenes = [(JOB,)] * 300 + [(DONE,)]
    assert proven(its_end, *scenes).is_good
    late = proven(its_end, *scenes, job=30.0)
    assert (late.is_good, late.reason) == (False, "shop-job-1: others wait for its end, and it still runs")


def test_where_nothing_is_wanted_all_is_well() -> None:
    assert proven(Wanted("shop", {}), (DONE,)).is_good


def test_a_job_that_is_done_need_not_be_found_by_name() -> None:
    wanted = Wanted("shop", {"web": 1, "job": 1}, frozenset({"job"}), links={"web": [Link("job")]})
    assert proven(wanted, (WEB, DONE)).is_good
    assert not proven(wanted, (WEB, JOB)).is_good
