"""The page "Workers": who computes what, how much waits for it, and the order to take no new batch."""

import datetime as dt
import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from inference.fleet import draining, workers
from inference.fleet.workers import DrainOrder, WorkerInfo
from inference.models import MLModel, ModelVersion, VersionState
from mlplatform.lib import redis
from mlplatform.lib.errors import unavailable
from tenants.admin import formats
from tenants.admin.confirmation import Question, ask
from tenants.admin.kit import StaffAdmin

logger = logging.getLogger(__name__)

_AWAY: Final = "The state Redis does not answer; nothing was changed."
_BEHIND_BATCHES: Final = 10
"""So many batches that wait for each worker, and the depth of a queue is shown as a warning."""


@dataclass(frozen=True, slots=True)
class PoolLine:
    """A pool: who serves it, what waits, and the live models that are computed there."""

    name: str
    accepting: int
    drained: int
    waiting: int
    batch: str
    models: tuple[str, ...]

    @property
    def tone(self) -> str:
        """``danger`` where live models have no worker, ``warning`` where much waits."""
        if self.models and not self.accepting:
            return "danger"
        return "warning" if self.waiting > _BEHIND_BATCHES * max(1, self.accepting) else ""


@dataclass(frozen=True, slots=True)
class ModelLine:
    """A model version in a worker's memory."""

    reference: str
    wanted: bool
    size: str
    batches: str
    batch: str
    used: SafeString


@dataclass(frozen=True, slots=True)
class WorkerLine:
    """A worker as it last said of itself; ``order`` is who drains it."""

    info: WorkerInfo
    order: DrainOrder | None
    models: list[ModelLine]
    memory: str
    meter: int
    batch: str
    since: SafeString
    address: str

    @property
    def badge(self) -> SafeString:
        if self.order is None:
            return formats.badge("Takes batches", "success")
        return formats.badge("Drained" if self.info.draining else "Draining", "warning", why=f"by {self.order.by}")


def pool_lines(alive: list[WorkerInfo]) -> list[PoolLine]:
    """Every pool that has a worker or a model, by name. Raises what Redis raises."""
    live: dict[str, list[str]] = defaultdict(list)
    for row in (
        ModelVersion.objects.select_related("model__owner").filter(state=VersionState.LIVE).order_by("model__name")
    ):
        live[row.model.pool].append(str(row))
    serving = [info for info in alive if info.computes]
    names = sorted(
        {*live, *MLModel.objects.values_list("pool", flat=True), *(p for info in serving for p in info.pools)}
    )
    depths = workers.queue_depths(names)
    found = []
    for name in names:
        own = [info for info in serving if info.serves(name)]
        known = [info.batch_s for info in own if info.batch_s]
        found.append(
            PoolLine(
                name=name,
                accepting=sum(1 for info in own if not info.draining),
                drained=sum(1 for info in own if info.draining),
                waiting=depths[name],
                batch=_ms(sum(known) / len(known)) if known else "–",
                models=tuple(live[name]),
            )
        )
    return found


def worker_lines(alive: list[WorkerInfo], orders: dict[str, DrainOrder]) -> list[WorkerLine]:
    """Every living worker that computes predictions, by name."""
    return [_worker_line(info, orders.get(info.name)) for info in alive if info.computes]


def _worker_line(info: WorkerInfo, order: DrainOrder | None) -> WorkerLine:
    limit = info.memory_limit_bytes
    return WorkerLine(
        info=info,
        order=order,
        models=[
            ModelLine(
                reference=model.reference,
                wanted=model.wanted,
                size=_mb(model.size_bytes),
                batches=f"{model.batches:,}",
                batch=_ms(model.batch_s) if model.batch_s else "–",
                used=_age(model.used_at),
            )
            for model in info.loaded
        ],
        memory=f"{_mb(info.memory_bytes)} of {_mb(limit)}" if limit else _mb(info.memory_bytes),
        meter=min(100, round(100 * info.memory_bytes / limit)) if limit else 0,
        batch=_ms(info.batch_s) if info.batch_s else "–",
        since=_age(info.started_at),
        address=reverse("admin:inference_mlmodel_drain", args=[info.name]),
    )


class WorkersPage(StaffAdmin[MLModel]):
    """The views, for the admin of models: who sees models sees workers, who may change them may drain."""

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        own = [
            path("workers/", view(self.workers_view), name="inference_mlmodel_workers"),
            path("workers/<str:worker>/drain/", view(self.drain_view), name="inference_mlmodel_drain"),
        ]
        return [*own, *super().get_urls()]

    def workers_view(self, request: HttpRequest) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": "Workers",
            "content_title": "Workers",  # the page is of no model, so its path is its name
            "may_drain": self.has_change_permission(request),
            "media": self.media,
        }
        try:
            alive, orders = workers.alive(), {order.worker: order for order in workers.drain_orders()}
            context |= {"pools": pool_lines(alive), "workers": worker_lines(alive, orders), "known": True}
        except redis.FAILURES:
            context |= {"known": False}
        else:
            names = {info.name for info in alive}
            context["away"] = [
                (order, _age(order.at), reverse("admin:inference_mlmodel_drain", args=[order.worker]))
                for order in orders.values()
                if order.worker not in names
            ]
        return TemplateResponse(request, "admin/inference/workers.html", context)

    def drain_view(self, request: HttpRequest, worker: str) -> HttpResponse:
        """The question, and the order or its end."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        back = reverse("admin:inference_mlmodel_workers")
        try:
            alive = {info.name: info for info in workers.alive()}
            drained = worker in {order.worker for order in workers.drain_orders()}
        except redis.FAILURES:
            messages.error(request, _AWAY)
            return HttpResponseRedirect(back)
        if not drained and (worker not in alive or not alive[worker].computes):
            raise Http404(f"There is no worker {worker}.")
        question = _undrain_question(worker) if drained else _drain_question(worker, list(alive.values()))

        def act() -> str:
            try:
                if drained:
                    draining.take_back(worker=worker)
                    said = f"{worker} takes batches again."
                else:
                    draining.order(worker=worker, by=request.user.get_username())
                    said = f"{worker} finishes what it has and takes no new batch."
            except redis.FAILURES as error:
                raise unavailable(_AWAY) from error
            logger.info("%s by %s", said, request.user.get_username())
            return said

        return ask(request, self, question=question, act=act, back=back)


def _drain_question(worker: str, alive: list[WorkerInfo]) -> Question:
    (info,) = (one for one in alive if one.name == worker)
    alone = [
        pool
        for pool in info.pools
        if not any(one.serves(pool) and not one.draining for one in alive if one.name != worker)
    ]
    consequences = [
        "Within about a second it takes no new batch. What it computes now is finished and answered.",
        "The order holds until it is taken back, also when the worker is started again.",
    ]
    if alone:
        consequences.insert(
            0, f"No other worker takes batches of {', '.join(alone)}: calls that must be computed will get 503."
        )
    return Question(
        title=f"Drain {worker}",
        question=f"Let {worker} finish what it has and take no new batch?",
        consequences=consequences,
        subjects=[worker],
        button="Drain",
        danger=bool(alone),
    )


def _undrain_question(worker: str) -> Question:
    return Question(
        title=f"Let {worker} work",
        question=f"Let {worker} take batches again?",
        consequences=["It begins within about a second, or when it is started."],
        subjects=[worker],
        button="Take batches again",
        danger=False,
    )


def _mb(size: int) -> str:
    return f"{size / 2**30:,.1f} GB" if size >= 2**30 else f"{size / 2**20:,.1f} MB"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def _age(moment: float) -> SafeString:
    return formats.age(dt.datetime.fromtimestamp(moment, dt.UTC) if moment else None)
