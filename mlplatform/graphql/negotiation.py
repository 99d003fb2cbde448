"""Which media type an answer has: what ``Accept`` prefers of the two that GraphQL over HTTP knows."""

from typing import Final

GRAPHQL_JSON: Final = "application/graphql-response+json"
JSON: Final = "application/json"
HTML: Final = "text/html"
_RANGES: Final = {
    GRAPHQL_JSON: GRAPHQL_JSON,
    JSON: JSON,
    "application/*": JSON,
    "*/*": JSON,
}


def accepted(header: str) -> str | None:
    """The media type of the answer, or None where the header allows neither. Without a header it is plain JSON."""
    if not header.strip():
        return JSON
    best, most = None, 0.0
    for media_range, quality in _parsed(header):
        offered = _RANGES.get(media_range)
        if offered is not None and quality > most:
            best, most = offered, quality
    return best


def wants_page(header: str) -> bool:
    """Whether it is a browser that asks for something to look at: HTML is named, and no JSON is preferred to it."""
    ranges = dict(_parsed(header))
    html = ranges.get(HTML, 0.0)
    return html > 0 and html >= max(ranges.get(GRAPHQL_JSON, 0.0), ranges.get(JSON, 0.0))


def _parsed(header: str) -> list[tuple[str, float]]:
    """Media ranges with their qualities, in the order of the header; one that cannot be read is left out."""
    found = []
    for part in header.split(",")[:50]:
        media_range, *parameters = (piece.strip().lower() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip() == "q":
                quality = _quality(value.strip())
        found.append((media_range, quality))
    return found


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if 0 <= value <= 1 else 0.0
