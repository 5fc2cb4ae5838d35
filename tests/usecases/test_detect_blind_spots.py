"""What compose does not look into and no model shows: each of these was once taken for nothing."""

from pathlib import Path

import pytest

from dual_update.adapters.git import GitRepository
from dual_update.core.decision import Decision
from tests.repositories import Checkout, Files


@pytest.fixture
def repo(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "shop")


def decide(repo: Checkout, before: Files, after: Files) -> Decision:
    base = repo.commit(before)
    repo.commit(after)
    return repo.detect(base).decision


def action(decision: Decision, service: str = "web") -> str:
    return decision.services[service].action


def turn(repo: Checkout, link: str, to: str) -> str:
    """Points a symbolic link elsewhere, and commits."""
    path = repo.directory / link
    path.unlink(missing_ok=True)
    path.symlink_to(to)
    return repo.commit()


@pytest.mark.parametrize(("attributes", "expected"), [
    ("* text eol=crlf\n", "recreate"),
    ("conf/*.sh eol=crlf\n", "recreate"),
    ("*.sh ident\n", "recreate"),
    ("*.png binary\n", "none"),
    ("* text=auto\n*.js linguist-vendored\n", "none"),
    ("other/* eol=crlf\n", "none"),
])  # fmt: skip
def test_attributes_that_have_a_mounted_file_written_differently(
    repo: Checkout, attributes: str, expected: str
) -> None:
    text = "services: {web: {image: w, volumes: ['./conf:/conf']}, app: {build: {context: conf}}}\n"
    files = {"compose.yml": text, "conf/run.sh": "1\n", "other/a": "1\n"}
    decision = decide(repo, files, {".gitattributes": attributes})
    assert action(decision) == expected
    assert action(decision, "app") == {"recreate": "rebuild"}.get(expected, "none")


# --- values that come from variables --------------------------------------------------------------


@pytest.mark.parametrize("kind", ["secrets", "configs"])
def test_a_value_that_a_secret_or_config_takes_from_a_variable(repo: Checkout, kind: str) -> None:
    services = f"services: {{web: {{image: w, {kind}: [one]}}, side: {{image: s}}}}\n"
    text = services + f"{kind}: {{one: {{environment: ONE}}}}\n"
    files = {"compose.yml": text, ".env": "ONE=${PART}-a\nPART=first\nOTHER=1\n"}
    decision = decide(repo, files, {".env": "ONE=${PART}-a\nPART=second\nOTHER=1\n"})
    assert (action(decision), action(decision, "side")) == ("recreate", "none")
    assert "second" not in repr(decision)
    assert decide(repo, {}, {".env": "ONE=${PART}-a\nPART=second\nOTHER=2\n"}).update_type == "none"


@pytest.mark.parametrize("value", ['"-----BEGIN\n%d\n-----END"', "'a\n\n%d'", r'"{\"key\": %d}"', '"\\\n%d"'])
def test_a_value_of_many_lines_or_with_quotes_in_it(repo: Checkout, value: str) -> None:
    files = {"compose.yml": "services: {web: {image: w, secrets: [s]}}\nsecrets: {s: {environment: KEY}}\n"}
    before = {**files, ".env": f"KEY={value % 1}\nOTHER=1\n"}
    assert action(decide(repo, before, {".env": f"KEY={value % 2}\nOTHER=1\n"})) == "recreate"
    assert action(decide(repo, {}, {".env": f"KEY={value % 2} # said\nOTHER=2\n"})) == "none"


@pytest.mark.parametrize(("name", "before", "after"), [
    ("KEY", "\ufeffKEY=1", "\ufeffKEY=2"), ("KEY", 'KEY=a"', "KEY=a"), ("my-key", "my-key=1", "my-key=2"),
])  # fmt: skip
def test_a_value_that_is_written_oddly(repo: Checkout, name: str, before: str, after: str) -> None:
    text = f"services: {{web: {{image: w, secrets: [s]}}}}\nsecrets: {{s: {{environment: {name}}}}}\n"
    assert action(decide(repo, {"compose.yml": text, ".env": before}, {".env": after})) == "recreate"


def test_a_secret_of_a_variable_that_only_the_host_knows_is_conditional(
    repo: Checkout,
) -> None:
    text = "services: {web: {image: 'w:%d', secrets: [one]}}\nsecrets: {one: {environment: ONE}}\n"
    decision = decide(repo, {"compose.yml": text % 1}, {"compose.yml": text % 2})
    assert any(".env is not in git" in warning for warning in decision.warnings)


def test_a_default_that_the_hosts_own_env_may_replace_is_conditional(repo: Checkout) -> None:
    text = "services: {web: {image: 'w:${TAG:-%d}'}}\n"
    ignored = {"compose.yml": text % 1, ".gitignore": ".env\n"}
    decision = decide(repo, ignored, {"compose.yml": text % 2})
    assert any(".env is not in git" in warning for warning in decision.warnings)


@pytest.mark.parametrize("value", ["${MODE}", "$MODE", "other,${MODE:-off}"])
def test_profiles_that_a_variable_switches_on(repo: Checkout, value: str) -> None:
    text = "services: {web: {image: w, profiles: [full]}, side: {image: s}}\n"
    env = f"MODE=%s\nCOMPOSE_PROFILES={value}\n"
    decision = decide(repo, {"compose.yml": text, ".env": env % "slim"}, {".env": env % "full"})
    assert (action(decision), action(decision, "side")) == ("create", "none")


def test_a_build_whose_secret_is_another_file_now(repo: Checkout) -> None:
    text = "services: {web: {build: {context: ., secrets: [key]}}}\nsecrets: {key: {file: ./%s}}\n"
    decision = decide(repo, {"compose.yml": text % "a", "Dockerfile": "FROM x"}, {"compose.yml": text % "b"})
    assert action(decision) == "rebuild"


# --- files ----------------------------------------------------------------------------------------


def test_a_seccomp_profile_is_read_when_a_container_is_made(repo: Checkout) -> None:
    text = "services: {web: {image: w, security_opt: ['seccomp:./tight.json', 'no-new-privileges:true']}}\n"
    files = {"deploy/compose.yml": text, "deploy/tight.json": "{}"}
    base = repo.commit(files)
    repo.commit({"deploy/tight.json": '{"defaultAction": "SCMP_ACT_ERRNO"}'})
    decision = repo.detect(base, files=("deploy/compose.yml",)).decision
    assert action(decision) == "recreate"


@pytest.mark.parametrize("options", ["ro,bind", "rbind"])
def test_a_volume_that_is_a_bind_in_disguise(repo: Checkout, options: str) -> None:
    text = (
        "services: {web: {image: w, volumes: ['conf:/etc/web']}}\n"
        f"volumes: {{conf: {{driver_opts: {{type: none, o: '{options}', device: '${{PWD}}/conf'}}}}}}\n"
    )
    decision = decide(repo, {"compose.yml": text, "conf/a": "1"}, {"conf/a": "2"})
    assert action(decision) == "recreate"


@pytest.mark.parametrize("use", ["build: .", "image: w, volumes: ['./conf:/app/conf']"])
def test_a_yaml_file_that_the_compose_file_only_speaks_of(repo: Checkout, use: str) -> None:
    text = f"services:\n  web: {{{use}, env_file: web.env, command: [serve, --config, conf/app.yml]}}\n"
    files = {"compose.yml": text, "web.env": "A=1\n", "conf/app.yml": "x: 1\n", "Dockerfile": "FROM x\n"}
    decision = decide(repo, files, {"conf/app.yml": "x: 2\n"})
    assert action(decision) in {"recreate", "rebuild"}


@pytest.mark.parametrize(
    "text",
    [
        "include: [inc/one.yml]\nservices:\n  web: {extends: {file: two.yml, service: x}, build: .}\n",
        "include:\n- path:\n  - inc/one.yml\nservices:\n  web:\n    build: .\n"
        "    extends:\n      file: two.yml\n      service: x\n",
    ],
)
def test_a_comment_in_a_merged_file_is_nothing_even_where_it_is_built_from(repo: Checkout, text: str) -> None:
    one, two = "services: {side: {image: s}}\n", "services: {x: {image: w}}\n"
    files = {"compose.yml": text, "inc/one.yml": one, "two.yml": two, "Dockerfile": "FROM x\n"}
    decision = decide(repo, files, {"inc/one.yml": f"# why\n{one}", "two.yml": f"# why\n{two}"})
    assert decision.update_type == "none"


def test_an_additional_context_heeds_no_ignore_file_beside_the_dockerfile(repo: Checkout) -> None:
    text = "services: {web: {build: {context: ./app, additional_contexts: {lib: ./lib}}}}\n"
    files = {
        "compose.yml": text,
        "app/Dockerfile": "FROM x\n",
        "app/Dockerfile.dockerignore": "*\n!main.py\n",
        "lib/.dockerignore": "*.md\n",
        "lib/one.py": "1",
    }
    assert action(decide(repo, files, {"lib/one.py": "2"})) == "rebuild"
    assert action(decide(repo, {}, {"lib/README.md": "2"})) == "none"
    assert action(decide(repo, {}, {"app/other.py": "2"})) == "none"


# --- symbolic links that are turned ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "link", "before", "after"),
    [
        ("image: w, volumes: ['./current/conf:/c']", "current", "r/1", "r/2"),
        ("image: w, volumes: ['./first/conf:/c']", "current", "r/1", "r/2"),
        ("build: ./current", "current", "r/1", "r/2"),
        ("build: {context: ./r/1, dockerfile: ../../Recipe}", "Recipe", "r/1/Dockerfile", "r/2/Dockerfile"),
    ],
)
def test_a_link_that_is_turned_changes_what_lies_behind_it(
    repo: Checkout, use: str, link: str, before: str, after: str
) -> None:
    repo.write({f"r/{number}/{name}": str(number) for number in (1, 2) for name in ("conf/a", "Dockerfile")})
    repo.write({"compose.yml": f"services: {{web: {{{use}}}}}\n"})
    (repo.directory / "first").symlink_to("current")
    base = turn(repo, link, before)
    turn(repo, link, after)
    assert action(repo.detect(base).decision) in {"recreate", "rebuild"}


# --- git ------------------------------------------------------------------------------------------


def test_a_submodule_that_is_to_be_ignored_has_moved_all_the_same(repo: Checkout, tmp_path: Path) -> None:
    lib = Checkout(tmp_path / "lib")
    lib.commit({"Dockerfile": "FROM x\n"})
    repo.write({"compose.yml": "services: {web: {build: ./lib}}\n"})
    repo.git("submodule", "--quiet", "add", str(lib.directory), "lib")
    repo.git("config", "--file", ".gitmodules", "submodule.lib.ignore", "all")
    base = repo.commit()
    new = lib.commit({"Dockerfile": "FROM y\n"})
    repo.git("-C", "lib", "fetch", "--quiet")
    repo.git("update-index", "--cacheinfo", f"160000,{new},lib")
    repo.git("commit", "--quiet", "--message", "move")
    assert action(repo.detect(base).decision) == "rebuild"


def test_no_file_outside_is_read_that_gitmodules_includes(repo: Checkout, tmp_path: Path) -> None:
    outside = tmp_path / "outside.cfg"
    outside.write_text('[submodule "lib"]\n path = lib\n url = https://example.org/a/lib\n')
    head = repo.commit({".gitmodules": f"[include]\n path = {outside}\n", "lib/a": "1"})
    with GitRepository(repo.directory) as repository:
        assert not repository._objects.declared(head)


# --- where compose runs ---------------------------------------------------------------------------


def test_the_home_and_the_working_directory_are_the_same_for_every_render(repo: Checkout) -> None:
    text = (
        "services: {web: {image: 'w:%d', volumes: ['~/data:/data', '${HOME}/more:/more'],"
        " command: '--root=${PWD} --home=${HOME}'}}\n"
    )
    decision = decide(repo, {"compose.yml": text % 1}, {"compose.yml": text % 2})
    assert decision.update_type == "image_only"
    assert decision.fingerprint == repo.detect("HEAD").decision.fingerprint


def test_a_file_that_is_named_by_the_working_directory(repo: Checkout) -> None:
    text = (
        "services: {web: {image: w, env_file: '${PWD}/web.env', volumes: ['${PWD}/conf:/conf'],"
        " labels: {at: '${PWD}'}}}\n"
    )
    files = {"compose.yml": text, "web.env": "A=1\n", "conf/a": "1"}
    assert action(decide(repo, files, {"web.env": "A=2\n"})) == "recreate"
    assert action(decide(repo, {}, {"conf/a": "2"})) == "recreate"


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_a_path_far_above_the_repository_is_the_same_for_every_render(repo: Checkout, count: int) -> None:
    above = "../" * count
    text = f"services: {{web: {{image: w, build: '{above}x', volumes: ['{above}y:/y']}}}}\n"
    decision = decide(repo, {"compose.yml": text}, {"compose.yml": f"# said\n{text}"})
    assert decision.update_type == "none"
    assert decision.fingerprint == repo.detect("HEAD").decision.fingerprint


def test_a_path_that_leaves_the_working_directory_and_comes_back(repo: Checkout) -> None:
    text = "services: {web: {image: w, volumes: ['${PWD}/../conf:/conf']}}\n"
    base = repo.commit({"deploy/compose.yml": text, "conf/a": "1"})
    repo.commit({"conf/a": "2"})
    assert action(repo.detect(base, files=["deploy/compose.yml"], directory="deploy").decision) == "recreate"


@pytest.mark.parametrize(("service", "expected"), [
    ("{image: w, volumes: ['..:/all']}", "recreate"),
    ("{image: w, volumes: ['../..:/all']}", "recreate"),
    ("{build: {context: .., dockerfile_inline: FROM scratch}}", "rebuild"),
    ("{image: w, volumes: ['../data:/data']}", "none"),
    ("{image: w, volumes: ['/src/code:/code', '/outside:/all']}", "none"),
])  # fmt: skip
def test_a_folder_around_the_repository_shows_all_of_it(repo: Checkout, service: str, expected: str) -> None:
    files = {"compose.yml": f"services: {{web: {service}}}\n", "code/a": "1"}
    assert action(decide(repo, files, {"code/a": "2"})) == expected


def test_a_directory_whose_name_go_escapes(tmp_path: Path) -> None:
    repo = Checkout(tmp_path / "a&b <c>")
    text = "name: shop\nservices: {web: {image: 'w:%d', volumes: ['./conf:/conf']}}\n"
    base = repo.commit({"compose.yml": text % 1, "conf/a": "1"})
    repo.commit({"compose.yml": text % 2})
    assert repo.detect(base).decision.update_type == "image_only"


def test_who_joins_a_container_by_its_fixed_name_goes_along(repo: Checkout) -> None:
    text = (
        "services: {vpn: {image: 'vpn:%d', container_name: tunnel},"
        " web: {image: w, network_mode: 'container:tunnel'},"
        " other: {image: o, network_mode: 'container:x'}}\n"
    )
    decision = decide(repo, {"compose.yml": text % 1}, {"compose.yml": text % 2})
    assert (action(decision), action(decision, "other")) == ("recreate", "none")


@pytest.mark.parametrize("include", [
    "{path: part.yml, project_directory: 'my dir'}",
    "{path: part.yml, project_directory: '${NONE:-my} dir'}",
    "my dir/part",
    "sub/part",
])  # fmt: skip
def test_the_dot_env_of_an_include_with_an_odd_name(repo: Checkout, include: str) -> None:
    part = "services: {web: {image: 'w:${TAG}'}}\n"
    files = {
        "compose.yml": f"include: [{include}]\n",
        "part.yml": part,
        "my dir/part": part,
        "sub/part": part,
    }
    dot_env = "sub/.env" if include.startswith("sub") else "my dir/.env"
    decision = decide(repo, {**files, dot_env: "TAG=1\n"}, {dot_env: "TAG=2\n"})
    assert decision.services["web"].image_after == "w:2"
    assert action(decision) == "roll"


def test_a_key_that_is_written_in_escapes(repo: Checkout) -> None:
    text = 'services: {web: {image: w, "env_fil\\x65": [{path: web.env, "requir\\x65d": false}]}}\n'
    assert action(decide(repo, {"compose.yml": text, "web.env": "A=1\n"}, {"web.env": "A=2\n"})) == "recreate"


def test_a_compose_file_without_an_ending(repo: Checkout) -> None:
    text = "services: {web: {image: w, models: [m]}}\nmodels: {m: {model: 'ai/%d'}}\n"
    base = repo.commit({"stack": text % 1})
    repo.commit({"stack": text % 2})
    assert action(repo.detect(base, files=["stack"]).decision) == "recreate"


def test_an_env_file_of_an_include_that_git_does_not_hold_is_conditional(repo: Checkout) -> None:
    files = {
        "compose.yml": "include:\n  - path: sub/one.yml\n    env_file: sub/host.env\n",
        "sub/one.yml": "services: {web: {image: 'w:${TAG}'}}\n",
    }
    decision = decide(repo, files, {"sub/one.yml": "services: {web: {image: 'v:${TAG}'}}\n"})
    assert decision.update_type == "image_only"
    assert any("sub/host.env is not in git" in warning for warning in decision.warnings)


def test_code_of_an_image_that_another_dockerfile_starts_from(repo: Checkout) -> None:
    compose = """
    services:
      base: {build: base, image: 'shop/base:1'}
      app: {build: {context: app, args: {BASE: shop/base}}}
      tool: {build: tool, depends_on: [base]}
    """
    before = {
        "compose.yml": compose,
        "base/Dockerfile": "FROM scratch\nCOPY code /\n",
        "base/code": "1",
        "app/Dockerfile": "ARG BASE=other\nFROM ${BASE}:1\n",
        "tool/Dockerfile": "FROM scratch\n",
    }
    rebuilt = {"base", "app"}
    assert decide(repo, before, {"base/code": "2"}).built_anew == rebuilt
    assert (
        decide(repo, {}, {"compose.yml": compose.replace("base, image", "'./base', image")}).built_anew
        == set()
    )
    assert decide(repo, {"app/Dockerfile": "FROM other\n"}, {"base/code": "3"}).built_anew == {"base"}
