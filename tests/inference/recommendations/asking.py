"""Asking for recommendations, what the answers say, and a copy of a live model."""

from inference.models import EndUser, ModelVersion, VersionState
from inference.recommendations import recommendations
from inference.recommendations.recommendations import Answer, Recommendations
from inference.registry import versions
from tests.conftest import Customer
from tests.support import ledger
from tests.support.audience import call, caller_of
from tests.support.live_worker import LiveWorker

FEE = 50


def ask(customer: Customer, *users: EndUser, limit: int = 10) -> Answer:
    return recommendations.answer(caller_of(customer), users=users, limit=limit, context=call())


def one(answer: Answer) -> Recommendations:
    (result,) = answer.results
    assert isinstance(result, Recommendations)
    return result


def ids(found: Recommendations) -> list[str]:
    return [item.item_id for item in found.items]


def charged(customer: Customer) -> list[tuple[str, str, int]]:
    return sorted((r.body["operation"], r.body["model"], r.units) for r in ledger.records(customer.tenant))


def copy_of(name: str, live_worker: LiveWorker) -> ModelVersion:
    """The same model as version 2.0.0, ready.

    It is loaded here, because the worker's thread cannot read the rows of the test's open transaction.
    """
    copy = ModelVersion.objects.get(model__name=name)
    copy.pk, copy.version, copy.state = None, "2.0.0", VersionState.READY
    copy.save()
    live_worker.worker.models.get(copy)
    versions.forget()
    return copy
