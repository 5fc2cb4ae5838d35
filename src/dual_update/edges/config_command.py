"""`dual-update config check` and `config show`: is the config right, and what holds."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from dual_update.core.config import CONFIG_PATH, Config
from dual_update.core.errors import ExitCode


@click.group("config")
def config_group() -> None:
    """Check a config file, or show what holds."""


@config_group.command("check")
@click.argument("files", nargs=-1, type=click.Path(path_type=Path))
@click.option("--repo", type=click.Path(path_type=Path), default=Path(), help="The checkout [.]")
def check_command(files: tuple[Path, ...], repo: Path) -> int:
    """Check config files [.github/dual-update.yml]; a file with `clusters` is a multi-cluster.yml."""
    from dual_update.adapters.config import check_file

    if not files and not (repo / CONFIG_PATH).exists():
        click.echo(f"There is no {repo / CONFIG_PATH}, and none is needed: the defaults hold.")
        return ExitCode.DONE
    for path in files or (repo / CONFIG_PATH,):
        click.echo(check_file(path))
    return ExitCode.DONE


@config_group.command("show")
@click.option("--config", type=click.Path(path_type=Path), help=f"The file [{CONFIG_PATH}]")
@click.option("--repo", type=click.Path(path_type=Path), default=Path(), help="The checkout [.]")
@click.option("--format", "output_format", type=click.Choice(["text", "json"]), default="text", help="[text]")
def show_command(config: Path | None, repo: Path, output_format: str) -> int:
    """Show every value that holds, defaults included."""
    from dual_update.adapters.config import load_file

    path = config or repo / CONFIG_PATH
    found = load_file(path) if config or path.exists() else Config()
    if output_format == "json":
        click.echo(json.dumps(asdict(found), indent=2, ensure_ascii=False))
        return ExitCode.DONE
    click.echo(f"# {path}" if path.exists() else f"# no {path}: these are the defaults")
    for key, value in asdict(found).items():
        click.echo(f"{key}: {json.dumps(value, ensure_ascii=False)}")
    return ExitCode.DONE
