"""Every face, and the worker that answers them all."""

import pytest

from tests.parity import faces
from tests.parity.faces import Face
from tests.support.grpc import grpc_server, grpc_target
from tests.support.live_worker import demo_models, live_worker
from tests.support.tiny_model import tiny_worker
from tests.support.walked_clock import published_at_once

__all__ = ["demo_models", "grpc_server", "grpc_target", "live_worker", "published_at_once", "tiny_worker"]

FACES = ("rest-v1", "rest-v2", "graphql", "grpc", "grpc-stream", "oip-http", "oip-grpc")
WITHOUT_BATCHES = {"rest-v1", "grpc-stream"}


@pytest.fixture(params=FACES)
def face_name(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def face(face_name: str, request: pytest.FixtureRequest) -> Face:
    """Each test once for each face."""
    plain = {
        "rest-v1": faces.rest_v1,
        "rest-v2": faces.rest_v2,
        "graphql": faces.graphql,
        "oip-http": faces.oip_http,
    }
    if face_name in plain:
        return plain[face_name]
    target: str = request.getfixturevalue("grpc_target")
    over_grpc = {"grpc": faces.grpc_of, "grpc-stream": faces.grpc_stream_of, "oip-grpc": faces.oip_grpc_of}
    return over_grpc[face_name](target)
