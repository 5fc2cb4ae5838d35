"""Tell GitHub what a Decision means: one issue a cluster and fingerprint, one comment a pull request.

What was said is found again by a marker, changed where it differs, and closed with a word when it no longer
matters. Saying the same twice changes nothing. The decision matrix (contract.md) says what is opened; a
Decision that needs nothing opens nothing and closes what is left of earlier ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import quote

from dual_update.core.decision import Decision
from dual_update.core.errors import DualUpdateError
from dual_update.core.report import concealed, github_wants, markdown
from dual_update.usecases.github_ports import GitHub, Issue, Label, Pull

LABEL = Label("dual-update", "1d76db", "What an update changes on a cluster")
LONGEST_TITLE = 200
"""GitHub takes 256 characters; lists show fewer."""

LONGEST_BODY = 65_000
"""GitHub takes 65,536 characters."""

NAMED_SERVICES = 3


@dataclass(frozen=True)
class Announced:
    """What stands on GitHub now. `closed` are the issues that no longer matter."""

    issue: Issue | None
    closed: tuple[int, ...] = ()


def announce(
    decision: Decision, github: GitHub, footer: str = "", *, branch: str = "", merged: Sequence[str] = ()
) -> Announced:
    """Bring the cluster's issues in line with the Decision: one open issue for what is wanted, none else.

    `footer` is our own Markdown (commands, links to runs), set below the report. An issue that a person
    closed stays closed. `branch`: the Decision is a proposal on that branch, which has an issue of its own.
    `merged`: branches that came to the deploy branch; a proposal's issue goes on as the cluster's.

    Raises WorldError when GitHub does not do its part; nothing is left half: the next call goes on from
    what is there.
    """
    prefix = proposal_marker(branch, decision.cluster) if branch else cluster_marker(decision.cluster)
    ours = list(github.find_issues(prefix, LABEL.name))
    marker = f"{prefix}{quote(decision.fingerprint, safe='')} -->"
    same = [one for one in ours if one.body.startswith(marker)]
    proposed = [
        one
        for name in dict.fromkeys(merged)
        for one in github.find_issues(proposal_marker(name, decision.cluster), LABEL.name)
        if one.is_open
    ]
    ours += proposed
    if not same:
        same = proposed[:1]
    issue = _upserted(decision, github, same, footer, marker) if github_wants(decision)["issue"] else None
    moot = [one for one in ours if one.is_open and (issue is None or one.number != issue.number)]
    for one in moot:
        _close(github, one, issue)
    return Announced(issue, tuple(one.number for one in moot))


def announce_on_pull(decision: Decision, github: GitHub, number: int, footer: str = "") -> str:
    """The plan as one comment on a pull request, changed in place at each push; its address."""
    marker = f"<!-- dual-update plan {in_marker(decision.cluster)} -->"
    text = body_of(decision, footer)
    wanted = f"{marker}\n{text}"
    there = github.find_comments(number, marker)
    if not there:
        return github.comment(number, marker, text).url
    if there[0].body != wanted:
        github.edit_comment(there[0].id, wanted)
    return there[0].url


def offer_pull(
    decision: Decision, github: GitHub, branch: str, into: str, issue: Issue | None = None, footer: str = ""
) -> Pull | None:
    """One pull request from a branch into the deploy branch, where the decision matrix asks for one.

    A pull request that a person opened is left in their words. Ours follows the branch's newest commit, and
    is closed with a word when the Decision no longer asks for it. None: there is none to speak of.
    """
    marker = f"<!-- dual-update pull {in_marker(decision.cluster)} -->"
    standing = [one for one in github.find_pulls("", branch) if one.is_open and one.base == into]
    ours = [one for one in standing if one.body.startswith(marker)]
    if not github_wants(decision)["pull_request"]:
        for one in ours:
            word = (
                "No longer needed: the branch's newest commit asks for no change that wants a pull request."
            )
            say_once(github, one.number, "moot", word)
            github.edit_pull(one.number, is_open=False)
        return None
    # No closing keyword: the issue is closed by the deploy that follows, not by the merge.
    issues = f"Issue: #{issue.number}\n\n" if issue else ""
    title, text = title_of(decision), body_of(decision, f"{issues}{footer}")
    if not standing:
        return github.open_pull(marker, title, text, branch, into)
    pull = ours[0] if ours else standing[0]
    wanted = f"{marker}\n{text}"
    if ours and (pull.title, pull.body) != (title, wanted):
        return github.edit_pull(pull.number, title=title, body=wanted)
    return pull


def close_done(decision: Decision, github: GitHub, word: str) -> tuple[int, ...]:
    """The update is done: say so on its issue and close it as completed."""
    ours = github.find_issues(issue_marker(decision), LABEL.name)
    still_open = [one for one in ours if one.is_open]
    for one in still_open:
        say_once(github, one.number, "done", word)
        github.edit_issue(one.number, is_open=False, reason="completed")
    return tuple(one.number for one in still_open)


def quietly(tell: Callable[[], object], warn: Callable[[str], None]) -> None:
    """Tell GitHub, but never let a notification decide over a deploy: what fails becomes a warning."""
    try:
        tell()
    except DualUpdateError as error:
        warn(f"GitHub was not told: {' '.join(str(error).split())}")


def withdraw(github: GitHub, branch: str, word: str) -> tuple[int, ...]:
    """A proposal came to nothing: say why on the issues of its branch and close them."""
    ours = github.find_issues(f"<!-- dual-update proposal {in_marker(branch)} ", LABEL.name)
    still_open = [one for one in ours if one.is_open]
    for one in still_open:
        say_once(github, one.number, "moot", word)
        github.edit_issue(one.number, is_open=False, reason="not_planned")
    return tuple(one.number for one in still_open)


def _upserted(decision: Decision, github: GitHub, same: Sequence[Issue], footer: str, marker: str) -> Issue:
    title, text = title_of(decision), body_of(decision, footer)
    wanted = f"{marker}\n{text}"
    if not same:
        return github.open_issue(marker, title, text, [LABEL])
    # Twins come of two runs that opened at once; the elder stays, the others close as moot.
    issue = next((one for one in same if one.is_open), same[0])
    was_closed_by_us = not issue.is_open and _is_moot(issue)
    if issue.is_open or was_closed_by_us:
        is_same = (issue.title, issue.body, issue.is_open) == (title, wanted, True)
        if not is_same:
            return github.edit_issue(issue.number, title=title, body=wanted, is_open=True)
    return issue


def _close(github: GitHub, moot: Issue, instead: Issue | None) -> None:
    """Say why before closing: whoever reads the notification sees the reason first."""
    if instead is None:
        word = "No longer needed: the newest commit asks for no update of this cluster."
    else:
        word = f"Superseded by #{instead.number}: a newer commit is what the cluster should become."
    say_once(github, moot.number, "moot", word)
    first, _, rest = moot.body.partition("\n")
    body = moot.body if _is_moot(moot) else f"{first}\n{MOOT}\n{rest}"
    github.edit_issue(moot.number, body=body[:LONGEST_BODY], is_open=False, reason="not_planned")


MOOT = "<!-- dual-update moot -->"


def _is_moot(issue: Issue) -> bool:
    return issue.body.partition("\n")[2].startswith(MOOT)


def say_once(github: GitHub, number: int, kind: str, word: str) -> None:
    """One closing word of a kind; said again after a kill between word and closing, it is found."""
    marker = f"<!-- dual-update {kind} {sha256(word.encode()).hexdigest()[:12]} -->"
    if not github.find_comments(number, marker):
        github.comment(number, marker, word)


def issue_marker(decision: Decision) -> str:
    """The first line of an issue's text: cluster and fingerprint."""
    return marker_of(decision.cluster, decision.fingerprint)


def marker_of(cluster: str, fingerprint: str) -> str:
    """The same, for those who have no Decision at hand."""
    return f"{cluster_marker(cluster)}{quote(fingerprint, safe='')} -->"


def cluster_marker(cluster: str) -> str:
    """How every issue of a cluster begins."""
    return f"<!-- dual-update issue {in_marker(cluster)} "


def proposal_marker(branch: str, cluster: str) -> str:
    """How an issue begins that tells what a branch would change."""
    return f"<!-- dual-update proposal {in_marker(branch)} {in_marker(cluster)} "


def in_marker(cluster: str) -> str:
    """A cluster's name that cannot end a comment: nothing but letters, digits, `_`, `.`, `~`, `%` and `-`."""
    return quote(cluster, safe="").replace("--", "-%2D")


def title_of(decision: Decision) -> str:
    """What changes, in one line of plain text: cluster, the services by what is done to them."""
    decision = concealed(decision)
    groups: dict[str, list[str]] = {}
    for name, service in sorted(decision.services.items()):
        if service.action != "none":
            groups.setdefault(service.action, []).append(name)
    parts = [f"{action} {_few(names)}" for action, names in groups.items()]
    words = f"{decision.cluster}: {', '.join(parts) or 'record the new state'}"
    clean = "".join(one if one.isprintable() else " " for one in words)
    # A mention in a title notifies nobody, yet reads as one where it is quoted.
    clean = " ".join(clean.split()).replace("@", "@\u200b")
    return clean if len(clean) <= LONGEST_TITLE else f"{clean[: LONGEST_TITLE - 1]}…"


def _few(names: Sequence[str]) -> str:
    listed = ", ".join(names[:NAMED_SERVICES])
    more = len(names) - NAMED_SERVICES
    return f"{listed} and {more} more" if more > 0 else listed


def body_of(decision: Decision, footer: str = "") -> str:
    """The report, and our own words below it; cut at a line's end before GitHub would refuse it."""
    below = f"\n{footer.strip()}\n" if footer.strip() else ""
    report = markdown(decision)
    room = LONGEST_BODY - len(below) - 500  # the markers' lines
    if len(report) > room:
        report = report[:room].rpartition("\n")[0] + "\n\n... the rest is in the job's summary\n"
        report += "\n</details>\n" * (report.count("<details>") - report.count("</details>"))
    return report + below
