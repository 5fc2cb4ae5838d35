"""Geometry of the plots: numbers in, plain shapes out. Templates draw them as SVG without a script or style.

A plot is stretched to the width of its page, so nothing in it may be text or round by its shape: words stand
beside it in HTML, and dots are lines without length, drawn with round ends that do not scale.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from dual_update.core.figures import Bin, Figures, Wellness
from dual_update.edges.web.pages_words import lasted, percent

WIDTH = 1000.0
HEIGHT = 200.0
STRIP_HEIGHT = 20.0

GAP = 0.22
"""Share of a column that stays empty."""

SMALLEST = 1.0
"""Height below which a part of a strip could not be seen: one bad look among a thousand still shows."""


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    is_good: bool


@dataclass(frozen=True)
class Bars:
    """Columns over time: what succeeded grows up from `zero`, what failed grows down."""

    bars: tuple[Bar, ...]
    zero: float
    top: str
    bottom: str
    first: str
    last: str
    told: str
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Dot:
    x: float
    y: float
    is_good: bool


@dataclass(frozen=True)
class Dots:
    """Durations over time. `average` and `p95` are heights of lines, None where nothing succeeded."""

    dots: tuple[Dot, ...]
    average: float | None
    p95: float | None
    top: str
    first: str
    last: str
    told: str
    width: float = WIDTH
    height: float = HEIGHT


@dataclass(frozen=True)
class Cell:
    """One column of a strip: `well` grows from below, `ill` hangs from above."""

    x: float
    width: float
    is_known: bool
    well: float = 0.0
    ill: float = 0.0


@dataclass(frozen=True)
class Strip:
    """How one service was over time."""

    name: str
    share: str
    told: str
    cells: tuple[Cell, ...]
    width: float = WIDTH


def day(moment: datetime) -> str:
    return moment.strftime("%-d %b")


def counted(count: int, one: str, several: str = "") -> str:
    return f"{count} {one}" if count == 1 else f"{count} {several or one + 's'}"


def bars(found: Figures) -> Bars | None:
    """Attempts over time; None where there was none."""
    if not found.attempts:
        return None
    most = max(one.succeeded for one in found.bins)
    least = max(one.failed for one in found.bins)
    unit = HEIGHT / max(most + least, 1)
    zero = most * unit
    step = WIDTH / len(found.bins)
    drawn: list[Bar] = []
    for number, one in enumerate(found.bins):
        drawn += _column(one, number * step + step * GAP / 2, step * (1 - GAP), zero, unit)
    told = (
        f"{counted(found.attempts, 'update')} from {day(found.bins[0].start)} to {day(found.until)}:"
        f" {found.succeeded} succeeded, {found.failed} failed."
        f" At most {counted(max(one.attempts for one in found.bins), 'update')} in one"
        f" {'day' if found.is_by_day else 'week'}."
    )
    return Bars(
        bars=tuple(drawn),
        zero=_rounded(zero),
        top=str(most) if most else "",
        bottom=f"{least} failed" if least else "0",
        first=day(found.bins[0].start),
        last=day(found.until),
        told=told,
    )


def _column(one: Bin, x: float, width: float, zero: float, unit: float) -> Sequence[Bar]:
    parts = ((one.succeeded, zero - one.succeeded * unit, True), (one.failed, zero, False))
    return [
        Bar(_rounded(x), _rounded(y), _rounded(width), _rounded(count * unit), is_good)
        for count, y, is_good in parts
        if count
    ]


def dots(found: Figures) -> Dots | None:
    """How long each attempt took, over time; None where there was none."""
    if not found.durations:
        return None
    highest = nice(max(seconds for _, seconds, _, _ in found.durations))
    start, end = found.bins[0].start, found.bins[-1].end
    span = (end - start).total_seconds()

    def y(seconds: float | None) -> float | None:
        return None if seconds is None else _rounded(HEIGHT * (1 - seconds / highest))

    placed = tuple(
        Dot(_rounded((at - start).total_seconds() / span * WIDTH), y(seconds) or 0.0, outcome == "succeeded")
        for at, seconds, outcome, _ in found.durations
    )
    if found.average_seconds is None:
        told = "No update succeeded in this time; the dots are those that failed."
    else:
        told = (
            f"An update that succeeds takes {lasted(found.average_seconds)} on average;"
            f" 95 of 100 take at most {lasted(found.p95_seconds)}."
        )
    return Dots(
        dots=placed,
        average=y(found.average_seconds),
        p95=y(found.p95_seconds),
        top=lasted(highest),
        first=day(start),
        last=day(found.until),
        told=told,
    )


def nice(value: float) -> float:
    """The next number of seconds above that reads well on an axis."""
    for one in (1, 2, 5, 10, 20, 30, 60, 90, 120, 180, 300, 600, 1200, 1800, 3600, 7200):
        if value <= one:
            return float(one)
    return math.ceil(value / 3600) * 3600.0


def strip(one: Wellness) -> Strip:
    step = WIDTH / len(one.shares)
    cells = tuple(
        _cell(share, _rounded(number * step + step * GAP / 4), _rounded(step * (1 - GAP / 2)))
        for number, share in enumerate(one.shares)
    )
    share = percent(one.share)
    told = f"{one.service} was well in {one.well} of {counted(one.looks, 'look')} ({share})."
    return Strip(one.service, share, told, cells)


def _cell(share: float | None, x: float, width: float) -> Cell:
    if share is None:
        return Cell(x, width, is_known=False)
    ill = 0.0 if share == 1 else max(SMALLEST * 3, STRIP_HEIGHT * (1 - share))
    return Cell(x, width, is_known=True, well=_rounded(STRIP_HEIGHT - ill), ill=_rounded(ill))


def _rounded(value: float) -> float:
    """A hundredth of a unit is finer than any screen."""
    return round(value, 2)
