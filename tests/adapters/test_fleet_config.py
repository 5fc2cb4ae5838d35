"""multi-cluster.yml: its keys arrive, mistakes are named by line, tokens are named and never shown."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from dual_update.adapters.config import parse_multi_cluster
from dual_update.adapters.fleet_config import closed, find, led_from_here, load_fleet, token_of
from dual_update.core.config import ClusterEntry, StageEntry
from dual_update.core.errors import UsageError
from dual_update.core.fleet import driver_of, stages_of

WHOLE = """\
on_failure: rollback_all
patience_seconds: 60
stages:
  - {stage: 1, name: canary, bake_seconds: 3600}
  - {stage: 2, name: production, batch: 2}
clusters:
  - {name: us, stage: 2, url: "https://us.example.com", token_env: US_TOKEN, auto_approve: true}
  - {name: eu, stage: 2, path: clusters/eu, state_dir: state/eu, windows: ["Sat 02:00-04:00"]}
  - {name: canary, stage: 1, url: "http://localhost:8090", token_env: CANARY}
  - {name: staging, runner: [self-hosted, staging], environment: staging}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "multi-cluster.yml"
    path.write_text(text)
    return path


def test_every_key_arrives_and_paths_count_from_the_file(tmp_path: Path) -> None:
    fleet = load_fleet(written(tmp_path, WHOLE))
    us, eu, canary, staging = fleet.clusters
    assert (fleet.on_failure, fleet.patience_seconds) == ("rollback_all", 60.0)
    assert fleet.stages == (StageEntry(1, "canary", 1, 3600), StageEntry(2, "production", 2))
    assert (us.url, us.token_env, us.auto_approve) == ("https://us.example.com", "US_TOKEN", True)
    assert (eu.path, eu.state_dir) == (str(tmp_path / "clusters/eu"), str(tmp_path / "state/eu"))
    assert [driver_of(one) for one in (us, eu, canary, staging)] == ["api", "path", "api", "runner"]
    assert find(tmp_path) == tmp_path / "multi-cluster.yml"


def test_stages_go_by_number_and_clusters_as_they_were_written(tmp_path: Path) -> None:
    stages = stages_of(load_fleet(written(tmp_path, WHOLE)))
    assert [(one.number, one.name, one.clusters, one.batch, one.bake_seconds) for one in stages] == [
        (0, "stage 0", ("staging",), 1, 0.0),
        (1, "canary", ("canary",), 1, 3600.0),
        (2, "production", ("us", "eu"), 2, 0.0),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clusters:\n  - name: a\n    batch: 2\n", "line 3, clusters[0].batch: unknown key"),
        ("clusters:\n  - name: a\n    token_env: 'ghp_abc123'\n", "line 3, clusters[0].token_env"),
        (
            "clusters:\n  - name: a\n    token_env: A\n    url: http://us.example.com\n",
            "line 4, clusters[0].url: a token is sent by https only",
        ),
        ("clusters: [{name: a}]\nstages:\n  - {stage: 3}\n", "line 3, stages[0].stage: no cluster has"),
        (
            "clusters: [{name: a}]\nstages:\n  - {stage: 0}\n  - {stage: 0}\n",
            "line 4, stages[1].stage: this stage is there already",
        ),
        ("clusters: [{name: a}]\nstages: [{stage: 0, batch: 0}]\n", "stages[0].batch: must be at least 1"),
        (
            "clusters: [{name: a}]\non_failure: pray\n",
            "line 2, on_failure: must be one of stop, rollback_all",
        ),
        ("clusters:\n  - name: a\n    windows: [always]\n", "line 3, clusters[0].windows[0]"),
    ],
)
def test_mistakes_are_named(text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_multi_cluster(text.encode(), "multi-cluster.yml")
    assert says in refused.value.message
    assert "ghp_abc123" not in refused.value.message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://[::1]:8090", "https://far.example.com"])
def test_a_token_may_go_within_this_machine_or_by_tls(url: str) -> None:
    text = f"clusters: [{{name: a, token_env: A, url: '{url}'}}]"
    assert parse_multi_cluster(text.encode(), "f").clusters[0].url == url


def test_tokens_come_by_name_or_by_file(tmp_path: Path) -> None:
    entry = ClusterEntry("us", "https://us.example.com", token_env="US")
    file = tmp_path / "token"
    file.write_text("from-a-file\n")
    assert token_of(entry, {"US": "secret"}) == "secret"
    assert token_of(entry, {"US_FILE": str(file)}) == "from-a-file"
    assert token_of(ClusterEntry("free", "http://localhost"), {}) == ""


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({}, "US is not set"),
        ({"US": "  "}, "US is not set"),
        ({"US": "secret", "US_FILE": "f"}, "both set"),
        ({"US_FILE": "/does/not/exist"}, "US_FILE cannot be read"),
        ({"US": "sec\nret"}, "US is no token"),
    ],
)
def test_a_token_that_is_none_is_said_without_showing_it(environment: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError, match=says) as refused:
        token_of(ClusterEntry("us", "https://us.example.com", token_env="US"), environment)
    assert "sec" not in str(refused.value)


def test_a_runners_cluster_is_not_led_from_here(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="staging: driven by a runner"):
        led_from_here(load_fleet(written(tmp_path, WHOLE)))


def test_the_path_on_a_runners_host_is_not_looked_for_here() -> None:
    assert driver_of(ClusterEntry("eu", path="/srv/shop", runner=("self-hosted", "eu"))) == "runner"


def test_windows_close_clusters() -> None:
    entries = [ClusterEntry("a", windows=("Sat 02:00-04:00",)), ClusterEntry("b")]
    saturday = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)
    assert closed(entries, ["a", "b"], saturday) == frozenset()
    assert closed(entries, ["a", "b"], saturday.replace(hour=5)) == {"a"}
