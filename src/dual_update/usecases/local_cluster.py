"""A cluster of the fleet whose checkout lies on this machine: the transaction itself, in a thread."""

from collections.abc import Callable
from contextlib import AbstractContextManager

from dual_update.core.errors import DualUpdateError, NotNow
from dual_update.core.rollout import LastRun, Start, Word
from dual_update.usecases.apply import ApplyRequest, Deaf, apply
from dual_update.usecases.errand import Errand
from dual_update.usecases.ports import Json
from dual_update.usecases.recover import lock_key, recover_locked
from dual_update.usecases.rollback import rollback
from dual_update.usecases.site import Site
from dual_update.usecases.situation import GOOD_OUTCOMES, last_success, see
from dual_update.usecases.status import health, history

OpenSite = Callable[[str], AbstractContextManager[tuple[Site, str]]]

LOCK_SECONDS = 60.0
"""How long to wait for somebody else who is at work on the cluster."""


class LocalCluster:
    """Fits the port Member."""

    def __init__(self, open_site: OpenSite, deaf: Deaf) -> None:
        self._open_site = open_site
        self._deaf = deaf
        self._errand = Errand()
        self._commit: str | None = None

    def look(self) -> Word:
        if self._errand.is_under_way:
            return Word(commit=self._commit, is_busy=True)
        try:
            with self._open_site("HEAD") as (site, _):
                word = self._word(site)
        except DualUpdateError as error:
            return Word(is_reachable=False, commit=self._commit, detail=error.message)
        self._commit = word.commit
        return word

    def stand(self) -> tuple[Word, tuple[str, ...] | None, Json | None]:
        """A look, what drifted from the deployed commit (None: it could not be compared), the newest run."""
        try:
            with self._open_site("HEAD") as (site, _):
                word = self._word(site)
                newest = history(site.store, site.cluster, 1)
                return word, _drift(site, word), newest[0] if newest else None
        except DualUpdateError as error:
            return Word(is_reachable=False, detail=error.message), None, None

    def apply(self, commit: str, key: str) -> None:
        self._errand.begin(lambda: self._apply(commit), key)

    def go_back(self, start: Start, target: str, key: str) -> None:
        self._errand.begin(lambda: self._go_back(start, target), key)

    def settle(self) -> None:
        self._errand.begin(self._settle, "settle")

    # --- looking

    def _word(self, site: Site) -> Word:
        is_busy = is_unsettled = False
        unfinished = site.store.unfinished(site.cluster)
        if unfinished is not None:
            is_busy = _is_held(site, str(unfinished["project"]))
            is_unsettled = not is_busy
        last = last_success(site)
        commit = str(last["to"]) if last else None
        runs = site.store.runs(site.cluster, limit=1)
        run = last_run(runs[0]) if runs else None
        if is_busy or is_unsettled or commit is None:
            return Word(
                commit=commit,
                is_busy=is_busy,
                is_unsettled=is_unsettled,
                run=run,
                refusal=self._errand.refusal,
            )
        now = health(site)
        bad = "; ".join(f"{one['name']}: {one['detail']}" for one in now["readings"] if not one["good"])
        return Word(commit=commit, is_healthy=not bad, run=run, refusal=self._errand.refusal, detail=bad)

    # --- doing

    def _apply(self, commit: str) -> None:
        with self._open_site(commit) as (site, found):
            request = ApplyRequest(
                found, site.config.scope, is_approved=True, wait_seconds=LOCK_SECONDS, why="roll-out"
            )
            apply(site, request, lambda _: False, self._deaf)

    def _go_back(self, start: Start, target: str) -> None:
        with self._open_site("HEAD") as (site, _):
            record = _undone_by(site, start, target)
            if record is not None:
                rollback(site, record, self._deaf, wait_seconds=LOCK_SECONDS)
                return
        if start.commit is None:
            raise NotNow("Nothing ran there before; the new version stays.")
        self._apply(start.commit)  # the update changed nothing that runs, and neither does this

    def _settle(self) -> None:
        with self._open_site("HEAD") as (site, _):
            recover_locked(site, self._deaf)


def last_run(record: Json) -> LastRun:
    """A run of the history as a roll-out needs it."""
    outcome = record.get("outcome")
    return LastRun(
        id=str(record["run"]),
        kind=str(record.get("kind") or "apply"),
        outcome=str(outcome) if outcome else None,
        to=str(record["to"]) if record.get("to") else None,
        came_from=str(record["from"]) if record.get("from") else None,
        reason=str(record.get("reason") or ""),
        was_interrupted=bool(record.get("was_recovered")) and outcome not in GOOD_OUTCOMES,
    )


def _undone_by(site: Site, start: Start, target: str) -> Json | None:
    """The run of this roll-out that brought the target and can be taken back; None where nothing ran anew."""
    for record in site.store.runs(site.cluster, limit=1000):
        if record["run"] == start.run:
            return None
        if record.get("to") == target and record.get("outcome") == "succeeded":
            return record
    return None


def _drift(site: Site, word: Word) -> tuple[str, ...] | None:
    if word.commit is None or word.is_busy or word.is_unsettled:
        return None
    try:
        return see(site, word.commit, "changed").drift
    except DualUpdateError:
        return None


def _is_held(site: Site, project: str) -> bool:
    """Is somebody at work on it; if not, the run's deployer has died."""
    try:
        with site.store.lock(lock_key(site, project), "look", 0.0):
            return False
    except NotNow:
        return True
