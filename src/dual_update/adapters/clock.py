"""The host's clock."""

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
