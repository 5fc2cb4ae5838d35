"""What compose says, made fit to be shown: its messages quote values, and values may be secrets.

A message is kept word by word: words that compose itself writes, names of keys, variables, files and numbers
of lines stay; every other word may be a value and is masked. This errs towards masking.
"""

import re
from collections.abc import Iterable

from dual_update.core.secrecy import MASK

# The vocabulary of compose's and the YAML reader's complaints, and the types and keys they name.
_WORDS = frozenset(
    """
    !!bool !!float !!int !!map !!null !!seq !!str $ && - / a additional address after against aliasing all
    allowed already also an anchor and any anyof are argument arguments array as at attached be
    because been before between block boolean both bound build but by cannot cast change character
    characterized characters circular cli.named client command comments compose compose.yaml
    compose_experimental_git_remote compose_experimental_oci_remote config configs conflict
    conflicting conflicts confusing contain contained containerport contains content context control
    converting could count cpus creating cycle daemon declared decode decoded decoding deep default
    define defined definition denied depend dependencies dependency depends deploy depth detected
    device did directive directory disabled distinct doc document does driver duplicate duplicates
    duration each either empty encountered end ended endpoint entry env environment error error(s)
    errors escape exactly excessive expand expected expecting extend extended extends external
    external: failed field fields file files filter find first float following for form format found
    from get git gpus group has have healthcheck host hostport id if image implicit in include
    incorrect indentation indicator instead integer internal interpolating interpolation into
    invalid ip is it items its key keys known label labels least length level limit limits line lines
    link list load loading local long longer looking main malformed map mapping mappings maximum may
    merge merging message minimum missing mode model models more multiple must mutually name named
    names need needs neither nested network network_mode networks new nil no non none nor not null
    number object oci of on one only open option options or order other out overflow override
    parameter parse parsefloat parseint parsing path permission platform please plugin port ports
    profile profiles project properties property proto protocol provider pull_policy quoted range read
    reading reason recursive refer reference references refers remote repeat required requires
    reserved resolve resolving resource resources same scalar scale scanning schema secret secrets
    section sequence service services set shall should signed simple single size source specific
    specified specify start started starting stat strconv.atoi strconv.parsebool strconv.parsefloat
    strconv.parseint string strings structure such support supported swarm symlinks syntax tab tag
    target the them there this time time: to token too top top-level true trying two type types
    unable undefined unexpected unit unix unknown unmarshal unsigned unsupported unterminated use
    used uses using valid validate validating validation value values variable variables version
    volume volumes was when where which while with without would wrong yaml yaml: you your zero ||
    """.split()  # noqa: SIM905  a list of 300 quoted words reads worse
)
_WORD = re.compile(r"[^\s\"'`,;()<>=]+")
_INDEXED = re.compile(r"\[[^\]]*\]")
_KEY_OF_YAML = re.compile(
    rb"^[ \t]*(?:- +)?[\"']?([A-Za-z_][A-Za-z0-9_.-]{0,63})[\"']?[ \t]*:(?:[ \t\r]|$)", re.M
)
_KEY_IN_FLOW = re.compile(rb"[{,][ \t]*[\"']?([A-Za-z_][A-Za-z0-9_.-]{0,63})[\"']?[ \t]*:[ \t]")
_KEY_OF_ENV = re.compile(rb"^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]{0,63})[ \t]*=", re.M)
_BRACED = re.compile(rb"\$\{([A-Za-z_][A-Za-z0-9_]{0,63})")
_BARE = re.compile(rb"(?<![A-Za-z0-9$])\$([A-Z][A-Z_]{1,40}[A-Z])(?![a-z0-9])")
_UNDEFINED = re.compile(r'The "(.*?)" variable is not set')
_NAMED = re.compile(
    r"(?:undefined (?:volume|network|config|secret|service|model)|service|depends on)"
    r' "?([A-Za-z0-9][A-Za-z0-9._-]{0,63})"?'
)
_DOLLAR = "A value holds a `$` that compose takes for a variable that is not set; write `$$` for a dollar."
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e]+")
_LONGEST = 600


def keys(files: Iterable[bytes]) -> frozenset[str]:
    """Names that the files give to things: keys, services, variables. Values are not among them."""
    patterns = (_KEY_OF_YAML, _KEY_IN_FLOW, _KEY_OF_ENV, _BRACED, _BARE)
    return frozenset(
        name.decode() for content in files for pattern in patterns for name in pattern.findall(content)
    )


def variables(files: Iterable[bytes]) -> frozenset[str]:
    """Names meant as variables. A `$` inside a password makes compose take the rest of it for one."""
    return frozenset(
        name.decode()
        for content in files
        for pattern in (_BRACED, _BARE)
        for name in pattern.findall(content)
    )


def one_line(words: str) -> str:
    """Without control characters, so that a message stays one sentence on any terminal; cut when long."""
    text = _CONTROL.sub(" ", words).strip()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + " ..."


def said_safely(words: str, known: frozenset[str], paths: Iterable[str]) -> str:
    """A complaint of compose in which everything that may be a value is masked."""
    named = {name for name in _NAMED.findall(words) if len(name) < 40}
    allowed = known | named | frozenset(paths)
    text = _WORD.sub(lambda found: _kept(found[0], allowed), words)
    return one_line(re.sub(rf"{re.escape(MASK)}(?:[\s\"'`,;()<>=]*{re.escape(MASK)})+", MASK, text))


def _kept(word: str, allowed: frozenset[str]) -> str:
    bare = word.rstrip(".:?!")
    tail = word[len(bare) :]
    if _is_plain(bare, allowed):
        return word
    parts = [part for part in re.split(r"[.:]", _INDEXED.sub("", bare)) if part]
    indexes = [one[1:-1] for one in _INDEXED.findall(bare)]
    if parts and all(_is_plain(part, allowed) for part in (*parts, *indexes)):
        return word
    return MASK + tail


def _is_plain(word: str, allowed: frozenset[str]) -> bool:
    is_small_number = word.isdigit() and len(word) <= 5
    return word.lower() in _WORDS or word in allowed or is_small_number or not any(c.isalnum() for c in word)


def unset(words: str, files: Iterable[bytes]) -> tuple[str, ...]:
    """Variables that compose found no value for, by name."""
    meant = variables(files)
    said = _UNDEFINED.findall(words.replace('\\"', '"'))
    return tuple(dict.fromkeys(name for name in said if name in meant))


def warnings(words: str, files: Iterable[bytes]) -> tuple[str, ...]:
    """What compose warned of, without its log decoration: undefined variables above all."""
    contents = tuple(files)
    known, meant = keys(contents), variables(contents)
    said: dict[str, None] = {}
    for raw in re.findall(r'level=warning msg="((?:[^"\\]|\\.)*)"', words):
        text = re.sub(r"\\(.)", r"\1", raw)
        if "`version` is obsolete" in text:
            continue
        undefined = _UNDEFINED.match(text)
        if undefined and undefined[1] in meant:
            said[one_line(text)] = None
        elif undefined:
            said[_DOLLAR] = None
        else:
            said[said_safely(text, known, ())] = None
    return tuple(said)
