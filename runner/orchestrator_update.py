"""One look at every cluster of this host, as orchestrator-update.service runs it.

    orchestrator_update.py [FOLDER]      FOLDER holds NAME.env files, one a cluster [/etc/dual-update]

Each file names a checkout. What waits for it is shown. It is applied only where all of this holds: the
file says AUTO_APPROVE=true, the repository says `driver: service`, and nothing but images changes; then
exactly the plan that was looked at is approved, by its fingerprint. Everything else is left for a person,
with the command to type.

Exit codes are those of dual-update; of several clusters, the worst: 4, 3, 1, 2, 5, 130, 0. A cluster that
fails keeps no other from its look. A stop (SIGTERM, SIGINT) is handed on, and waited for.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

SETTINGS = Path("/etc/dual-update")
CONFIG = ".github/dual-update.yml"
PROGRAM = "/opt/dual-update/current/bin/dual-update"

DONE, FAILED, USAGE, BUG, ROLLBACK_FAILED, NOT_NOW, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
WORST_FIRST = (ROLLBACK_FAILED, BUG, FAILED, USAGE, NOT_NOW, INTERRUPTED, DONE)

APPLIED_ALONE = frozenset({"none", "image_only"})
"""`none` with steps is a container that stopped or was lost: what git says comes back, nothing new."""

OURS = frozenset({"CLUSTER_PATH", "COMPOSE_FILES", "CLUSTER", "AUTO_APPROVE", "REVAMP_SCOPE"})
HANDED_ON = frozenset(
    {
        *("WATCHTOWER_TOKEN", "WATCHTOWER_TOKEN_FILE", "WEBHOOK_URL", "WEBHOOK_URL_FILE"),
        *("LOG_LEVEL", "LOG_FORMAT", "DUAL_UPDATE_ENGINE_SECONDS", "DUAL_UPDATE_STATE_DIR", "DOCKER_HOST"),
        *("DOCKER_CONFIG", "GIT_SSH_COMMAND", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TZ"),
    }
)
ELSEWHERE: Mapping[str, str] = {
    "UPDATE_MODE": "say `mode:` in the repository's .github/dual-update.yml",
    "CHECK_INTERVAL": "say it in the timer: systemctl edit orchestrator-update.timer",
    "DEPLOY_BRANCH": "say `deploy_branch:` in the repository's .github/dual-update.yml",
    "WATCHTOWER_URL": "say `watchtower:` in the repository's .github/dual-update.yml",
}
"""What only the update-orchestrator reads. To pass over one would be to do something else than was asked."""


class WrongSettings(Exception):
    """A settings file that says something unknown or impossible. The text is the sentence to show."""


@dataclass(frozen=True)
class Cluster:
    """One file's wishes."""

    path: str
    files: tuple[str, ...] = ()
    name: str = ""
    scope: str = ""
    is_auto: bool = False
    environment: Mapping[str, str] | None = None

    @property
    def flags(self) -> list[str]:
        """How `dual-update` is told which cluster is meant."""
        words = ["--repo", self.path]
        for file in self.files:
            words += ["--file", file]
        return words + (["--cluster", self.name] if self.name else [])

    @property
    def scope_flags(self) -> list[str]:
        return ["--scope", self.scope] if self.scope else []


def read(text: str, name: str) -> Cluster:
    """The cluster that a settings file describes. Nothing in it is run or expanded. Raises WrongSettings."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        key, equals, value = bare.partition("=")
        key, value = key.rstrip(), value.strip()
        where = f"{name}, line {number}"
        if not equals or not key.isidentifier():
            raise WrongSettings(f"{where}: NAME=VALUE is meant.")
        if key in ELSEWHERE:
            raise WrongSettings(f"{where}: {key} is not read here; {ELSEWHERE[key]}.")
        if key not in OURS | HANDED_ON:
            raise WrongSettings(f"{where}: {key} is not known here.")
        if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        found[key] = value
    path = found.get("CLUSTER_PATH", "")
    if not path.startswith("/"):
        raise WrongSettings(f"{name}: CLUSTER_PATH must be the checkout's full path.")
    scope = found.get("REVAMP_SCOPE", "")
    if scope not in {"", "cluster", "changed"}:
        raise WrongSettings(f"{name}: REVAMP_SCOPE is 'cluster' or 'changed'.")
    return Cluster(
        path=path,
        files=tuple(found.get("COMPOSE_FILES", "").replace(",", " ").split()),
        name=found.get("CLUSTER", ""),
        scope=scope,
        is_auto=_yes(found.get("AUTO_APPROVE", "false"), name),
        environment={key: value for key, value in found.items() if key in HANDED_ON and value},
    )


def _yes(word: str, name: str) -> bool:
    if word.lower() in {"true", "false", ""}:
        return word.lower() == "true"
    raise WrongSettings(f"{name}: AUTO_APPROVE is 'true' or 'false'.")


class Hands:
    """Starts `dual-update`, one at a time, and hands on to it what this process is asked to stop with."""

    def __init__(self, program: str = PROGRAM) -> None:
        self.program = program
        self.is_stopped = False
        self._child: subprocess.Popen[str] | None = None

    def run(self, cluster: Cluster, *words: str, is_read: bool = False) -> tuple[int, str]:
        """The exit code, and with `is_read` what it printed; else that goes where ours goes."""
        if self.is_stopped:
            return INTERRUPTED, ""
        with subprocess.Popen(
            [self.program, *words],
            env={**os.environ, **(cluster.environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if is_read else None,
            text=True,
        ) as child:
            self._child = child
            if self.is_stopped:  # asked between the look above and the start
                child.terminate()
            out, _ = child.communicate()
        self._child = None
        return (child.returncode if child.returncode >= 0 else INTERRUPTED), out or ""

    def stop(self, number: int, _: FrameType | None) -> None:
        self.is_stopped = True
        if self._child is not None:
            self._child.send_signal(number)


def update(cluster: Cluster, name: str, hands: Hands, say: Callable[[str], None]) -> int:
    """Look at one cluster and do what may be done without a person. Returns dual-update's exit code."""
    code, out = hands.run(
        cluster, "plan", *cluster.flags, *cluster.scope_flags, "--format", "json", is_read=True
    )
    if code != DONE:
        return code
    plan: Mapping[str, Any] = json.loads(out)
    if not plan["steps"]:
        say(f"{name}: as wanted")
        return DONE
    kind = str(plan["decision"]["update_type"])
    say(f"{name}: an update waits ({kind}): " + ", ".join(_steps(plan["steps"])))
    refusal = _why_not(cluster, kind, str(plan["decision"]["head"]), hands)
    if refusal:
        by_hand = shlex.join(["dual-update", "apply", *cluster.flags, *cluster.scope_flags])
        say(f"{name}: not applied, {refusal}. By hand: sudo -u dual-update {by_hand}")
        return DONE
    say(f"{name}: applying it")
    words = (
        "apply",
        *cluster.flags,
        *cluster.scope_flags,
        "--auto",
        "--expect",
        str(plan["plan_fingerprint"]),
    )
    return hands.run(cluster, *words)[0]


def _steps(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{step['op']} {step['target']}".strip() for step in steps if step["services"]]


def _why_not(cluster: Cluster, kind: str, head: str, hands: Hands) -> str:
    """Why a person must do it; empty when this may be done alone."""
    if not cluster.is_auto:
        return "AUTO_APPROVE is not true"
    if kind not in APPLIED_ALONE:
        return "only changes of images are applied without a person"
    driver = _driver(cluster, head, hands)
    return "" if driver == "service" else f"{CONFIG} says who drives, and that is {driver!r}, not 'service'"


def _driver(cluster: Cluster, head: str, hands: Hands) -> str:
    """Who applies updates of this cluster, by the config of the commit that is wanted."""
    git = ("git", "-C", cluster.path)
    if not _output(*git, "ls-tree", "--full-tree", head, "--", CONFIG):
        return "runner"  # the default of a repository without a config
    with tempfile.NamedTemporaryFile("w", suffix=".yml", encoding="utf-8") as file:
        file.write(_output(*git, "cat-file", "-p", f"{head}:{CONFIG}"))
        file.flush()
        code, out = hands.run(
            cluster, "config", "show", "--config", file.name, "--format", "json", is_read=True
        )
    return str(json.loads(out)["driver"]) if code == DONE else "unknown"


def _output(*command: str) -> str:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    ).stdout


def update_all(folder: Path, hands: Hands, say: Callable[[str], None]) -> int:
    """Every cluster of the folder, by name; the worst exit code of them."""
    try:
        files = sorted(folder.glob("*.env"))
    except OSError as error:
        say(f"{folder} cannot be read: {error.strerror}.")
        return USAGE
    if not files:
        say(f"{folder} names no cluster; runner/install --checkout DIR writes such a file.")
    codes = {DONE}
    for file in files:
        try:
            cluster = read(file.read_text(encoding="utf-8"), file.name)
        except WrongSettings as error:
            say(str(error))
            codes.add(USAGE)
            continue
        except (OSError, UnicodeDecodeError) as error:
            say(f"{file} cannot be read: {error}.")
            codes.add(USAGE)
            continue
        codes.add(update(cluster, file.stem, hands, say))
    return next((code for code in WORST_FIRST if code in codes), BUG)


def main() -> int:
    def say(words: str) -> None:
        print(words, flush=True)

    hands = Hands()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, hands.stop)
    return update_all(Path(sys.argv[1]) if len(sys.argv) > 1 else SETTINGS, hands, say)


if __name__ == "__main__":
    sys.exit(main())
