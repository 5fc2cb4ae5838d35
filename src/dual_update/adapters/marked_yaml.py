"""Small YAML files that people write, read with the line of every key and value, and without surprises.

Strangers may have written them: size and depth are bounded, and aliases, which can multiply, are refused.
"""

from dataclasses import dataclass, field
from typing import Any

from dual_update.core.errors import UsageError

LARGEST_BYTES = 256_000

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Marked:
    """A file's value, and for each path in it the line it starts on, counted from 1."""

    value: Any
    lines: dict[Path, int] = field(repr=False)

    def line(self, path: Path) -> int:
        """The line of a path, else of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(content: bytes, where: str) -> Marked:
    """Parse one document. Raises UsageError with file and line; an empty file is an empty mapping."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(content) > LARGEST_BYTES:
        raise UsageError(f"{where} has {len(content)} bytes, and {LARGEST_BYTES} is the most.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{where}, line {line}: not UTF-8 text.") from None
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # the warning quotes the file, and anchors are refused below
    try:
        root = yaml.compose(text)
        lines: dict[Path, int] = {}
        value = {} if root is None else _value(yaml, root, (), lines, where)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        begun = error.context_mark.line + 1 if error.context_mark else line
        raise UsageError(f"{where}, line {line}: {_plain(error.problem, begun)}.") from None
    except RecursionError:
        raise UsageError(f"{where}: values are nested too deep.") from None
    except (YAMLError, ValueError, OverflowError, ArithmeticError, LookupError, AttributeError, TypeError):
        # The reader stumbles over strange scalars (dates, numbers, control characters) in many ways.
        raise UsageError(f"{where}: this is no YAML that can be read.") from None
    return Marked({} if value is None else value, lines)


_OFTEN = {
    "expected ',' or '}'": "the { of line {begun} is not closed, or a comma is missing",
    "expected ',' or ']'": "the [ of line {begun} is not closed, or a comma is missing",
    "expected <block end>": "this does not fit what begins in line {begun}; look at the indentation",
    "found unexpected end of stream": "the quote of line {begun} is not closed",
    "found character '\\t'": "a tab does not indent; use spaces",
    "found character": "text that begins with this character has to be in quotes",
    "mapping values are not allowed": "there is a colon too many; put the text in quotes",
}
"""What people get wrong most, as the YAML reader says it, and as a person would."""


def _plain(problem: str | None, begun: int) -> str:
    """What the YAML reader says, on one line and without the text it quotes."""
    words = " ".join((problem or "cannot be read").split())
    for its, ours in _OFTEN.items():
        if words.startswith(its):
            return ours.replace("{begun}", str(begun))
    return words if len(words) < 200 and words.isprintable() and "'" not in words else _shortened(words)


def _shortened(words: str) -> str:
    return words.split("'", maxsplit=1)[0].strip()[:200] or "cannot be read"


def _value(yaml: Any, node: Any, path: Path, lines: dict[Path, int], where: str) -> Any:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)  # a value under a key counts from its key
    if node.anchor:
        raise UsageError(f"{where}, line {line}: anchors and aliases are not read here; write the value out.")
    if node.id == "mapping":
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if key_node.id == "scalar" else "?"
            at = key_node.start_mark.line + 1
            if key in found:
                raise UsageError(f"{where}, line {at}: {key[:100]!r} is there twice.")
            lines[(*path, key)] = at
            found[key] = _value(yaml, value_node, (*path, key), lines, where)
        return found
    if node.id == "sequence":
        return [_value(yaml, one, (*path, i), lines, where) for i, one in enumerate(node.value)]
    return yaml.constructor.construct_object(node, deep=True)
