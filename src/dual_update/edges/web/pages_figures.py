"""The page of figures as values: tiles, plots and their tables."""

from collections.abc import Iterable
from dataclasses import dataclass

from dual_update.core.figures import Figures
from dual_update.edges.web.pages_words import NOTHING, lasted, percent
from dual_update.edges.web.plots import Bars, Dots, Strip, bars, counted, day, dots, strip

SPANS = (7, 30, 90)
"""Days that a person can choose from."""


@dataclass(frozen=True)
class Tile:
    """One figure: what it is, its value, and what it is made of."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class BinRow:
    label: str
    succeeded: int
    failed: int
    rollbacks: int


@dataclass(frozen=True)
class FiguresPage:
    window: str
    days: int
    is_by_day: bool
    tiles: tuple[Tile, ...]
    often: Bars | None
    long: Dots | None
    strips: tuple[Strip, ...]
    bins: tuple[BinRow, ...]
    spans: tuple[int, ...] = SPANS


def figures_page(found: Figures, days: int) -> FiguresPage:
    return FiguresPage(
        window=f"{day(found.since)} to {day(found.until)}, UTC",
        days=days,
        is_by_day=found.is_by_day,
        tiles=tuple(_tiles(found)),
        often=bars(found),
        long=dots(found),
        strips=tuple(strip(one) for one in found.wellness),
        bins=tuple(
            BinRow(day(one.start), one.succeeded, one.failed, one.rollbacks)
            for one in reversed(found.bins)
            if one.attempts or one.rollbacks
        ),
    )


def _tiles(found: Figures) -> Iterable[Tile]:
    often = NOTHING if found.per_week is None else f"{found.per_week:.1f}"
    yield Tile("Updates a week", often, f"{counted(found.attempts, 'update')} in this time")
    yield Tile(
        "Success rate", percent(found.success_rate), f"{found.succeeded} of {found.attempts} succeeded"
    )
    yield Tile("Failure rate", percent(found.failure_rate), f"{found.failed} of {found.attempts} failed")
    yield Tile("Average time", lasted(found.average_seconds) or NOTHING, "of updates that succeeded")
    yield Tile("95th percentile", lasted(found.p95_seconds) or NOTHING, "95 of 100 take no longer")
    by_hand = f"{found.rolled_back} by itself, {found.rolled_back_by_hand} by hand"
    failed = f", {found.rollbacks_failed} failed" if found.rollbacks_failed else ""
    yield Tile("Rollbacks", str(found.rollbacks), by_hand + failed)
