"""`dual-update ping`: does the service that listens there live. For health checks of its container."""

import http.client
import json

from dual_update.core.errors import WorldError

ANSWER_SECONDS = 8.0


def ping(host: str, port: int) -> str:
    """One line about the service. Raises WorldError where none answers, or another program does."""
    there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (asked, not listened on)
    connection = http.client.HTTPConnection(there, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/api/health")
        answer = connection.getresponse()
        found = json.loads(answer.read(65536))
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise WorldError(
            f"No update-orchestrator answers on {there}:{port} ({type(error).__name__})."
        ) from None
    finally:
        connection.close()
    if answer.status != 200 or not isinstance(found, dict) or "healthy" not in found:
        raise WorldError(f"What answers on {there}:{port} is not well, or no update-orchestrator.")
    words = {True: "the cluster is well", False: "the cluster is not well"}
    return f"The service lives; {words.get(found['healthy'], 'the cluster was not looked at yet')}."
