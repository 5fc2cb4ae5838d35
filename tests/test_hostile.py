"""Files from a stranger's pull request: nothing outside of the tree is read, nothing is run, and it ends."""

import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dual_update.adapters import compose, ignore, references, sandbox
from dual_update.core.errors import UsageError
from tests.repositories import Checkout

CANARY = "canary-7f3a91c2"
WEB = "services:\n  web:\n    image: app:1\n"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str
    seconds: float

    @property
    def all(self) -> str:
        return self.out + self.err


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file of the host that no pull request may read."""
    path = tmp_path / "outside" / "secret.env"
    path.parent.mkdir()
    path.write_text(f"CANARY={CANARY}\n")
    return path


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "project")


def detect(checkout: Checkout, *arguments: str, path: str = "") -> Said:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "dual_update", "detect", "--format", "json", *arguments],
        cwd=checkout.directory,
        env={**os.environ, **({"PATH": path} if path else {})},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr, time.monotonic() - began)


def assert_refused(said: Said) -> None:
    assert said.code == 2, said.all
    assert said.out == ""
    assert said.err.startswith("dual-update: ")
    assert "Traceback" not in said.err
    assert len(said.err.splitlines()) <= 3


OUTSIDE = {
    "env_file": "services: {web: {image: app:1, env_file: @}}",
    "env_file in a list": "services: {web: {image: app:1, env_file: [{path: @, required: false}]}}",
    "label_file": "services: {web: {image: app:1, label_file: @}}",
    "extends": "services: {web: {extends: {file: @, service: web}}}",
    "include": "include: [@]\nservices: {web: {image: app:1}}",
    "include with an env_file": "include: [{path: part.yaml, env_file: @}]\nservices: {web: {image: app:1}}",
    "a key written in escapes": 'services: {web: {image: app:1, "env\\x5ffile": @}}',
    "a key in base64": "services: {web: {image: app:1, ? !!binary ZW52X2ZpbGU= : @}}",
    "an alias": "x-a: &a @\nservices: {web: {image: app:1, env_file: *a}}",
    "a merged mapping": "x-a: &a {env_file: @}\nservices: {web: {image: app:1, <<: *a}}",
    "a variable": "services: {web: {image: app:1, env_file: '${FROM_DOTENV}'}}",
    "a variable's default": "services: {web: {image: app:1, env_file: '${NONE:-@}'}}",
}


@pytest.mark.parametrize("is_confined", [True, False], ids=["kernel", "checked"])
@pytest.mark.parametrize("how", OUTSIDE)
@pytest.mark.parametrize("form", ["absolute", "relative"])
def test_nothing_outside_of_the_tree_is_read(
    how: str, form: str, is_confined: bool, checkout: Checkout, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_confined and not sandbox.is_available():
        pytest.skip("this kernel has no Landlock")
    if not is_confined:
        monkeypatch.setattr(sandbox, "version", lambda: 0)
    path = str(outside) if form == "absolute" else f"../../../../../../../..{outside}"
    head = checkout.commit(
        {
            "compose.yaml": OUTSIDE[how].replace("@", path) + "\n",
            "part.yaml": "services: {part: {image: part:1}}\n",
            ".env": f"FROM_DOTENV={path}\n",
        }
    )
    with pytest.raises(UsageError) as refused:
        checkout.detect(None, head)
    assert CANARY not in str(refused.value)
    assert (
        "utside of the repository" in str(refused.value)
        or "checked" in str(refused.value)
        or (not is_confined and "hides" in str(refused.value))
    ), refused.value


def test_the_message_names_file_line_and_what(checkout: Checkout) -> None:
    checkout.commit({"compose.yaml": WEB + "    env_file: /etc/passwd\n"})
    said = detect(checkout)
    assert_refused(said)
    assert "compose.yaml, line 4 of commit" in said.err
    assert "/etc/passwd, outside of the repository" in said.err


def test_a_dotenv_cannot_send_compose_elsewhere(checkout: Checkout, outside: Path) -> None:
    checkout.commit(
        {
            "compose.yaml": WEB + "    environment: {A: '${CANARY}'}\n",
            ".env": f"COMPOSE_FILE={outside}\nCOMPOSE_ENV_FILES={outside}\nCOMPOSE_PROJECT_NAME=p\n"
            "COMPOSE_EXPERIMENTAL_GIT_REMOTE=1\nCOMPOSE_EXPERIMENTAL_OCI_REMOTE=1\n",
        }
    )
    assert CANARY not in detect(checkout).all


@pytest.mark.parametrize("link", ["compose.yaml", ".env", "part.yaml", "deep"])
def test_a_link_in_git_does_not_lead_out(link: str, checkout: Checkout, outside: Path) -> None:
    files: dict[str, str | bytes | None] = {
        "compose.yaml": "include: [part.yaml]\nservices: {web: {image: a, env_file: deep/secret.env}}\n",
        "part.yaml": "services: {part: {image: part:1}}\n",
        "deep/secret.env": "A=1\n",
    }
    target: Path = outside
    if link == "deep":
        del files["deep/secret.env"]
        target = outside.parent
    files.pop(link, None)
    checkout.write(files)
    (checkout.directory / link).symlink_to(target)
    checkout.commit()
    said = detect(checkout)
    assert CANARY not in said.all
    assert "Traceback" not in said.err
    assert said.code in {0, 2}


def test_a_link_inside_the_tree_is_followed_and_its_change_is_seen(checkout: Checkout) -> None:
    checkout.write({"real/compose.yaml": WEB})
    (checkout.directory / "compose.yaml").symlink_to("real/compose.yaml")
    base = checkout.commit()
    head = checkout.commit({"real/compose.yaml": WEB.replace("app:1", "app:2")})
    assert checkout.detect(base, head).decision.update_type == "image_only"


REMOTE = {
    "git over https": "include: ['https://github.com/a/b.git']\n",
    "git over ssh": "include: ['git@github.com:a/b.git']\n",
    "git, short": "include: ['github.com/a/b']\n",
    "oci": "include: ['oci://127.0.0.1:1/a/b']\n",
    "extends": "services: {a: {extends: {file: 'https://github.com/a/b.git', service: a}}}\n",
    "provider": "services: {a: {provider: {type: git, options: {a: b}}}}\n",
    "provider by path": "services: {a: {provider: {type: ./git}}}\n",
}


@pytest.mark.parametrize("how", REMOTE)
def test_no_program_is_started(how: str, checkout: Checkout, tmp_path: Path) -> None:
    """The spies would leave a mark; what the tool itself asks of git goes on to the real one."""
    real = subprocess.run(["which", "git"], capture_output=True, text=True, check=True).stdout.strip()
    spies = tmp_path / "spies"
    spies.mkdir()
    mark = tmp_path / "mark"
    ours = (
        "cat-file|rev-parse|diff-tree|ls-tree|rev-list|merge-base|config|cat-file|show-ref|for-each-ref|log"
    )
    for name in ("git", "ssh", "docker", "docker-credential-desktop", "curl"):
        spy = spies / name
        spy.write_text(
            f'#!/bin/sh\ncase "{name} $1" in "git "*) case "$1" in {ours}) exec {real} "$@";; esac;; esac\n'
            f'echo "{name} $*" >> {mark}\n'
        )
        spy.chmod(0o755)
    checkout.commit({"compose.yaml": REMOTE[how], "git": "#!/bin/sh\ntouch /tmp/never\n"})
    said = detect(checkout, path=f"{spies}:{os.environ['PATH']}")
    assert said.code in {0, 2}
    assert "Traceback" not in said.err
    assert not mark.exists(), mark.read_text()
    if how.startswith(("git", "oci", "extends")):
        assert_refused(said)


def bomb(levels: int, width: int) -> str:
    lines = ["x-0: &x0 [a, a, a, a, a, a, a, a, a]"]
    lines += [f"x-{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join([*lines, WEB])


def wide_include(levels: int) -> dict[str, str]:
    files = {"compose.yaml": "include: [p0a.yaml, p0b.yaml]\n" + WEB}
    for level in range(levels):
        for side in "ab":
            files[f"p{level}{side}.yaml"] = f"include: [p{level + 1}a.yaml, p{level + 1}b.yaml]\n"
    for side in "ab":
        files[f"p{levels}{side}.yaml"] = "services: {}\n"
    return files


BAD: dict[str, dict[str, str | bytes]] = {
    "empty": {"compose.yaml": ""},
    "only a comment": {"compose.yaml": "# nothing\n"},
    "an empty mapping": {"compose.yaml": "{}\n"},
    "a list": {"compose.yaml": "[]\n"},
    "a word": {"compose.yaml": "word\n"},
    "null": {"compose.yaml": "null\n"},
    "a NUL byte": {"compose.yaml": b"services:\n  web:\n    image: a\0b\n"},
    "a NUL byte in a path": {"compose.yaml": 'services: {web: {image: a, env_file: "a\\0b"}}\n'},
    "invalid UTF-8": {"compose.yaml": b"services:\n  web:\n    image: \xff\xfe\xfa\n"},
    "deep flow": {"compose.yaml": WEB + "x-a: " + "[" * 20_000 + "]" * 20_000},
    "deep mappings": {"compose.yaml": WEB + "x-a: " + "{a: " * 2_000 + "1" + "}" * 2_000},
    "a huge port": {"compose.yaml": WEB + "    ports: ['99999999999999999999:80']\n"},
    "a huge number": {"compose.yaml": WEB + "    mem_limit: 1" + "0" * 5000 + "\n"},
    "huge replicas": {"compose.yaml": WEB + "    scale: 1" + "0" * 50 + "\n"},
    "ten megabytes": {"compose.yaml": WEB + "# x" * 3_500_000},
    "a file where a folder is named": {
        "compose.yaml": "services: {web: {image: a, env_file: [gone, gone/on]}}\n"
    },
    "a name too long": {"compose.yaml": f"services: {{web: {{image: a, env_file: {'n' * 300}}}}}\n"},
    "a file that includes itself": {"compose.yaml": "include: [compose.yaml]\n"},
    "a service that extends itself": {"compose.yaml": "services: {a: {extends: {service: a}}}\n"},
    "many missing files": {
        "compose.yaml": f"services: {{web: {{image: a, env_file: {[f'e{i}' for i in range(400)]}}}}}\n"
    },
    "a newline in the message": {
        "compose.yaml": 'services: {web: {image: a, ports: ["a\\nb\\e[31m:1:2:3"]}}\n'
    },
    "one base, many heirs": {
        "compose.yaml": "services:\n  base:\n    image: x\n    environment:\n"
        + "".join(f"      K{i}: vvvvvvvvvvvvvvvvvvvv\n" for i in range(20_000))
        + "".join(f"  s{i}: {{extends: base}}\n" for i in range(5_000))
    },
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_one_sentence_in_time(what: str, checkout: Checkout) -> None:
    checkout.commit(BAD[what])
    said = detect(checkout)
    assert_refused(said)
    assert said.seconds < 60
    assert said.err.isprintable() or set(said.err) - {"\n"} <= {c for c in said.err if c.isprintable()} | {
        "\n"
    }


@pytest.mark.parametrize("files", [wide_include(30), {"compose.yaml": bomb(12, 9)}], ids=["include", "alias"])
def test_what_multiplies_is_ended(
    files: dict[str, str], checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compose, "SECONDS_AT_LEAST", 4.0)
    head, began = checkout.commit(files), time.monotonic()
    with pytest.raises(UsageError, match="multiplied"):
        checkout.detect(None, head)
    assert time.monotonic() - began < 20


def test_ten_thousand_services_are_judged_within_bounds(checkout: Checkout) -> None:
    def services(tag: int) -> str:
        return "services:\n" + "".join(
            f"  s{i}:\n    image: app:{tag if i == 7 else 0}\n    environment: {{A: '{i}'}}\n"
            for i in range(10_000)
        )

    base, head = (
        checkout.commit({"compose.yaml": services(1)}),
        checkout.commit({"compose.yaml": services(2)}),
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    said = detect(checkout, "--base", base, "--head", head)
    assert said.code == 0, said.err
    assert '"update_type": "image_only"' in said.out
    assert said.seconds < 120
    assert max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) < 1_500_000  # kB


def test_a_tree_made_by_hand_cannot_write_outside(checkout: Checkout, tmp_path: Path) -> None:
    """git would never make such a tree; `hash-object --literally` and a push without fsck can."""
    blob = checkout.git("hash-object", "-w", "--stdin", stdin=b"owned\n")
    text = b"services: {web: {image: a, env_file: ['../evil', 'x/../../evil', '..']}}\n"
    compose = checkout.git("hash-object", "-w", "--stdin", stdin=text)
    inner = checkout.git("mktree", stdin=f"100644 blob {blob}\tevil\n".encode())
    raw = b"40000 ..\0" + bytes.fromhex(inner) + b"100644 compose.yaml\0" + bytes.fromhex(compose)
    tree = checkout.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    commit = checkout.git("commit-tree", tree, "-m", "evil")
    said = detect(checkout, "--head", commit)
    assert_refused(said)
    assert "owned" not in said.all


@pytest.mark.parametrize(
    ("content", "is_fine"),
    [
        ("services: {web: {env_file: a.env}}", True),
        ("services: {web: {env_file: ../b.env}}", False),
        ("services: {web: {env_file: '${NAME}.env'}}", True),
        ("services: {web: {env_file: '${OUT}'}}", False),
        ("services: {web: {env_file: '${A:-x}'}}", False),
        ("services: {web: {volumes: ['/var/run/docker.sock:/s'], env_file: a.env}}", True),
        ("services: {web: {extends: {service: base}}}", True),
    ],
)
def test_without_the_kernels_help_paths_are_checked_before_compose_runs(content: str, is_fine: bool) -> None:
    files, environment = {"compose.yaml": content.encode()}, {"NAME": "prod", "OUT": "/etc/passwd"}
    if is_fine:
        references.check(files, environment, "0" * 40)
    else:
        with pytest.raises(UsageError):
            references.check(files, environment, "0" * 40)


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**/", "**", "?", "[ab]", "[^a]", "\\*", "."]), max_size=8),
    st.text("ab/.*", max_size=10),
)
def test_ignore_patterns_with_many_stars_mean_the_same_as_those_with_few(parts: list[str], path: str) -> None:
    steps = ignore._steps("".join(parts))
    single = [
        None if step in {ignore._ANY, ignore._BELOW, ignore._REST} else re.compile(step) for step in steps
    ]
    expected = re.fullmatch("".join(steps), path) is not None
    assert ignore._walked(path, steps, single) == expected


@pytest.mark.parametrize("pattern", ["**/" * 40 + "x", "*a" * 40 + "x", "**a" * 40 + "x"])
def test_an_ignore_pattern_ends_in_time(pattern: str) -> None:
    class OneFile:
        commit = "0" * 40

        def read(self, path: str) -> bytes:
            return pattern.encode()

        def list(self) -> list[str]:
            return []

    began = time.monotonic()
    ignore.sent_to_build(OneFile(), "", None, ["a/" * 100 + "b", "a" * 1000])
    assert time.monotonic() - began < 20


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("pattern", ["[[a]", "[a--b]", "[a&&b]", "[a||b]", "[a~~b]", "[\\]]", "[z-a]", "["])
def test_an_ignore_set_is_only_a_set(pattern: str) -> None:
    ignore._parsed(pattern)
