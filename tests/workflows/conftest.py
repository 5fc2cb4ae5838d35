"""Checks of our workflow files; no engine and no network."""

from collections.abc import Iterator

import pytest

from tests.workflows.workflow import Evaluator


@pytest.fixture(scope="session")
def github_says() -> Iterator[Evaluator]:
    """GitHub's own evaluator of expressions."""
    with Evaluator() as evaluator:
        yield evaluator
