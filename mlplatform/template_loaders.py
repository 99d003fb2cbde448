"""How templates of installed apps are read: with what Unfold's lack for people who do not see a page, or have no mouse.

Where a line is wrong it is corrected as it is read; where more is, ``templates/unfold`` has our own. A test says when a new
release of Unfold changes either.
"""

import re
from typing import Final

from django.template import Origin
from django.template.loaders import app_directories

CORRECTIONS: Final = {
    # The column's heading names a field for those who see it.
    "unfold/helpers/edit_inline/tabular_field.html": (
        "            {{ field.field }}\n",
        '            <label class="p-hidden" for="{{ field.field.id_for_label }}">{{ field.field.label }}</label>\n'
        "            {{ field.field }}\n",
    ),
    "admin/search_form.html": ('id="searchbar-submit"', 'id="searchbar-submit" aria-label="Search"'),
}
"""By template: what stands there, and what should."""
_ICON: Final = re.compile(r"<(span|i|div)(?=\s[^>]*\bmaterial-symbols-outlined\b)(?![^>]*\baria-hidden=)")


class AppDirectories(app_directories.Loader):
    """Hides the icons of Unfold's templates from screen readers, which would read their names ("chevron right"), and corrects."""

    def get_contents(self, origin: Origin) -> str:
        text = super().get_contents(origin)
        if "/unfold/" in str(origin.name):
            wrong, right = CORRECTIONS.get(str(origin.template_name), ("", ""))
            text = text.replace(wrong, right) if wrong else text
            text = _ICON.sub(r'<\1 aria-hidden="true"', text)
        return text
