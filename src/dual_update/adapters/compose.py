"""Compose: the real binary renders models; no merging or interpolation of our own.

A tree is written out only as far as compose asks for it, into a directory of its own, and the
result has its paths rewritten, so that two commits rendered in two directories compare equal
(facts measured with compose 2.40.3: docs/architecture.md).

The files come from strangers. Compose runs confined (sandbox.py): it can read nothing but the scratch
directory, reach nothing and start nothing, within bounds of memory, output and time. Where the kernel
cannot confine it, references.py checks every file before compose sees it.
"""

import hashlib
import json
import os
import posixpath
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

from dual_update.adapters import compose_words, references, sandbox
from dual_update.adapters.ignore import is_git_ignored
from dual_update.adapters.process import Result, run
from dual_update.adapters.stand_ins import stand_ins
from dual_update.core import secrecy
from dual_update.core.errors import Timeout, UsageError, WorldError
from dual_update.core.model import (
    ANY_PROFILE,
    HERE_ROOT,
    HOME_ROOT,
    OUTSIDE_ROOT,
    SOURCE_ROOT,
    Rendered,
    inside_repository,
)
from dual_update.core.placement import at
from dual_update.usecases.ports import Tree

MB = 1_000_000
NEWLINE = b"\n"
LARGEST_FILE_BYTES = 8 * MB
LARGEST_PROJECT_BYTES = 32 * MB
LARGEST_MODEL_BYTES = 64 * MB
MEMORY_BYTES = 2 * 1024 * MB
"""Address space of compose. 10,000 services take 0.5 GB of memory and about three times as many addresses."""

SECONDS_AT_LEAST = 15.0
SECONDS_PER_MB = 20.0
"""Compose takes 2 ms a service, some 3 s per megabyte, on a slow machine; this is six times that."""

MOST_ROUNDS = 50
"""How often compose may ask for one more file."""

_ABOVE, _FOLDERS_ABOVE = "(above)", 8
"""Folders around the repository, for paths that climb out of it: in a model none may have a random name."""

DEEPEST = 100
"""How deep values may be nested. Compose's own schema ends at 12."""

_PLUGIN_DIRECTORIES = (
    "/usr/local/lib/docker/cli-plugins",
    "/usr/local/libexec/docker/cli-plugins",
    "/usr/lib/docker/cli-plugins",
    "/usr/libexec/docker/cli-plugins",
)

# An `.env` file of the tree may set any of these for compose, unless they are set already.
_OWN_TERMS = {
    "COMPOSE_EXPERIMENTAL_GIT_REMOTE": "0",
    "COMPOSE_EXPERIMENTAL_OCI_REMOTE": "0",
    "COMPOSE_DISABLE_ENV_FILE": "0",
    "COMPOSE_PATH_SEPARATOR": ":",
    "GOMEMLIMIT": "1GiB",
    "LC_ALL": "C",
}

_OPENED = re.compile(r"open (?P<path>/.+?): no such file or directory")
_MISSING = (
    re.compile(r"env file (?P<path>/.+?) not found"),
    re.compile(r"label file (?P<path>/.+?) not found"),
    _OPENED,
    re.compile(r"stat (?P<path>/.+?): no such file or directory"),
)

_NOT_ALLOWED = re.compile(r"(?:open|stat|lstat|read) (?P<path>/.+?): permission denied")

_NO_VALUE = (
    "Give it a value in the .env beside the compose file, or name .env in .gitignore if the host keeps it."
)

_LOOKS_FURTHER = re.compile(rb"env_file|extends|include|label_file")
_MAY_BE_OPTIONAL = re.compile(rb"required|\\[xuU][0-9a-fA-F]|!!binary")  # a key can be written in escapes
_MERGES = re.compile(
    rb"""(?:^|[\s{,"'-])["']?(?:extends|include)["']?[ \t]*:"""
    rb"""(?P<value>[ \t]*(?:\{[^{}]*\}|\[[^\]]*\]|[^,{}\[\]]*))"""
)
_PATH_FIELD = '("(?:source|context|dockerfile|device|file|path)": ")'
_PATH_BY_PWD = re.compile(rf'{_PATH_FIELD}{re.escape(HERE_ROOT)}(?=["/])')
_PATH_LIKE_OURS = re.compile(rf'{_PATH_FIELD}(?={SOURCE_ROOT}["/]|{OUTSIDE_ROOT}["/])')
_MOST_VARIABLES = 4
_VARIABLE = re.compile(r"\$\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|\$\w+")
_REFERENCE = re.compile(rb"\$\{?([A-Za-z_][A-Za-z0-9_]*)")
_TOKEN = re.compile(rb"[A-Za-z0-9_.@/-]+")
_DEFAULTED = re.compile(rb"(?<!\$)\$\{[A-Za-z_][A-Za-z0-9_]*:?[-+]")


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
    """Renders trees; a host's holds, beneath git's, the files that git leaves to it (an ignored .env)."""

    def render(
        self, tree: Tree, files: Sequence[str], *, directory: str, name: str, by_env: bool = False
    ) -> Rendered:
        with tempfile.TemporaryDirectory(prefix="dual-update-") as scratch:
            own_env = posixpath.join(directory, ".env") if by_env else ""
            return _Rendering(Path(scratch), tree, directory, name, own_env).run(files)


class _Rendering:
    """One render: a scratch directory that fills as compose asks for files."""

    def __init__(self, scratch: Path, tree: Tree, directory: str, name: str, own_env: str) -> None:
        self._scratch = scratch.resolve()
        outside = self._scratch.joinpath(*[_ABOVE] * _FOLDERS_ABOVE)
        self._around = (outside, *outside.parents[: _FOLDERS_ABOVE - 1])
        self._root = outside / name
        self._project = self._root / directory if directory else self._root
        self._tree = tree
        self._own_env = own_env  # the `.env` that names the files, which compose reads before all others
        self._files: Sequence[str] = ()
        self._consulted: set[str] = set()
        self._composed: set[str] = set()
        self._written: dict[str, bytes] = {}
        self._bytes = 0
        self._conditional: list[str] = []
        self._stand_ins: dict[str, str] = {}
        self._here = self._scratch / "here"  # leads to the project, and is told apart from it in a model
        self._deep = False  # some file says that other files matter
        self._deadline = time.monotonic() + SECONDS_AT_LEAST
        self._confinement = sandbox.Confinement(
            writable=(self._scratch,),
            programs=(Path(binary()).resolve(),),
            memory_bytes=MEMORY_BYTES,
            output_bytes=LARGEST_MODEL_BYTES,
        )

    def run(self, files: Sequence[str]) -> Rendered:
        self._files = files
        self._composed.update(files)
        self._project.mkdir(parents=True)
        self._here.symlink_to(self._project)
        for file in files:
            if not self._write(file):
                raise UsageError(f"{file} does not exist in commit {self._tree.commit[:12]}.")
        base = str(PurePosixPath(files[0]).parent)
        dot_env = ".env" if base == "." else f"{base}/.env"
        has_dot_env = self._write(dot_env)
        if self._own_env:
            self._write(self._own_env)
        result = self._config(files, "--format", "json")
        if result.code != 0 and not has_dot_env:
            self._stand_ins = stand_ins(self._tree, dot_env, self._written.values(), self._environment())
            if self._stand_ins:
                self._conditional.append(dot_env)
                again = self._config(files, "--format", "json")
                result = again if again.code == 0 else result
        if result.code == 0 and self._optional_env_files(files):
            result = self._config(files, "--format", "json")
        if result.code != 0:
            raise self._refusal(result)
        model = self._canonical(result.out)
        given = self._given(model)
        is_bare = "variable is not set" in result.err or "" in given.values()
        if not has_dot_env and (is_bare or self._may_be_replaced(dot_env)):
            self._conditional.append(dot_env)
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
            composed=frozenset(self._composed),
            conditional=tuple(dict.fromkeys(self._conditional)),
            warnings=compose_words.warnings(result.err, self._written.values()),
            profiles=self._profiles(self._own_env, dot_env),
            hidden=self._hidden(),
            given=given,
        )

    def _config(self, files: Sequence[str], *options: str) -> Result:
        """Run `config`, giving compose each file that it misses, until it has what it wants."""
        command = [binary(), "--profile", ANY_PROFILE]
        for file in () if self._own_env else files:
            command += ["-f", str(self._root / file)]
        command += ["config", *options]
        for _ in range(MOST_ROUNDS):
            result = self._compose(command)
            if result.code == 0 or not self._supply(result.err):
                return result
        raise self._refused(f"they ask for more than {MOST_ROUNDS} files that git does not hold.")

    def _optional_env_files(self, files: Sequence[str]) -> bool:
        """Write env files that compose would do without (`required: false`); True when there were some.

        Compose asks for none of these, and its model does not name them once it is resolved.
        """
        if not any(_MAY_BE_OPTIONAL.search(one) for one in self._written.values()):
            return False
        raw = self._config(files, "--no-interpolate", "--format", "json")
        if raw.code != 0:
            raise self._refusal(raw)
        found = False
        for service in (self._canonical(raw.out).get("services") or {}).values():
            for one in service.get("env_file") or ():
                named = str(one.get("path", ""))
                if named.startswith(f"{OUTSIDE_ROOT}/"):  # compose sees none there, and the host may have one
                    raise self._outside_path(at(named, str(self._root)))
                path = inside_repository(named)
                if path is None or one.get("required", True):
                    continue
                for candidate in self._named_like(path):
                    if candidate in self._consulted:
                        is_here = candidate in self._written
                    else:
                        is_here = self._write(candidate)
                        found = found or is_here
                    if not is_here and candidate not in self._conditional:
                        self._conditional.append(candidate)
        return found

    def _named_like(self, path: str) -> Sequence[str]:
        """The path itself, or, where it holds variables, every path of the tree that it can come to: what
        a variable holds is said somewhere in the files."""
        if "$" not in path:
            return [path]
        parts = _VARIABLE.split(path)
        if len(parts) > _MOST_VARIABLES + 1:  # a regular expression could try for ages
            raise self._refused(f"an optional env file is named by more than {_MOST_VARIABLES} variables.")
        said = b"\n".join(self._written.values()).decode("utf-8", "surrogateescape")
        pattern = re.compile("(.*)".join(map(re.escape, parts)))
        found = ((one, pattern.fullmatch(one)) for one in self._tree.list())
        return [one for one, match in found if match and all(value in said for value in match.groups())]

    def _compose(self, command: Sequence[str]) -> Result:
        if not sandbox.is_available():
            references.check(self._written, self._environment(), self._tree.commit)
        environment = {
            **self._stand_ins,
            **_OWN_TERMS,
            "HOME": HOME_ROOT,
            "PWD": str(self._here),
            "PATH": str(self._scratch),
        }
        if self._own_env:  # with -f compose would not read it
            environment["COMPOSE_FILE"] = ":".join(str(self._root / file) for file in self._files)
        if self._bytes < MB:  # a small model may leave its garbage lie: a fifth less time
            environment["GOGC"] = "400"
        left = self._deadline - time.monotonic()
        try:
            return run(
                command,
                cwd=self._project,
                env=environment,
                timeout_seconds=max(left, 0.1),
                confinement=self._confinement,
            )
        except Timeout:
            raise self._refused("it was not done in time; are values or includes multiplied?") from None

    def _supply(self, words: str) -> bool:
        """Write the file that compose says it misses. An env file that git lacks is put there empty."""
        for pattern in _MISSING:
            found = pattern.search(words)
            if found is None:
                continue
            path = self._relative(found["path"])
            if path is None:
                raise self._outside_path(found["path"])
            if path in self._written:
                return False
            is_merged = found.re is _OPENED and not self._is_environment(path)
            if path not in self._consulted and self._write(path, is_merged=is_merged):
                return True
            if found.re is _MISSING[0] or self._is_environment(path):
                self._conditional.append(path)
                self._put(path, b"")
                return True
        return False

    def _relative(self, path: str) -> str | None:
        here = f"{self._here}/"
        absolute = os.path.normpath(f"{self._project}/{path[len(here) :]}" if path.startswith(here) else path)
        root = str(self._root) + "/"
        return absolute[len(root) :] if absolute.startswith(root) else None

    def _write(self, path: str, *, is_merged: bool = False) -> bool:
        self._consulted.add(path)
        content = self._tree.read(path)
        if content is None:
            return False
        if is_merged:
            self._composed.add(path)
        self._put(path, content)
        beside = os.path.join(os.path.dirname(path), ".env")  # noqa: PTH118, PTH120
        if self._is_yaml(path) and beside not in self._consulted:
            self._write(beside)  # an included file has its own
        if self._is_yaml(path) and _LOOKS_FURTHER.search(content):
            self._foresee(path, content)
        return True

    def _foresee(self, path: str, content: bytes) -> None:
        """Write every file the text names already now: each one found later costs a run of compose."""
        if not self._deep:
            self._deep = True
            self._known = frozenset(self._tree.list())
        if b"project_directory" in content:
            self._make_directories()
            for one in self._known:  # which of these counts may hang on a variable; compose asks for none
                if posixpath.basename(one) == ".env" and one not in self._consulted:
                    self._write(one)
        here = os.path.dirname(path)  # noqa: PTH120  a path of a tree, not of this machine
        merged = _merged(content)
        for token in set(_TOKEN.findall(content)):
            named = os.path.normpath(os.path.join(here, token.decode()))  # noqa: PTH118
            has_ending = named.endswith((".yml", ".yaml", ".json"))
            if token in merged and named in self._known and has_ending:
                self._composed.add(named)
            # What is merged and has no ending, compose asks for by itself, which tells it from other words.
            first = () if token in merged and not has_ending else (named,)
            for candidate in (*first, os.path.join(named, ".env")):  # noqa: PTH118
                if candidate in self._known and candidate not in self._consulted:
                    self._write(candidate)

    def _make_directories(self) -> None:
        """Every directory of the tree: compose takes a `project_directory` that is none for a file in one."""
        directories = {os.path.dirname(path) for path in self._known}  # noqa: PTH120
        for directory in directories:
            if not directory.startswith("/") and ".." not in PurePosixPath(directory).parts:
                with suppress(OSError, ValueError):
                    (self._root / directory).mkdir(parents=True, exist_ok=True)

    def _put(self, path: str, content: bytes) -> None:
        """Write a file of the tree. Git objects made by hand may hold any name: none leads out."""
        if path.startswith("/") or ".." in PurePosixPath(path).parts:
            raise self._outside_path(path)
        if len(content) > LARGEST_FILE_BYTES:
            raise self._refused(
                f"{path} has {len(content) / MB:.1f} MB, and {LARGEST_FILE_BYTES // MB} MB is the most."
            )
        self._bytes += len(content)
        if self._bytes > LARGEST_PROJECT_BYTES:
            raise self._refused(f"together they have more than {LARGEST_PROJECT_BYTES // MB} MB.")
        self._deadline += SECONDS_PER_MB * len(content) / MB
        self._written[path] = content
        target = self._root / path
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        except (OSError, ValueError) as error:
            shown = compose_words.one_line(path)
            raise self._refused(f"the path {shown} cannot be written: {error.__class__.__name__}.") from None

    def _canonical(self, text: str) -> dict[str, Any]:
        """The model with this scratch directory's paths rewritten. The directory's name is random."""
        if "\n" + "  " * DEEPEST in text:  # compose indents by two
            raise self._refused(f"values are nested deeper than {DEEPEST} levels.")
        text = _PATH_LIKE_OURS.sub(r"\1/", text)  # the host's own /src is //src, see `placement.at`
        text = text.replace(_as_go_writes(str(self._root)), SOURCE_ROOT)
        for count, place in enumerate(self._around):
            text = text.replace(_as_go_writes(str(place)), OUTSIDE_ROOT + "/.." * count)
        text = text.replace(str(self._here), HERE_ROOT)
        here = SOURCE_ROOT + str(self._project)[len(str(self._root)) :]
        if HERE_ROOT in text:
            text = _PATH_BY_PWD.sub(lambda found: f"{found[1]}{json.dumps(here)[1:-1]}", text)
        try:
            model: dict[str, Any] = json.loads(text)
        except ValueError:  # a number with more digits than Python converts
            raise self._refused("a number has too many digits.") from None
        if HERE_ROOT in text:
            for service in (model.get("services") or {}).values():
                contexts = (service.get("build") or {}).get("additional_contexts") or {}
                contexts.update({name: one.replace(HERE_ROOT, here) for name, one in contexts.items()})
        return model

    def _models(self, files: Sequence[str]) -> Mapping[str, Any]:
        """Top-level `models`, which compose leaves out of its JSON but not out of its YAML."""
        if not any(b"models" in content for path, content in self._written.items() if self._is_yaml(path)):
            return {}
        from ruamel.yaml import YAML

        result = self._config(files)
        if result.code != 0:
            raise self._refusal(result)
        block = re.search(r"^models:\n(?:[ \n].*\n?)*", result.out, re.M)
        models = YAML(typ="safe", pure=True).load(block[0])["models"] if block else {}
        return {
            str(name): {key: one for key, one in (model or {}).items() if not key.startswith("x-")}
            for name, model in (models or {}).items()
        }

    def _is_yaml(self, path: str) -> bool:
        is_named = path.endswith((".yml", ".yaml", ".json")) or path in self._composed
        return is_named and (self._root / path).is_file()

    def _profiles(self, *env_files: str) -> frozenset[str]:
        """Profiles that the project's `.env` switches on: the first of them that says so."""
        contents = (self._written.get(path, b"") for path in reversed(env_files))
        known = {
            name: value
            for content in contents
            for name, value in secrecy.assignments(content.decode("utf-8", "replace"))
        }
        value = secrecy.expanded("COMPOSE_PROFILES", known)
        return frozenset(one.strip() for one in value.split(",") if one.strip())

    def _environment(self) -> dict[str, str]:
        """What interpolation can come upon, roughly: the assignments of every file that is no YAML."""
        return dict(
            pair
            for path, content in self._written.items()
            if not self._is_yaml(path)
            for pair in secrecy.assignments(content.decode("utf-8", "replace"))
        )

    def _is_environment(self, path: str) -> bool:
        """Does an `include` name this path as its env_file, going by the text."""
        name = path.rpartition("/")[2].encode()
        return any(
            b"env_file" in content and b"include" in content and name in content
            for content in self._written.values()
        ) and not path.endswith((".yml", ".yaml", ".json"))

    def _may_be_replaced(self, dot_env: str) -> bool:
        """Has a variable a default that the host's own `.env`, which git leaves alone, may replace."""
        texts = (content for path, content in self._written.items() if self._is_yaml(path))
        return any(_DEFAULTED.search(one) for one in texts) and is_git_ignored(self._tree, dot_env)

    def _given(self, model: Mapping[str, Any]) -> dict[str, str]:
        """What configs and secrets get from variables, as digests, which compose's model leaves out.

        Not the value itself, whose finding is compose's, but every line of the files that may make it, so
        that no other value has the same digest. Empty where no file says anything of the variable.
        """
        resources = [*(model.get("configs") or {}).values(), *(model.get("secrets") or {}).values()]
        names = {str(one["environment"]) for one in resources if one and one.get("environment")}
        if not names:
            return {}
        lines: dict[str, list[str]] = {}
        for path, content in sorted(self._written.items()):
            if not self._is_yaml(path):
                for name, value in secrecy.assignments(content.decode("utf-8", "replace")):
                    lines.setdefault(name, []).append(f"{path}\0{value}")
        found = {}
        for name in names:
            seen: dict[str, None] = {}
            waiting = [name]
            while waiting:
                one = waiting.pop()
                if one not in seen:
                    seen[one] = None
                    values = "\0".join(lines.get(one, ())).encode()
                    waiting += (used.decode() for used in _REFERENCE.findall(values))
            said = json.dumps([[one, lines.get(one, [])] for one in sorted(seen)])
            found[name] = hashlib.sha256(said.encode()).hexdigest() if name in lines else ""
        return found

    def _hidden(self) -> frozenset[str]:
        """Values that must not show where a variable is part of a field that is shown.

        A value that an image line spells out itself is no secret: `postgres:16` beside PASSWORD=postgres.
        """
        texts = [c.decode("utf-8", "replace") for path, c in self._written.items() if self._is_yaml(path)]
        spelled = "\n".join(line for text in texts if "$" in text for line in re.findall("image:.*", text))
        found = {
            value
            for name, value in self._environment().items()
            if secrecy.is_secret(name, value) and value not in spelled
        }
        for text in texts:
            found |= {value for name, value in secrecy.defaults(text) if secrecy.is_secret(name, value)}
        return frozenset(found)

    def _refusal(self, result: Result) -> UsageError:
        """Why compose did not take the files, in its own words as far as they hold no values."""
        words = result.err.strip() or result.out.strip()
        denied = _NOT_ALLOWED.search(words)
        if denied and self._relative(denied["path"]) is None:
            return self._outside_path(denied["path"])
        if "goroutine " in words or "out of memory" in words:
            return self._refused("it ran out of memory; are values or includes multiplied?")
        if "file too large" in words:
            return self._refused(f"the model has more than {LARGEST_MODEL_BYTES // MB} MB.")
        words = self._without_scratch(words)
        words = re.sub(r'^time="[^"]*" level=\w+ msg=.*$', "", words, flags=re.M)
        safe = compose_words.said_safely(
            words, compose_words.keys(self._written.values()), {*self._consulted, *self._files}
        )
        if "required variable" in words:
            return self._refused(safe, _NO_VALUE)
        unset = compose_words.unset(result.err, self._written.values())
        hint = f"It may be for want of a value of {', '.join(unset[:5])}. {_NO_VALUE}" if unset else ""
        return self._refused(safe or "no reason given", hint)

    def _without_scratch(self, words: str) -> str:
        words = words.replace(f"{self._root}/", "")
        for count, place in enumerate(self._around, 1):
            words = words.replace(str(place), "/".join([".."] * count))
        return words

    def _refused(self, why: str, hint: str = "") -> UsageError:
        return UsageError(
            f"Compose refuses {', '.join(self._files)} of commit {self._tree.commit[:12]}: {why}", hint=hint
        )

    def _outside_path(self, path: str) -> UsageError:
        shown = compose_words.one_line(self._without_scratch(path))
        name = shown.encode()
        where = ", ".join(self._files)
        for file, content in self._written.items():
            if name in content:
                where = f"{file}, line {content.count(NEWLINE, 0, content.index(name)) + 1}"
                break
        return UsageError(
            f"{where} of commit {self._tree.commit[:12]} names {shown}, outside of the repository.",
            hint="Only files of the repository are read. Put it there, or take the reference out.",
        )


def _as_go_writes(path: str) -> str:
    """A path inside a JSON string as Go's encoder has it, which hides `<`, `>` and `&`."""
    text = json.dumps(path, ensure_ascii=False)[1:-1]
    return re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def _merged(content: bytes) -> frozenset[bytes]:
    """Words of a compose file that may name files to merge: what stands behind `extends` and `include`.

    By the text, since files with tags of compose's own are no YAML for others. A file that is missed here is
    compared byte by byte where it is mounted or built from, too, so that at most a comment counts.
    """
    found: set[bytes] = set()
    depth: int | None = None
    for line in content.splitlines():
        text = line.lstrip()
        here = len(line) - len(text)
        is_inside = depth is not None and (
            not text or text[:1] == b"#" or here > depth or (here == depth and text[:1] in b"-]}")
        )
        if is_inside:
            found.update(_TOKEN.findall(text))
            continue
        depth = None
        for match in _MERGES.finditer(line):
            value = match["value"].strip()
            if value and not value.startswith((b"#", b"&", b"!")):
                found.update(_TOKEN.findall(value))
            else:  # it goes on below
                found.update(_TOKEN.findall(line[match.start("value") :]))
                depth = here
    return frozenset(found)
