"""After the deploy jobs: read what they left behind and tell GitHub how each cluster's deploy ended."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
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
    from dual_update.usecases.outcome import Evidence, Told
    from dual_update.wiring_github import Opened

LARGEST_REPORT_BYTES = 8_000_000
LARGEST_LOG_BYTES = 200_000
"""Of a log only the end is read."""


@dataclass(frozen=True)
class Ended:
    """One cluster's run as its deploy job left it. `run` is None where the job left none."""

    cluster: str
    entry: Mapping[str, Any]
    run: Mapping[str, Any] | None
    log: str = ""


def report(asked: "Asked", step: "Step", github: "GitHub | None", opened: "Opened | None" = None) -> int:
    """Tell how the deploys ended. The deploys' own results stand: nothing that GitHub refuses fails this."""
    ended = tuple(collected(asked))
    if not ended:
        step.warning(f"No report of a deploy is in {asked.reports.name}, so there is nothing to tell.")
    lines = ["### Deployed", "", "| cluster | outcome | commit | seconds |", "|---|---|---|---|"]
    for one in ended:
        lines.append(_row(one))
        if one.run is None:
            step.warning(
                f"{printable(one.cluster)}: the deploy job left no report. Look at its log, and at"
                " `dual-update status` on the host."
            )
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
    step.summary("\n".join(lines))
    return ExitCode.DONE


def collected(asked: "Asked") -> Iterator[Ended]:
    """Every cluster of the matrix with its run; those that were not in the matrix come last."""
    entries = {str(one.get("name")): one for one in _matrix(asked.inputs["clusters"])}
    found = dict(_runs(asked.reports))
    for name, entry in entries.items():
        run, log = found.pop(name, (None, ""))
        yield Ended(name, entry, run, log)
    if not entries:
        for name, (run, log) in found.items():
            yield Ended(name, {}, run, log)


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


def _runs(folder: Path) -> Iterator[tuple[str, tuple[Mapping[str, Any], str]]]:
    """Cluster -> (run, log). A file that is no report of a run is left alone."""
    for file in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        if file.is_symlink() or not file.is_file():
            continue
        try:
            run = json.loads(_read(file, LARGEST_REPORT_BYTES))
        except (OSError, ValueError, RecursionError):
            continue
        if isinstance(run, dict) and _is_run(run):
            yield str(run["cluster"]), (run, _log(file.with_suffix(".log")))


def _is_run(run: Mapping[str, Any]) -> bool:
    """Is it what `apply --format json` writes (the schema that is shipped)."""
    from jsonschema import Draft202012Validator

    from dual_update.adapters.config import schema

    return Draft202012Validator(schema("run.schema.json")).is_valid(run)


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
    from dual_update.usecases.outcome import deploy_of, tell

    deploy = deploy_of(
        run,
        str(one.entry.get("environment") or "production"),
        str(one.entry.get("deploy_branch") or asked.inputs["deploy-branch"] or _default_branch(asked)),
        fingerprint=str(one.entry.get("fingerprint") or ""),
        url=asked.run_url,
    )
    return tell(run, deploy, github, evidence_of(run, one.log))


def _judged_no_more(run: Mapping[str, Any], asked: "Asked", github: "GitHub") -> None:
    """The status that detect left pending tells the end, too."""
    from dual_update.core.run import SENTENCES
    from dual_update.edges.action_tell import context

    is_good = run["outcome"] in {"succeeded", "unchanged"}
    state: CommitState = "success" if is_good else "failure"
    words, name = SENTENCES[run["outcome"]], context(str(run["cluster"]))
    if github.status(str(run["to"]), name) != (state, words):
        github.set_status(str(run["to"]), name, state, words, asked.run_url)


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
    outcome = str(run.get("outcome") or "no report")
    return (
        f"| {escape(one.cluster)} | {escape(outcome)} | {escape(str(run.get('to') or '')[:12])} | {shown} |"
    )
