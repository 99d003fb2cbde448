"""The page on which people try GraphQL: GraphiQL, from files of our own."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.cache import never_cache

from tenants.models import Membership, User


@never_cache
def page(request: HttpRequest) -> HttpResponse:
    """GraphiQL for those who may see it; the way to sign in for those who did not yet."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return redirect(f"{settings.LOGIN_URL}?{urlencode({'next': reverse('graphql')})}")
    if not _may_see(user):
        return render(request, "graphiql_refused.html", status=403)
    return render(request, "graphiql.html")


def _may_see(user: User) -> bool:
    return bool(settings.DEBUG or user.is_staff or Membership.objects.filter(user=user).exists())
