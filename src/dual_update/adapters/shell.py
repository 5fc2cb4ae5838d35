"""Runs the owner's commands on the host: argument lists, a scrubbed environment, a time limit."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from dual_update.adapters.process import run, scrubbed


class HostShell:
    """Fits the port Shell. A command dies with whoever runs it: what outlived a killed deployer would go on
    while the next one takes it back."""

    def run(self, command: Sequence[str], directory: str, timeout_seconds: float) -> tuple[int, str]:
        """Exit code and both outputs. Raises Timeout (the whole process group is killed) and WorldError."""
        result = run(
            list(command), cwd=directory, env=scrubbed(), timeout_seconds=timeout_seconds, dies_with_us=True
        )
        return result.code, result.out + result.err

    def has(self, program: str, directory: str) -> bool:
        """Is there such a program on PATH, or at this path."""
        if "/" in program:
            path = Path(directory) / program
            return path.is_file() and os.access(path, os.X_OK)
        return shutil.which(program) is not None
