"""The command line: flags in, words and exit codes out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from dual_update.core.errors import DualUpdateError, ExitCode
from dual_update.wiring import Settings

FORMATS = click.Choice(["text", "json", "markdown"])


def program(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code. click's own complaints become usage errors (2)."""
    try:
        result = cli.main(args=list(arguments), prog_name="dual-update", standalone_mode=False)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.exceptions.Abort:
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    return int(result or ExitCode.DONE)


def shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Options that every command on a cluster takes, defined once."""
    for option in (
        click.option("--repo", type=click.Path(path_type=Path), default=Path(), help="The checkout [.]"),
        click.option(
            "-f", "--file", "files", multiple=True, help="A compose file below it; may be repeated."
        ),
        click.option("--cluster", default="", help="The cluster's name [the compose project's]"),
        click.option("--format", "output_format", type=FORMATS, default="text", help="[text]"),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="dual-update", message="%(version)s")
def cli() -> None:
    """Updates for docker compose clusters that end new or old, never between."""


@cli.command("detect")
@shared
@click.option("--base", help="What runs: a revision [the last deployment; without one all is new]")
@click.option("--head", default="HEAD", help="What is wanted: a revision [HEAD]")
@click.option("--output", type=click.Path(path_type=Path), help="Write to this file instead.")
def detect_command(
    repo: Path,
    files: tuple[str, ...],
    cluster: str,
    output_format: str,
    base: str | None,
    head: str,
    output: Path | None,
) -> int:
    """Say what really changed between two commits."""
    from dual_update.core import report
    from dual_update.wiring import run_detect

    decision = run_detect(Settings(repo, files, cluster), base, head).decision
    if output_format == "json":
        words = json.dumps(report.report(decision), indent=2, ensure_ascii=False) + "\n"
    else:
        words = report.markdown(decision) if output_format == "markdown" else report.text(decision)
    write(words, output)
    return ExitCode.DONE


def write(words: str, output: Path | None) -> None:
    """To the terminal, or to a file in one piece."""
    if output is None:
        click.echo(words, nl=False)
        return
    try:
        output.write_text(words, encoding="utf-8")
    except OSError as error:
        raise DualUpdateError(f"{output} cannot be written: {error.strerror}.") from error
