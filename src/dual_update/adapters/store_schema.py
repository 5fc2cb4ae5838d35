"""The database's tables, version by version. A version that was released is never edited; a new one is added.

Every change so far only adds. A process of the version before, in the middle of its run while the database
is migrated, goes on writing `runs` and `journal` as it always did: what newer tables tell about runs is
kept by triggers, not by whoever writes.
"""

LONGEST_DURATIONS_SECONDS = (1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds of the histogram of durations: from a record without containers to an hour of pulling."""

_FIRST = (
    "CREATE TABLE runs (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL UNIQUE,"
    " cluster TEXT NOT NULL, outcome TEXT, record TEXT NOT NULL)",
    "CREATE INDEX runs_of_cluster ON runs (cluster, seq)",
    "CREATE TABLE journal (seq INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL, op TEXT NOT NULL,"
    " target TEXT NOT NULL, phase TEXT NOT NULL, at TEXT NOT NULL, detail TEXT NOT NULL)",
    "CREATE INDEX journal_of_run ON journal (run, seq)",
    "CREATE TABLE quarantine (cluster TEXT NOT NULL, fingerprint TEXT NOT NULL, reason TEXT NOT NULL,"
    " run TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (cluster, fingerprint))",
)

_EPOCH = "round((julianday({0}) - 2440587.5) * 86400.0, 3)"


def _moment(field: str, otherwise: str) -> str:
    return f"coalesce({_EPOCH.format(field)}, {otherwise})"


def _of(row: str) -> str:
    """A run's line as it follows from its record. Records hold snapshots; lines are what lists need."""

    def field(name: str) -> str:
        return f"json_extract({row}.record, '$.{name}')"

    started = _moment(field("started_at"), _EPOCH.format("'now'"))
    ended = _moment(field("finished_at"), _EPOCH.format("'now'"))
    return ", ".join(
        (
            f"{row}.seq, {row}.run, {row}.cluster, {row}.outcome",
            f"coalesce({field('kind')}, 'apply'), coalesce({field('update_type')}, '')",
            f"coalesce({field('strategy')}, ''), {field('reason')}",
            f"{field('from')}, {field('to')}, {field('started_at')}, {started}",
            f"CASE WHEN {row}.outcome IS NULL THEN NULL ELSE {ended} END",
            field("duration_seconds"),
        )
    )


_LINE = (
    "seq, run, cluster, outcome, kind, update_type, strategy, reason,"
    " from_commit, to_commit, started_at, started, ended, duration_seconds"
)

_COUNT_ENDED = (
    "INSERT INTO totals (cluster, outcome, strategy, runs, seconds)"
    " SELECT cluster, outcome, strategy, 1, coalesce(duration_seconds, 0) FROM history WHERE {which}"
    " ON CONFLICT (cluster, outcome, strategy)"
    " DO UPDATE SET runs = runs + 1, seconds = seconds + excluded.seconds",
    "INSERT INTO durations (cluster, outcome, strategy, at_most, runs)"
    " SELECT cluster, outcome, strategy, at_most, 1 FROM history, bounds"
    " WHERE {which} AND coalesce(duration_seconds, 0) <= at_most"
    " ON CONFLICT (cluster, outcome, strategy, at_most) DO UPDATE SET runs = runs + 1",
)
"""Counts only ever grow, also when old runs are forgotten: a counter that falls looks like a restart."""

RECOUNT = (
    "INSERT INTO totals SELECT cluster, outcome, strategy, count(*), total(duration_seconds) FROM history"
    " WHERE outcome IS NOT NULL GROUP BY cluster, outcome, strategy",
    "INSERT INTO durations SELECT cluster, outcome, strategy, at_most, count(*) FROM history, bounds"
    " WHERE outcome IS NOT NULL AND coalesce(duration_seconds, 0) <= at_most"
    " GROUP BY cluster, outcome, strategy, at_most",
)
"""Counts made from the runs that are remembered, for a database that never counted."""

_SECOND = (
    # --- what lists and figures ask, apart from the records, which are a hundred times as large
    "CREATE TABLE history (seq INTEGER PRIMARY KEY, run TEXT NOT NULL, cluster TEXT NOT NULL, outcome TEXT,"
    " kind TEXT NOT NULL, update_type TEXT NOT NULL, strategy TEXT NOT NULL, reason TEXT,"
    " from_commit TEXT, to_commit TEXT, started_at TEXT, started REAL NOT NULL, ended REAL,"
    " duration_seconds REAL)",
    "CREATE TABLE totals (cluster TEXT NOT NULL, outcome TEXT NOT NULL, strategy TEXT NOT NULL,"
    " runs INTEGER NOT NULL, seconds REAL NOT NULL, PRIMARY KEY (cluster, outcome, strategy)) WITHOUT ROWID",
    "CREATE TABLE bounds (at_most REAL PRIMARY KEY) WITHOUT ROWID",
    *(f"INSERT INTO bounds VALUES ({bound})" for bound in LONGEST_DURATIONS_SECONDS),  # noqa: S608
    "CREATE TABLE durations (cluster TEXT NOT NULL, outcome TEXT NOT NULL, strategy TEXT NOT NULL,"
    " at_most REAL NOT NULL, runs INTEGER NOT NULL, PRIMARY KEY (cluster, outcome, strategy, at_most))"
    " WITHOUT ROWID",
    f"INSERT INTO history ({_LINE}) SELECT {_of('runs')} FROM runs",  # noqa: S608  (constants)
    *RECOUNT,
    "CREATE INDEX history_by_time ON history (started)",
    "CREATE INDEX history_of_cluster ON history (cluster, started)",
    "CREATE INDEX history_of_outcome ON history (outcome, started)",
    "CREATE INDEX history_of_both ON history (cluster, outcome, started)",
    "CREATE INDEX unfinished_runs ON runs (cluster, seq) WHERE outcome IS NULL",
    f"CREATE TRIGGER run_begins AFTER INSERT ON runs BEGIN"
    f" INSERT INTO history ({_LINE}) SELECT {_of('new')}; END",
    f"CREATE TRIGGER run_changes AFTER UPDATE ON runs BEGIN"
    f" INSERT OR REPLACE INTO history ({_LINE}) SELECT {_of('new')}; END",
    "CREATE TRIGGER run_ends AFTER UPDATE OF outcome ON runs"
    " WHEN old.outcome IS NULL AND new.outcome IS NOT NULL BEGIN"
    f" INSERT OR REPLACE INTO history ({_LINE}) SELECT {_of('new')};"
    + "".join(f" {one.format(which='seq = new.seq')};" for one in _COUNT_ENDED)
    + " END",
    "CREATE TRIGGER run_is_forgotten AFTER DELETE ON runs BEGIN DELETE FROM history WHERE seq = old.seq; END",
    # --- what the service remembers
    "CREATE TABLE deliveries (seq INTEGER PRIMARY KEY AUTOINCREMENT, delivery TEXT NOT NULL UNIQUE,"
    " event TEXT NOT NULL, at REAL NOT NULL)",
    "CREATE TABLE pauses (cluster TEXT PRIMARY KEY, since REAL NOT NULL, until REAL, reason TEXT NOT NULL,"
    " by_whom TEXT NOT NULL)",
    "CREATE TABLE checks (seq INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, at REAL NOT NULL,"
    " seconds REAL NOT NULL, outcome TEXT NOT NULL, facts TEXT NOT NULL)",
    "CREATE INDEX checks_of_cluster ON checks (cluster, seq)",
    "CREATE TABLE check_totals (cluster TEXT NOT NULL, outcome TEXT NOT NULL, checks INTEGER NOT NULL,"
    " PRIMARY KEY (cluster, outcome)) WITHOUT ROWID",
    "CREATE TRIGGER check_is_noted AFTER INSERT ON checks BEGIN"
    " INSERT INTO check_totals VALUES (new.cluster, new.outcome, 1)"
    " ON CONFLICT (cluster, outcome) DO UPDATE SET checks = checks + 1; END",
    "CREATE TABLE approvals (seq INTEGER PRIMARY KEY AUTOINCREMENT, cluster TEXT NOT NULL, at REAL NOT NULL,"
    " action TEXT NOT NULL, subject TEXT NOT NULL, by_whom TEXT NOT NULL, door TEXT NOT NULL)",
    "CREATE INDEX approvals_of_cluster ON approvals (cluster, seq)",
    "CREATE INDEX approvals_of_subject ON approvals (subject, seq)",
    "CREATE TABLE readings (cluster TEXT NOT NULL, service TEXT NOT NULL, at REAL NOT NULL,"
    " is_healthy INTEGER NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (cluster, service, at)) WITHOUT ROWID",
    "CREATE INDEX readings_by_time ON readings (at)",
    # --- the outbox: a row for each message and each address it goes to, which is known by a hash only
    "CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL,"
    " address TEXT NOT NULL, content TEXT NOT NULL, made REAL NOT NULL,"
    " state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0,"
    " due REAL NOT NULL, ended REAL, error TEXT NOT NULL DEFAULT '',"
    " UNIQUE (message, address))",
    "CREATE INDEX outbox_waiting ON outbox (due) WHERE state = 'waiting'",
    "CREATE TABLE outbox_totals (state TEXT PRIMARY KEY, messages INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TRIGGER message_ends AFTER UPDATE OF state ON outbox WHEN new.state <> old.state BEGIN"
    " INSERT INTO outbox_totals VALUES (new.state, 1)"
    " ON CONFLICT (state) DO UPDATE SET messages = messages + 1; END",
)

MIGRATIONS: tuple[tuple[str, ...], ...] = (_FIRST, _SECOND)
"""Statements that lead from each schema version to the next; `PRAGMA user_version` counts them."""
