"""A person sets the password by a link in a mail: staff type none, and no password is ever mailed.

The link's token is Django's for resets: good for ``PASSWORD_RESET_TIMEOUT``, until it is used, and until the person signs
in. It is made by the task that mails it, so neither the broker nor SQL holds one.
"""

import logging
from typing import Final

from django.conf import settings
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.core.mail import EmailMultiAlternatives
from django.core.validators import validate_email
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from mlplatform.lib.enqueue import enqueue
from mlplatform.lib.errors import invalid
from tenants.models import Membership, User

logger = logging.getLogger(__name__)

SEND_TASK: Final = "tenants.send_password_link"
_DAY_S: Final = 86_400


def person(*, email: str, full_name: str = "") -> tuple[User, bool]:
    """The person with this address, made now if there is none; and whether a link is on its way, as to all without a password.

    Raises INVALID_INPUT for what is no address, and for a person who is blocked.
    """
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError as error:
        raise invalid("email", "This is no e-mail address.") from error
    known = User.objects.filter(email=email).first()
    if known is not None and not known.is_active:
        raise invalid("email", "The person with this e-mail address is blocked.")
    found = known or User.objects.create_user(email, full_name=full_name)
    if found.has_usable_password():
        return found, False
    offer(found)
    return found, True


def offer(user: User) -> None:
    """Mail a link when the present transaction commits. A person who has a password keeps it until the link is used."""
    enqueue(SEND_TASK, user_id=user.pk)


def send(*, user_id: int) -> bool:
    """Mail the link now; False for a person who is gone or blocked. Raises what the mail server raises."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        return False
    memberships = Membership.objects.filter(user=user).select_related("tenant").order_by("tenant__name")
    context = {
        "subject": "Set your password",
        "link": link_for(user),
        "base_url": settings.BASE_URL,
        "user": user,
        "memberships": list(memberships),
        "days": settings.PASSWORD_RESET_TIMEOUT // _DAY_S,
    }
    mail = EmailMultiAlternatives(
        subject=f"{context['subject']} for mlplatform",
        body=render_to_string("email/password_link.txt", context),
        from_email=settings.DEFAULT_FROM_EMAIL,
        to=[user.email],
    )
    mail.attach_alternative(render_to_string("email/password_link.html", context), "text/html")
    mail.send()
    logger.info("a link to set the password was mailed to user %s", user.pk)
    return True


def link_for(user: User) -> str:
    """The address of the page on which this person sets the password."""
    uid, token = urlsafe_base64_encode(force_bytes(user.pk)), default_token_generator.make_token(user)
    return f"{settings.BASE_URL}{reverse('set-password', args=[uid, token])}"
