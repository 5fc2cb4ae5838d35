"""Log lines of strangers' programs, made fit to be shown: what looks like a secret is taken out."""

import re
from collections.abc import Iterable

from dual_update.core.secrecy import MASK, is_secret, masked

LONGEST_LINE = 400
_NAMED = re.compile(
    r"(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)(?P<between>[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s\"',;&]+)"
)
_WORD = re.compile(r"[^\s\"'=:,;&()<>\[\]{}]{16,}")
_BEARER = re.compile(r"(?i)\b(bearer|basic|token)\s+[A-Za-z0-9+/=._~-]{8,}")
_COLOUR = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)


def redacted(text: str, hidden: Iterable[str] = ()) -> str:
    """The text without hidden values, without values of names that sound secret and without words that only
    machines write. Terminal colours and control characters are taken out as well."""
    text = masked(_KEY.sub(MASK, _COLOUR.sub("", text)), hidden)
    return "\n".join(_line(one) for one in text.splitlines())


def tail(text: str, lines: int, hidden: Iterable[str] = ()) -> str:
    """The last lines, redacted. What is cut away is looked at too: a key may begin above."""
    return "\n".join(redacted(text, hidden).splitlines()[-lines:])


def _line(line: str) -> str:
    line = "".join(one if one.isprintable() else " " for one in line)[:LONGEST_LINE].rstrip()
    line = _BEARER.sub(lambda m: f"{m[1]} {MASK}", line)
    line = _NAMED.sub(lambda m: f"{m['name']}{m['between']}{_shown(m['name'], m['value'])}", line)
    return _WORD.sub(lambda m: _shown("", m[0]), line)


def _shown(name: str, value: str) -> str:
    return MASK if is_secret(name, value) else value
