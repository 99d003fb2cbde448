"""Asks the web process whether everything is ready, and names what is not yet."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any
from urllib.parse import urlsplit

from mlplatform.run.environment import LaunchPlan

_TIMEOUT_S = 5.0
_FINE = {"ok", "up", "ready", "pass"}


def waiting_for(web_url: str) -> tuple[str, ...]:
    """Return what the product still waits for by the answer of /readyz; nothing when it is ready.

    No answer at all counts as waiting for ``web``.
    """
    parts = urlsplit(web_url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/readyz", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException):
        return ("web",)
    finally:
        connection.close()
    return () if response.status == http.HTTPStatus.OK else unready_checks(body, status=response.status)


def waiting_for_grpc(plan: LaunchPlan) -> tuple[str, ...]:
    """Return ``grpc`` until the gRPC process says that it serves; over TLS, whose authority is not known here, until it
    takes connections."""
    # Imported when everything else is ready: the launcher itself has to be there at once.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    if plan.grpc_tls:
        host, _, port = plan.grpc_target.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_TIMEOUT_S):
                return ()
        except OSError:
            return ("grpc",)
    with grpc.insecure_channel(plan.grpc_target) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return ("grpc",)
    return () if answer.status == health_pb2.HealthCheckResponse.SERVING else ("grpc",)


def unready_checks(body: bytes, *, status: int) -> tuple[str, ...]:
    """Return the names of the checks that /readyz says have not passed."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    checks = answer.get("checks") if isinstance(answer, dict) else None
    if isinstance(checks, dict):
        found = tuple(str(name) for name, outcome in checks.items() if not _is_fine(outcome))
        if found:
            return found
    return (f"/readyz (it answers {status})",)


def _is_fine(outcome: Any) -> bool:
    if isinstance(outcome, dict):
        return _is_fine(outcome.get("ok", outcome.get("status")))
    return outcome is True or (isinstance(outcome, str) and outcome.lower() in _FINE)
