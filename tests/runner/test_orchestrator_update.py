"""What the timer's service decides, with a program in dual-update's place that notes what it was asked."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.integration.world import eventually, run

SCRIPT = Path(__file__).parents[2] / "runner" / "orchestrator_update.py"

# Its answers come from files beside it; there it notes what it was asked, too.
PROGRAM = """\
#!/bin/sh
here=$(dirname "$0")
printf '%s\\n' "$*" >>"$here/asked"
printf '%s' "${HTTPS_PROXY-}" >"$here/proxy"
case "$1" in
  config) printf '{"driver": "%s"}' "$(sed -n 's/^driver: //p' "$4")" ;;
  *) [ ! -e "$here/$1.sh" ] || . "$here/$1.sh" ;;
esac
"""


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("orchestrator_update", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


service = loaded()


class Host:
    """A folder of settings, a checkout, and the program."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings, self.checkout = folder / "settings", folder / "checkout"
        self.settings.mkdir()
        self.checkout.mkdir()
        self.program = folder / "dual-update"
        self.program.write_text(PROGRAM)
        self.program.chmod(0o755)
        run("git", "init", "--quiet", cwd=self.checkout)
        self.head = self.commit("driver: service\n")
        self.plan("image_only")

    def commit(self, config: str | None) -> str:
        path = self.checkout / ".github/dual-update.yml"
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
        if config is not None:
            path.write_text(config)
        run("git", "add", "--all", cwd=self.checkout)
        run("git", "commit", "--quiet", "--allow-empty", "--message", "x", cwd=self.checkout)
        self.head = run("git", "rev-parse", "HEAD", cwd=self.checkout)
        return self.head

    def plan(self, kind: str, *, steps: int = 1) -> None:
        """What the program answers to `plan`."""
        answer: dict[str, Any] = {
            "decision": {"update_type": kind, "head": self.head},
            "steps": [{"op": "roll", "target": "web", "services": ["web"]}] * steps,
            "plan_fingerprint": "f00d",
        }
        self.answer("plan", f"cat <<'END'\n{json.dumps(answer)}\nEND\n")

    def answer(self, command: str, script: str) -> None:
        (self.folder / f"{command}.sh").write_text(script)

    def cluster(self, name: str = "shop", **settings: str) -> None:
        settings = {"CLUSTER_PATH": str(self.checkout), "AUTO_APPROVE": "true", **settings}
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        (self.settings / f"{name}.env").write_text(text)

    def look(self) -> tuple[int, str]:
        """The exit code, and what was said."""
        said: list[str] = []
        code = service.update_all(self.settings, service.Hands(str(self.program)), said.append)
        return code, "\n".join(said)

    def asked(self) -> list[str]:
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    def applied(self) -> list[str]:
        return [line for line in self.asked() if line.startswith("apply")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_images_alone_are_applied_as_they_were_looked_at(host: Host) -> None:
    host.cluster(COMPOSE_FILES="a.yml b.yml", CLUSTER="shop", REVAMP_SCOPE="changed")
    code, said = host.look()
    flags = f"--repo {host.checkout} --file a.yml --file b.yml --cluster shop --scope changed"
    assert code == 0
    assert host.asked()[0] == f"plan {flags} --format json"
    assert host.applied() == [f"apply {flags} --auto --expect f00d"]
    assert "an update waits (image_only): roll web" in said


def test_what_stopped_by_itself_comes_back(host: Host) -> None:
    host.cluster()
    host.plan("none")
    host.look()
    assert len(host.applied()) == 1


def test_nothing_to_do_is_one_line(host: Host) -> None:
    host.cluster()
    host.plan("structural", steps=0)
    assert host.look() == (0, "shop: as wanted")


def not_asked_for(host: Host) -> None:
    host.cluster(AUTO_APPROVE="false")


def not_said_at_all(host: Host) -> None:
    host.cluster()
    path = host.settings / "shop.env"
    path.write_text(path.read_text().replace("AUTO_APPROVE=true\n", ""))


def structural(host: Host) -> None:
    host.plan("structural")


def mixed(host: Host) -> None:
    host.plan("mixed")


def unheard_of(host: Host) -> None:
    host.plan("another")


def driven_by_the_runner(host: Host) -> None:
    host.commit("driver: runner\n")
    host.plan("image_only")


def without_a_config(host: Host) -> None:
    host.commit(None)
    host.plan("image_only")


def with_a_config_that_was_edited_on_the_host(host: Host) -> None:
    host.commit("driver: runner\n")
    host.plan("image_only")
    (host.checkout / ".github/dual-update.yml").write_text("driver: service\n")


def no_checkout(host: Host) -> None:
    run("rm", "-rf", str(host.checkout / ".git"))


@pytest.mark.parametrize(
    "prepare",
    [
        not_asked_for,
        not_said_at_all,
        structural,
        mixed,
        unheard_of,
        driven_by_the_runner,
        without_a_config,
        with_a_config_that_was_edited_on_the_host,
        no_checkout,
    ],
)
def test_everything_else_waits_for_a_person_and_says_the_command(
    host: Host, prepare: Callable[[Host], None]
) -> None:
    host.cluster()
    prepare(host)
    code, said = host.look()
    assert (code, host.applied()) == (0, [])
    assert f"By hand: sudo -u dual-update dual-update apply --repo {host.checkout}" in said


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("UPDATE_MODE=watchtower_only", "line 2: UPDATE_MODE is not read here; say `mode:`"),
        ("CHECK_INTERVAL=60", "systemctl edit orchestrator-update.timer"),
        ("AUTO_APROVE=true", "AUTO_APROVE is not known here"),
        ("LD_PRELOAD=/tmp/x.so", "LD_PRELOAD is not known here"),
        ("AUTO_APPROVE=yes", "AUTO_APPROVE is 'true' or 'false'"),
        ("REVAMP_SCOPE=all", "REVAMP_SCOPE is 'cluster' or 'changed'"),
        ("CLUSTER_PATH=here", "CLUSTER_PATH must be the checkout's full path"),
        ("just words", "NAME=VALUE is meant"),
        ("export A=b", "NAME=VALUE is meant"),
    ],
)
def test_settings_that_are_wrong_are_a_sentence_and_nothing_is_done(
    host: Host, line: str, words: str
) -> None:
    (host.settings / "shop.env").write_text(f"CLUSTER_PATH={host.checkout}\n{line}\n")
    code, said = host.look()
    assert (code, words in said, host.asked()) == (2, True, []), said


def test_nothing_in_a_file_is_run_or_expanded(host: Host, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    text = f"# hello\n\nCLUSTER_PATH='/srv/a b'\nCLUSTER=$(touch {trap})`touch {trap}`$HOME\n"
    cluster = service.read(text, "x.env")
    assert (cluster.path, cluster.name) == ("/srv/a b", f"$(touch {trap})`touch {trap}`$HOME")
    host.cluster(CLUSTER=f"$(touch {trap})")
    host.look()
    assert f"--cluster $(touch {trap})" in host.applied()[0]
    assert not trap.exists()


def test_a_cluster_that_fails_keeps_no_other_from_its_look(host: Host) -> None:
    """And the worst of the answers is the service's."""
    (host.settings / "a.env").write_text("nonsense\n")
    (host.settings / "b.env").write_bytes(b"\xff\xfe")
    host.cluster("c")
    host.cluster("d", CLUSTER="other")
    host.answer("apply", 'case "$*" in *other*) exit 5 ;; esac\nexit 1\n')
    code, said = host.look()
    assert (code, len(host.applied())) == (1, 2)
    assert "a.env, line 1" in said
    assert "b.env cannot be read" in said
    host.answer("apply", 'case "$*" in *other*) exit 4 ;; esac\nexit 1\n')
    assert host.look()[0] == 4


def test_a_plan_that_cannot_be_made_is_the_answer(host: Host) -> None:
    host.cluster()
    host.answer("plan", "echo 'no such host' >&2\nexit 2\n")
    assert (host.look()[0], host.applied()) == (2, [])


def test_no_cluster_is_no_fault(host: Host) -> None:
    code, said = host.look()
    assert (code, "names no cluster" in said) == (0, True)


def test_what_is_handed_on_arrives(host: Host) -> None:
    host.cluster(HTTPS_PROXY='"http://proxy:3128"')
    host.look()
    assert (host.folder / "proxy").read_text() == "http://proxy:3128"


def test_a_stop_is_handed_on_and_waited_for(host: Host) -> None:
    """The update takes its time to go back; no other cluster is begun."""
    host.cluster("a")
    host.cluster("b")
    host.answer(
        "apply",
        'sleep 20 &\ntrap "kill $!; sleep 0.5; touch $here/back; exit 130" TERM\ntouch $here/begun\nwait\n',
    )
    code = f"import sys; sys.argv[1:] = [{str(host.settings)!r}]; import orchestrator_update as o; "
    code += (
        f"o.PROGRAM = {str(host.program)!r}; o.Hands.__init__.__defaults__ = (o.PROGRAM,); sys.exit(o.main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)}
    ) as child:
        eventually((host.folder / "begun").exists)
        child.send_signal(signal.SIGTERM)
        assert child.wait(timeout=15) == 130
    assert (host.folder / "back").exists()
    assert len(host.applied()) == 1
