"""Config files: what is right becomes values; what is wrong is said with file, line, path and a way out."""

import importlib.util
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from dual_update.adapters import config
from dual_update.core.config import ClusterEntry, Config, Health, HttpCheck, TcpCheck
from dual_update.core.errors import DualUpdateError, UsageError
from dual_update.edges.config_command import config_group

WHOLE = """\
cluster: shop
compose_files: [compose.yaml, deploy/prod.yaml]
deploy_branch: release
mode: revamp_only
scope: changed
rules: {service.depends-on: none}
health:
  settle_seconds: 1.5
  deadline_seconds: 60
  services: {db: {deadline_seconds: 300}}
  checks:
    - {name: front, service: web, url: "http://localhost:8082/health", body: ok}
    - {name: store, service: db, tcp: "localhost:5432", timeout_seconds: 2}
driver: service
retention: {runs: 5, backups: 2}
watchtower: {url: "http://localhost:8080", token_file: /run/secrets/token}
"""


NO_ANCHORS = "anchors and aliases are not read here; write the value out."


def complaint(text: str | bytes, parse: object = config.parse) -> str:
    with pytest.raises(UsageError) as refused:
        parse(text.encode() if isinstance(text, str) else text, "policy.yml")  # type: ignore[operator]
    assert refused.value.exit_code == 2
    return refused.value.message


def test_every_key_arrives() -> None:
    found = config.parse(WHOLE.encode(), "policy.yml")
    assert (found.cluster, found.compose_files) == ("shop", ("compose.yaml", "deploy/prod.yaml"))
    assert (found.deploy_branch, found.mode, found.scope, found.driver) == (
        "release",
        "revamp_only",
        "changed",
        "service",
    )
    assert found.rules == {"service.depends-on": "none"}
    assert found.health.checks == (
        HttpCheck("front", "web", "http://localhost:8082/health", 200, "ok"),
        TcpCheck("store", "db", "localhost", 5432, 2.0),
    )
    assert found.health.deadline_of("db") == 300
    assert found.health.deadline_of("web") == 60
    assert (found.retention.runs, found.retention.backups) == (5, 2)
    assert found.watchtower is not None
    assert found.watchtower.token_file == "/run/secrets/token"


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_nothing_written_means_the_defaults(text: str) -> None:
    assert config.parse(text.encode(), "policy.yml") == Config()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cluster: a\nhealth:\n  settle_second: 3\n",
         "policy.yml, line 3, health.settle_second: unknown key. Did you mean settle_seconds?"),
        ("mod: dual\n", "policy.yml, line 1, mod: unknown key. Did you mean mode?"),
        ("\nmode: dul\n",
         "policy.yml, line 2, mode: must be one of dual, watchtower_only, revamp_only. Did you mean dual?"),
        ("retention:\n  runs: many\n", "policy.yml, line 2, retention.runs: must be a whole number."),
        ("retention: {runs: 0}", "policy.yml, line 1, retention.runs: must be at least 1."),
        ("rules:\n  service.imag: none\n",
         "policy.yml, line 2, rules.service.imag: unknown rule. Did you mean service.image?"),
        ("rules:\n  service.image: nothing\n",
         "policy.yml, line 2, rules.service.image: must be one of none, image, structural."),
        ("health:\n  checks:\n    - name: a\n      service: web\n",
         "policy.yml, line 3, health.checks[0]: give either url or tcp."),
        ("health:\n  checks:\n    - {name: a, service: web, tcp: 'localhost:99999'}\n",
         "policy.yml, line 3, health.checks[0].tcp: a port is a number from 1 to 65535."),
        ("health:\n  checks:\n    - {name: a, tcp: 'h:1'}\n",
         "policy.yml, line 3, health.checks[0]: service must be given."),
        ("health:\n  checks:\n    - {name: a, service: w, tcp: 'h:1'}\n"
         "    - {name: a, service: w, url: 'http://h'}\n",
         "policy.yml, line 4, health.checks[1].name: another check has this name."),
        ("compose_files: [../other/compose.yaml]",
         "policy.yml, line 1, compose_files[0]: must be a path below the repository's root."),
        ("[]", "policy.yml, line 1, the whole file: must be keys with values."),
        ("just words", "policy.yml, line 1, the whole file: must be keys with values."),
        ("cluster: a\ncluster: b\n", "policy.yml, line 2: 'cluster' is there twice."),
        ("health: {settle_seconds: 1\n",
         "policy.yml, line 2: the { of line 1 is not closed, or a comma is missing."),
        ("health:\n\tsettle_seconds: 1\n", "policy.yml, line 2: a tab does not indent; use spaces."),
        ("a: &x [1]\n", f"policy.yml, line 1: {NO_ANCHORS}"),
        ("a: &x 1\nb: &x 2\n", f"policy.yml, line 1: {NO_ANCHORS}"),  # and no warning of the reader's
        ("cluster: 7\n", "policy.yml, line 1, cluster: must be text (put it in quotes)."),
    ],
)  # fmt: skip
def test_a_mistake_is_said_with_line_path_and_a_way_out(text: str, says: str) -> None:
    assert complaint(text) == says


def test_several_mistakes_are_said_at_once_in_the_order_of_the_file() -> None:
    lines = complaint("mod: dual\nscope: all\ndriver: me\n").splitlines()
    assert [line.split(",")[1] for line in lines] == [" line 1", " line 2", " line 3"]


@pytest.mark.parametrize(
    "content",
    [
        b"cluster: \xff\xfe",
        b"cluster: a\x00b",
        b"[" * 5000,
        b"{a: " * 900 + b"1" + b"}" * 900,
        b"a: !!python/object/apply:os.system [id]",
        b"cluster: 99999999999999999999999999999999",
        b"retention: {runs: " + b"9" * 6000 + b"}",
        b"x" * 300_000,
        b"cluster: 2020-99-99",
        b"? [a, b]\n: c",
        b"\t- :",
        b"--- a\n--- b\n",
        b"%TAG ! tag:x,2020:\n--- !foo bar",
        b"cluster: !!int abc",
        b"cluster: !!timestamp x",
        b"health: {settle_seconds: .nan, deadline_seconds: .inf}",
    ],
    ids=range(16),
)
def test_strange_bytes_are_a_mistake_too(content: bytes) -> None:
    assert complaint(content).startswith("policy.yml")


def test_a_value_is_never_quoted() -> None:
    said = complaint("watchtower: {url: 'http://me:hunter2hunter2@host/'}\ncluster: 'hunter2 hunter2'\n")
    assert "hunter2" not in said


def test_clusters_of_a_rollout() -> None:
    text = b"clusters:\n  - name: production-us\n    url: https://us.example.com\n    auto_approve: false\n"
    found = config.parse_multi_cluster(text, "multi-cluster.yml")
    assert found.clusters == (ClusterEntry("production-us", "https://us.example.com"),)
    more = b"clusters: [{name: a, stage: 2, runner: [self-hosted, eu], health: {deadline_seconds: 9}}]"
    entry = config.parse_multi_cluster(more, "multi-cluster.yml").clusters[0]
    assert (entry.stage, entry.runner, entry.health) == (2, ("self-hosted", "eu"), Health(deadline_seconds=9))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clusters: [{nam: a}]", "clusters[0].nam: unknown key. Did you mean name?"),
        ("clusters:\n- name: a\n- name: a\n", "line 3, clusters[1].name: another cluster has this name."),
        ("clusters: []", "clusters: must not be empty."),
        ("clusters: [{name: a, health: {settle: 1}}]", "clusters[0].health.settle: unknown key."),
        ("{}", "the whole file: clusters must be given."),
        (
            "clusters:\n- {name: a, path: x}\n- {name: b, path: ./x}\n",
            "line 3, clusters[1].path: a has the same one; give each its own.",
        ),
        (
            "clusters:\n- {name: a, url: 'https://eu'}\n- {name: b, url: 'https://EU/'}\n",
            "line 3, clusters[1].url: a has the same one; give each its own.",
        ),
        ("clusters: [{name: a, token_env: gh-x}]", "clusters[0].token_env: must be the name of a variable"),
    ],
)
def test_mistakes_in_a_rollout(text: str, says: str) -> None:
    assert says in complaint(text, config.parse_multi_cluster)


def test_hosts_may_have_their_checkouts_at_the_same_path() -> None:
    text = b"clusters: [{name: a, path: /srv/x, runner: [a]}, {name: b, path: /srv/x, runner: [b]}]"
    assert len(config.parse_multi_cluster(text, "multi-cluster.yml").clusters) == 2


@pytest.mark.parametrize("text", ["", "cluster: [{name: a}]\n"])
def test_a_file_of_a_fleet_is_known_by_its_name_too(text: str, tmp_path: Path) -> None:
    path = tmp_path / "multi-cluster.yml"
    path.write_text(text)
    with pytest.raises(UsageError, match="clusters must be given"):
        config.check_file(path)


def test_the_commands(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.yml", tmp_path / "bad.yml"
    good.write_text(WHOLE)
    bad.write_text("clusters: 3\n")
    runner = CliRunner()
    assert runner.invoke(config_group, ["check", str(good)]).output == f"{good}: no mistakes.\n"
    assert isinstance(runner.invoke(config_group, ["check", str(bad)]).exception, DualUpdateError)
    assert isinstance(runner.invoke(config_group, ["check", str(tmp_path / "no")]).exception, UsageError)
    none = runner.invoke(config_group, ["check", "--repo", str(tmp_path)])
    assert none.exit_code == 0
    assert "the defaults hold" in none.output
    shown = runner.invoke(config_group, ["show", "--config", str(good), "--format", "json"]).output
    assert json.loads(shown)["retention"] == {"runs": 5, "backups": 2}
    defaults = runner.invoke(config_group, ["show", "--repo", str(tmp_path)]).output
    assert "these are the defaults" in defaults
    assert 'mode: "dual"' in defaults


@pytest.mark.parametrize("name", [config.CONFIG_SCHEMA, config.MULTI_CLUSTER_SCHEMA])
def test_the_schemas_are_schemas(name: str) -> None:
    Draft202012Validator.check_schema(config.schema(name))


def test_the_schema_tells_the_defaults_that_hold() -> None:
    properties = config.schema(config.CONFIG_SCHEMA)["properties"]
    health = config.schema(config.CONFIG_SCHEMA)["$defs"]["health"]["properties"]
    told = {key: one["default"] for key, one in properties.items() if "default" in one}
    assert told == {key: getattr(Config(), key) for key in told}
    for key in ("settle_seconds", "deadline_seconds"):
        assert health[key]["default"] == getattr(Health(), key)
    for key, one in properties["retention"]["properties"].items():
        assert one["default"] == getattr(Config().retention, key)


def test_the_page_of_the_configuration_is_up_to_date() -> None:
    path = Path(__file__).parents[2] / "scripts" / "configuration_doc.py"
    spec = importlib.util.spec_from_file_location("configuration_doc", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.TARGET.read_text() == module.document(), "run scripts/configuration_doc.py"


def test_the_example_of_the_page_is_right() -> None:
    page = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]
    assert len(config.parse(example.encode(), "page").health.checks) == 2
