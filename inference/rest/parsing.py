"""What a call says in headers and means for its prediction. Bodies are read in ``inference/representations``."""

from inference.types import CachePolicy


def cache_policy(header: str) -> CachePolicy:
    """``Cache-Control: no-cache`` computes anew; ``no-store`` neither reads nor keeps."""
    if not header:
        return CachePolicy()
    directives = {part.strip().lower() for part in header.split(",")}
    no_store = "no-store" in directives
    return CachePolicy(read=not (no_store or "no-cache" in directives), write=not no_store)
