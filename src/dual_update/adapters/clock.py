"""The host's clock."""

import random
import secrets
import time
from datetime import UTC, datetime


class SystemClock:
    """Wall time for records, monotonic time for measuring."""

    def now(self) -> str:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class SystemWall:
    """The service's clock: moments as datetimes, and a little luck."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def luck(self) -> float:
        return random.random()  # noqa: S311  it spreads load, it keeps no secret

    def name(self) -> str:
        return secrets.token_hex(6)
