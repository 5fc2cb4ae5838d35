"""/metrics: right numbers, right names, few labels, and nothing lost by a restart."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from prometheus_client import generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dual_update.adapters.store import DATABASE, SqliteStore
from dual_update.edges.web import metrics
from dual_update.edges.web.auth import WebSettings
from dual_update.usecases.memory_ports import Reading

ORCHESTRATOR = Path(__file__).parents[3] / "orchestrator"
OURS = re.compile(r"\bdual_update_[a-z_]+\b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with SqliteStore(tmp_path / "state") as store:
        yield store


def run(
    store: SqliteStore, name: str, cluster: str, outcome: str, took: float, strategy: str = "revamp"
) -> None:
    store.begin({"run": name, "cluster": cluster, "strategy": strategy, "started_at": "2026-01-01T00:00:00Z"})
    if outcome:
        store.finish(name, outcome, {"duration_seconds": took, "finished_at": "2026-01-01T00:01:00Z"})


def busy(store: SqliteStore) -> None:
    """A store that has seen everything that metrics tell."""
    run(store, "r1", "shop", "succeeded", 4.0)
    run(store, "r2", "shop", "succeeded", 70.0, "watchtower")
    run(store, "r3", "shop", "rolled_back", 4000.0)
    run(store, "r4", "blog", "unchanged", 0.0, "none")
    run(store, "r5", "blog", "", 0.0)
    store.quarantine("shop", "f1", "it crashed", "r3")
    store.notes.note_check("shop", "ok", 1.0, {"needs_update": True, "drift": ["web was stopped"]})
    store.notes.note_check("shop", "failed", 1.0, {})
    store.notes.pause("shop", "holiday", "ada")
    now = time.time()
    store.notes.note_health([Reading("shop", "web", now, True), Reading("shop", "db", now, False, "exit 1")])
    store.outbox.put("run:r3", ["aaaa", "bbbb"], {"title": "t"})
    taken = store.outbox.take(["aaaa"], 60, now + 1)
    assert taken is not None
    store.outbox.sent(taken.seq)


def exposition(store: SqliteStore) -> str:
    return generate_latest(metrics.registry_of(store)).decode()


def values(text: str) -> dict[str, float]:
    """`name{label="value"}` -> number, as written."""
    return {
        line.rpartition(" ")[0]: float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line and not line.startswith("#")
    }


def families(text: str) -> list[Metric]:
    return list(text_string_to_metric_families(text))


def test_what_happened_is_told(store: SqliteStore) -> None:
    busy(store)
    told = values(exposition(store))
    assert told['dual_update_runs_total{cluster="shop",outcome="succeeded",strategy="revamp"}'] == 1
    assert told['dual_update_runs_total{cluster="shop",outcome="succeeded",strategy="watchtower"}'] == 1
    assert told['dual_update_runs_total{cluster="blog",outcome="unchanged",strategy="none"}'] == 1
    duration = "dual_update_run_duration_seconds"
    assert told[f'{duration}_count{{cluster="shop",outcome="succeeded"}}'] == 2
    assert told[f'{duration}_sum{{cluster="shop",outcome="succeeded"}}'] == 74
    assert told[f'{duration}_bucket{{cluster="shop",le="5.0",outcome="succeeded"}}'] == 1
    assert told[f'{duration}_bucket{{cluster="shop",le="120.0",outcome="succeeded"}}'] == 2
    assert told[f'{duration}_bucket{{cluster="shop",le="3600.0",outcome="rolled_back"}}'] == 0
    assert told[f'{duration}_bucket{{cluster="shop",le="+Inf",outcome="rolled_back"}}'] == 1
    assert told['dual_update_last_success_timestamp_seconds{cluster="shop"}'] == 1767225660
    assert told['dual_update_last_run_timestamp_seconds{cluster="shop",outcome="rolled_back"}'] == 1767225660
    assert told['dual_update_run_start_timestamp_seconds{cluster="blog"}'] == 1767225600
    assert told['dual_update_quarantined_contents{cluster="shop"}'] == 1
    assert told['dual_update_quarantined_contents{cluster="blog"}'] == 0
    assert told['dual_update_checks_total{cluster="shop",outcome="failed"}'] == 1
    assert told['dual_update_update_pending{cluster="shop"}'] == 1
    assert told['dual_update_drift_findings{cluster="shop"}'] == 1
    assert told['dual_update_paused{cluster="shop"}'] == 1
    assert told['dual_update_service_healthy{cluster="shop",service="web"}'] == 1
    assert told['dual_update_service_healthy{cluster="shop",service="db"}'] == 0
    assert told['dual_update_notifications_total{outcome="sent"}'] == 1
    assert told["dual_update_notifications_waiting"] == 1
    assert told["dual_update_state_readable"] == 1


def test_a_new_process_tells_the_same(store: SqliteStore, tmp_path: Path) -> None:
    busy(store)
    before = {name: one for name, one in values(exposition(store)).items() if OURS.match(name)}
    script = (
        "import sys; from prometheus_client import generate_latest\n"
        "from dual_update.adapters.store import SqliteStore\n"
        "from dual_update.edges.web.metrics import registry_of\n"
        "print(generate_latest(registry_of(SqliteStore(sys.argv[1]))).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "state")], capture_output=True, text=True, check=True
    )
    assert {name: one for name, one in values(done.stdout).items() if OURS.match(name)} == before


def test_forgotten_runs_still_count(store: SqliteStore) -> None:
    busy(store)
    before = values(exposition(store))
    store.prune("shop", runs=0, backups=0)
    after = values(exposition(store))
    falling = [name for name in before if "_total" in name and not name.startswith("process_")]
    assert falling
    assert {name: after[name] for name in falling} == {name: before[name] for name in falling}


def test_a_reading_that_is_old_is_no_state(store: SqliteStore) -> None:
    store.notes.note_health([Reading("shop", "web", time.time() - 3600, True)])
    assert "dual_update_service_healthy{" not in exposition(store)


def test_a_service_that_is_gone_loses_its_series_and_a_quiet_one_keeps_it(store: SqliteStore) -> None:
    """Readings are written down when they change, and every few minutes."""
    now = time.time()
    store.notes.note_health([Reading("shop", "old", now - 700, True), Reading("shop", "db", now - 299, True)])
    store.notes.note_health([Reading("shop", "web", now - 60, True), Reading("shop", "web", now, False)])
    told = values(exposition(store))
    assert 'dual_update_service_healthy{cluster="shop",service="old"}' not in told
    assert told['dual_update_service_healthy{cluster="shop",service="db"}'] == 1
    assert told['dual_update_service_healthy{cluster="shop",service="web"}'] == 0


def test_labels_are_bounded(store: SqliteStore) -> None:
    for number in range(metrics.MOST_CLUSTERS + 30):
        run(store, f"r{number}", f"c{number:04}", "succeeded", 1.0, f"s{number:04}")
    now = time.time()
    store.notes.note_health(
        [Reading("c0000", f"w{n:04}", now, True) for n in range(metrics.MOST_SERVICES + 30)]
    )
    text = exposition(store)
    assert sum(values(text)[one] for one in values(text) if one.startswith("dual_update_runs_total{")) == 130
    for name, limit in (
        ("cluster", metrics.MOST_CLUSTERS + 1),
        ("service", metrics.MOST_SERVICES),
        ("strategy", metrics.MOST_STRATEGIES + 1),
    ):
        assert len(set(re.findall(rf'{name}="([^"]*)"', text))) <= limit, name
    assert 'dual_update_last_success_timestamp_seconds{cluster="other"}' not in text


def test_hostile_names_stay_labels(store: SqliteStore) -> None:
    name = 'a"} 1\nevil_metric{x="\\'
    run(store, "r1", name, "succeeded", 1.0)
    (found,) = [one for one in families(exposition(store)) if one.name == "dual_update_runs"]
    assert found.samples[0].labels["cluster"] == name
    assert not [one for one in families(exposition(store)) if one.name.startswith("evil")]


def test_a_damaged_store_is_told_and_not_an_error(tmp_path: Path) -> None:
    (tmp_path / DATABASE).write_bytes(b"no database at all, and long enough" * 100)
    told = values(exposition(SqliteStore(tmp_path)))
    assert told["dual_update_state_readable"] == 0
    assert not [name for name in told if "_runs_total" in name]


# --- the rules of the format and of good names


def lint(text: str) -> list[str]:
    """What `promtool check metrics` says too: https://github.com/prometheus/client_golang, promlint."""
    faults = []
    for one in families(text):
        name = one.name + ("_total" if one.type == "counter" else "")
        if not one.documentation:
            faults.append(f"{name}: no help")
        if one.type in {"unknown", "untyped"}:
            faults.append(f"{name}: no type")
        if one.type != "counter" and name.endswith("_total"):
            faults.append(f"{name}: only counters end in _total")
        if one.type not in {"histogram", "summary"} and name.endswith(("_count", "_sum", "_bucket")):
            faults.append(f"{name}: a reserved ending")
        if re.search(r"_(milliseconds?|minutes?|hours?|days?|kilobytes?|percent|ms)(_|$)", name):
            faults.append(f"{name}: not a base unit")
        if re.search(r"(gauge|counter|histogram|summary)", name) or not re.fullmatch(
            r"[a-z][a-z0-9_]*", name
        ):
            faults.append(f"{name}: a name with its type or with capitals in it")
        faults += [
            f"{name}: the name of its label {key} inside"
            for sample in one.samples
            for key in sample.labels
            if key in name.split("_") and key not in {"le", "service", "version"}
        ]
    return sorted(set(faults))


def test_names_and_types_are_as_they_should_be(store: SqliteStore) -> None:
    busy(store)
    text = exposition(store)
    assert lint(text) == []
    histogram = next(one for one in families(text) if one.name == "dual_update_run_duration_seconds")
    counts = [
        (float(s.labels["le"]), s.value)
        for s in histogram.samples
        if s.name.endswith("_bucket") and s.labels["outcome"] == "succeeded"
    ]
    assert counts == sorted(counts)
    assert counts[-1][0] == math.inf


def test_the_lint_finds_faults() -> None:
    bad = (
        "# HELP a_total x\n# TYPE a_total gauge\na_total 1\n"
        "# HELP took_minutes x\n# TYPE took_minutes gauge\ntook_minutes 1\n# TYPE b gauge\nb 1\n"
    )
    assert len(lint(bad)) == 3


def promtool() -> str:
    """Debian's package prometheus has it; scripts/bootstrap --tests puts it beside the other tools."""
    found = shutil.which("promtool") or shutil.which("promtool", path=str(Path(sys.executable).parent))
    if found is None:
        pytest.skip("promtool is not here; the test above holds its rules")
    return found


def test_promtool_finds_nothing(store: SqliteStore) -> None:
    busy(store)
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=exposition(store), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- over HTTP


def test_over_http(store: SqliteStore) -> None:
    busy(store)
    app = FastAPI()
    app.include_router(metrics.router)
    app.state.memory = store
    app.state.settings = WebSettings()
    app.state.doorman = SimpleNamespace(who=lambda request: SimpleNamespace(is_known=True))
    app.dependency_overrides[metrics.require_reader] = lambda: None
    with TestClient(app) as client:
        plain = client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain; version=")
        assert 'dual_update_runs_total{cluster="shop"' in plain.text
        store.finish("r5", "refused", {"duration_seconds": 1})
        assert 'cluster="blog",outcome="refused"' in client.get("/metrics").text
        modern = client.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
        assert modern.headers["content-type"].startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")


# --- what is shipped beside it


@pytest.fixture
def told(store: SqliteStore) -> set[str]:
    busy(store)
    return {sample.name for one in families(exposition(store)) for sample in one.samples}


def test_alerts_name_only_what_is_told(told: set[str]) -> None:
    from ruamel.yaml import YAML

    text = (ORCHESTRATOR / "alerts.yml").read_text()
    rules = [rule for group in YAML(typ="safe").load(text)["groups"] for rule in group["rules"]]
    assert len(rules) >= 8
    for rule in rules:
        assert rule["annotations"]["summary"], rule
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule
        names = set(OURS.findall(rule["expr"]))
        assert names, rule
        assert names <= told, rule["alert"]


def test_the_dashboard_names_only_what_is_told(told: set[str]) -> None:
    board = json.loads((ORCHESTRATOR / "grafana-dashboard.json").read_text())
    assert board["uid"]
    assert board["schemaVersion"] >= 36
    assert {one["name"] for one in board["templating"]["list"]} >= {"datasource", "cluster"}
    panels = [one for one in board["panels"] if one["type"] != "row"]
    assert len({one["id"] for one in board["panels"]}) == len(board["panels"])
    expressions = [target["expr"] for panel in panels for target in panel["targets"]]
    assert len(expressions) >= len(panels)
    named = {name for one in expressions for name in OURS.findall(one)}
    assert named
    assert named <= told
    ours = {name for name in told if name.startswith("dual_update_")}
    unseen = {name.removesuffix("_created") for name in ours - named if not name.endswith(("_count", "_sum"))}
    assert unseen <= {"dual_update_last_run_timestamp_seconds"}, "every other metric has a place on the board"
    places = [tuple(one["gridPos"][key] for key in "xywh") for one in board["panels"]]
    cells = [(x + i, y + j) for x, y, w, h in places for i in range(w) for j in range(h)]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24


def test_promtool_reads_the_alerts_and_they_fire(tmp_path: Path) -> None:
    """The alerts' own tests: what must fire fires, and silence stays silent."""
    shutil.copy(ORCHESTRATOR / "alerts.yml", tmp_path)
    done = subprocess.run(
        [promtool(), "check", "rules", str(tmp_path / "alerts.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (tmp_path / "tests.yml").write_text((Path(__file__).parent / "alerts_test.yml").read_text())
    done = subprocess.run(
        [promtool(), "test", "rules", str(tmp_path / "tests.yml")],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
