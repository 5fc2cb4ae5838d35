"""Compose: the real binary renders models; no merging or interpolation of our own.

A tree is written out only as far as compose asks for it, into a directory of its own, and the
result has its paths rewritten, so that two commits rendered in two directories compare equal
(facts measured with compose 2.40.3: docs/architecture.md).
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from dual_update.adapters.process import Result, run, scrubbed
from dual_update.core.errors import UsageError, WorldError
from dual_update.core.model import ANY_PROFILE, OUTSIDE_ROOT, SOURCE_ROOT, Rendered
from dual_update.usecases.ports import Tree

RENDER_SECONDS = 120.0

_PLUGIN_DIRECTORIES = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)

_NO_REMOTE = {"COMPOSE_EXPERIMENTAL_GIT_REMOTE": "0", "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "0"}

_MISSING = (
    re.compile(r"env file (?P<path>/.+?) not found"),
    re.compile(r"label file (?P<path>/.+?) not found"),
    re.compile(r"open (?P<path>/.+?): no such file or directory"),
    re.compile(r"stat (?P<path>/.+?): no such file or directory"),
)

_LOOKS_FURTHER = re.compile(rb"env_file|extends|include|label_file")
_TOKEN = re.compile(rb"[A-Za-z0-9_.@/-]+")


@cache
def binary() -> str:
    """The compose v2 program: docker's plugin, else `docker-compose` on PATH, else the pinned package's.

    The plugin is run alone, without `docker` before it, which saves some 30 ms a call.
    """
    own = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "cli-plugins"
    for directory in (str(own), *_PLUGIN_DIRECTORIES):
        candidate = Path(directory) / "docker-compose"
        if os.access(candidate, os.X_OK):
            return str(candidate)
    on_path = shutil.which("docker-compose")
    if on_path and Path(on_path).read_bytes()[:2] != b"#!":  # compose v1 is a script
        return on_path
    packaged = _packaged()
    if packaged:
        return packaged
    raise WorldError(
        "Docker compose v2 was not found.",
        hint="Install the compose plugin (docker-compose-plugin), or run scripts/bootstrap.",
    )


def _packaged() -> str | None:
    from importlib.util import find_spec

    spec = find_spec("compose")
    if spec is None or not spec.submodule_search_locations:
        return None
    candidate = Path(next(iter(spec.submodule_search_locations))) / "docker-compose"
    return str(candidate) if os.access(candidate, os.X_OK) else None


class ComposeRenderer:
    """Renders trees. `overlay` gives files that the host holds and git does not (an ignored .env)."""

    def __init__(self, overlay: Mapping[str, bytes] | None = None) -> None:
        self._overlay = dict(overlay or {})

    def render(self, tree: Tree, files: Sequence[str], *, directory: str, name: str) -> Rendered:
        with tempfile.TemporaryDirectory(prefix="dual-update-") as scratch:
            return _Rendering(Path(scratch), tree, self._overlay, directory, name).run(files)


class _Rendering:
    """One render: a scratch directory that fills as compose asks for files."""

    def __init__(
        self, scratch: Path, tree: Tree, overlay: Mapping[str, bytes], directory: str, name: str
    ) -> None:
        self._outside = scratch / "tree"
        self._root = self._outside / name
        self._project = self._root / directory if directory else self._root
        self._tree = tree
        self._overlay = overlay
        self._consulted: set[str] = set()
        self._conditional: list[str] = []
        self._deep = False  # some file says that other files matter

    def run(self, files: Sequence[str]) -> Rendered:
        self._project.mkdir(parents=True)
        for file in files:
            if not self._write(file):
                raise UsageError(f"{file} does not exist in commit {self._tree.commit[:12]}.")
        base = str(PurePosixPath(files[0]).parent)
        self._write(".env" if base == "." else f"{base}/.env")
        result = self._config(files, "--format", "json")
        if result.code != 0:
            raise UsageError(self._refusal(files, result))
        model = self._canonical(result.out)
        return Rendered(
            name=model.get("name", ""),
            services=model.get("services") or {},
            networks=model.get("networks") or {},
            volumes=model.get("volumes") or {},
            configs=model.get("configs") or {},
            secrets=model.get("secrets") or {},
            models=self._models(files),
            files=tuple(files),
            consulted=frozenset(self._consulted),
            conditional=tuple(self._conditional),
            warnings=self._warnings(result.err),
            profiles=self._profiles(base),
        )

    def _config(self, files: Sequence[str], *options: str) -> Result:
        """Run `config`, giving compose each file that it misses, until it has what it wants."""
        command = [binary(), "--profile", ANY_PROFILE]
        for file in files:
            command += ["-f", str(self._root / file)]
        command += ["config", *options]
        while True:
            result = run(command, cwd=self._project, env=scrubbed(_NO_REMOTE), timeout_seconds=RENDER_SECONDS)
            if result.code == 0 or not self._supply(result.err):
                return result

    def _supply(self, words: str) -> bool:
        """Write the file that compose says it misses. An env file that git lacks is put there empty."""
        for pattern in _MISSING:
            found = pattern.search(words)
            if found is None:
                continue
            path = self._relative(found["path"])
            if path is None or path in self._consulted:
                return False
            if self._write(path):
                return True
            if found.re is _MISSING[0]:
                self._conditional.append(path)
                self._put(path, b"")
                return True
        return False

    def _relative(self, path: str) -> str | None:
        absolute = os.path.normpath(path)
        root = str(self._root) + "/"
        return absolute[len(root) :] if absolute.startswith(root) else None

    def _write(self, path: str) -> bool:
        self._consulted.add(path)
        content = self._tree.read(path)
        if content is None:
            content = self._overlay.get(path)
        if content is None:
            return False
        self._put(path, content)
        if path.endswith((".yml", ".yaml")) and _LOOKS_FURTHER.search(content):
            self._foresee(path, content)
        return True

    def _foresee(self, path: str, content: bytes) -> None:
        """Write every file the text names already now: each one found later costs a run of compose."""
        if not self._deep:
            self._deep = True
            self._known = frozenset(self._tree.list())
        here = os.path.dirname(path)  # noqa: PTH120  a path of a tree, not of this machine
        for token in set(_TOKEN.findall(content)):
            named = os.path.normpath(os.path.join(here, token.decode()))  # noqa: PTH118
            for candidate in (named, os.path.join(os.path.dirname(named), ".env")):  # noqa: PTH118, PTH120
                if candidate in self._known and candidate not in self._consulted:
                    self._write(candidate)

    def _put(self, path: str, content: bytes) -> None:
        target = self._root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    def _canonical(self, text: str) -> dict[str, Any]:
        """The model with this scratch directory's paths rewritten. The directory's name is random."""
        text = text.replace(f'"{self._root}', f'"{SOURCE_ROOT}').replace(
            f'"{self._outside}', f'"{OUTSIDE_ROOT}'
        )
        model: dict[str, Any] = json.loads(text)
        return model

    def _models(self, files: Sequence[str]) -> Mapping[str, Any]:
        """Top-level `models`, which compose leaves out of its JSON but not out of its YAML."""
        if not any(
            b"models" in (self._root / path).read_bytes() for path in self._consulted if self._is_yaml(path)
        ):
            return {}
        from ruamel.yaml import YAML

        result = self._config(files)
        models = YAML(typ="safe", pure=True).load(result.out).get("models") or {}
        return {str(key): value or {} for key, value in models.items()}

    def _is_yaml(self, path: str) -> bool:
        return path.endswith((".yml", ".yaml", ".json")) and (self._root / path).is_file()

    def _profiles(self, base: str) -> frozenset[str]:
        """Profiles that the project's `.env` switches on."""
        path = self._root / base / ".env"
        if not path.is_file():
            return frozenset()
        found = re.findall(
            rb"^\s*(?:export\s+)?COMPOSE_PROFILES\s*=\s*[\"']?([^\"'#\r\n]*)", path.read_bytes(), re.M
        )
        return (
            frozenset(one.strip() for one in found[-1].decode().split(",") if one.strip())
            if found
            else frozenset()
        )

    def _refusal(self, files: Sequence[str], result: Result) -> str:
        words = result.err.strip() or result.out.strip()
        words = words.replace(f"{self._root}/", "").replace(str(self._outside), "..")
        message = next((line for line in reversed(words.splitlines()) if line.strip()), "no reason given")
        return f"Compose refuses {', '.join(files)} of commit {self._tree.commit[:12]}: {message}"

    def _warnings(self, words: str) -> tuple[str, ...]:
        """What compose warned of, without its log decoration; undefined variables above all."""
        found = re.findall(r'level=warning msg="((?:[^"\\]|\\.)*)"', words)
        texts = (one.replace('\\"', '"').replace(f"{self._root}/", "") for one in found)
        return tuple(dict.fromkeys(text for text in texts if "`version` is obsolete" not in text))
