"""Answers of API calls."""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from rest_framework.renderers import BaseRenderer


class OrjsonRenderer(BaseRenderer):
    """JSON as UTF-8 bytes, of answers too. Arrays of float32 are written with the few digits that they have."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        return (
            b"" if data is None else orjson.dumps(data, default=msgspec.to_builtins, option=orjson.OPT_SERIALIZE_NUMPY)
        )
