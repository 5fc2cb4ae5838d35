"""Composition root: settings in, use-cases with their adapters out. Heavy imports wait until needed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dual_update.adapters.compose import ComposeRenderer
from dual_update.adapters.git import GitRepository
from dual_update.adapters.ignore import sent_to_build
from dual_update.usecases.detect import Detected, DetectRequest, Project, detect


@dataclass(frozen=True)
class Settings:
    """What a door read from its flags, environment and files: once, at the start."""

    repo: Path = Path()
    files: tuple[str, ...] = ()
    cluster: str = ""
    state_dir: Path | None = None


def project_of(repository: GitRepository, files: Sequence[str]) -> Project:
    """Where the compose project lies: files are given relative to the directory the user named."""
    directory = repository.directory
    prefix = f"{directory}/" if directory else ""
    return Project(directory, tuple(prefix + file.removeprefix("./") for file in files))


def run_detect(settings: Settings, base: str | None, head: str) -> Detected:
    """Detect in the repository of the settings."""
    with GitRepository(settings.repo) as repository:
        request = DetectRequest(
            head=head, base=base, project=project_of(repository, settings.files), cluster=settings.cluster
        )
        return detect(request, repository, ComposeRenderer(), sent_to_build)
