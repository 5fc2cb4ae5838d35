"""Tell GitHub how a deploy ended: Deployment, commit status, a comment with evidence, a way back on offer.

The run has ended when this begins: nothing here can change it. Each part is told for itself, so that one that
GitHub refuses keeps none of the others back; telling the same run again changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dual_update.core.redaction import redacted, tail
from dual_update.core.report import counted, escape
from dual_update.core.run import SENTENCES
from dual_update.core.secrecy import masked_all
from dual_update.usecases.announce import (
    LABEL,
    LONGEST_BODY,
    cluster_marker,
    in_marker,
    marker_of,
    quietly,
)
from dual_update.usecases.approval import first_parents
from dual_update.usecases.github_ports import (
    CommitState,
    Deployment,
    DeploymentState,
    GitHub,
    Pull,
)

GOOD = frozenset({"succeeded", "unchanged"})
LONGEST_LOG = 12_000
LONGEST_TABLE = 20_000
LOG_LINES = 60
TOLD_PULLS = 20
"""The newest commits of a deploy whose pull requests are told how it ended."""


@dataclass(frozen=True)
class Evidence:
    """What the host saw when it failed: which service, what its health check said, the end of its log.

    `hidden` are values that must not be shown; what looks like a secret is taken out besides.
    """

    service: str = ""
    health: str = ""
    log: str = ""
    hidden: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Deploy:
    """What was deployed where. `url` leads to the job or the dashboard; `fingerprint` finds the issue."""

    cluster: str
    commit: str
    run: str
    environment: str
    deploy_branch: str
    fingerprint: str = ""
    url: str = ""


@dataclass(frozen=True)
class Told:
    """What stands on GitHub now, and a sentence for each part that GitHub did not take."""

    deployment: int | None = None
    issues: tuple[int, ...] = ()
    pulls: tuple[int, ...] = ()
    revert: Pull | None = None
    warnings: tuple[str, ...] = ()


def begin(deploy: Deploy, github: GitHub) -> tuple[str, ...]:
    """The deploy has begun; a warning for each part that GitHub did not take."""
    warnings: list[str] = []
    quietly(lambda: _set_deployment(deploy, github, "in_progress", "Deploying."), warnings.append)
    quietly(lambda: _set_status(deploy, github, "pending", "Deploying."), warnings.append)
    return tuple(warnings)


def deploy_of(run: Mapping[str, Any], environment: str, deploy_branch: str, **more: str) -> Deploy:
    """From a run's JSON (contract.md, `apply --format json`); `more` are `fingerprint` and `url`."""
    return Deploy(str(run["cluster"]), str(run["to"]), str(run["run"]), environment, deploy_branch, **more)


def tell(run: Mapping[str, Any], deploy: Deploy, github: GitHub, evidence: Evidence = Evidence()) -> Told:
    """Tell how a run ended; `run` is its JSON. Never raises for what GitHub does."""
    run = masked_all(dict(run), evidence.hidden)
    is_good = run["outcome"] in GOOD
    is_back = run.get("kind", "apply") == "rollback"
    words = SENTENCES[run["outcome"]]
    # What was refused touched nothing and may be tried again by itself; what failed may not (`left_before`).
    state: DeploymentState = "success" if is_good else "error" if run["outcome"] == "refused" else "failure"
    warnings: list[str] = []
    deployments: list[int] = []
    reverts: list[Pull] = []
    issues: list[int] = []
    pulls: list[int] = []

    # The Deployment first: it is what the next comparison starts from.
    quietly(
        lambda: deployments.append(_set_deployment(deploy, github, state, words).id),
        warnings.append,
    )
    quietly(
        lambda: _set_status(deploy, github, "success" if is_good else "failure", words),
        warnings.append,
    )
    if is_good:
        quietly(lambda: _close_reverts(deploy, github), warnings.append)
    if is_good and is_back:
        quietly(lambda: _leave(run, deploy, github), warnings.append)
    elif not is_good and not is_back:
        quietly(lambda: reverts.extend(_offer_revert(run, deploy, github)), warnings.append)
    revert = reverts[0] if reverts else None
    text = body(run, deploy, evidence, revert)
    quietly(lambda: issues.extend(_tell_issues(run, deploy, github, text, is_good=is_good)), warnings.append)
    quietly(lambda: pulls.extend(_tell_pulls(run, deploy, github, text)), warnings.append)
    return Told(deployments[0] if deployments else None, tuple(issues), tuple(pulls), revert, tuple(warnings))


def context(cluster: str) -> str:
    """The name of the commit status that tells how a cluster's deploy went."""
    return f"dual-update/deploy/{cluster}"[:200]


def _set_deployment(deploy: Deploy, github: GitHub, state: DeploymentState, words: str) -> Deployment:
    known = github.find_deployments(deploy.cluster, deploy.commit)
    there = [one for one in known if one.run == deploy.run]
    if state == "error" and not there:  # refused again: one entry is enough
        there = [one for one in known[:1] if github.deployment_status(one.id).state == state]
    made = there[0] if there else github.deploy(deploy.commit, deploy.cluster, deploy.run, deploy.environment)
    if github.deployment_status(made.id).state != state:
        github.set_deployment_state(made.id, state, words, deploy.url)
    return made


def _set_status(deploy: Deploy, github: GitHub, state: CommitState, words: str) -> None:
    name = context(deploy.cluster)
    if github.status(deploy.commit, name) != (state, words):
        github.set_status(deploy.commit, name, state, words, deploy.url)


def _leave(run: Mapping[str, Any], deploy: Deploy, github: GitHub) -> None:
    """A person went back: the commit that was left is deployed no more, and says so."""
    left = str(run.get("from") or "")
    if not left or left == deploy.commit:
        return
    words = one_line(f"Taken back by a person; {deploy.commit[:12]} runs again.")
    for one in github.find_deployments(deploy.cluster, left)[:1]:
        if github.deployment_status(one.id).state == "success":
            github.set_deployment_state(one.id, "inactive", words, deploy.url)
    if github.status(left, context(deploy.cluster)) != ("failure", words):
        github.set_status(left, context(deploy.cluster), "failure", words, deploy.url)


# Issue and pull requests


def _tell_issues(
    run: Mapping[str, Any], deploy: Deploy, github: GitHub, text: str, *, is_good: bool
) -> Sequence[int]:
    """Done: said and closed as completed. Failed: said, and open again if it was closed; where there is
    none, one is opened, for a failure nobody hears of is the worst."""
    marker = marker_of(deploy.cluster, deploy.fingerprint) if deploy.fingerprint else None
    if marker is None and is_good:
        return []  # which of the cluster's issues this answers is not known
    same = github.find_issues(marker or cluster_marker(deploy.cluster), LABEL.name)
    if is_good:
        told = [one for one in same if one.is_open]
    else:
        told = sorted(same, key=lambda one: not one.is_open)[:1]
    if not is_good and not told:
        title = f"{_plain(deploy.cluster)}: the update to {deploy.commit[:12]} failed"
        new = marker or marker_of(deploy.cluster, deploy.commit)
        told = [github.open_issue(new, title, "What happened is told below.\n", [LABEL])]
    for one in told:
        say(github, one.number, _marker(run, deploy), text)
        if is_good:
            github.edit_issue(one.number, is_open=False, reason="completed")
        elif not one.is_open:
            github.edit_issue(one.number, is_open=True)
    return [one.number for one in told]


def _tell_pulls(run: Mapping[str, Any], deploy: Deploy, github: GitHub, text: str) -> Sequence[int]:
    """Every pull request that this deploy brought to the cluster, or took from it; all are merged."""
    base, to = run.get("from"), deploy.commit
    if run.get("kind") == "rollback" and base:
        base, to = to, base
    line = first_parents(github, base, to) if base else None
    commits = [one.id for one in line or ()][-TOLD_PULLS:] or [to]
    numbers: dict[int, None] = {}
    for commit in commits:
        for pull in github.pulls_of(commit):
            if pull.is_merged and pull.base == deploy.deploy_branch:
                numbers[pull.number] = None
    for number in numbers:
        say(github, number, _marker(run, deploy), text)
    return list(numbers)


def _marker(run: Mapping[str, Any], deploy: Deploy) -> str:
    """A comment for each run; what was refused is tried again by itself, so it has one for each commit."""
    if run["outcome"] == "refused":
        return f"<!-- dual-update refused {in_marker(deploy.cluster)} {deploy.commit} -->"
    return f"<!-- dual-update run {in_marker(deploy.cluster)} {in_marker(deploy.run)} -->"


def say(github: GitHub, number: int, marker: str, text: str) -> None:
    """One comment with this marker, changed when there is more to say; twins of a lagging list go."""
    there = github.find_comments(number, marker)
    for twin in there[1:]:
        github.drop_comment(twin.id)
    if not there:
        github.comment(number, marker, text)
    elif there[0].body != f"{marker}\n{text}":
        github.edit_comment(there[0].id, f"{marker}\n{text}")


# The way back


def _offer_revert(run: Mapping[str, Any], deploy: Deploy, github: GitHub) -> Sequence[Pull]:
    """One pull request with a commit on top of the failed one that has the old one's files.

    Merging it takes back what lies between the two and nothing that came later. One that a person closed
    is not offered again.
    """
    base, head = run.get("from"), deploy.commit
    if not base or base == head:
        return []
    branch = f"dual-update/revert-{head[:12]}-to-{base[:12]}"
    marker = f"<!-- dual-update revert {head} {base} -->"
    standing = github.find_pulls(marker, branch)
    if standing:
        return standing[-1:]
    old, new = github.commit(base), github.commit(head)
    if old is None or new is None or old.tree == new.tree:
        return []
    tip = github.branch_commit(branch)
    planted = github.commit(tip) if tip else None
    if planted is None or planted.tree != old.tree or planted.parents != (head,):
        message = (
            f"Revert to {base[:12]}\n\nThe files of {base} again: {_plain(deploy.cluster)} could not be"
            f" brought to {head} (run {_plain(deploy.run)}).\n"
        )
        github.set_branch(branch, github.make_commit(old.tree, message, head))
    title = f"{_plain(deploy.cluster)}: go back to {base[:12]}, {head[:12]} failed"
    text = (
        f"{_of_cluster(deploy.cluster)}\n"
        f"The cluster **{escape(deploy.cluster)}** could not be brought to {head}, so it still wants what"
        f" {base} wanted. Merging this takes the change back in git; later commits stay.\n\n"
        "Close it if the cause lies elsewhere, and deploy again.\n"
    )
    return [github.open_pull(marker, title, text, branch, deploy.deploy_branch)]


def _of_cluster(cluster: str) -> str:
    return f"<!-- dual-update revert-of {in_marker(cluster)} -->"


def _close_reverts(deploy: Deploy, github: GitHub) -> None:
    """What is open for this cluster from earlier failures is moot now."""
    for pull in github.find_pulls("<!-- dual-update revert ", ""):
        if _of_cluster(deploy.cluster) not in pull.body.splitlines()[1:2]:
            continue
        marker = "<!-- dual-update moot revert -->"
        word = f"No longer needed: {escape(deploy.cluster)} runs {deploy.commit} (run {escape(deploy.run)})."
        if not github.find_comments(pull.number, marker):
            github.comment(pull.number, marker, word)
        github.edit_pull(pull.number, is_open=False)
        github.drop_branch(pull.head)


# Words


def body(run: Mapping[str, Any], deploy: Deploy, evidence: Evidence, revert: Pull | None = None) -> str:
    """The comment: outcome, reason, what failed and its evidence, what became of services, what to do."""
    is_good = run["outcome"] in GOOD
    title = {"succeeded": "Deployed", "unchanged": "Already deployed", "refused": "Not deployed"}
    if run.get("kind") == "rollback":
        title["succeeded"] = "Taken back"
    seconds = float(run.get("duration_seconds") or 0)
    lines = [
        f"### {title.get(run['outcome'], 'Deploy failed')}: {escape(deploy.cluster)}",
        "",
        f"{SENTENCES[run['outcome']]} Commit {deploy.commit}, run `{_code(deploy.run)}`, {seconds:.1f} s"
        + (f", [log]({_link(deploy.url)})." if _link(deploy.url) else "."),
        "",
    ]
    if not is_good:
        lines += _failure(run, evidence)
    lines += _table(run)
    lines += _by_hand(run, deploy, revert)
    text = "\n".join(lines) + "\n"
    return text if len(text) <= LONGEST_BODY - 500 else text[: LONGEST_BODY - 500].rpartition("\n")[0] + "\n"


def _failure(run: Mapping[str, Any], evidence: Evidence) -> list[str]:
    lines = []
    if run.get("reason"):
        lines += [f"**Why:** {escape(redacted(str(run['reason'])[:2000], evidence.hidden))}", ""]
    failed = next((one for one in run.get("steps") or () if one.get("outcome") == "failed"), None)
    if failed:
        step = f"{failed.get('op')} {failed.get('target')}"
        lines += [f"**Failed step:** {escape(redacted(step[:300], evidence.hidden))}", ""]
    if evidence.service:
        lines += [f"**Failing service:** {escape(redacted(evidence.service[:200], evidence.hidden))}", ""]
    for what, text in (("Health check", evidence.health), ("End of the log", evidence.log)):
        if text.strip():
            lines += _folded(what, tail(text, LOG_LINES, evidence.hidden)[-LONGEST_LOG:])
    return lines


def _folded(what: str, text: str) -> list[str]:
    """Foreign lines in a fence that none of them can end."""
    longest = max((len(run) for run in _runs_of_backticks(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"<details><summary>{what}</summary>", "", f"{fence}text", text, fence, "", "</details>", ""]


def _runs_of_backticks(text: str) -> list[str]:
    return "".join(one if one == "`" else " " for one in text).split()


def _table(run: Mapping[str, Any]) -> list[str]:
    touched = {
        name: one
        for name, one in (run.get("services") or {}).items()
        if one.get("action") not in {"none", "record"}
    }
    if not touched:
        return []
    rows: list[str] = []
    left = LONGEST_TABLE
    for number, (name, one) in enumerate(touched.items()):
        before, after = (_short(one.get(f"image_id_{side}")) for side in ("before", "after"))
        image = before if before == after else f"{before} -> {after}"
        seen = "yes" if one.get("verified") else "no"
        row = f"| {escape(str(name))} | {escape(str(one.get('action')))} | {escape(image)} | {seen} |"
        left -= len(row) + 1
        if left < 0:
            rows += ["", f"... and {counted(len(touched) - number, 'service')} more"]
            break
        rows.append(row)
    head = ["| service | action | image | verified |", "|---|---|---|---|"]
    return [f"<details><summary>{counted(len(touched), 'service')}</summary>", "", *head, *rows, "",
            "</details>", ""]  # fmt: skip


def _by_hand(run: Mapping[str, Any], deploy: Deploy, revert: Pull | None) -> list[str]:
    quoted = "'" + _code(deploy.cluster).replace("'", "") + "'"
    if run["outcome"] in GOOD:
        return [f"To go back: `dual-update rollback --cluster {quoted}` on the host."]
    lines = [f"To try again: `dual-update apply --cluster {quoted} --ref {deploy.commit}` on the host."]
    if run["outcome"] == "rollback_failed":
        lines.insert(0, f"First: `dual-update recover --cluster {quoted}` on the host.")
    if revert is not None:
        lines.append(f"To take the change back in git: merge #{revert.number}.")
    elif run.get("from") and run.get("from") != deploy.commit:
        lines.append(
            f"To take the change back in git: `git revert --no-edit {run['from']}..{deploy.commit}`"
            f" on {escape(deploy.deploy_branch)}."
        )
    return ["\n".join(f"- {one}" for one in lines)]


def _short(image_id: Any) -> str:
    return str(image_id).removeprefix("sha256:")[:12] if image_id else "nothing"


def one_line(text: str) -> str:
    """The description of a status: one line, as long as GitHub takes."""
    return " ".join(text.split())[:140]


def _plain(text: str) -> str:
    """One line of plain text for titles and commit messages; a mention in one would still notify."""
    line = " ".join("".join(one if one.isprintable() else " " for one in text).split())
    return line.replace("@", "@\u200b").replace("#", "#\u200b")[:120]


def _code(text: str) -> str:
    """Inside a code span: nothing can end it, nothing in it is acted on."""
    return "".join(one for one in _plain(text) if one not in "`|<>")


def _link(url: str) -> str:
    is_fine = url.startswith(("https://", "http://")) and not set(url) & set(" ()<>\"'\\\n")
    return url if is_fine and url.isprintable() else ""
