"""The real application around the real service, in a world of its own, without a socket."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from dual_update.edges.web.app import create_app
from dual_update.edges.web.auth import WebSettings
from dual_update.usecases.checking import Checked
from dual_update.usecases.service import Service
from tests.usecases.service_world import NOBODY_WAITS, Stage, looked

TOKEN = "an-api-token-for-tests-0123456789"
SECRET = "a-webhook-secret-for-tests-0123456789"
HERE = "http://127.0.0.1:8090"


@dataclass
class Web:
    """The application, what it stands on, and a caller without any rights."""

    app: FastAPI
    stage: Stage
    service: Service
    client: TestClient

    def as_owner(self, method: str, path: str, **more: Any) -> httpx.Response:
        """With the token."""
        headers = {"Authorization": f"Bearer {TOKEN}", **more.pop("headers", {})}
        return self.client.request(method, path, headers=headers, **more)


MakeWeb = Callable[..., Web]


@pytest.fixture
def make_web(tmp_path: Path) -> Iterator[MakeWeb]:
    """Makes an application with these settings; the update of `found` is pending in it."""
    with ExitStack() as stack:
        number = 0

        def make(found: Any = None, base_url: str = HERE, **settings: Any) -> Web:
            nonlocal number
            number += 1
            stage = Stage(tmp_path / f"state-{number}")
            stage.found = found or Checked(looked(), NOBODY_WAITS)
            service = stage.service()
            service.turn()
            told = WebSettings(**{"api_token": TOKEN, "webhook_secret": SECRET, **settings})
            app = create_app(service, told, lambda event, **fields: stage.lines.append((event, fields)))
            client = stack.enter_context(
                TestClient(app, base_url=base_url, raise_server_exceptions=False, follow_redirects=False)
            )
            stack.callback(stage.memory.close)
            stack.callback(stage.reader.close)
            return Web(app, stage, service, client)

        yield make


@pytest.fixture
def web(make_web: MakeWeb) -> Web:
    return make_web()
