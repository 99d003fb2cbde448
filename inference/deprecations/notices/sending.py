"""Telling people, once each: a row a (schedule, tenant, moment), an event for programs, an e-mail for owners and admins.

Row and event are written in one transaction; the e-mail is a task that is enqueued after it, and again while it has not
gone out. What beat missed while it was down is told when it is back.

An e-mail leaves outside of every transaction, because a slow mail server must not hold SQLite's only write lock. So a task
claims an attempt first, under the row's lock: attempts are numbered, and each number is tried by one task alone.
"""

import datetime as dt
import logging
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from email.utils import parseaddr
from typing import Any, Final

from django.conf import settings
from django.core.mail import EmailMultiAlternatives
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Count, Exists, OuterRef, Q
from prometheus_client import Counter

from billing.metering import version_use
from inference.deprecations.notices import letters, moments
from inference.deprecations.notices.letters import Letter
from inference.deprecations.notices.moments import Moment, MomentKind
from inference.models import Notice
from inference.registry import live
from mlplatform.lib import clock
from mlplatform.lib.enqueue import enqueue
from mlplatform.lib.errors import invalid
from mlplatform.lib.ids import hex_id
from tenants import events
from tenants.deprecations import catalogue
from tenants.deprecations.rules import Schedule
from tenants.models import Audience, DeprecationSchedule, Membership, Role, Tenant, TenantStatus, User

logger = logging.getLogger(__name__)

SEND_TASK: Final = "inference.send_notice"
GIVEN_UP_AFTER: Final = dt.timedelta(days=5)
_LOST_AFTER: Final = dt.timedelta(minutes=5)
_BACK_OFF: Final = tuple(dt.timedelta(minutes=minutes) for minutes in (5, 15, 60, 240, 360))
_AT_ONCE: Final = 500
_ERROR_CHARS: Final = 500
_SUBJECT_CHARS: Final = 200
_TOLD_BY: Final = (Role.OWNER, Role.ADMIN)
_EVENT_TYPES: Final[Mapping[MomentKind, str]] = {
    MomentKind.ANNOUNCEMENT: "deprecated",
    MomentKind.COUNTDOWN: "sunset_scheduled",
    MomentKind.BROWNOUT: "brownout_planned",
    MomentKind.MESSAGE: "message_sent",
}

_notices: Final = Counter(
    "mlplatform_notices_total", "Notices of deprecations: told, sent, failed tries, given up, untold.", ["outcome"]
)


# --- Who must be told of what ------------------------------------------------------------------------------------------


def tell() -> int:
    """Tell everything that is due and was not told, however late, and give the number of new notices.

    Then e-mails that did not go out are tried again. Raises what SQL raises; the next minute goes on from there.
    """
    now = clock.now()
    running = DeprecationSchedule.objects.filter(canceled_at__isnull=True, announce_at__lte=now)
    running = running.filter(Q(sunset_at__gt=now) | Q(extensions__until__gt=now)).distinct()
    told = sum(_tell(row, now) for row in running.prefetch_related("brownouts", "extensions"))
    _try_again(now)
    return told


def _tell(row: DeprecationSchedule, now: dt.datetime) -> int:
    schedule = catalogue.frozen(row)
    known = set(Notice.objects.filter(schedule=row).values_list("tenant_id", "moment"))
    users = version_use.tenants_using(row.kind, row.subject)
    told = 0
    for tenant_id in sorted(users | _others(row)):
        if not live.is_visible_to(row.subject, tenant_id=tenant_id):
            continue
        for moment in moments.due(schedule, now, tenant_id):
            if tenant_id not in users and moment.kind is not MomentKind.ANNOUNCEMENT:
                continue
            if (tenant_id, moment.name) not in known:
                told += _told_one(row, schedule, tenant_id, moment)
    return told


def _others(row: DeprecationSchedule) -> set[int]:
    """Active tenants that have not heard the announcement; who came after it never knew the subject as a promise."""
    if row.audience != Audience.EVERYONE:
        return set()
    announced = Notice.objects.filter(schedule=row, tenant=OuterRef("pk"), moment="announcement")
    tenants = Tenant.objects.filter(status=TenantStatus.ACTIVE, created_at__lte=max(row.announce_at, row.created_at))
    return set(tenants.filter(~Exists(announced)).values_list("pk", flat=True))


def _told_one(row: DeprecationSchedule, schedule: Schedule, tenant_id: int, moment: Moment) -> int:
    """1 if the tenant was told now. What is wrong with one tenant does not keep the others from being told."""
    try:
        tenant = Tenant.objects.get(pk=tenant_id)
        letter = letters.compose(schedule=schedule, reason=row.reason, tenant=tenant, moment=moment)
        _record(schedule, tenant, moment, letter)
    except IntegrityError:
        logger.info("%s of schedule %s was told to tenant %s by another process", moment.name, row.pk, tenant_id)
        return 0
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("%s of schedule %s could not be told to tenant %s", moment.name, row.pk, tenant_id)
        _notices.labels("untold").inc()
        return 0
    return 1


@transaction.atomic
def _record(schedule: Schedule, tenant: Tenant, moment: Moment, letter: Letter) -> Notice:
    now = clock.now()
    recipients = recipients_of(tenant.pk)
    notice = Notice.objects.create(
        schedule_id=schedule.id,
        tenant=tenant,
        moment=moment.name,
        subject=letter.subject,
        text=letter.text,
        html=letter.html,
        recipients=recipients,
        created_at=now,
        next_try_at=now + _LOST_AFTER if recipients else None,
    )
    events.record(
        tenant_id=tenant.pk,
        type=f"{schedule.kind}.{_EVENT_TYPES[moment.kind]}",
        data=_event_data(schedule, tenant.pk, moment, letter),
    )
    if recipients:
        enqueue(SEND_TASK, notice_id=notice.pk, attempt=0)
    _notices.labels("told").inc()
    return notice


def _event_data(schedule: Schedule, tenant_id: int, moment: Moment, letter: Letter) -> dict[str, Any]:
    data: dict[str, Any] = {
        "deprecation_id": schedule.id,
        "kind": schedule.kind,
        "subject": schedule.subject,
        "successor": schedule.successor,
        "deprecated_at": schedule.deprecate_at.isoformat(),
        "sunset_at": schedule.sunset_for(tenant_id).isoformat(),
        "guide": f"{settings.BASE_URL}{schedule.guide}",
        "moment": moment.name,
    }
    if moment.window is not None:
        data["brownout"] = {
            "starts_at": moment.window.starts_at.isoformat(),
            "ends_at": moment.window.ends_at.isoformat(),
            "share": moment.window.share,
        }
    if moment.kind is MomentKind.MESSAGE:
        data["message"] = {"subject": letter.subject}
    return data


def recipients_of(tenant_id: int) -> list[str]:
    """The addresses of the tenant's owners and admins who may sign in."""
    members = Membership.objects.filter(tenant_id=tenant_id, role__in=_TOLD_BY, user__is_active=True)
    return sorted(members.values_list("user__email", flat=True))


def message(
    *, schedule: DeprecationSchedule, tenant_ids: Collection[int], subject: str, text: str, by: User | None
) -> int:
    """Staff write to just these tenants, all or none; gives how many. Raises INVALID_INPUT that names the field.

    The same words again are another message.
    """
    subject = " ".join(subject.split())
    if not 1 <= len(subject) <= _SUBJECT_CHARS:
        raise invalid("subject", f"The subject has 1 to {_SUBJECT_CHARS} characters.")
    if not text.strip():
        raise invalid("text", "Write what the tenants should know.")
    frozen = catalogue.frozen(schedule)
    moment = Moment(f"message:{hex_id()}", MomentKind.MESSAGE, clock.now())
    tenants = list(Tenant.objects.filter(pk__in=set(tenant_ids)).order_by("pk"))
    signed = by.get_full_name() if by else ""
    written = [
        letters.compose_message(schedule=frozen, tenant=tenant, subject=subject, text=text, signed=signed)
        for tenant in tenants
    ]
    with transaction.atomic():
        for tenant, letter in zip(tenants, written, strict=True):
            _record(frozen, tenant, moment, letter)
    logger.info("%s wrote to %d tenants about schedule %s", by or "the clock", len(tenants), schedule.pk)
    return len(tenants)


def tenants_told(*, schedule_id: int) -> set[int]:
    """Ids of the tenants that were told of anything."""
    return set(Notice.objects.filter(schedule_id=schedule_id).order_by().values_list("tenant", flat=True).distinct())


def told_of_brownouts(*, schedule_id: int) -> Mapping[int, int]:
    """How many tenants were told of each brownout, by its id."""
    rows = Notice.objects.filter(schedule_id=schedule_id, moment__startswith=f"{MomentKind.BROWNOUT}:").order_by()
    counted = rows.values_list("moment").annotate(n=Count("pk"))
    return {int(name.partition(":")[2]): n for name, n in counted}


def told(*, schedule_id: int, tenant_ids: Sequence[int] | None = None) -> Mapping[int, list[Notice]]:
    """Who, of these or of all, was told and when: the notices of each tenant, latest first, without their words."""
    found: dict[int, list[Notice]] = defaultdict(list)
    rows = Notice.objects.filter(schedule_id=schedule_id).defer("text", "html")
    if tenant_ids is not None:
        rows = rows.filter(tenant__in=tenant_ids)
    for notice in rows.order_by("-created_at", "-pk"):
        found[notice.tenant_id].append(notice)
    return found


# --- E-mail ------------------------------------------------------------------------------------------------------------


def send(*, notice_id: int, attempt: int) -> bool:
    """Send the e-mail of a notice, if this is the attempt that is due; True if it went out now.

    A repeated or concurrent task finds the attempt taken and does nothing. A failure is kept in the row and tried again
    by :func:`tell`, later each time, for five days.
    """
    notice = _claim(notice_id, attempt)
    if notice is None:
        return False
    try:
        _mail(notice).send()
    except Exception as error:
        # Whatever a mail server or its library raises, the notice is tried again.
        logger.warning("notice %s could not be sent (attempt %d)", notice_id, notice.attempts, exc_info=True)
        _notices.labels("failed").inc()
        Notice.objects.filter(pk=notice_id).update(error=f"{type(error).__name__}: {error}"[:_ERROR_CHARS])
        return False
    Notice.objects.filter(pk=notice_id).update(sent_at=clock.now(), next_try_at=None, error="")
    _notices.labels("sent").inc()
    return True


@transaction.atomic
def _claim(notice_id: int, attempt: int) -> Notice | None:
    """The notice, unless another task has taken this attempt: then the number has moved on."""
    notice = Notice.objects.select_for_update().filter(pk=notice_id, attempts=attempt, sent_at__isnull=True).first()
    if notice is None or notice.next_try_at is None:
        return None
    now = clock.now()
    if reason := _pointless(notice, now):
        notice.next_try_at, notice.error = None, reason
        _notices.labels("given_up").inc()
    else:
        notice.attempts += 1
        notice.next_try_at = now + _BACK_OFF[min(notice.attempts, len(_BACK_OFF)) - 1]
    notice.save(update_fields=["attempts", "next_try_at", "error"])
    return notice if notice.next_try_at is not None else None


def _pointless(notice: Notice, now: dt.datetime) -> str:
    """Why the e-mail need not go out any more; empty while it should."""
    if now - notice.created_at > GIVEN_UP_AFTER:
        return f"Given up after {GIVEN_UP_AFTER.days} days. {notice.error}"[:_ERROR_CHARS]
    if notice.moment.startswith(f"{MomentKind.MESSAGE}:"):
        return ""
    if notice.schedule.canceled_at is not None:
        return "Not sent: the schedule was canceled."
    if now >= catalogue.frozen(notice.schedule).sunset_for(notice.tenant_id):
        return f"Not sent before the sunset. {notice.error}"[:_ERROR_CHARS]
    return ""


def _mail(notice: Notice) -> EmailMultiAlternatives:
    letter = _fresh(notice)
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2] or "localhost"
    mail = EmailMultiAlternatives(
        subject=letter.subject,
        body=letter.text,
        to=notice.recipients,
        headers={
            # The same at every try: should a server have taken a mail whose success we never saw, readers see one.
            "Message-ID": f"<notice-{notice.pk}@{domain}>",
            "Auto-Submitted": "auto-generated",
        },
    )
    mail.attach_alternative(letter.html, "text/html")
    return mail


def _fresh(notice: Notice) -> Letter:
    """The words as of now: the days that are left are counted anew, and a call that was kept whole is quoted.

    The row keeps the words without that call, so that nothing of it outlives the sample.
    """
    kept = Letter(notice.subject, notice.text, notice.html)
    schedule = catalogue.frozen(notice.schedule)
    known = [*moments.due(schedule, clock.now(), notice.tenant_id), *moments.countdown(schedule, notice.tenant_id)]
    moment = next((moment for moment in known if moment.name == notice.moment), None)
    if moment is None:
        return kept
    try:
        return letters.compose(
            schedule=schedule,
            reason=notice.schedule.reason,
            tenant=notice.tenant,
            moment=moment,
            whole=notice.tenant.keeps_calls,
        )
    except Exception:
        logger.exception("notice %s goes out with the words that it was told with", notice.pk)
        return kept


def _try_again(now: dt.datetime) -> None:
    """Enqueue what has not gone out: its task failed, or was lost."""
    due = Notice.objects.filter(sent_at__isnull=True, next_try_at__lte=now).order_by("next_try_at")
    waiting: Iterable[tuple[int, int]] = due.values_list("pk", "attempts")[:_AT_ONCE]
    for notice_id, attempt in list(waiting):
        with transaction.atomic():
            again = Notice.objects.filter(pk=notice_id, attempts=attempt, next_try_at__lte=now)
            if again.update(next_try_at=now + _LOST_AFTER):
                enqueue(SEND_TASK, notice_id=notice_id, attempt=attempt)
