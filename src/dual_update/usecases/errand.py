"""Something that a cluster was asked to do, carried out in a thread while its coordinator looks on."""

import threading
from collections.abc import Callable

from dual_update.core.errors import DualUpdateError


class Errand:
    """One at a time: what is asked meanwhile is not heard. `refusal` is why the last one was not done.

    A process that ends takes its errands along; what they left is settled by whoever comes next.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self.refusal = ""

    @property
    def is_under_way(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def begin(self, what: Callable[[], None], name: str) -> None:
        if self.is_under_way:
            return
        self.refusal = ""
        self._thread = threading.Thread(target=self._do, args=(what,), name=name, daemon=True)
        self._thread.start()

    def _do(self, what: Callable[[], None]) -> None:
        """Runs that were recorded tell of themselves; what was refused before is kept for the next look."""
        try:
            what()
        except DualUpdateError as error:
            self.refusal = " ".join(error.message.split())
        except Exception as error:  # a thread's error would only be printed
            self.refusal = f"This is a bug ({type(error).__name__})."
