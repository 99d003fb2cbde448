"""Staff for tests of the admin: a superuser, and one person for each role, signed in."""

from typing import Any

from django.contrib.auth.models import Group
from django.test import Client

from mlplatform import roles
from tenants.models import User

PASSWORD = "correct horse battery"


def superuser() -> User:
    """A user who may do everything."""
    return User.objects.create_superuser("ada@staff.example", PASSWORD, full_name="Ada")


def with_role(role: str) -> User:
    """A user whose rights are those of this role; empty for staff without any."""
    roles.sync()
    user = User.objects.create_user(f"{role or 'new'}@staff.example", PASSWORD, is_staff=True)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


def signed_in(user: User) -> Client:
    """A browser of this person."""
    client = Client()
    client.force_login(user)
    return client


def no_rows(*inlines: str) -> dict[str, str]:
    """The management forms of a page's inlines that hold no row."""
    return {f"{name}-{total}": "0" for name in inlines for total in ("TOTAL_FORMS", "INITIAL_FORMS")}


def said(response: Any) -> list[str]:
    """The messages on the page that answered."""
    return [str(message) for message in response.context["messages"]]
