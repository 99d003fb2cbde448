"""How the state and the accuracy of a model version look."""

from typing import Final

from django.utils.html import format_html
from django.utils.safestring import SafeString

from inference.models import ModelVersion, VersionState
from tenants.admin import formats

_TONES: Final[dict[str, formats.Tone]] = {
    VersionState.STAGED: "warning",
    VersionState.READY: "info",
    VersionState.LIVE: "success",
    VersionState.RETIRED: "neutral",
}


def state_badge(version: ModelVersion) -> SafeString:
    """The state, and a second badge when the version could not be loaded."""
    state = formats.badge(version.get_state_display(), _TONES[version.state])
    if not version.load_error:
        return state
    return format_html("{} {}", state, formats.badge("Does not load", "danger", why=version.load_error))


def accuracy(version: ModelVersion) -> SafeString:
    """Such as ``90.8 %``, with how it was measured below."""
    if version.accuracy is None:
        return formats.note(version.accuracy_note or "not measured")
    return format_html(
        '<span class="p-number">{} %</span>{}',
        f"{version.accuracy:.1%}"[:-1],
        formats.note(version.accuracy_note or "how it was measured was not written down"),
    )
