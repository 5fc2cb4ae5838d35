"""One repository on the fake GitHub, and the real adapter that talks to it, for every test that asks."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from dual_update.adapters.github import Patience, PyGithubRepository
from tests.fake_github.repository import Repository
from tests.fake_github.server import FakeGitHub

NAME = "its-DeFine/shop"
QUICK = Patience(
    answer_seconds=20,
    rate_limit_seconds=0.2,
    pause_seconds=0.01,
    between_reads_seconds=0,
    between_writes_seconds=0,
    reads=1,
)
"""Patience for a GitHub that answers at once, and lags behind nothing that it was told."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeGitHub]:
    with FakeGitHub(tmp_path) as github:
        github.repository(NAME)
        yield github


@pytest.fixture
def github(server: FakeGitHub) -> PyGithubRepository:
    return PyGithubRepository(server.url, NAME, "a-token", patience=QUICK)


@pytest.fixture
def repo(server: FakeGitHub) -> Repository:
    return server.repository(NAME)
