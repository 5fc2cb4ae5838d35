"""Compose acting on the host: one project brought up from its checkout, and a workshop that prepares images.

Renders of the renderer in `compose.py` are pure; what is here changes the engine. Both run the same
binary with the same scrubbed environment, so that a model compares equal on both sides.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dual_update.adapters.compose import binary
from dual_update.adapters.git import ENVIRONMENT as GIT_ENVIRONMENT
from dual_update.adapters.process import Result, run, scrubbed
from dual_update.core.errors import StepFailed, Timeout
from dual_update.core.model import SOURCE_ROOT, Rendered, contexts, dockerfile, has_hash_of_its_own
from dual_update.core.origin import is_built_elsewhere, is_built_here, is_pulled
from dual_update.core.placement import at, placed
from dual_update.usecases.ports import Tree

UP_SECONDS = 1800.0
"""Longest a single run of compose may take: pulls, builds and long stop periods included."""

_ENGINE_VARIABLES = (
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "DOCKER_API_VERSION",
    "DOCKER_BUILDKIT",
    "SSH_AUTH_SOCK",
    "XDG_RUNTIME_DIR",
)
_PROXY_VARIABLES = tuple(
    variant for name in ("http_proxy", "https_proxy", "no_proxy") for variant in (name, name.upper())
)

_PROGRESS = re.compile(
    r"^\s*(?:DRY-RUN MODE -\s+)?"
    r"(?:Container|Network|Volume|Image|Service)\s+(?P<name>\S+)\s+(?P<what>[A-Z]\w*)\s*$"
)
_ABOUT = re.compile(r"^(?:Container\s+)?\S+\s+(?=Error )(?:Error (?!response))?")
"""What stands before the reason where compose reports the progress of one thing."""

_ENDED = re.compile(r"^\S+\s+(?:Interrupted|Pulling|Building|Built|Pulled)\s*$")
_HELD_NETWORK = re.compile(r"network (?P<name>\S+) id [0-9a-f]+ has active endpoints")
"""What compose passes on from an engine that will not remove a network. Source: libnetwork, `errors.go`."""
_QUIET = frozenset({"Running", "Waiting", "Healthy", "Exited"})
"""What compose says in a dry run of containers that it leaves alone or only looks at."""

MAY_BE_LATE = (
    "The image of {} is built elsewhere: try again when that build has pushed it. With `pull_policy: build`"
    " it is built on this host."
)


class ComposeCli:
    """Compose on one project. Fits the port ComposeProject.

    `directory` is the project's directory in the checkout, `files` its compose files, in order; relative
    ones are taken from `directory`. `extra_files` come last, so they win. `runs_in` is where it runs
    (`$PWD`), if that is elsewhere, and `by_env` says that the `.env` there named the files. `set_free` lets
    go of endpoints that the engine forgot on a network, which would keep compose from making it anew.
    """

    def __init__(
        self,
        directory: str | Path,
        files: Sequence[str],
        project: str,
        *,
        extra_files: Sequence[str] = (),
        runs_in: Path | None = None,
        by_env: bool = False,
        timeout_seconds: float = UP_SECONDS,
        set_free: Callable[[str], None] | None = None,
    ) -> None:
        self._directory = Path(os.path.abspath(directory))  # noqa: PTH100  compose keeps symbolic links too
        self._files = [str(self._directory / one) for one in (*files, *extra_files)]
        self._project = project
        self._runs_in = runs_in or self._directory
        self._by_env = by_env
        self._timeout_seconds = timeout_seconds
        self._set_free = set_free

    def up(
        self,
        services: Sequence[str] = (),
        *,
        with_dependencies: bool = False,
        force: bool = False,
        remove_orphans: bool = False,
        scale: Mapping[str, int] | None = None,
        keep_existing: bool = False,
        start: bool = True,
    ) -> None:
        """Bring services up, all active ones when none is named. Nothing is pulled, built or answered yes."""
        options = ["--detach"] if start else ["--no-start"]
        if services and not with_dependencies:
            options.append("--no-deps")
        if force:
            options.append("--force-recreate")
        if keep_existing:
            options.append("--no-recreate")
        if remove_orphans:
            options.append("--remove-orphans")
        for name, count in sorted((scale or {}).items()):
            options += ["--scale", f"{name}={count}"]
        what = f"compose up {' '.join(services)}".rstrip()
        try:
            result = self._run("up", *_UP, *options, *services)
            held = _HELD_NETWORK.search(result.err) if result.code != 0 else None
            if held and self._set_free is not None:
                self._set_free(held["name"])
                result = self._run("up", *_UP, *options, *services)
        except Timeout as error:
            raise StepFailed(
                f"`{what}` of {self._project} did not end within {self._timeout_seconds:g} seconds."
            ) from error
        if result.code != 0:
            raise StepFailed(f"`{what}` of {self._project} failed: {last_words(result)}")

    def plans_nothing(self) -> bool:
        """Would a plain `up -d` leave everything as it is. A job that ended counts as something to start."""
        result = self._run("--dry-run", "up", *_UP, "--detach")
        if result.code != 0:
            raise StepFailed(f"A dry run of {self._project} failed: {last_words(result)}")
        said = (_PROGRESS.match(line) for line in (result.out + result.err).splitlines())
        return all(found["what"] in _QUIET for found in said if found)

    def _run(self, *arguments: str) -> Result:
        command = [binary(), "--ansi", "never", "--progress", "plain"]
        command += ["-p", self._project]
        if self._by_env:  # told the files by options, compose would not read it
            named = {"COMPOSE_FILE": ":".join(self._files), "COMPOSE_PATH_SEPARATOR": ":"}
        else:
            named = {}
            command += ["--project-directory", str(self._directory)]
            for file in self._files:
                command += ["-f", file]
        return run(
            [*command, *arguments],
            cwd=self._runs_in,
            env=environment(named),
            timeout_seconds=self._timeout_seconds,
            dies_with_us=True,
        )


_UP = ("--pull", "never", "--no-build")


class ComposeWorkshop:
    """Prepares a commit's images and says what its containers would be labelled. Fits the port Workshop.

    `checkout` is where the project's files lie on the host, `scratch` a private directory for build
    contexts. `image_id` asks the engine for a local image; without it pinned images are pulled always.
    Models go to compose by a pipe, so no secret of theirs is written anywhere.
    """

    def __init__(
        self,
        checkout: str | Path,
        scratch: str | Path,
        *,
        image_id: Callable[[str], str | None] | None = None,
        timeout_seconds: float = UP_SECONDS,
    ) -> None:
        self._checkout = Path(os.path.abspath(checkout))  # noqa: PTH100  the path that `up` is given
        self._scratch = Path(scratch)
        self._image_id = image_id
        self._timeout_seconds = timeout_seconds

    def pull(self, rendered: Rendered, services: Sequence[str]) -> None:
        """Pull what these services need: not what is built here, never pulled, or pinned and here already."""
        wanted = [name for name in services if self._needs_pull(rendered, name)]
        if not wanted:
            return
        # Not `pull_policy`: with `missing`, compose would keep what is here under the name.
        kept = ("image", "platform")
        model = {
            "name": rendered.name,
            "services": {
                name: {key: rendered.services[name][key] for key in kept if key in rendered.services[name]}
                for name in wanted
            },
        }
        result = self._compose(model, "pull", "--quiet", *wanted)
        if result.code != 0:
            raise StepFailed(_pull_refusal(rendered, wanted, result))

    def _needs_pull(self, rendered: Rendered, name: str) -> bool:
        service = rendered.services[name]
        image = str(service.get("image") or "")
        if not image or not is_pulled(rendered, name) or service.get("pull_policy") in ("never", "build"):
            return False
        is_here = self._image_id is not None and "@" in image and self._image_id(image) is not None
        return not is_here

    def build(self, rendered: Rendered, tree: Tree, services: Sequence[str]) -> None:
        """Build these services' images from the commit's files alone, as a checkout would write them."""
        wanted = [name for name in services if is_built_here(rendered.services[name])]
        if not wanted:
            return
        needed = _with_bases(rendered, wanted)
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(prefix="build-", dir=self._scratch) as name:
            export = Path(name) / self._checkout.name
            _Export(self._checkout, export, tree.commit).write(_needed(rendered, needed))
            model = _to_build(rendered, needed, export, self._checkout)
            for together in _in_turn(rendered, wanted):
                result = self._compose(model, "build", *together)
                if result.code != 0:
                    names = ", ".join(together)
                    raise StepFailed(f"Building {names} of {tree.commit[:12]} failed: {last_words(result)}")

    def hashes(self, rendered: Rendered) -> Mapping[str, str]:
        """Config hash by service, as the label of its containers on this host.

        A service that joins another's namespaces or volumes is left out: its label depends on the other's
        container (measured with compose 2.40.3).
        """
        model = placed(rendered, str(self._checkout))
        result = self._compose(model, "config", "--hash", "*")
        if result.code != 0:
            raise StepFailed(f"Compose could not hash the services of {rendered.name}: {last_words(result)}")
        pairs = (line.split(" ") for line in result.out.splitlines() if line.count(" ") == 1)
        return {
            name: value
            for name, value in pairs
            if name in rendered.services and has_hash_of_its_own(rendered.services[name])
        }

    def _compose(self, model: Mapping[str, Any], *arguments: str) -> Result:
        command = [binary(), "--ansi", "never", "--progress", "plain", "--profile", "*"]
        command += ["-p", str(model["name"]), "--project-directory", str(self._checkout), "-f", "-"]
        # Without ensure_ascii=False characters beyond 16 bits would be escapes that YAML refuses.
        text = json.dumps(model, ensure_ascii=False)
        try:
            return run(
                [*command, *arguments],
                env=environment({"COMPOSE_BAKE": "false"}),
                stdin=text.encode("utf-8", "surrogatepass"),
                timeout_seconds=self._timeout_seconds,
                dies_with_us=True,
            )
        except Timeout as error:
            raise StepFailed(
                f"`compose {arguments[0]}` of {model['name']} did not end within"
                f" {self._timeout_seconds:g} seconds."
            ) from error


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What compose needs to find the engine, registries and credentials; no COMPOSE_* of the host's."""
    names = (*_ENGINE_VARIABLES, *_PROXY_VARIABLES)
    return scrubbed({**{name: os.environ[name] for name in names if name in os.environ}, **(extra or {})})


def _with_bases(rendered: Rendered, services: Sequence[str]) -> frozenset[str]:
    """These services and all whose builds theirs start from (`additional_contexts: service:NAME`)."""
    found: set[str] = set()
    waiting = list(services)
    while waiting:
        name = waiting.pop()
        if name in found or name not in rendered.services:
            continue
        found.add(name)
        named = ((rendered.services[name].get("build") or {}).get("additional_contexts") or {}).values()
        waiting += [str(one).removeprefix("service:") for one in named if str(one).startswith("service:")]
    return frozenset(found)


def _in_turn(rendered: Rendered, services: Sequence[str]) -> Iterator[list[str]]:
    """Those that can be built together, before those whose Dockerfiles take their images by name: compose
    knows nothing of these and would build both at once."""
    waiting = list(services)
    while waiting:
        ready = [one for one in waiting if not set(rendered.starts_from.get(one, ())).intersection(waiting)]
        ready = ready or waiting  # those that wait for each other cannot be built; the engine says why
        yield ready
        waiting = [one for one in waiting if one not in ready]


def _needed(rendered: Rendered, services: frozenset[str]) -> frozenset[str]:
    """Paths of the repository that builds read: contexts, Dockerfiles and files of build secrets."""
    found: set[str] = set()
    for name in services:
        service = rendered.services[name]
        found.update(contexts(service))
        named = dockerfile(service)
        if named is not None:
            found.add(named)
    for secret in rendered.secrets.values():
        path = str(secret.get("file", ""))
        if path.startswith(SOURCE_ROOT + "/"):
            found.add(path[len(SOURCE_ROOT) + 1 :])
    return frozenset(found)


def _to_build(rendered: Rendered, wanted: frozenset[str], export: Path, checkout: Path) -> dict[str, Any]:
    """The model cut down to builds, with contexts in the export. A secret that git lacks is the host's.

    What is built elsewhere and only needed as a base loses its `image` here: that name is the pulled one's.
    """
    kept = ("image", "platform", "build")
    services = {
        name: {
            key: service[key]
            for key in kept
            if key in service and not (key == "image" and is_built_elsewhere(service))
        }
        for name, service in rendered.services.items()
        if name in wanted
    }
    model = placed(Rendered(rendered.name, services, secrets=rendered.secrets), str(export))
    for name, secret in model.get("secrets", {}).items():
        if "file" in secret and not Path(secret["file"]).exists():
            secret["file"] = at(str(rendered.secrets[name]["file"]), str(checkout))
    return model


class _Export:
    """A commit's files in a directory of their own, written by git as a checkout would (modes, line ends,
    large files), through an index of its own; submodules from their repositories in the checkout."""

    def __init__(self, repository: Path, target: Path, commit: str) -> None:
        self._repository = repository
        self._target = target
        self._commit = commit

    def write(self, paths: frozenset[str]) -> None:
        self._target.mkdir(parents=True)
        index = self._target.parent / f"{self._target.name}.index"
        env = {"GIT_INDEX_FILE": str(index)}
        self._git(["read-tree", self._commit], env)
        specs = [] if "" in paths else [f":(literal){path}" for path in sorted(paths)]
        if not paths:
            return
        listed = self._git(["ls-files", "--stage", "-z", "--", *specs], env).out.split("\0")[:-1]
        entries = [(meta.split(" "), path) for meta, _, path in (one.partition("\t") for one in listed)]
        files = "".join(f"{path}\0" for meta, path in entries if meta[0] != "160000")
        self._git(["checkout-index", "-z", "--stdin", f"--prefix={self._target}/"], env, stdin=files)
        for meta, path in entries:
            if meta[0] == "160000":
                self._submodule(path, meta[1])
        index.unlink(missing_ok=True)
        for path in paths:  # contexts inside a submodule are not in this index
            owner = self._owner(path)
            if owner is not None and not (self._target / owner[0]).exists():
                self._submodule(*owner)

    def _owner(self, path: str) -> tuple[str, str] | None:
        """The submodule that holds a path of this tree, with the commit that the tree wants of it."""
        parts = path.split("/")
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            found = self._git(["ls-tree", "-z", self._commit, "--", above]).out
            if found.startswith("160000 "):
                return above, found.split(" ")[2].partition("\t")[0]
        return None

    def _submodule(self, path: str, commit: str) -> None:
        repository = self._repository / path
        if not (repository / ".git").exists():
            raise StepFailed(
                f"The submodule {path} is not in {self._repository}, so nothing can be built from it.",
                hint=f"Run `git submodule update --init -- {path}` there once.",
            )
        shutil.rmtree(self._target / path, ignore_errors=True)
        _Export(repository, self._target / path, commit).write(frozenset({""}))

    def _git(self, arguments: Sequence[str], env: Mapping[str, str] | None = None, stdin: str = "") -> Result:
        result = run(
            ["git", *arguments],
            cwd=self._repository,
            env=scrubbed({**GIT_ENVIRONMENT, **(env or {})}),
            stdin=stdin.encode("utf-8", "surrogateescape"),
            timeout_seconds=UP_SECONDS,
        )
        if result.code != 0:
            words = (result.err.strip().splitlines() or [f"exit code {result.code}"])[-1]
            raise StepFailed(
                f"git {arguments[0]} of {self._commit[:12]} failed in {self._repository}: {words}",
                hint="If the commit is not here, fetch it (with its submodules) first.",
            )
        return result


def _pull_refusal(rendered: Rendered, services: Sequence[str], result: Result) -> str:
    """One sentence that names service, image and the registry's words."""
    words = last_words(result)
    named = [
        name
        for name in services
        if re.search(rf"^\s*{re.escape(name)}\s+Error\b", result.err + result.out, re.M)
    ] or [
        name for name in services if len(services) == 1 or str(rendered.services[name].get("image")) in words
    ]
    which = ", ".join(f"{name} ({rendered.services[name].get('image')})" for name in named or services)
    said = f"Pulling {which} failed: {words}"
    late = [name for name in named or services if is_built_elsewhere(rendered.services[name])]
    if late:
        said = f"{said.rstrip('.')}. {MAY_BE_LATE.format(', '.join(late))}"
    return said


def last_words(result: Result, lines: int = 3) -> str:
    """What compose complained of at last, in one line, without its progress reports and repetitions."""
    said = (result.err.strip() or result.out.strip()).splitlines()
    found: dict[str, str] = {}
    for line in said:
        text = _ABOUT.sub("", line.strip())
        if not text or _PROGRESS.match(line) or "level=warning" in line or _ENDED.search(text):
            continue
        found[text.removeprefix("Error response from daemon: ")] = text
    return " / ".join(list(found.values())[-lines:]) or f"exit code {result.code}"
