"""Composition root of what speaks to GitHub: an event in, each cluster's Decision and its approval out."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.adapters.remembering import RememberingRenderer
from dual_update.core.base import Base
from dual_update.core.config import CONFIG_PATH, ClusterEntry, Config, Hooks, MultiCluster, StageEntry
from dual_update.core.decision import Decision
from dual_update.core.errors import DualUpdateError, UsageError
from dual_update.core.model import Rendered
from dual_update.usecases.approval import Approval, Circumstances, approval, waits_for_build
from dual_update.usecases.base import find_base
from dual_update.usecases.coordinate import holds as coordination_holds
from dual_update.usecases.detect import Detected, DetectRequest, Project, detect, select_files
from dual_update.usecases.freshness import is_mutable
from dual_update.usecases.gate import DEPLOYING, Judged, NoGitHub, Occasion, holds, left_before, staged
from dual_update.usecases.submodules import Submodule, submodules_of

if TYPE_CHECKING:
    from dual_update.adapters.github import Patience
    from dual_update.usecases.github_ports import GitHub

Opened: TypeAlias = "Callable[[str], GitHub | None]"

ENVIRONMENT = "production"
"""Where a person is asked, unless multi-cluster.yml names another environment."""

LOOKED_AT = 30
"""Deployments of a cluster that are searched, newest first, for one that succeeded."""

MERGES = 10
"""Commits of the deploy branch whose pull requests are asked for, to go on with their issues."""


@dataclass(frozen=True)
class Request:
    """What a step was asked: its inputs and its event, read once."""

    repo: Path
    occasion: Occasion
    files: tuple[str, ...] = ()
    config: str = CONFIG_PATH
    base: str = ""
    head: str = ""
    deploy_branch: str = ""
    mode: str = ""
    scope: str = ""
    clusters: str = ""
    has_auto_approve: bool = False
    url: str = ""
    """The parent repository's own address, from which relative addresses of submodules are read."""


@dataclass(frozen=True)
class Verdicts:
    """What was judged, and what the deploy branch is called."""

    judged: tuple[Judged, ...]
    deploy_branch: str
    is_proposal: bool
    is_on_branch: bool = False
    """The judged commit lies on the deploy branch already; as a proposal it proposes nothing."""

    submodules: tuple[Submodule, ...] = ()
    """Submodules whose repositories may be asked; the others are not coordinated."""

    warnings: tuple[str, ...] = field(default=())


def connect(api_url: str, repository: str, token: str) -> "GitHub":
    """One repository on GitHub. Raises UsageError when address, name or token cannot be right."""
    from dual_update.adapters.github import Patience, PyGithubRepository

    return PyGithubRepository(api_url, repository, token, patience=_patience(Patience()))


def _patience(usual: "Patience") -> "Patience":
    """DUAL_UPDATE_GITHUB_PAUSE_SECONDS stands for the pause between two writes: 1, as GitHub asks for.

    A server of one's own may take more; the other pauses follow in proportion.
    """
    given = os.environ.get("DUAL_UPDATE_GITHUB_PAUSE_SECONDS")
    if not given:
        return usual
    try:
        factor = float(given)
    except ValueError:
        factor = -1.0
    if not 0 <= factor <= 60:
        raise UsageError("DUAL_UPDATE_GITHUB_PAUSE_SECONDS must be a number of seconds from 0 to 60.")
    return replace(
        usual,
        pause_seconds=usual.pause_seconds * factor,
        between_reads_seconds=usual.between_reads_seconds * factor,
        between_writes_seconds=usual.between_writes_seconds * factor,
    )


def judge(request: Request, github: "GitHub | None", opened: "Opened | None" = None) -> Verdicts:
    """Judge what an event wants, for every cluster. Raises UsageError for what cannot be loaded.

    The policy is read from a commit that is trusted: of the deploy branch, never of a proposal. `opened`
    gives a submodule's repository by name, or None where there is no token for it.
    """
    with GitRepository(request.repo) as repository:
        return _Judge(request, repository, github, opened).all()


@dataclass(frozen=True)
class _Runs:
    """What GitHub knows to run: the commit, and since when."""

    commit: str = ""
    since: datetime | None = None


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _is_elsewhere(entry: ClusterEntry) -> bool:
    """Does its update-orchestrator lead it, and no runner."""
    return bool(entry.url and not entry.runner)


class _Judge:
    def __init__(
        self,
        request: Request,
        repository: GitRepository,
        github: "GitHub | None",
        opened: "Opened | None",
    ) -> None:
        self._request = request
        self._occasion = request.occasion
        self._repository = repository
        self._github = github
        self._renderer = RememberingRenderer(ComposeRenderer())
        self._warnings: list[str] = []
        self._head = repository.resolve([request.head or self._occasion.head or "HEAD"])[0]
        self._branch, self._trusted = self._trust()
        self._branch_tip = self._newest(self._branch) or self._remote_tip(self._branch)
        self._is_on_branch = self._lies_on_branch()
        # A branch that is made at a commit of the deploy branch is pushed, too; nothing came there by that.
        is_elsewhere = self._occasion.kind == "push" and self._occasion.branch != self._branch
        may_deploy = self._occasion.kind in DEPLOYING and not is_elsewhere
        self._is_proposal = not (self._is_on_branch and may_deploy)
        if self._is_on_branch and not is_elsewhere:
            self._trusted = self._head  # it came to the deploy branch
        self._config = self._policy(self._trusted)
        self._submodules, self._unsettled = self._other_side(opened)

    def all(self) -> Verdicts:
        fleet = self._clusters()
        stages = {one.stage: one for one in fleet.stages}
        judged = tuple(
            self._one(entry, stages.get(entry.stage, StageEntry(entry.stage))) for entry in fleet.clusters
        )
        by_hand = self._occasion.only_cluster if self._occasion.has_person else ""
        return Verdicts(
            staged(judged, datetime.now(UTC), by_hand),
            self._branch,
            self._is_proposal,
            is_on_branch=self._is_on_branch,
            submodules=self._submodules,
            warnings=tuple(dict.fromkeys(self._warnings)),
        )

    def _other_side(self, opened: "Opened | None") -> tuple[tuple[Submodule, ...], tuple[str, ...]]:
        """The submodules that can be asked, and the sentences for which a deploy waits for them."""
        if self._github is None or opened is None:
            return (), ()
        if self._repository.tree(self._head).read(".gitmodules") is None:
            return (), ()
        try:
            found = tuple(submodules_of(self._github, self._head, self._request.url, opened))
            may_deploy = not self._is_proposal
            return found, coordination_holds(self._github, self._head, found) if may_deploy else ()
        except DualUpdateError as error:
            return (), (f"Whether the submodules are settled could not be asked: {error.message}",)

    # What is trusted

    def _trust(self) -> tuple[str, str]:
        """The deploy branch, and a commit whose policy is trusted."""
        occasion, asked = self._occasion, self._request.deploy_branch
        known = asked or occasion.default_branch
        trusted = self._tip(known) if known else None
        if occasion.trusted and self._repository.has(occasion.trusted) and occasion.into == known:
            trusted = occasion.trusted
        if trusted is None:
            if occasion.branch == known or not known:
                trusted = self._head
            else:
                raise UsageError(
                    f"The branch {known!r} is not in this clone, so nothing is known of the policy.",
                    hint="Fetch all branches: fetch-depth: 0 for actions/checkout.",
                )
        if asked:
            return asked, trusted
        content = self._repository.tree(trusted).read(self._request.config)
        if content is None:
            return known or "main", trusted
        from dual_update.adapters.config import parse

        named = parse(content, self._request.config).deploy_branch
        if named in {known, occasion.branch}:
            return named, trusted
        return named, self._tip(named) or trusted

    def _tip(self, branch: str) -> str | None:
        if branch == self._occasion.branch and self._occasion.kind in {"push", "schedule"}:
            return self._head if not self._request.head else self._occasion.head or None
        return self._remote_tip(branch)

    def _remote_tip(self, branch: str) -> str | None:
        for name in (f"refs/remotes/origin/{branch}", f"refs/heads/{branch}"):
            found = self._repository.try_git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
            if found.code == 0:
                return found.out.strip()
        return None

    def _newest(self, branch: str) -> str | None:
        """A branch's newest commit as GitHub tells it, None where it does not or the clone lacks it.

        For a late run, actions/checkout sets the clone's own idea of the event's branch to the event's
        commit, so a commit that was forced away would seem to lie there.
        """
        try:
            told = self._github.branch_commit(branch) if self._github else None
        except DualUpdateError as error:
            self._warnings.append(f"What {branch} is now could not be asked: {error.message}")
            return None
        return told if told and self._repository.has(told) else None

    def _lies_on_branch(self) -> bool:
        """Is the wanted commit one that came to the deploy branch, and was not forced away since."""
        if self._branch_tip is None:  # a clone without branches; then the event's word counts
            return self._occasion.branch == self._branch and not self._request.head
        return self._repository.is_ancestor(self._head, self._branch_tip)

    def _policy(self, commit: str) -> Config:
        from dual_update.adapters.config import parse

        content = self._repository.tree(commit).read(self._request.config)
        if content is None and self._request.config != CONFIG_PATH:
            raise UsageError(
                f"{self._request.config} is not in commit {commit[:12]}, from which the policy is read."
            )
        return Config() if content is None else parse(content, self._request.config)

    def _clusters(self) -> MultiCluster:
        if not self._request.clusters:
            return MultiCluster((ClusterEntry(self._config.cluster),))
        from dual_update.adapters.config import parse_multi_cluster

        content = self._repository.tree(self._trusted).read(self._request.clusters)
        if content is None:
            raise UsageError(f"{self._request.clusters} does not exist in commit {self._trusted[:12]}.")
        return parse_multi_cluster(content, self._request.clusters)

    # One cluster

    def _one(self, entry: ClusterEntry, stage: StageEntry) -> Judged:
        files = entry.compose_files or self._request.files or self._config.compose_files
        project = Project("", tuple(files))
        cluster = entry.name or self._project_name(project)
        runs = self._runs(cluster)
        base = self._base(runs.commit or None)
        detected = self._detect(project, cluster, base, self._config)
        older_than = str(detected.decision.base or "")
        is_older = older_than not in {"", self._head} and self._repository.is_ancestor(self._head, older_than)
        return Judged(
            detected.decision,
            self._answer(entry, detected, self._gate(base, detected), runs.commit, is_older=is_older),
            runner=entry.runner or Judged.runner,
            environment=entry.environment or ENVIRONMENT,
            scope=self._request.scope or self._config.scope,
            stage=stage,
            path=entry.path,
            mode=self._request.mode,
            runs=runs.commit,
            runs_since=runs.since,
            is_older=is_older,
            is_elsewhere=_is_elsewhere(entry),
            deploy_branch=self._branch,
            judged_files=detected.before.consulted | detected.after.consulted,
            commits=() if self._is_proposal else self._came(base.commit),
        )

    def _answer(
        self, entry: ClusterEntry, detected: Detected, gate: Decision, deployed: str, *, is_older: bool
    ) -> Approval:
        """May it be deployed. `gate` is the Decision by which that is judged."""
        decision, occasion = detected.decision, self._occasion
        base = str(decision.base or "")
        is_base_deployed = base != "" and base == deployed
        if not decision.needs_update:
            if occasion.kind == "schedule" and is_base_deployed and self._may_move(detected.after):
                return Approval("auto", "Tags may have new content; the host asks the registries.")
            return Approval("no", "Nothing to do: the cluster runs what this commit wants.")
        if self._is_proposal:
            return Approval("no", f"A proposal; what comes to {self._branch} is deployed.")
        if _is_elsewhere(entry):
            where = "Its update-orchestrator applies it (dual-update rollout), not a runner."
            return Approval("no", where)
        why = holds(
            decision, self._config, self._request.mode, is_older=is_older, has_person=occasion.has_person
        )
        if not occasion.has_person and (left := self._left_before(decision.cluster)):
            return left
        why += self._unsettled
        if (
            occasion.kind != "built" and not occasion.has_person
        ):  # whoever asks by hand may know; the host looks
            why += waits_for_build(decision, detected.after.services)
        now = Circumstances(
            branch=self._branch,
            deploy_branch=self._branch,
            is_base_deployed=is_base_deployed,
            has_auto_approve=self._request.has_auto_approve or entry.auto_approve,
            has_person=occasion.has_person,
            environment=entry.environment or ENVIRONMENT,
            holds=why,
        )
        return approval(gate, now, self._github or NoGitHub())

    def _may_move(self, wanted: Rendered) -> bool:
        """Has any service a tag under which a registry may have new content, and is it ours to deploy."""
        is_ours = not self._is_proposal and self._config.driver == "runner"
        return is_ours and any(is_mutable(wanted.services[name]) for name in wanted.active)

    def _gate(self, base: Base, detected: Detected) -> Decision:
        """The Decision by which approval is judged: one that changes what runs on the host is structure.

        A commit that changes the policy (rules, hooks, health, strategy) must not let itself in by it; nor
        may files change unseen that hooks or a strategy of the repository's own may run.
        """
        decision = detected.decision
        if self._is_proposal or base.commit is None or not decision.needs_update:
            return decision
        try:
            has_new_policy = self._policy(base.commit) != self._config
        except UsageError:
            has_new_policy = True
        has_own_code = self._config.hooks != Hooks() or bool(self._config.strategy)
        if has_own_code and not has_new_policy:
            changed = {one.path for one in self._repository.changed(base.commit, self._head)}
            has_new_policy = bool(changed - detected.before.consulted - detected.after.consulted)
        return replace(decision, update_type="structural") if has_new_policy else decision

    def _runs(self, cluster: str) -> "_Runs":
        """The cluster's last good deployment, as GitHub knows it."""
        if self._github is None:
            return _Runs()
        try:
            for one in self._github.find_deployments(cluster)[:LOOKED_AT]:
                status = self._github.deployment_status(one.id)
                if status.state == "success":
                    return _Runs(one.commit, _time(status.since))
        except DualUpdateError as error:
            self._warnings.append(f"What is deployed could not be asked: {error.message}")
        return _Runs()

    def _left_before(self, cluster: str) -> Approval | None:
        """The answer where this very commit was tried or ran there before."""
        if self._github is None:
            return None
        try:
            for one in self._github.find_deployments(cluster, self._head)[:1]:
                return left_before(self._github.deployment_status(one.id).state, self._occasion.kind)
        except DualUpdateError as error:
            self._warnings.append(f"Whether this commit was tried before could not be asked: {error.message}")
        return None

    def _base(self, deployed: str | None) -> Base:
        """What to compare with: what was given, else what runs, else what the event says.

        A proposal is compared with where it left the deploy branch, so that it is not blamed for what
        came there since.
        """
        if self._request.base:
            given = self._repository.resolve([self._request.base])[0]
            return Base(given, f"Compared with {given[:12]}, which was given.")
        if self._is_proposal:
            tip = self._branch_tip or self._trusted
            found = self._repository.try_git("merge-base", tip, self._head)
            if found.code == 0:
                fork = found.out.strip()
                return Base(fork, f"Compared with {fork[:12]}, where it left {self._branch}.")
            if self._repository.is_shallow:
                raise UsageError(
                    f"This clone is too shallow to tell where the proposal left {self._branch}.",
                    hint="Fetch the whole history: fetch-depth: 0 for actions/checkout.",
                )
            return Base(tip, f"Compared with {self._branch}, {tip[:12]}.")
        return find_base(self._repository, deployed=deployed, before=self._occasion.before, head=self._head)

    def _came(self, base: str | None) -> tuple[str, ...]:
        """The commits that moved the branch from the base to the head."""
        since = (f"^{base}",) if base else ()
        words = ("rev-list", "--first-parent", f"--max-count={MERGES}", self._head, *since)
        return tuple(self._repository.git(*words).out.split())

    def _project_name(self, project: Project) -> str:
        tree = self._repository.tree(self._head)
        name = Path(self._repository.root).name
        files = select_files(tree, project)
        by_env = project.is_named_by_env(files)
        return self._renderer.render(tree, files, directory=project.directory, name=name, by_env=by_env).name

    def _detect(self, project: Project, cluster: str, base: Base, config: Config) -> Detected:
        request = DetectRequest(
            head=self._head,
            base=base.commit,
            warnings=base.warnings,
            project=project,
            cluster=cluster,
            overrides=config.rules,
        )
        return detect(request, self._repository, self._renderer, sent_to_build)
