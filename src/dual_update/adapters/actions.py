"""What a step says to GitHub Actions: outputs, annotations, masks, groups and the step's summary.

The one file that knows actions-toolkit. It writes the output file and the workflow commands; what it lacks is
here: names of outputs are checked, the summary is written, and foreign text is printed so that the runner
reads no command in it (the runner looks for commands on both standard streams).
"""

import os
import re
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dual_update.core.errors import UsageError, WorldError

LARGEST_SUMMARY_BYTES = 1_048_576
"""GitHub refuses a step's summary above 1 MiB."""

LARGEST_OUTPUT_CHARACTERS = 400_000
"""GitHub takes 1 MB of outputs a job, counted as UTF-16."""

LONGEST_ANNOTATION = 4_000
"""The runner cuts a message at 4,096 characters."""

MOST_ANNOTATIONS = 10
"""GitHub shows ten warnings and ten errors of a step."""

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


class Step:
    """The step that runs us. Raises UsageError where nobody reads what a step says."""

    def __init__(self) -> None:
        # Without its file the toolkit falls back to a command that runners no longer hear.
        if not os.environ.get("GITHUB_OUTPUT"):
            raise UsageError(
                "GITHUB_OUTPUT is not set, so nobody would read the outputs.",
                hint="`dual-update action` is for a step of a workflow; use `dual-update detect` elsewhere.",
            )
        self._said = {"error": 0, "warning": 0, "notice": 0}

    def output(self, name: str, value: str) -> None:
        """Set an output. Its name is a constant of ours; a value that GitHub would refuse is an error."""
        from actions_toolkit.core import set_output

        if not _NAME.fullmatch(name):  # the toolkit would write a file that fails the step
            raise ValueError(f"{name!r} is no name of an output")
        if len(value) > LARGEST_OUTPUT_CHARACTERS:
            raise WorldError(f"The output {name} has {len(value)} characters, more than GitHub takes.")
        try:
            set_output(name, value)
        except Exception as error:  # the toolkit raises no narrower one
            raise WorldError(f"The output {name} cannot be written: {error}.") from None

    def error(self, message: str) -> None:
        self._annotate("error", message)

    def warning(self, message: str) -> None:
        self._annotate("warning", message)

    def notice(self, message: str) -> None:
        self._annotate("notice", message)

    def _annotate(self, kind: str, message: str) -> None:
        from actions_toolkit import core

        self._said[kind] += 1
        if self._said[kind] > MOST_ANNOTATIONS:
            self.plain(f"{kind}: {message}")
            return
        getattr(core, kind)(f"dual-update: {message}"[:LONGEST_ANNOTATION])
        sys.stdout.flush()

    def mask(self, value: str) -> None:
        """Have the runner hide a secret in every log from now on."""
        from actions_toolkit.core import set_secret

        if value.strip():  # an empty mask would be a warning of the runner's
            set_secret(value.strip())
            sys.stdout.flush()

    @contextmanager
    def group(self, title: str) -> Iterator[None]:
        """What is printed meanwhile is folded under this title of ours."""
        from actions_toolkit.core import end_group, start_group

        start_group(title)
        try:
            yield
        finally:
            end_group()
            sys.stdout.flush()

    def plain(self, text: str) -> None:
        """Print foreign text. Nothing in it is a command to the runner."""
        token = secrets.token_hex(16)  # unknown to whoever wrote the text
        sys.stdout.write(f"::stop-commands::{token}\n{text.rstrip()}\n::{token}::\n")
        sys.stdout.flush()

    def summary(self, markdown: str) -> None:
        """Add to the step's summary; what would make it too large for GitHub is cut at a line's end."""
        name = os.environ.get("GITHUB_STEP_SUMMARY")
        if not name:
            return
        file = Path(name)
        try:
            there = file.stat().st_size if file.exists() else 0
            with file.open("ab") as out:  # appended: the runner watches this very file
                out.write(fitting(markdown, LARGEST_SUMMARY_BYTES - there))
        except OSError as error:
            self.warning(f"The summary cannot be written: {error.strerror}.")


_CUT = "\n\n... the rest did not fit into this summary; the step's log and the output `report` have it.\n"


def fitting(markdown: str, room: int) -> bytes:
    """The text as bytes, cut at a line's end where there is less room than it needs; folds are closed."""
    whole = f"{markdown.rstrip()}\n\n".encode()
    if len(whole) <= room:
        return whole
    left = room - len(_CUT.encode()) - 200
    if left <= 0:
        return b""
    kept = whole[:left].rpartition(b"\n")[0]
    folds = kept.count(b"<details>") - kept.count(b"</details>")
    return kept + b"\n\n</details>" * max(0, min(folds, 10)) + _CUT.encode()
