"""Two tenants and the platform have a model of one name: each caller gets its own, on its own meter, over every face."""

import pytest

from inference.models import MLModel, ModelVersion
from inference.registry import versions as model_versions
from mlplatform.lib.errors import ErrorKind
from tests.conftest import Customer, make_customer
from tests.parity.conftest import WITHOUT_BATCHES
from tests.parity.faces import Ask, Face
from tests.support import ledger
from tests.support.ending import make_schedule
from tests.support.tiny_model import TinyWorker, make_version

pytestmark = pytest.mark.usefixtures("prices")


@pytest.fixture
def initech(db: None) -> Customer:
    """A tenant without models."""
    return make_customer("initech")


@pytest.fixture
def versions(acme: Customer, globex: Customer, tiny_worker: TinyWorker) -> dict[str, ModelVersion]:
    """The live versions of ``reviews`` by owner."""
    shared = MLModel.objects.create(name="reviews")
    made = {
        "acme": make_version("reviews", "1.0.0", owner=acme.tenant),
        "globex": make_version("reviews", "3.0.0", owner=globex.tenant),
        "": make_version("reviews", "9.0.0", owner=None),
    }
    made[""].model = shared
    made[""].save(update_fields=["model"])
    model_versions.forget()
    for version in made.values():
        tiny_worker.serve(ModelVersion.objects.select_related("model__owner").get(pk=version.pk))
    return made


def test_each_has_its_own_answer_meter_and_cache(
    face: Face,
    versions: dict[str, ModelVersion],
    tiny_worker: TinyWorker,
    acme: Customer,
    globex: Customer,
    initech: Customer,
) -> None:
    expected = [(acme, "acme/reviews", "1.0.0"), (globex, "globex/reviews", "3.0.0"), (initech, "reviews", "9.0.0")]
    for customer, meter, version in expected:
        for computed in (True, False):
            before = len(tiny_worker.computed)
            said = face(customer.secret, Ask("reviews", ("one text",)))
            assert said.kind is None, said
            assert said.model in {None, "reviews"}, "customers know it by its plain name"
            assert said.version in {None, version}
            assert (len(tiny_worker.computed) > before) is computed, "each has its own entry in the cache"
        assert [record.body["model"] for record in ledger.records(customer.tenant)] == [meter, meter]
        assert {record.body["model_version"] for record in ledger.records(customer.tenant)} == {version}


def test_a_version_of_ones_own_is_pinned_and_those_of_others_are_not_there(
    face: Face, face_name: str, versions: dict[str, ModelVersion], acme: Customer, globex: Customer
) -> None:
    assert face(acme.secret, Ask("reviews@1.0.0", ("one text",))).kind is None
    assert face(acme.secret, Ask("reviews@9.0.0", ("another",))).kind is None, "on sale, and not shadowed"
    foreign = face(acme.secret, Ask("reviews@3.0.0", ("a third",)))
    missing = face(acme.secret, Ask("reviews@4.0.0", ("a third",)))
    assert foreign.is_refused_as(ErrorKind.NOT_FOUND)
    assert missing.is_refused_as(ErrorKind.NOT_FOUND)
    assert [record.body["model"] for record in ledger.records(acme.tenant)] == ["acme/reviews", "reviews"]
    ledger.assert_untouched(globex)


def test_ones_own_may_be_named_with_the_tenant_and_others_not(
    face: Face, face_name: str, versions: dict[str, ModelVersion], acme: Customer, globex: Customer
) -> None:
    """Not even one that has ended, whose calls are told where to go."""
    make_version("reviews", "0.9.0", "retired", owner=globex.tenant)
    make_schedule("model_version", "globex/reviews@0.9.0", "globex/reviews@3.0.0", sunset_in_days=-1)
    if face_name != "oip-http":  # It names the model in the address, where a slash divides.
        for name in ("acme/reviews", "acme/reviews@1.0.0"):
            assert face(acme.secret, Ask(name, ("one text",))).kind is None
        assert face(globex.secret, Ask("globex/reviews@0.9.0", ("one text",))).is_refused_as(ErrorKind.GONE)
    missing = face(acme.secret, Ask("globex/zilch@0.9.0", ("one text",)))
    foreign = face(acme.secret, Ask("globex/reviews@0.9.0", ("one text",)))
    assert foreign.is_refused_as(ErrorKind.NOT_FOUND)
    assert foreign.kinds == missing.kinds
    assert foreign.detail == missing.detail.replace("zilch", "reviews")
    assert not {name for name in foreign.headers if name in {"sunset", "deprecation", "link"}}
    assert {record.body["model"] for record in ledger.records(acme.tenant)} <= {"acme/reviews"}
    ledger.assert_untouched(globex)


def test_a_batch_is_metered_under_the_own_name_too(
    face: Face, face_name: str, versions: dict[str, ModelVersion], acme: Customer
) -> None:
    if face_name in WITHOUT_BATCHES:
        pytest.skip("this face has no batches")
    assert face(acme.secret, Ask("reviews", ("one", "two"))).kind is None
    assert {record.body["model"] for record in ledger.records(acme.tenant)} - {""} == {"acme/reviews"}
