#!/usr/bin/env python3
"""The documented door: one command that looks for an update and, if wanted, applies it.

    python scripts/dual_update_manager.py --check-only    shows what would be done, and does nothing
    python scripts/dual_update_manager.py                 shows it, asks, and does it
    python scripts/dual_update_manager.py --auto          does it without asking

It is `dual-update apply` under another name, with the same exit codes. Works with any Python 3 that is on the
machine: where the package cannot be imported, the checkout's own .venv takes over.
"""

import argparse
import os
import sys
from pathlib import Path

VENV = Path(__file__).resolve().parent.parent / ".venv"


def parser() -> argparse.ArgumentParser:
    """The flags; each goes to `apply` as it is."""
    made = argparse.ArgumentParser(
        prog="dual_update_manager.py",
        description="Look for an update of the cluster and, if wanted, apply it.",
        epilog="Everything else: dual-update --help",
        allow_abbrev=False,
    )
    how = made.add_mutually_exclusive_group()
    how.add_argument("--check-only", action="store_true", help="show what would be done, and do nothing")
    how.add_argument("--auto", action="store_true", help="do not ask")
    made.add_argument("--repo", metavar="DIR", help="the checkout [.]")
    made.add_argument("-f", "--file", action="append", default=[], help="a compose file; may be repeated")
    made.add_argument("--cluster", metavar="NAME", help="the cluster's name [the compose project's]")
    made.add_argument("--ref", metavar="REV", help="the wanted revision [the upstream's tip, else HEAD]")
    return made


def arguments_of_apply(given: argparse.Namespace) -> list[str]:
    """The same wish, as `dual-update` is told."""
    words = ["apply"]
    words += [f"--{flag}" for flag in ("auto", "check-only") if getattr(given, flag.replace("-", "_"))]
    for option in ("repo", "cluster", "ref"):
        if getattr(given, option) is not None:
            words += ["--" + option, getattr(given, option)]
    for file in given.file:
        words += ["--file", file]
    return words


def main() -> int:
    try:
        import dual_update.edges.cli  # noqa: F401 - the package and what it needs, or neither
        from dual_update.__main__ import main as dual_update_main
    except ImportError:
        return in_venv()
    given = parser().parse_args()
    sys.argv = ["dual-update", *arguments_of_apply(given)]
    return dual_update_main()


def in_venv() -> int:
    """Start over in the checkout's environment; a sentence and a 2 where there is none."""
    python = VENV / "bin" / "python"
    is_there_already = Path(sys.prefix).resolve() == VENV.resolve()
    if not is_there_already and os.access(python, os.X_OK):
        os.execv(python, [str(python), __file__, *sys.argv[1:]])
    print("dual_update_manager: dual-update is not set up here; run scripts/bootstrap.", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
