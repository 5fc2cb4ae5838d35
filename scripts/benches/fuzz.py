"""fuzz: strange bytes for everything that we parse by ourselves, for a time; crashes, hangs and leaks count.

Targets: the config loaders, the check of compose files before compose runs, env files, masking of compose's
words, `.dockerignore`, image references. Each must return or raise one of our own errors, in time, without
the planted secret in it. A failure prints what reproduces it. Guided by coverage: inputs are
built from tokens of the formats, mutated, and remembered when they reached a line that was new.
"""

import argparse
import random
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from dual_update.adapters import compose_words, config, ignore, references
from dual_update.core import secrecy
from dual_update.core.errors import DualUpdateError
from dual_update.core.model import ImageRef
from dual_update.core.report import escape

PLANTED = "Zq7planted9Kw"
SLOWEST_SECONDS = 10.0

KEYS = """
services image env_file include extends label_file project_directory file path cluster compose_files
health settle_seconds checks url tcp name service rules clusters runner stage retention runs
watchtower token_file mode scope driver body status timeout_seconds
"""
WORDS = """
dual none image structural changed /etc/passwd ../../x ${X} ${X:-y} $X http://a:1/ h:1 1 1.5 true -
{ } [ ] ' " | <<: *a &a !x ? A= =&= export password= @sha256: **/ !a [a- a] [[a *?\\ \\ \\x5f .nan
-.inf 1e999 0o17 2020-13-45 12:30:45 !!binary !!int !!timestamp ZW52X2ZpbGU= %YAML %TAG --- ... #
msg=" level=warning
"""
TOKENS = [
    *(f"{key}: ".encode() for key in KEYS.split()),
    *(word.encode() for word in WORDS.split()),
    *(
        b"\n",
        b"\n  ",
        b"\n    ",
        b"\n- ",
        b", ",
        b": ",
        b" ",
        b"|\n  ",
        b">-\n ",
        b"\t",
        b"\0",
        b"\r\n",
        b"\r",
    ),
    *(b"\xff\xfe", b"\xef\xbb\xbf", b"\xf0\x9f\x9a\x80", b"\xed\xa0\x80", b"\x85", b"\xe2\x80\xa8"),
    *(b"9" * 400, b"0x" + b"f" * 50, b"[" * 300, b"{a: " * 200),
    *(b'The "x" variable is not set', b"line 3: ", PLANTED.encode()),
]


class OneFile:
    """A tree that holds the same bytes under every name."""

    commit = "0" * 40

    def __init__(self, content: bytes) -> None:
        self.content = content

    def read(self, _: str) -> bytes | None:
        return self.content

    def list(self) -> list[str]:
        return []


def config_file(data: bytes) -> None:
    config.parse(data, "policy.yml")


def clusters_file(data: bytes) -> None:
    config.parse_multi_cluster(data, "clusters.yml")


def compose_file(data: bytes) -> None:
    references.check({"compose.yaml": data, ".env": data}, {"X": "../.."}, "0" * 40)


def words(data: bytes) -> None:
    """What compose says of a file must not show a value of it."""
    said = compose_words.said_safely(data.decode("utf-8", "replace"), compose_words.keys([]), ())
    if PLANTED in said and "service" not in said and "undefined" not in said and "depends on" not in said:
        raise AssertionError(f"a value is shown: {said!r}")
    compose_words.warnings(data.decode("utf-8", "replace"), [data])


def env_file(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    found = {value for name, value in secrecy.assignments(text) if secrecy.is_secret(name, value)}
    if any(value in secrecy.masked(text, found) for value in found if secrecy.MASK not in value):
        raise AssertionError("a hidden value is shown")
    list(secrecy.defaults(text))
    escape(text)


def ignore_file(data: bytes) -> None:
    ignore.sent_to_build(OneFile(data), "", "Dockerfile", ["a", "b/c", ".hidden", "x[y", "d/e/f.txt"])


def reference(data: bytes) -> None:
    one = ImageRef.parse(data.decode("utf-8", "replace"))
    escape(f"{one} {one.canonical} {one.is_pinned}")


TARGETS: list[Callable[[bytes], None]] = [
    config_file, clusters_file, compose_file, words, env_file, ignore_file, reference,
]  # fmt: skip


def trace(target: Callable[[bytes], None], data: bytes) -> frozenset[tuple[str, int]]:
    """Run a target and say which lines of ours it reached."""
    reached: set[tuple[str, int]] = set()

    def local(frame: object, event: str, _: object) -> object:
        if event == "line":
            reached.add((frame.f_code.co_name, frame.f_lineno))  # type: ignore[attr-defined]
        return local

    def globally(frame: object, *_: object) -> object:
        is_ours = "dual_update" in frame.f_code.co_filename  # type: ignore[attr-defined]
        return local if is_ours else None

    sys.settrace(globally)  # type: ignore[arg-type]
    try:
        target(data)
    except DualUpdateError as error:
        reached.add((str(error)[-60:], 0))
    finally:
        sys.settrace(None)
    return frozenset(reached)


def mutated(rng: random.Random, corpus: list[bytes]) -> bytes:
    """A new input: tokens, or a known input with pieces taken out, doubled, swapped or put in."""
    if not corpus or rng.random() < 0.3:
        return b"".join(rng.choices(TOKENS, k=rng.randint(1, 40)))
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + rng.randint(0, 12))
        match rng.randint(0, 4):
            case 0:
                data[at:at] = rng.choice(TOKENS)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * rng.randint(1, 30)
            case 3:
                data[at:end] = rng.randbytes(end - at)
            case _:
                other = rng.choice(corpus)
                data[at:end] = other[: rng.randint(0, len(other))]
    return bytes(data[:20_000])


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("error")  # a warning would reach a user's terminal
    rng = random.Random(options.seed)
    end = time.monotonic() + options.minutes * 60
    corpora: dict[str, list[bytes]] = {target.__name__: [] for target in TARGETS}
    reached: dict[str, set[object]] = {target.__name__: set() for target in TARGETS}
    failures: dict[str, bytes] = {}
    runs, slowest = 0, 0.0
    while time.monotonic() < end:
        for target in TARGETS:
            data = mutated(rng, corpora[target.__name__])
            began = time.process_time()
            try:
                new = trace(target, data) - reached[target.__name__]
            except Exception as error:
                line = traceback.extract_tb(error.__traceback__)[-1]
                what = (
                    f"{target.__name__}: {type(error).__name__} at {Path(line.filename).name}:{line.lineno}"
                )
                if what not in failures:
                    failures[what] = data
                    print(f"{what}: {str(error)[:200]}\n  input: {data[:400]!r}", flush=True)
                continue
            took = time.process_time() - began
            slowest = max(slowest, took)
            if took > SLOWEST_SECONDS:
                failures[f"{target.__name__}: slow"] = data
                print(f"{target.__name__}: {took:.1f} s\n  input: {data[:400]!r}", flush=True)
            if new:
                reached[target.__name__] |= new
                corpora[target.__name__].append(data)
            runs += 1
    lines = ", ".join(f"{name} {len(found)}" for name, found in reached.items())
    print(f"{runs} inputs in {options.minutes:g} minutes, seed {options.seed}, slowest {slowest:.2f} s")
    print(f"lines and messages reached: {lines}\n{len(failures)} kinds of failure")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
