"""The one place that turns errors into sentences and exit codes."""

import sys

from dual_update.core.errors import DualUpdateError, ExitCode


def main() -> int:
    """Run the command line. No traceback reaches a user; `DUAL_UPDATE_DEBUG=1` shows it to us."""
    from dual_update.edges.cli import program

    try:
        return program(sys.argv[1:])
    except DualUpdateError as error:
        print(f"dual-update: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("dual-update: interrupted.", file=sys.stderr)
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        return ExitCode.DONE
    except Exception as error:  # a bug of ours: said as one, never as a traceback
        import os

        if os.environ.get("DUAL_UPDATE_DEBUG"):
            raise
        print(
            f"dual-update: this is a bug ({type(error).__name__}). Nothing more is known than its name.\n"
            "Run it again with DUAL_UPDATE_DEBUG=1 and report what it prints.",
            file=sys.stderr,
        )
        return ExitCode.BUG


if __name__ == "__main__":
    sys.exit(main())
