"""The page on which a person sets the password, by a link that was mailed."""

from typing import TYPE_CHECKING, Any

from django.contrib.auth import views
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path, reverse_lazy

if TYPE_CHECKING:
    from django.contrib.auth.forms import SetPasswordForm as _SetPasswordForm

    from tenants.models import User

    class SetPasswordForm(_SetPasswordForm[User]): ...

else:
    from django.contrib.auth.forms import SetPasswordForm


class PasswordForm(SetPasswordForm):
    """The password, twice."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["new_password1"].label = "Password"
        self.fields["new_password2"].label = "The same again"


class SetPasswordView(views.PasswordResetConfirmView):
    """Django's: it moves the token from the address into the session first, so that no other site is told of it."""

    template_name = "people/set_password.html"
    form_class = PasswordForm
    success_url = reverse_lazy("password-is-set")
    title = "Set your password"


def password_is_set(request: HttpRequest) -> HttpResponse:
    """Where a person goes from here."""
    return render(request, "people/password_is_set.html")


urlpatterns: list[URLPattern] = [
    path("people/password/set", password_is_set, name="password-is-set"),
    path("people/password/<uidb64>/<token>", SetPasswordView.as_view(), name="set-password"),
]
