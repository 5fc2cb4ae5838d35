"""After the deploy jobs: read what they left behind and tell GitHub how each cluster's deploy ended."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dual_update.core.errors import ExitCode, UsageError
from dual_update.core.report import escape, printable
from dual_update.usecases.announce import quietly

if TYPE_CHECKING:
    from dual_update.adapters.actions import Step
    from dual_update.edges.action import Asked
    from dual_update.usecases.github_ports import CommitState, GitHub
    from dual_update.usecases.outcome import Deploy, Evidence, Told
    from dual_update.wiring_github import Opened

LARGEST_REPORT_BYTES = 8_000_000
LARGEST_LOG_BYTES = 200_000
"""Of a log only the end is read."""


@dataclass(frozen=True)
class Ended:
    """One cluster's run as its job left it, or why there was none (`refusal`); both are None where the job
    left nothing."""

    cluster: str
    entry: Mapping[str, Any]
    run: Mapping[str, Any] | None = None
    refusal: Mapping[str, Any] | None = None
    log: str = ""

    @property
    def is_good(self) -> bool:
        return self.run is not None and self.run["outcome"] in {"succeeded", "unchanged"}


def report(asked: "Asked", step: "Step", github: "GitHub | None", opened: "Opened | None" = None) -> int:
    """Tell how the deploys ended. The deploys' own results stand: nothing that GitHub refuses fails this."""
    ended = tuple(collected(asked))
    if not ended:
        step.warning(f"No report of a deploy is in {asked.reports.name}, so there is nothing to tell.")
    lines = ["### Deployed", "", "| cluster | outcome | commit | seconds |", "|---|---|---|---|"]
    for one in ended:
        lines.append(_row(one))
        if one.run is None:
            _tell_no_run(one, asked, step, github)
            continue
        _annotate(one.run, step)
        is_quiet = one.run["outcome"] == "unchanged" and one.entry.get("update_type") == "none"
        if github is not None and not is_quiet:  # the host looked, and nothing had moved: no news
            told = _told(one, one.run, asked, github)
            quietly(partial(_judged_no_more, one.run, asked, github), step.warning)
            for words in told.warnings:
                step.warning(words)
            if opened is not None and one.run["outcome"] == "succeeded":
                quietly(partial(_settle, one.run, asked, github, opened), step.warning)
            if told.revert is not None:
                lines += ["", f"Offered: [take it back]({told.revert.url})", ""]
    if github is not None and (said := _go_on(ended, asked, github, step)):
        lines += ["", said, ""]
    step.summary("\n".join(lines))
    return ExitCode.DONE


def _tell_no_run(one: Ended, asked: "Asked", step: "Step", github: "GitHub | None") -> None:
    """A deploy that the host did not begin, or of which nothing is known: its status waits no longer."""
    from dual_update.core.redaction import redacted
    from dual_update.usecases.not_begun import tell_not_begun

    if one.refusal is None:
        words = "The deploy job left no report. Look at its log, and at `dual-update status` on the host."
        step.warning(f"{printable(one.cluster)}: {words}")
    else:
        words = f"Not begun: {redacted(str(one.refusal['reason']))}"
        step.error(f"{printable(one.cluster)}: {words} {redacted(str(one.refusal['hint']))}".rstrip())
    head = str(one.entry.get("head") or "")
    if github is None or not head:
        return
    if one.refusal is not None:
        for warning in tell_not_begun(one.refusal, _deploy(one, head, asked.run, asked), github):
            step.warning(warning)
    if one.entry.get("update_type") != "none":
        quietly(partial(_not_begun, head, one.cluster, words, asked, github), step.warning)


def _go_on(ended: Sequence[Ended], asked: "Asked", github: "GitHub", step: "Step") -> str:
    """Start the next stage, where one waits and every cluster of this one is well; what to say of it."""
    waiting = [one for one in ended if one.entry.get("next") is True]
    if not waiting or not all(one.is_good for one in ended):
        return ""
    if any(float(one.entry.get("bake_seconds") or 0) > 0 for one in waiting):
        return "The next stage begins with the first run of this workflow after this one has baked."
    branch = str(waiting[0].entry.get("deploy_branch") or _default_branch(asked))
    started: list[str] = []

    def start() -> None:
        github.dispatch(asked.workflow, branch, {})
        started.append("The next stage was started.")

    quietly(start, step.warning)
    return started[0] if started else "The next stage begins with the next run of this workflow."


def collected(asked: "Asked") -> Iterator[Ended]:
    """Every cluster of the matrix with its run; those that were not in the matrix come last."""
    entries = {str(one.get("name")): one for one in _matrix(asked.inputs["clusters"])}
    found = dict(_left(asked.reports))
    for name, entry in entries.items():
        said, log = found.pop(name, ({}, ""))
        yield _ended(name, entry, said, log)
    if not entries:
        for name, (said, log) in found.items():
            yield _ended(name, {}, said, log)


def _ended(name: str, entry: Mapping[str, Any], said: Mapping[str, Any], log: str) -> Ended:
    if "outcome" in said:
        return Ended(name, entry, run=said, log=log)
    return Ended(name, entry, refusal=said or None, log=log)


def _matrix(text: str) -> list[Mapping[str, Any]]:
    if not text:
        return []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        entries = None
    if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
        raise UsageError("The input clusters is not the output `clusters` of detect.")
    return entries


def _left(folder: Path) -> Iterator[tuple[str, tuple[Mapping[str, Any], str]]]:
    """Cluster -> (run or refusal, log). A file that is neither is left alone."""
    for file in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        if file.is_symlink() or not file.is_file():
            continue
        try:
            run = json.loads(_read(file, LARGEST_REPORT_BYTES))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(run, dict) and _is_ours(run):
            yield str(run["cluster"]), (run, _log(file.with_suffix(".log")))


def _is_ours(said: Mapping[str, Any]) -> bool:
    """Is it what `apply --format json` writes (the schemas that are shipped)."""
    from jsonschema import Draft202012Validator

    from dual_update.adapters.config import schema

    names = ("run.schema.json", "refusal.schema.json")
    return any(Draft202012Validator(schema(name)).is_valid(said) for name in names)


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError("too large")
    return content


def _log(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        return ""
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - LARGEST_LOG_BYTES))
        return stream.read(LARGEST_LOG_BYTES).decode("utf-8", "replace")


def _told(one: Ended, run: Mapping[str, Any], asked: "Asked", github: "GitHub") -> "Told":
    from dual_update.usecases.outcome import tell

    deploy = _deploy(one, str(run["to"]), str(run["run"]), asked)
    if not one.entry:  # a rollback: its environment is the one in which the cluster is known
        known: list[str] = []
        quietly(
            lambda: known.extend(d.environment for d in github.find_deployments(one.cluster)[:1]),
            lambda _: None,  # GitHub is asked again in a moment, and then it is said
        )
        deploy = replace(deploy, environment=known[0] if known else deploy.environment)
    return tell(run, deploy, github, evidence_of(run, one.log))


def _deploy(one: Ended, commit: str, run: str, asked: "Asked") -> "Deploy":
    from dual_update.usecases.outcome import Deploy

    entry = one.entry
    return Deploy(
        one.cluster,
        commit,
        run,
        str(entry.get("environment") or "production"),
        str(entry.get("deploy_branch") or asked.inputs["deploy-branch"] or _default_branch(asked)),
        fingerprint=str(entry.get("fingerprint") or ""),
        url=asked.run_url,
    )


def _judged_no_more(run: Mapping[str, Any], asked: "Asked", github: "GitHub") -> None:
    """The status that detect left pending tells the end, too."""
    from dual_update.core.run import SENTENCES

    is_good = run["outcome"] in {"succeeded", "unchanged"}
    state: CommitState = "success" if is_good else "failure"
    _end_status(str(run["to"]), str(run["cluster"]), state, SENTENCES[run["outcome"]], asked, github)


def _not_begun(commit: str, cluster: str, words: str, asked: "Asked", github: "GitHub") -> None:
    from dual_update.edges.action_tell import context

    if github.status(commit, context(cluster))[0] != "success":  # a late job of what was deployed long ago
        _end_status(commit, cluster, "failure", words, asked, github)


def _end_status(
    commit: str, cluster: str, state: "CommitState", words: str, asked: "Asked", github: "GitHub"
) -> None:
    from dual_update.edges.action_tell import context
    from dual_update.usecases.outcome import one_line

    name, words = context(cluster), one_line(words)
    if github.status(commit, name) != (state, words):
        github.set_status(commit, name, state, words, asked.run_url)


def _settle(run: Mapping[str, Any], asked: "Asked", github: "GitHub", opened: "Opened") -> None:
    """The submodules' issues are done, too: what they asked for runs."""
    from dual_update.usecases.coordinate import settle
    from dual_update.usecases.submodules import submodules_of

    commit = str(run["to"])
    found = submodules_of(github, commit, f"{asked.server_url}/{asked.repository}", opened)
    word = f"Deployed by {asked.repository}@{commit} to {escape(str(run['cluster']))}."
    settle(github, commit, found, word)


def _default_branch(asked: "Asked") -> str:
    repository = asked.payload.get("repository")
    found = repository.get("default_branch") if isinstance(repository, dict) else None
    return found if isinstance(found, str) and found else "main"


def evidence_of(run: Mapping[str, Any], log: str) -> "Evidence":
    """What the host saw of the failing service; without it the end of the deploy's own log."""
    from dual_update.usecases.outcome import Evidence

    seen = run.get("evidence")
    if isinstance(seen, dict) and seen.get("service"):
        words = {key: str(seen.get(key) or "") for key in ("service", "health", "log")}
        return Evidence(**words)  # type: ignore[arg-type]
    return Evidence(log=log)


def _annotate(run: Mapping[str, Any], step: "Step") -> None:
    from dual_update.core.redaction import redacted
    from dual_update.core.run import SENTENCES

    words = f"{run['cluster']}: {SENTENCES[run['outcome']]}"
    if run["outcome"] in {"succeeded", "unchanged"}:
        step.notice(words)
    else:
        step.error(f"{words} {redacted(str(run.get('reason') or ''))}".rstrip())


def _row(one: Ended) -> str:
    run = one.run or {}
    seconds = run.get("duration_seconds")
    shown = f"{seconds:.1f}" if isinstance(seconds, int | float) else ""
    outcome = str(run.get("outcome") or ("not begun" if one.refusal else "no report"))
    return (
        f"| {escape(one.cluster)} | {escape(outcome)} | {escape(str(run.get('to') or '')[:12])} | {shown} |"
    )
