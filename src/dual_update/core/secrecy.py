"""What must not be said aloud: which variables hold secrets, and text with their values taken out.

Reports name fields and do not quote them (core/diff.py, SHOWN). A secret can still get into a field that is
shown: `image: registry/${TOKEN}/app`. So the renderer tells which values came from variables that look
secret, and every report replaces them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

MASK = "***"

_ALWAYS = re.compile(
    r"PASS|PWD|SECRET|TOKEN|CREDENTIAL|API_?KEY|PRIVATE|ACCESS_?KEY|SIGNING|ENCRYPTION|BEARER|JWT|COOKIE",
    re.I,
)
_USUALLY = re.compile(r"AUTH|KEY|CERT|SALT|DSN|SESSION|(^|_)PIN($|_)", re.I)
_HARMLESS_END = re.compile(r"(TAG|VERSION|IMAGE|REGISTRY|REPO|REPOSITORY|PORT|HOST|DIGEST|NAME)$", re.I)
_DESKTOP = re.compile(r"XDG_SESSION_\w+|DESKTOP_SESSION|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK")
"""Every login has them. Their values are words like `user`, which would be taken out of every sentence."""
_VERSION = re.compile(r"v?\d+([.\-_+][0-9A-Za-z]{1,12}){0,6}|latest|stable|main|edge", re.I)
_ISSUED = re.compile(
    r"^(gh[pousr]_|github_pat_|glpat-|xox[abprs]-|AKIA|ASIA|sk-|sk_live|rk_live|npm_|pypi-|dckr_pat_|eyJ|hvs\.)"
)
_RANDOM = re.compile(r"^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9+/=_-]{20,}$")
_IN_URL = re.compile(r"(?<=://)[^/\s@\"']*:[^/\s@\"']*@|(?<=://)[^/\s:@\"']{16,}@")
_SHORTEST = 4  # masking "1" wherever it stands would hide nothing and spoil every report


def is_secret(name: str, value: str) -> bool:
    """Does a variable look like it holds a secret: by its name, else by a value that only machines write."""
    if len(value) < _SHORTEST:
        return False
    if _DESKTOP.fullmatch(name):
        return False
    if _ISSUED.match(value) or _RANDOM.match(value):
        return True
    if _ALWAYS.search(name):
        return not _VERSION.fullmatch(value)
    return bool(_USUALLY.search(name)) and not _HARMLESS_END.search(name)


def masked(text: str, hidden: Iterable[str]) -> str:
    """The text without the hidden values and without user names and passwords in URLs."""
    for value in sorted(hidden, key=len, reverse=True):
        text = text.replace(value, MASK)
    return _IN_URL.sub(f"{MASK}@", text) if "://" in text else text


def masked_all(value: Any, hidden: Iterable[str]) -> Any:
    """The same for every string in a JSON value, keys included."""
    if isinstance(value, str):
        return masked(value, hidden)
    if isinstance(value, Mapping):
        return {masked_all(key, hidden): masked_all(one, hidden) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(masked_all(one, hidden) for one in value)
    return value


_ASSIGNMENT = re.compile(
    r"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.-]*)[ \t]*[=:][ \t]*"
    r"""(?:"((?:[^"\\]|\\[\s\S])*)"|'((?:[^'\\]|\\[\s\S])*)'|(.*))""",
    re.M,
)


def assignments(text: str) -> Iterator[tuple[str, str]]:
    """Names and values of an env file, roughly: quotes are taken off, nothing is expanded. A value in quotes
    may have many lines."""
    for name, double, single, bare in _ASSIGNMENT.findall(text.lstrip("\ufeff")):
        value = double or single or re.split(r"\s#", bare.strip(), maxsplit=1)[0].rstrip()
        if value:
            yield name, value


_USED = re.compile(r"\$(?:\{(\w+)(?::?-([^}]*))?\}|(\w+))")


def expanded(name: str, known: Mapping[str, str]) -> str:
    """What a variable of an env file comes to with the others that it uses; a stranger's is bounded."""
    value = known.get(name, "")
    for _ in range(5 if "$" in value else 0):
        value = substituted(value, known)
    return value


def substituted(text: str, known: Mapping[str, str]) -> str:
    """A text with its variables replaced, once. What a stranger wrote is bounded: text, and each value."""
    return _USED.sub(lambda use: known.get(use[1] or use[3], use[2] or "")[:200], text[:2000])


_DEFAULT = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*):?[-+]([^${}\"']+)\}")


def defaults(text: str) -> Iterator[tuple[str, str]]:
    """Names and literal defaults of `${NAME:-default}` in a compose file."""
    yield from _DEFAULT.findall(text)
