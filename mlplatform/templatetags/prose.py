"""``{{ text|prose }}``: a sentence of the API, whose code stands between backticks, on a page of staff."""

from django import template
from django.utils.safestring import SafeString

from mlplatform.lib import prose as sentences

register = template.Library()


@register.filter
def prose(text: object) -> SafeString:
    """Escaped, with elements for what stands between backticks."""
    return sentences.html(str(text))
