"""What a meter says of a model: a string, for billing knows models only by name."""

from typing import Final

MAX_METER_CHARS: Final = 127
"""``name`` of a model on sale, ``tenant/name`` of a private one: 63 characters each, and the separator."""
