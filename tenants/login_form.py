"""The sign-in form of the admin, guarded by ``tenants.logins``.

It stands outside ``tenants.admin``: unfold imports it while it makes the site with which those pages register.
"""

from typing import TYPE_CHECKING, Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest

from mlplatform.lib.errors import PlatformError
from tenants import logins

if TYPE_CHECKING:
    from django.contrib.admin.forms import AdminAuthenticationForm as AuthenticationForm
else:
    from unfold.forms import AuthenticationForm


class GuardedAuthenticationForm(AuthenticationForm):
    """Asks for e-mail and password; a try beyond the limits is refused before the password is looked at."""

    def __init__(self, request: HttpRequest | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self.fields["username"].label = "E-mail address"
        self.fields["username"].widget.input_type = "email"
        self.fields["username"].widget.attrs["autocomplete"] = "username"

    def clean(self) -> dict[str, Any]:
        """Raises ValidationError with the reason and when to try again."""
        email = self.cleaned_data.get("username", "")
        if self.request is None:
            return super().clean()
        try:
            logins.count_attempt(self.request, email=email)
        except PlatformError as error:
            raise ValidationError(error.detail, code=error.kind.value) from error
        cleaned = super().clean()
        logins.succeeded(self.request, email=email)
        return cleaned
