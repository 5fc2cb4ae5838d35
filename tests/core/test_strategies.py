"""Plans as literals: what is wanted and what runs go in, the printed plan comes out."""

from dataclasses import replace

from dual_update.core import plan as plans
from dual_update.core.cluster import Container, Observed
from dual_update.core.decision import Decision, Sides, decide
from dual_update.core.diff import compare
from dual_update.core.durations import seconds
from dual_update.core.model import Rendered
from dual_update.core.rules import judge
from dual_update.core.running import patience, start_order
from dual_update.core.situation import Situation, altered, missing
from dual_update.core.strategies import starts_first, strategy_for

HEAD = "b" * 40
BASE = "a" * 40


def rendered(**services: dict) -> Rendered:
    return Rendered("shop", services=services, files=("compose.yml",))


def running(*services: str, state: str = "running") -> Observed:
    containers = tuple(
        Container(f"id-{one}", f"shop-{one}-1", one, 1, "sha256:old", f"{one}:1", state) for one in services
    )
    return Observed("shop", containers)


def decision(before: Rendered, after: Rendered, base: str | None = BASE) -> Decision:
    return decide(Sides("shop", before, after, base, HEAD), judge(compare(before, after)))


def steps(before: Rendered, after: Rendered, observed: Observed, **more: object) -> list[str]:
    decided = decision(before, after)
    situation = Situation(decided, before, after, observed, BASE, **more)  # type: ignore[arg-type]
    plan = strategy_for(decided, situation).plan(situation)
    return [f"{step.op} {step.target}" for step in plan.steps]


WEB1, WEB2, DB = {"image": "web:1"}, {"image": "web:2"}, {"image": "db:1"}


def test_image_change_rolls_one_service() -> None:
    assert steps(rendered(web=WEB1, db=DB), rendered(web=WEB2, db=DB), running("web", "db")) == [
        "pull web",
        "keep running images",
        "backup compose and env files",
        "checkout bbbbbbbbbbbb",
        "roll web",
        "prove web",
        "prove cluster",
        "audit cluster",
        "tidy networks",
    ]


def test_structure_revamps_the_cluster_after_everything_is_here() -> None:
    after = rendered(web={**WEB1, "user": "1"}, db=DB)
    assert steps(rendered(web=WEB1, db=DB), after, running("web", "db"))[:5] == [
        "pull db and web",
        "keep running images",
        "backup compose and env files",
        "checkout bbbbbbbbbbbb",
        "revamp cluster",
    ]


def test_scope_changed_names_what_it_replaces() -> None:
    after = rendered(web={**WEB1, "user": "1"}, db=DB)
    found = steps(rendered(web=WEB1, db=DB), after, running("web", "db"), scope="changed")
    assert "recreate web" in found
    assert "revamp cluster" not in found


def test_what_is_gone_is_removed_before_the_rest_starts() -> None:
    found = steps(rendered(web=WEB1, db=DB), rendered(web=WEB1), running("web", "db"))
    assert found.index("remove db") < found.index("revamp cluster")


def test_what_a_person_runs_from_behind_a_profile_is_left_alone() -> None:
    debug = {"image": "debug:1", "profiles": ["debug"]}
    same = rendered(web=WEB1, debug=debug)
    nothing = steps(same, same, running("web", "debug"))
    assert not [one for one in nothing if one.split()[0] in plans.TOUCHING]
    assert "roll web" in steps(same, rendered(web=WEB2, debug=debug), running("web", "debug"))
    assert "remove debug" in steps(rendered(web=WEB1, debug=DB), same, running("web", "debug"))


def test_what_a_person_runs_goes_with_its_network() -> None:
    same = rendered(
        web=WEB1, debug={"image": "debug:1", "profiles": ["debug"], "networks": {"default": None}}
    )
    found = steps(same, replace(same, networks={"default": {"internal": True}}), running("web", "debug"))
    assert "remove debug" in found
    found = steps(same, replace(same, networks={"other": {"internal": True}}), running("web", "debug"))
    assert "remove debug" not in found


def test_what_someone_paused_or_multiplied_is_told() -> None:
    same = rendered(web=WEB1, db=DB)

    def told(observed: Observed) -> list[str]:
        situation = Situation(decision(same, same), same, same, observed, HEAD)
        return list(altered(situation).values())

    assert told(running("web", "db")) == []
    assert told(running("web", "db", state="paused"))[0] == "db: someone paused shop-db-1."
    assert told(running("web", "db", "db")) == ["db: 2 containers are there, and 1 deployed."]


def test_start_order_alone_tears_nothing_down() -> None:
    after = rendered(web={**WEB1, "depends_on": {"db": {"condition": "service_started"}}}, db=DB)
    found = steps(rendered(web=WEB1, db=DB), after, running("web", "db"))
    assert not [one for one in found if one.split()[0] in plans.TOUCHING]


def test_nothing_to_do_is_an_empty_plan() -> None:
    same = rendered(web=WEB1)
    decided = decision(same, same)
    situation = Situation(decided, same, same, running("web"), HEAD)
    assert strategy_for(decided, situation).plan(situation).steps == ()


def test_what_should_run_and_does_not_is_healed() -> None:
    same = rendered(web=WEB1, db=DB)
    assert "heal db" in steps(same, same, running("web"))
    stopped = Observed("shop", running("web").containers + running("db", state="exited").containers)
    assert "heal db" in steps(same, same, stopped)
    both = steps(same, same, running("db", "web", state="exited"))
    assert "heal db and web" in both
    assert not [one for one in both if one.startswith("pull")]  # all is here, whatever the registry says
    assert "pull db" in steps(same, same, running("web"))


def test_services_say_how_long_they_may_take() -> None:
    slow = {**DB, "healthcheck": {"start_period": "5m", "interval": "10s"}}
    after = {"job": {"condition": "service_completed_successfully"}}
    model = rendered(db=slow, job={"image": "job:1"}, web={**WEB1, "depends_on": after})
    assert patience(model) == {"db": 320.0, "job": 1800.0}


def test_who_lives_in_namespaces_of_a_healed_service_gets_into_the_new_ones() -> None:
    same = rendered(vpn={"image": "vpn:1"}, web={**WEB1, "network_mode": "service:vpn"}, db=DB)
    assert steps(same, same, running("web", "db"))[-5:-3] == ["heal vpn", "recreate web"]
    assert steps(same, same, running("vpn", "db"))[-4] == "heal web"


def test_what_a_replaced_service_needs_is_healed_before_it() -> None:
    needs = {"depends_on": {"db": {}}}
    found = steps(
        rendered(web={**WEB1, **needs}, db=DB), rendered(web={**WEB2, **needs}, db=DB), running("web")
    )
    assert found[-7:-3] == ["heal db", "prove db", "roll web", "prove web"]


def test_a_job_that_ended_well_is_not_missing() -> None:
    same = rendered(job={"image": "job:1", "restart": "no"}, daemon={"image": "d:1", "restart": "always"})
    situation = Situation(decision(same, same), same, same, running("job", "daemon", state="exited"), HEAD)
    assert missing(situation) == ["daemon"]


def test_services_start_after_those_they_depend_on() -> None:
    model = rendered(a={"image": "a", "depends_on": {"z": {}}}, z={"image": "z"}, m={"image": "m"})
    assert start_order(model) == ["z", "a", "m"]


def test_a_circle_of_dependencies_ends() -> None:
    model = rendered(a={"image": "a", "depends_on": {"b": {}}}, b={"image": "b", "depends_on": {"a": {}}})
    assert sorted(start_order(model)) == ["a", "b"]


def test_start_first_needs_room_beside_the_old_one() -> None:
    deploy = {"deploy": {"update_config": {"order": "start-first"}}}

    def does(**more: object) -> bool:
        after = rendered(web={**WEB2, **more})
        before = rendered(web=WEB1)
        return starts_first("web", Situation(decision(before, after), before, after, running("web"), BASE))

    assert does(**deploy)
    assert not does(**deploy, container_name="web")
    assert not does(**deploy, ports=[{"published": "80", "target": 80}])
    assert not does(**deploy, volumes=[{"type": "volume", "target": "/nameless"}])
    assert not does()


def test_durations_are_go_durations() -> None:
    assert [seconds(one) for one in ("1m30s", "500ms", "2h", "", None)] == [90.0, 0.5, 7200.0, 0.0, 0.0]


def test_the_printed_plan_has_causes_and_undos() -> None:
    before, after = rendered(web=WEB1), rendered(web=WEB2)
    decided = decision(before, after)
    situation = Situation(decided, before, after, running("web"), BASE)
    words = plans.text(strategy_for(decided, situation).plan(situation))
    assert "roll web: image: The image reference changed." in words
    assert "undo: web returns to the image that ran before" in words
    assert "web: about 2 s" in words


def test_another_running_container_is_another_plan() -> None:
    before, after = rendered(web=WEB1), rendered(web=WEB2)
    decided = decision(before, after)
    plan = strategy_for(decided, situation := Situation(decided, before, after, running("web"), BASE)).plan(
        situation
    )
    one = plans.plan_fingerprint(decided, plan, running("web"), plans.Evidence())
    assert one == plans.plan_fingerprint(decided, plan, running("web"), plans.Evidence())
    assert one != plans.plan_fingerprint(decided, plan, running("web", state="exited"), plans.Evidence())
    assert one != plans.plan_fingerprint(
        decided, plan, running("web"), plans.Evidence({"web": "sha256:other"})
    )
