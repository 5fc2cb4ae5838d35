"""What detect says of two commits, with real git and the real compose binary."""

from pathlib import Path

import pytest

from dual_update.core.decision import Decision
from dual_update.core.errors import UsageError
from tests.repositories import Checkout, Files


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "shop")


def decide(repo: Checkout, before: Files, after: Files, **options: object) -> Decision:
    base = repo.commit(before)
    repo.commit(after)
    return repo.detect(base, **options).decision  # type: ignore[arg-type]


def actions(decision: Decision) -> dict[str, str]:
    return {name: one.action for name, one in decision.services.items()}


def rules(decision: Decision) -> set[str]:
    return {finding.rule.id for finding in decision.findings}


# --- the whole model ------------------------------------------------------------------------------

WEB_AND_DB = "services: {web: {image: 'web:1'}, db: {image: 'db:1'}}\n"


def test_a_comment_is_nothing(repo: Checkout) -> None:
    decision = decide(repo, {"compose.yml": WEB_AND_DB}, {"compose.yml": "# why\n" + WEB_AND_DB})
    assert decision.update_type == "none"
    assert actions(decision) == {"db": "none", "web": "none"}
    assert not decision.needs_update


def test_several_files_override_reset_and_replace(repo: Checkout) -> None:
    base = (
        "services: {web: {image: 'web:1', ports: ['80:80'], environment: {A: '1', B: '2'}, command: [run]}}\n"
    )
    files = ("base.yml", "over.yml")
    before = {"base.yml": base, "over.yml": "services: {web: {labels: {x: '1'}}}\n"}
    reset = "services: {web: {labels: {x: '1'}, ports: !reset [], environment: !override {A: '1'}}}\n"
    decision = decide(repo, before, {"over.yml": reset}, files=files)
    assert {(f.change.path, f.change.op) for f in decision.findings} == {
        ("environment.B", "remove"),
        ("ports", "remove"),
    }
    same = "services: {web: {image: 'web:1', labels: {x: '1'}, command: [run], environment: {A: '1'}}}\n"
    plain = {"base.yml": same, "over.yml": "services: {web: {}}\n"}
    decision = decide(repo, {}, plain, files=files)
    assert decision.update_type == "none"


def test_the_standard_override_file_counts_without_being_named(repo: Checkout) -> None:
    override = {"compose.override.yml": "services: {web: {image: 'web:2'}}\n"}
    decision = decide(repo, {"compose.yml": WEB_AND_DB}, override)
    assert decision.update_type == "image_only"
    assert decision.services["web"].image_after == "web:2"


def test_a_tag_in_dot_env_is_an_image_change_and_is_shown(repo: Checkout) -> None:
    compose = "services: {web: {image: 'app:${TAG}'}, db: {image: 'db:1'}}\n"
    decision = decide(repo, {"compose.yml": compose, ".env": "TAG=1\n"}, {".env": "TAG=2\n"})
    assert decision.update_type == "image_only"
    web = decision.services["web"]
    assert (web.action, web.image_before, web.image_after) == ("roll", "app:1", "app:2")


def test_an_env_file_that_git_lacks_makes_the_verdict_conditional(repo: Checkout) -> None:
    compose = "services: {web: {image: 'web:1', env_file: [secret.env]}}\n"
    decision = decide(repo, {"compose.yml": compose, ".gitignore": "*.env\n"}, {"note": "x"})
    assert decision.update_type == "none"
    assert [w for w in decision.warnings if "secret.env is not in git" in w and "conditional" in w]


def test_an_env_file_that_may_be_missing_counts_where_it_is_and_is_named_where_not(repo: Checkout) -> None:
    compose = "services: {web: {image: 'web:1', env_file: [{path: %s, required: false}]}}\n"
    decision = decide(repo, {"compose.yml": compose % "opt.env"}, {"note": "x"})
    assert [w for w in decision.warnings if "opt.env is not in git" in w]
    decision = decide(repo, {"opt.env": "A=1\n"}, {"opt.env": "A=2\n"})
    assert {f.change.path for f in decision.findings} == {"environment.A"}
    assert decision.warnings == ()
    decision = decide(repo, {}, {"opt.env": None})
    assert {(f.change.path, f.change.op) for f in decision.findings} == {("environment", "remove")}


def test_the_hosts_own_dot_env_may_be_an_env_file_too(repo: Checkout) -> None:
    compose = "services: {web: {image: 'web:1', env_file: .env}}\n"
    decision = decide(repo, {"compose.yml": compose}, {"compose.yml": compose.replace("web:1", "web:2")})
    assert actions(decision) == {"web": "roll"}
    assert [w for w in decision.warnings if w.startswith(".env is not in git") and "conditional" in w]


DEMANDING = """
services:
  web:
    image: web:${TAG:?which}
    mem_limit: ${MEMORY}
    environment: {PASSWORD: "${PASSWORD:?set it}", OTHER: $OTHER}
    ports: ["${PORT:?}:80", '${BIND}:${WEB:?}:81']
    volumes:
      - "${DATA:?}:/data"
      - ${CONF}/app:/conf
  db: {image: 'db:1'}
"""


@pytest.mark.parametrize("ignored", ["*.env", "/.env", ".env*\n!.env.example", "# own\n.env  "])
def test_variables_that_only_the_host_knows(repo: Checkout, ignored: str) -> None:
    before = {"compose.yml": DEMANDING, ".gitignore": f"{ignored}\n"}
    decision = decide(repo, before, {"compose.yml": DEMANDING.replace("db:1", "db:2")})
    assert actions(decision) == {"db": "roll", "web": "none"}
    assert [w for w in decision.warnings if w.startswith(".env is not in git") and "conditional" in w]
    decision = decide(repo, {}, {"compose.yml": DEMANDING.replace("web:$", "shop:$")})
    assert decision.services["web"].image_after == "shop:tag"


def test_a_dot_env_that_leads_to_a_file_of_the_host(repo: Checkout) -> None:
    repo.write({"compose.yml": DEMANDING, ".gitignore": "shop.conf\n"})
    (repo.directory / ".env").symlink_to("shop.conf")
    decision = decide(repo, {}, {"compose.yml": DEMANDING.replace("db:1", "db:2")})
    assert actions(decision) == {"db": "roll", "web": "none"}
    assert [w for w in decision.warnings if w.startswith(".env is not in git") and "conditional" in w]


def test_where_values_are_missing_their_names_are_said(repo: Checkout) -> None:
    commit = repo.commit({"compose.yml": "services: {web: {image: 'web:1', ports: ['$BIND:$PORT:$PORT']}}\n"})
    with pytest.raises(UsageError, match="invalid proto") as refused:
        repo.detect(commit)
    assert refused.value.hint.startswith("It may be for want of a value of BIND, PORT. Give it")


@pytest.mark.parametrize("files", [{}, {".gitignore": "!.env\nx.env\n"}, {".env": "TAG=1\n"}])
def test_a_demanded_variable_that_nobody_sets_is_refused(repo: Checkout, files: Files) -> None:
    commit = repo.commit({"compose.yml": DEMANDING, **files})
    with pytest.raises(UsageError, match="required variable") as refused:
        repo.detect(commit)
    assert "name .env in .gitignore" in refused.value.hint


@pytest.mark.parametrize("path", ["${E}.env", "${NONE:-${E:-x}}.env", "$DIR", "conf/${E}.env", "$NONE$DIR"])
def test_an_optional_env_file_named_by_a_variable_is_read_too(repo: Checkout, path: str) -> None:
    compose = f"services: {{web: {{image: 'web:1', env_file: [{{path: '{path}', required: false}}]}}}}\n"
    dot_env = "E=prod\nDIR=conf/prod.env\n"
    folder = "conf/" if "DIR" in path or "conf" in path else ""
    file, other = f"{folder}prod.env", f"{folder}test.env"
    before = {"compose.yml": compose, ".env": dot_env, file: "A=1\n", other: "A=1\n"}
    assert decide(repo, before, {other: "A=2\n"}).update_type == "none"
    decision = decide(repo, {}, {file: "A=2\n"})
    assert {f.change.path for f in decision.findings} == {"environment.A"}


def test_an_undefined_variable_is_said_and_makes_the_verdict_conditional(repo: Checkout) -> None:
    compose = "services: {web: {image: 'app:${TAG}'}}\n"
    decision = decide(repo, {"compose.yml": compose, ".gitignore": ".env\n"}, {"note": "x"})
    assert any('"TAG" variable is not set' in warning for warning in decision.warnings)
    assert any(".env is not in git" in warning for warning in decision.warnings)


def test_extends_is_followed_through_a_chain_of_files(repo: Checkout) -> None:
    before = {
        "compose.yml": "services: {web: {extends: {file: parts/a.yml, service: a}}}\n",
        "parts/a.yml": "services: {a: {extends: {file: b.yml, service: b}, labels: {l: '1'}}}\n",
        "parts/b.yml": "services: {b: {image: 'web:1', environment: {A: '1'}}}\n",
    }
    after = {"parts/b.yml": "services: {b: {image: 'web:1', environment: {A: '2'}}}\n"}
    decision = decide(repo, before, after)
    assert {f.change.path for f in decision.findings} == {"environment.A"}
    assert actions(decision) == {"web": "recreate"}


def test_include_has_its_own_project_directory_and_env_files(repo: Checkout) -> None:
    include = "include:\n  - path: sub/inner.yml\n    project_directory: other\n    env_file: [sub/v.env]\n"
    before = {
        "compose.yml": f"{include}services: {{web: {{image: 'web:1'}}}}\n",
        "sub/inner.yml": "services: {db: {image: 'db:${V}', volumes: ['./data.conf:/c']}}\n",
        "sub/v.env": "V=1\n",
        "other/data.conf": "x",
    }
    decision = decide(repo, before, {"sub/v.env": "V=2\n"})
    assert decision.update_type == "image_only"
    assert decision.services["db"].image_after == "db:2"
    decision = decide(repo, {}, {"other/data.conf": "y"})
    assert actions(decision) == {"db": "recreate", "web": "none"}
    assert rules(decision) == {"file.content"}


@pytest.mark.parametrize(
    ("entry", "env"),
    [
        ("sub/inner.yml", "sub/.env"),
        ("{path: sub/inner.yml, project_directory: other}", "other/.env"),
        ("'${WHERE}/inner.yml'", "sub/.env"),
    ],
)
def test_the_dot_env_of_an_included_project_counts_also_when_it_goes(
    repo: Checkout, entry: str, env: str
) -> None:
    before = {
        "compose.yml": f"include: [{entry}]\nservices: {{web: {{image: 'web:1'}}}}\n",
        ".env": "WHERE=sub\n",
        "sub/inner.yml": "services: {db: {image: 'db:${V:-none}'}}\n",
        env: "V=1\n",
    }
    decision = decide(repo, before, {env: "V=2\n"})
    assert (decision.update_type, decision.services["db"].image_after) == ("image_only", "db:2")
    decision = decide(repo, {}, {env: None})
    assert (decision.update_type, decision.services["db"].image_after) == ("image_only", "db:none")


def test_anchors_and_merge_keys_are_compared_by_what_they_mean(repo: Checkout) -> None:
    anchored = (
        "x-all: &all {restart: always, environment: &e {A: '1'}}\n"
        "services:\n  web: {<<: *all, image: 'web:1'}\n"
        "  db: {<<: *all, image: 'db:1', environment: {<<: *e, B: '2'}}\n"
    )
    plain = (
        "services:\n  web: {restart: always, environment: {A: '1'}, image: 'web:1'}\n"
        "  db: {restart: always, image: 'db:1', environment: {A: '1', B: '2'}}\n"
    )
    assert decide(repo, {"compose.yml": anchored}, {"compose.yml": plain}).update_type == "none"


def test_a_changed_project_name_asks_for_a_person(repo: Checkout) -> None:
    text = "name: %s\nservices: {web: {image: 'web:1'}}\n"
    decision = decide(repo, {"compose.yml": text % "one"}, {"compose.yml": text % "two"})
    assert rules(decision) == {"project.name"}
    assert actions(decision) == {"web": "recreate"}
    assert len(decision.needs_person) == 1


def test_top_level_models_are_seen_although_composes_json_hides_them(repo: Checkout) -> None:
    text = "services: {web: {image: 'web:1', models: [llm]}}\nmodels: {llm: {model: 'ai/%s'}}\n"
    decision = decide(repo, {"compose.yml": text % "one"}, {"compose.yml": text % "two"})
    assert rules(decision) == {"model.definition"}
    assert actions(decision) == {"web": "recreate"}
    said = text.replace("'ai/%s'", "'ai/two', x-note: 1")
    assert decide(repo, {}, {"compose.yml": said}).update_type == "none"


@pytest.mark.parametrize("kind", ["configs", "secrets"])
def test_the_content_of_configs_and_secrets_counts(repo: Checkout, kind: str) -> None:
    text = f"services: {{web: {{image: 'web:1', {kind}: [c]}}, db: {{image: 'db:1'}}}}\n"
    text += f"{kind}: {{c: {{file: ./deep/c.txt}}}}\n"
    decision = decide(repo, {"compose.yml": text, "deep/c.txt": "one"}, {"deep/c.txt": "two"})
    assert rules(decision) == {"file.content"}
    assert actions(decision) == {"web": "recreate", "db": "none"}


def test_a_mounted_folder_counts_by_its_content_and_not_by_the_comments_of_compose(repo: Checkout) -> None:
    text = "services: {web: {image: 'web:1', volumes: ['.:/app']}, db: {image: 'db:1'}}\n"
    decision = decide(repo, {"compose.yml": text, "src/a": "1"}, {"compose.yml": "# x\n" + text})
    assert decision.update_type == "none"
    for after in ({"src/a": "2"}, {"src/a": None}, {"new": "1"}):
        decision = decide(repo, {}, after)
        assert actions(decision) == {"web": "recreate", "db": "none"}
        assert rules(decision) == {"file.content"}
    by_name = text.replace(".:/app", "./compose.yml:/c.yml")
    decision = decide(repo, {"compose.yml": by_name}, {"compose.yml": "# x\n" + by_name})
    assert actions(decision) == {"web": "recreate", "db": "none"}


def test_a_project_in_a_folder_is_read_from_there(repo: Checkout) -> None:
    before = {
        "deploy/compose.yml": "services: {web: {image: 'app:${TAG}', volumes: ['../conf:/c']}}\n",
        "deploy/.env": "TAG=1\nCOMPOSE_PROJECT_NAME=one\n",
        ".env": "TAG=wrong\n",
        "conf/c": "1",
    }
    decision = decide(repo, before, {"deploy/.env": "TAG=2\nCOMPOSE_PROJECT_NAME=one\n"}, directory="deploy")
    assert decision.services["web"].image_after == "app:2"
    assert decision.cluster == "one"
    assert actions(decide(repo, {}, {"conf/c": "2"}, directory="deploy")) == {"web": "recreate"}
    decision = decide(repo, {}, {"deploy/.env": "TAG=2\nCOMPOSE_PROJECT_NAME=two\n"}, directory="deploy")
    assert "project.name" in rules(decision)


def test_a_compose_file_behind_a_symbolic_link_is_followed(repo: Checkout) -> None:
    repo.write({"real/compose.yml": WEB_AND_DB})
    (repo.directory / "compose.yml").symlink_to("real/compose.yml")
    decision = decide(repo, {}, {"real/compose.yml": WEB_AND_DB.replace("web:1", "web:2")})
    assert decision.update_type == "image_only"


def test_mounts_and_contexts_behind_links_count_by_what_they_lead_to(repo: Checkout) -> None:
    text = (
        "services:\n  web: {image: 'web:1', volumes: ['./current.conf:/c']}\n"
        "  side: {image: 'side:1', volumes: ['./folder:/f']}\n  api: {build: ./ctx}\n  db: {image: 'db:1'}\n"
    )
    repo.write({"real/a.conf": "1", "real/src/app": "1", "far/b": "1"})
    for name, target in (("current.conf", "real/a.conf"), ("folder", "far"), ("ctx", "real/src")):
        (repo.directory / name).symlink_to(target)
    same = {"web": "none", "side": "none", "api": "none", "db": "none"}
    decision = decide(repo, {"compose.yml": text}, {"real/a.conf": "2"})
    assert actions(decision) == {**same, "web": "recreate"}
    assert actions(decide(repo, {}, {"far/b": "2"})) == {**same, "side": "recreate"}
    assert actions(decide(repo, {}, {"real/src/app": "2"})) == {**same, "api": "rebuild"}
    repo.write({"real/b.conf": "2", "current.conf": None})
    (repo.directory / "current.conf").symlink_to("real/b.conf")
    assert actions(decide(repo, {}, {})) == same
    base = repo.git("rev-parse", "HEAD~2")
    assert actions(repo.detect(base).decision) == {**same, "web": "recreate"}


# --- profiles -------------------------------------------------------------------------------------

OPTIONAL = "services: {web: {image: 'web:1'}, job: {image: 'job:1'%s}}\n"


def test_a_service_newly_behind_a_profile_is_removed_and_one_newly_without_created(repo: Checkout) -> None:
    with_profile, without = OPTIONAL % ", profiles: [manual]", OPTIONAL % ""
    decision = decide(repo, {"compose.yml": without}, {"compose.yml": with_profile})
    assert actions(decision) == {"web": "none", "job": "remove"}
    assert decision.update_type == "structural"
    decision = decide(repo, {}, {"compose.yml": without})
    assert actions(decision) == {"web": "none", "job": "create"}


def test_profiles_in_the_yaml_like_form_of_dot_env_count(repo: Checkout) -> None:
    files = {"compose.yml": "services: {web: {image: w, profiles: [extra]}}\n"}
    found = decide(repo, {**files, ".env": "COMPOSE_PROFILES: extra\n"}, {".env": "\n"})
    assert actions(found) == {"web": "remove"}


def test_profiles_switched_by_dot_env_count(repo: Checkout) -> None:
    before = {"compose.yml": OPTIONAL % ", profiles: [manual]", ".env": "COMPOSE_PROFILES=other\n"}
    decision = decide(repo, before, {".env": "COMPOSE_PROFILES=other,manual\n"})
    assert actions(decision) == {"web": "none", "job": "create"}
    assert (decision.update_type, rules(decision)) == ("structural", {"service.profiles"})
    decision = decide(repo, {}, {".env": "COMPOSE_PROFILES=\n"})
    assert actions(decision) == {"web": "none", "job": "remove"}


def test_a_change_of_a_service_that_does_not_run_is_only_recorded(repo: Checkout) -> None:
    text = OPTIONAL % ", profiles: [manual], restart: %s"
    decision = decide(repo, {"compose.yml": text % "always"}, {"compose.yml": text % "'no'"})
    assert actions(decision) == {"web": "none", "job": "record"}


# --- which files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", [
    "COMPOSE_FILE=a.yml:b.yml", "COMPOSE_FILE: a.yml:b.yml # both", "B=b\nexport COMPOSE_FILE=a.yml:${B}.yml",
    'COMPOSE_FILE="a.yml,b.yml"\nCOMPOSE_PATH_SEPARATOR=,',
])  # fmt: skip
def test_compose_file_of_dot_env_is_honoured(repo: Checkout, setting: str) -> None:
    before = {
        ".env": f"{setting}\n",
        "a.yml": WEB_AND_DB,
        "b.yml": "services: {web: {image: 'web:2'}}\n",
        "compose.yml": "services: {other: {image: x}}\n",
    }
    decision = decide(repo, before, {"b.yml": "services: {web: {image: 'web:3'}}\n"})
    assert decision.update_type == "image_only"
    assert decision.services["web"].image_before == "web:2"
    repo.commit({".env": "COMPOSE_FILE=a.yml:gone.yml\n"})
    with pytest.raises(UsageError, match=r"gone\.yml does not exist.*\n.*COMPOSE_FILE"):
        repo.detect("HEAD")


def test_the_dot_env_that_names_a_file_elsewhere_is_read_before_the_one_beside_it(repo: Checkout) -> None:
    before = {
        ".env": "COMPOSE_FILE=deploy/a.yml\nTAG=1\nCOMPOSE_PROFILES=extra\n",
        "deploy/.env": "TAG=9\nBESIDE=1\nCOMPOSE_PROFILES=none\n",
        "deploy/a.yml": "services:\n  web: {image: 'web:${TAG}', volumes: ['${PWD}/conf:/conf']}\n"
        "  job: {image: 'job:${BESIDE}', profiles: [extra]}\n",
        "conf/a": "1",
    }
    found = decide(repo, before, {".env": str(before[".env"]).replace("TAG=1", "TAG=2")})
    assert (found.update_type, found.services["web"].image_after) == ("image_only", "web:2")
    assert actions(found) == {"web": "roll", "job": "none"}
    assert actions(decide(repo, {}, {"conf/a": "2"})) == {"web": "recreate", "job": "none"}
    again = decide(repo, {}, {"deploy/.env": "TAG=9\nBESIDE=2\n"})
    assert actions(again) == {"web": "none", "job": "roll"}
    with_option = repo.detect("HEAD~1", files=["deploy/a.yml"]).decision
    assert with_option.services["web"].image_after == "web:9"


def test_nothing_known_to_run_makes_all_new(repo: Checkout) -> None:
    repo.commit({"compose.yml": WEB_AND_DB})
    decision = repo.detect(None).decision
    assert (decision.base, decision.update_type) == (None, "structural")
    assert actions(decision) == {"web": "create", "db": "create"}


def test_a_base_that_cannot_be_loaded_makes_all_new_and_says_so(repo: Checkout) -> None:
    decision = decide(repo, {"compose.yml": "services: ["}, {"compose.yml": WEB_AND_DB})
    assert actions(decision) == {"web": "create", "db": "create"}
    assert decision.warnings[0].startswith("The base cannot be loaded, so all counts as new: Compose refuses")


# --- code -----------------------------------------------------------------------------------------

BUILDS = """\
services:
  api: {build: ./api}
  web: {build: {context: ./web, dockerfile: ../docker/web.Dockerfile, additional_contexts: {lib: ./lib}}}
  db: {image: 'db:1'}
"""
CODE = {
    "compose.yml": BUILDS,
    "api/app.py": "1",
    "api/run.sh": "#!/bin/sh\n",
    "api/notes.md": "1",
    "api/Dockerfile": "FROM scratch\n",
    "api/.dockerignore": "# no prose\n*.md\n!keep.md\n",
    "web/page": "1",
    "web/skipped": "1",
    "docker/web.Dockerfile": "FROM scratch\n",
    "docker/web.Dockerfile.dockerignore": "skipped\n",
    "lib/l.js": "1",
    "README.md": "1",
}


@pytest.mark.parametrize(
    ("changed", "rebuilt"),
    [
        ("api/app.py", ["api"]),
        ("api/keep.md", ["api"]),
        ("api/new/deep.py", ["api"]),
        ("web/page", ["web"]),
        ("lib/l.js", ["web"]),
        ("docker/web.Dockerfile", ["web"]),
        ("docker/web.Dockerfile.dockerignore", ["web"]),
        ("api/.dockerignore", ["api"]),
        ("api/notes.md", []),
        ("web/skipped", []),
        ("README.md", []),
        ("docker/other", []),
    ],
)
def test_a_changed_file_rebuilds_exactly_who_builds_from_it(
    repo: Checkout, changed: str, rebuilt: list[str]
) -> None:
    decision = decide(repo, CODE, {changed: "2"})
    assert [name for name, action in actions(decision).items() if action == "rebuild"] == rebuilt
    assert decision.update_type == ("image_only" if rebuilt else "none")
    assert all(action in {"none", "rebuild"} for action in actions(decision).values())


def test_a_changed_mode_rebuilds(repo: Checkout) -> None:
    base = repo.commit(CODE)
    (repo.directory / "api/run.sh").chmod(0o755)
    repo.commit()
    assert actions(repo.detect(base).decision) == {"api": "rebuild", "web": "none", "db": "none"}


def test_a_removed_file_of_a_context_rebuilds(repo: Checkout) -> None:
    assert actions(decide(repo, CODE, {"api/app.py": None}))["api"] == "rebuild"


def test_a_compose_file_in_a_context_is_no_code(repo: Checkout) -> None:
    text = "services: {web: {build: .}}\n"
    decision = decide(repo, {"compose.yml": text, "app": "1"}, {"compose.yml": "# x\n" + text})
    assert decision.update_type == "none"


def test_a_comment_in_a_compose_file_behind_a_link_is_no_code(repo: Checkout) -> None:
    (repo.directory / "compose.yml").symlink_to("deploy/one.yml")
    text = "services: {web: {build: .}, db: {image: d, volumes: ['./deploy:/conf']}}\n"
    decision = decide(repo, {"deploy/one.yml": text}, {"deploy/one.yml": "# x\n" + text})
    assert decision.update_type == "none"


def test_who_runs_or_builds_upon_an_image_that_is_built_here_follows_it(repo: Checkout) -> None:
    text = (
        "services:\n  base: {build: ./base, image: 'me/base'}\n"
        "  child: {build: {context: ./child, additional_contexts: {base: 'service:base'}}}\n"
        "  worker: {image: 'me/base', command: work}\n  db: {image: 'db:1'}\n"
    )
    before = {"compose.yml": text, "base/a": "1", "child/a": "1"}
    assert actions(decide(repo, before, {"base/a": "2"})) == {
        "base": "rebuild", "child": "rebuild", "worker": "recreate", "db": "none",
    }  # fmt: skip
    assert actions(decide(repo, {}, {"child/a": "2"})) == {
        "base": "none", "child": "rebuild", "worker": "none", "db": "none",
    }  # fmt: skip


@pytest.mark.parametrize(("build", "worker"), [
    ("image: 'me/base'", "image: 'docker.io/me/base:latest'"),
    ("profiles: [tools]", "image: 'shop-base'"),
    ("image: 'me/base'", "image: 'w:1', volumes: [{type: image, source: 'me/base', target: /base}]"),
    ("image: 'me/base:1'", "image: 'me/base:2'"),
])  # fmt: skip
def test_who_holds_an_image_that_is_built_in_another_way_follows_it(
    repo: Checkout, build: str, worker: str
) -> None:
    text = (
        "services:\n  base: {build: {context: ./base, tags: ['me/base:2'], args: {A: '%d'}},"
        f" {build}}}\n"
        f"  child: {{build: {{context: ./child, additional_contexts: {{base: 'service:base'}}}}}}\n"
        f"  worker: {{{worker}}}\n  db: {{image: 'db:1'}}\n"
    )
    found = decide(repo, {"compose.yml": text % 1, "base/a": "1"}, {"compose.yml": text % 2})
    expected = {"child": "rebuild", "worker": "recreate", "db": "none"}
    assert {name: action for name, action in actions(found).items() if name != "base"} == expected
    assert found.services["worker"].verdict == "same"
    assert found.services["worker"].reasons[0].startswith("service base build.args.A: ")
    again = decide(repo, {}, {"base/a": "2"})
    assert {name: action for name, action in actions(again).items() if name != "base"} == expected


# --- submodules -----------------------------------------------------------------------------------


@pytest.fixture
def lib(tmp_path: Path) -> Checkout:
    lib = Checkout(tmp_path / "remotes" / "lib")
    files = {"app/main.py": "1", "conf/c": "1", "docs/x": "1", "svc.yml": "services: {s: {image: 'lib:1'}}\n"}
    lib.commit(files, "lib one")
    return lib


@pytest.fixture
def with_lib(repo: Checkout, lib: Checkout) -> Checkout:
    repo.git("submodule", "--quiet", "add", str(lib.directory), "lib")
    repo.git("config", "--file", ".gitmodules", "submodule.lib.url", "https://github.com/acme/lib.git")
    text = (
        "include: [lib/svc.yml]\nservices:\n  api: {build: ./lib/app}\n"
        "  web: {image: 'web:1', volumes: ['./lib/conf:/c']}\n  db: {image: 'db:1'}\n"
    )
    repo.commit({"compose.yml": text})
    return repo


@pytest.mark.parametrize(
    ("changed", "expected", "update_type"),
    [
        ("app/main.py", {"api": "rebuild"}, "image_only"),
        ("conf/c", {"web": "recreate"}, "structural"),
        ("svc.yml", {"s": "roll"}, "image_only"),
        ("docs/x", {}, "none"),
    ],
)
def test_what_changes_inside_a_submodule_reaches_who_uses_it(
    with_lib: Checkout, lib: Checkout, changed: str, expected: dict[str, str], update_type: str
) -> None:
    base = with_lib.head
    new = lib.commit({changed: "services: {s: {image: 'lib:2'}}\n"}, "lib two")
    with_lib.git("-C", "lib", "fetch", "--quiet", "origin")
    with_lib.git("-C", "lib", "checkout", "--quiet", new)
    with_lib.commit()
    decision = with_lib.detect(base).decision
    assert {name: one for name, one in actions(decision).items() if one != "none"} == expected
    assert decision.update_type == update_type
    assert decision.repositories == (("acme/lib",) if expected else ())
    (moved,) = decision.submodules
    assert moved.commits == (f"{new[:7]} lib two",)
    assert moved.files == (f"lib/{changed}",)
    assert "submodule.pointer" in rules(decision)


def test_a_compose_file_of_a_submodule_can_be_named(with_lib: Checkout) -> None:
    assert with_lib.detect(None, files=["lib/svc.yml"]).after.services["s"]["image"] == "lib:1"


# --- the least action, and who goes along -----------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("scale: 1", "scale: 3", "scale"),
        ("deploy: {replicas: 1}", "deploy: {replicas: 2}", "scale"),
        ("restart: always", "restart: always, deploy: {replicas: 2}", "recreate"),
        ("depends_on: [db]", "depends_on: []", "record"),
        ("pull_policy: always", "pull_policy: missing", "record"),
        ("environment: {A: '1'}", "environment: {A: '2'}", "recreate"),
        ("networks: [n]", "networks: [n, default]", "recreate"),
    ],
)
def test_a_service_gets_the_least_action(repo: Checkout, before: str, after: str, expected: str) -> None:
    text = "services: {web: {image: 'web:1', %s}, db: {image: 'db:1', networks: [n, default]}}\n"
    text += "networks: {n: {}}\n"
    decision = decide(repo, {"compose.yml": text % before}, {"compose.yml": text % after})
    assert actions(decision) == {"web": expected, "db": "none"}
    assert decision.services["web"].reasons


@pytest.mark.parametrize(
    ("kind", "before", "after", "expected", "needs_person"),
    [
        ("networks", "{}", "{driver_opts: {a: b}}", "recreate", False),
        ("volumes", "{}", "{driver_opts: {a: b}}", "record", True),
        ("volumes", "{}", "{name: other}", "recreate", True),
        ("configs", "{content: a}", "{content: b}", "recreate", False),
        ("secrets", "{file: ./a}", "{file: ./b}", "recreate", False),
    ],
)
def test_a_definition_reaches_its_users_alone(
    repo: Checkout, kind: str, before: str, after: str, expected: str, needs_person: bool
) -> None:
    use = "'res:/data'" if kind == "volumes" else "res"
    text = f"services: {{web: {{image: w, {kind}: [{use}]}}, db: {{image: d}}}}\n{kind}: {{res: %s}}\n"
    decision = decide(repo, {"compose.yml": text % before}, {"compose.yml": text % after})
    assert actions(decision) == {"web": expected, "db": "none"}
    assert decision.services["web"].verdict == "same"
    assert bool(decision.needs_person) == needs_person
    assert decision.update_type == "structural"


@pytest.mark.parametrize(
    ("tie", "follows"),
    [
        ("network_mode: 'service:web'", True),
        ("ipc: 'service:web'", True),
        ("pid: 'service:web'", True),
        ("volumes_from: ['web:ro']", True),
        ("links: ['web:w']", True),
        ("depends_on: {web: {condition: service_started, restart: true}}", True),
        ("depends_on: [web]", False),
    ],
)
def test_who_is_tied_to_a_container_goes_along(repo: Checkout, tie: str, follows: bool) -> None:
    ipc = ", ipc: shareable" if tie.startswith("ipc") else ""
    text = (
        f"services: {{web: {{image: 'web:%d'{ipc}}}, side: {{image: s, {tie}}},"
        " far: {image: f, network_mode: 'service:side'}}\n"
    )
    decision = decide(repo, {"compose.yml": text % 1}, {"compose.yml": text % 2})
    then = "recreate" if follows else "none"
    assert actions(decision) == {"web": "roll", "side": then, "far": then}
    assert decision.services["side"].verdict == "same"
    assert decision.update_type == "image_only"
    if follows:
        assert "web gets a new container" in decision.services["side"].reasons[0]


def test_an_image_that_is_built_elsewhere_from_now_on_is_pulled(repo: Checkout) -> None:
    text = "services: {web: {%s}}\n"
    before, after = text % "build: .", text % "image: 'web:1'"
    decision = decide(repo, {"compose.yml": before, "Dockerfile": "x"}, {"compose.yml": after})
    assert (decision.update_type, actions(decision)) == ("structural", {"web": "roll"})
    decision = decide(repo, {}, {"compose.yml": before})
    assert (decision.update_type, actions(decision)) == ("structural", {"web": "rebuild"})


@pytest.mark.parametrize(
    ("source", "action", "words"),
    [
        ("image: 'registry.example/o/web:%s', build: web", "roll", "comes from the registry"),
        ("image: 'o/web:%s', build: web, pull_policy: always", "roll", "comes from the registry"),
        ("image: 'o/web:%s', build: web", "rebuild", "is built on this host"),
        ("image: 'registry.example/o/web:%s', build: web, pull_policy: build", "rebuild", "on this host"),
    ],
)
def test_where_an_image_comes_from_is_said(repo: Checkout, source: str, action: str, words: str) -> None:
    text = f"services: {{web: {{{source}}}}}\n"
    before = {"compose.yml": text % 1, "web/Dockerfile": "x", "web/code": "1"}
    decision = decide(repo, before, {"web/code": "2"})
    assert (decision.update_type, actions(decision)) == ("image_only", {"web": "rebuild"})
    assert words in decision.services["web"].reasons[-1]
    decision = decide(repo, before, {"compose.yml": text % 2})
    assert (decision.update_type, actions(decision)) == ("image_only", {"web": action})
    assert words in decision.services["web"].reasons[-1]


def test_a_probable_rename_is_a_hint(repo: Checkout) -> None:
    text = "services: {%s: {image: 'web:1', environment: {A: '1'}, restart: always}}\n"
    decision = decide(repo, {"compose.yml": text % "old"}, {"compose.yml": text % "new"})
    assert actions(decision) == {"new": "create", "old": "remove"}
    assert decision.hints == ("old was probably renamed to new: same image and much the same fields.",)


# --- rules in the config --------------------------------------------------------------------------


def test_a_lowered_rule_is_obeyed_and_said_where_it_leaves_something_stale(repo: Checkout) -> None:
    text = "services: {web: {image: 'web:1', labels: {x: '%s'}}}\n"
    options = {"overrides": {"service.field": "none"}}
    decision = decide(repo, {"compose.yml": text % 1}, {"compose.yml": text % 2}, **options)
    assert (decision.update_type, decision.needs_update) == ("none", False)
    assert any("service.field" in warning and "stale (web)" in warning for warning in decision.warnings)
    depends = "services: {web: {image: w, depends_on: [%s]}, a: {image: a}, b: {image: b}}\n"
    options = {"overrides": {"service.depends-on": "none"}}
    decision = decide(repo, {"compose.yml": depends % "a"}, {"compose.yml": depends % "b"}, **options)
    assert (decision.update_type, decision.warnings) == ("none", ())


def test_a_raised_rule_is_obeyed(repo: Checkout) -> None:
    images = {"compose.yml": WEB_AND_DB}, {"compose.yml": WEB_AND_DB.replace("web:1", "web:2")}
    decision = decide(repo, *images, overrides={"service.image": "structural"})
    assert (decision.update_type, decision.strategy) == ("structural", "revamp")
    assert actions(decision) == {"web": "roll", "db": "none"}


def test_an_unknown_rule_is_refused_with_the_nearest_one(repo: Checkout) -> None:
    repo.commit({"compose.yml": WEB_AND_DB})
    with pytest.raises(UsageError, match=r"no rule 'service\.imgae'\.\nDid you mean service\.image\?"):
        repo.detect("HEAD", overrides={"service.imgae": "none"})
