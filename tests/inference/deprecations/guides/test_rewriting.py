"""The tenant's own call in the successor's form: a command that works when it is pasted, and what it answers."""

import datetime as dt
import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.deprecations.guides import rewriting, written_calls
from inference.deprecations.guides.rewriting import Rewritten
from inference.deprecations.samples import store as samples
from inference.inputs import canonical, json_inputs
from inference.models import ModelVersion
from inference.registry import versions
from inference.runtimes import inputs
from inference.runtimes.contract import check_inputs
from inference.runtimes.protocol import RuntimeSpec
from tenants.deprecations import catalogue
from tenants.models import DeprecationSchedule
from tests.conftest import Customer
from tests.inference.deprecations.notices.telling import DAY, NOW, answer, caller_of, tiny_ends, used, v1_ends
from tests.support.rest import Api
from tests.support.tiny_model import TinyWorker, make_version, share_of, tiny_worker
from tests.support.walked_clock import Walk, published_at_once, walk

__all__ = ["published_at_once", "tiny_worker", "walk"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("published_at_once")]

NASTY = 'It\'s "fine" & `id` $(id) $HOME \\ !history\nnext line\t日本 🎈'


def pasted(command: str, tmp_path: Path) -> tuple[list[str], Any]:
    """What a POSIX shell makes of the command: the arguments of curl, and the body."""
    fake = tmp_path / "curl"
    fake.write_text('#!/bin/sh\nfor argument in "$@"; do printf "%s\\0" "$argument"; done\n')
    fake.chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "MLPLATFORM_API_KEY": "mlp_test_secret", "HOME": "/nowhere"}
    run = subprocess.run(["/bin/sh", "-c", command], env=environment, capture_output=True, check=True, cwd=tmp_path)
    arguments = run.stdout.decode().split("\0")[:-1]
    return arguments, json.loads(arguments[arguments.index("--data-raw") + 1])


def sampled(customer: Customer, row: DeprecationSchedule, text: str, *, model: str = "tiny") -> None:
    samples.offer(
        schedule=catalogue.frozen(row),
        caller=caller_of(customer),
        api_version="v1" if row.kind == "api_version" else "v2",
        model=model,
        body={"model": model, "input": text},
        answer=answer(),
    )
    assert samples.flush() == 1


def of(customer: Customer, row: DeprecationSchedule, **kwargs: Any) -> Rewritten:
    found = rewriting.rewritten(tenant_id=customer.tenant.pk, schedule=row, **kwargs)
    assert found is not None
    return found


def test_a_call_that_was_kept_whole_is_the_customers_own(acme: Customer, walk: Walk, tmp_path: Path) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    sampled(acme, row, NASTY)
    found = of(acme, row)
    assert (found.own, found.called_at, found.key_uid) == (True, NOW, acme.key.uid)
    assert (found.old_version, found.new_version) == ("v1", "v2")
    arguments, body = pasted(found.new_curl, tmp_path)
    assert body == {"model": "tiny", "input": NASTY}
    assert arguments[0].endswith("/v2/predict")
    assert "Authorization: Bearer mlp_test_secret" in arguments
    assert pasted(found.old_curl, tmp_path)[0][0].endswith("/v1/predict")
    assert json.loads(found.expected)["predictions"] == [
        {"label": "yes", "score": 0.75},
        {"label": "no", "score": 0.25},
    ]
    assert acme.secret not in found.old_curl + found.new_curl


def test_of_a_shape_an_example_is_made(acme: Customer, walk: Walk, tmp_path: Path) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    sampled(acme, row, NASTY)
    found = of(acme, row)
    assert (found.own, found.called_at) == (False, NOW)
    assert pasted(found.new_curl, tmp_path)[1] == {"model": "tiny", "input": "What a wonderful morning!"}
    assert {item["label"] for item in json.loads(found.expected)["predictions"]} == {"yes", "no"}
    assert "日本" not in str(found)


def test_a_call_kept_whole_can_be_shown_as_an_example(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    sampled(acme, row, NASTY)
    found = of(acme, row, whole=False)
    assert not found.own
    assert "日本" not in str(found)


def test_without_a_sample_the_usage_says_what_was_called(
    acme: Customer, globex: Customer, walk: Walk, tmp_path: Path
) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    used(acme)
    assert pasted(of(acme, row).old_curl, tmp_path)[1] == {"model": "tiny", "input": "What a wonderful morning!"}
    assert rewriting.rewritten(tenant_id=globex.tenant.pk, schedule=row) is None


def test_a_model_that_is_gone_has_no_command(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    row = v1_ends()
    sampled(acme, row, "hello", model="retired")
    assert rewriting.rewritten(tenant_id=acme.tenant.pk, schedule=row) is None


def test_a_call_of_an_ending_model_version_names_the_new_one(acme: Customer, walk: Walk, tmp_path: Path) -> None:
    walk(NOW)
    row = tiny_ends()
    samples.opt_in(tenant=acme.tenant)
    sampled(acme, row, "hello", model="tiny@1.0.0")
    found = of(acme, row)
    assert found.own
    assert (found.old_version, found.new_version) == ("v2", "v2")
    assert pasted(found.old_curl, tmp_path)[1] == {"model": "tiny@1.0.0", "input": "hello"}
    assert pasted(found.new_curl, tmp_path)[1] == {"model": "tiny@2.0.0", "input": "hello"}
    assert json.loads(found.expected)["model_version"] == "2.0.0"


def test_where_the_new_model_takes_other_inputs_an_example_of_those_is_shown(
    acme: Customer, walk: Walk, tmp_path: Path
) -> None:
    walk(NOW)
    row = tiny_ends()
    samples.opt_in(tenant=acme.tenant)
    sampled(acme, row, "hello", model="tiny@1.0.0")
    tensor = {"kind": "tensor", "dtype": "float32", "shape": [2, 3], "minimum": 1}
    ModelVersion.objects.filter(version="2.0.0").update(input_schema=tensor)
    versions.forget()
    found = of(acme, row)
    assert not found.own
    assert pasted(found.new_curl, tmp_path)[1] == {"model": "tiny@2.0.0", "input": [[1, 1, 1], [1, 1, 1]]}


def test_the_command_is_answered_as_expected(
    acme: Customer, prices: None, tiny_worker: TinyWorker, walk: Walk, tmp_path: Path
) -> None:
    tiny_worker.serve(make_version())
    walk(NOW)
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    assert Api(acme).post("/v1/predict", {"model": "tiny", "input": NASTY}).status == 200
    samples.flush()
    found = of(acme, row)
    arguments, body = pasted(found.new_curl, tmp_path)
    came = Api(acme).post(arguments[0].removeprefix("http://127.0.0.1:8000"), body)
    expected = json.loads(found.expected)
    assert came.status == 200
    assert set(came.body) == set(expected)
    assert came.body["predictions"] == expected["predictions"]
    assert max(share_of(NASTY), 1 - share_of(NASTY)) == pytest.approx(expected["predictions"][0]["score"])


def spec_of(schema: dict[str, Any]) -> RuntimeSpec:
    return RuntimeSpec("any", "1.0.0", "any", Path(), "", 1, schema, 1, "cpu")


def test_examples_fit_every_kind_of_model() -> None:
    schemas: tuple[dict[str, Any], ...] = (
        {"kind": "text", "max_chars": 5},
        {"kind": "text"},
        {"kind": "pair", "max_chars": 5},
        {"kind": "image", "height": 4, "width": 6, "channels": 3},
        {"kind": "tensor", "shape": [3]},
        {"kind": "tensor", "shape": [2, 2], "minimum": -5, "maximum": -1},
        {"kind": "tensor", "shape": [2, 2], "minimum": 0.5, "maximum": 1},
        {"kind": "tensor", "shape": [8, 8], "minimum": 0, "maximum": 16},
    )
    for schema in schemas:
        given = json_inputs.read(rewriting.example_input(schema), field="input")
        check_inputs(spec_of(schema), [inputs.decode(canonical.encode(schema, given, field="input"))])


def test_embeddings_are_cut_for_people(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    make_version(labels=[], output_schema={"kind": "embedding", "dimensions": 384})
    row = v1_ends(kind="model_version", subject="tiny@1.0.0", successor="tiny@1.0.0")
    used(acme, api_version="v2")
    found = of(acme, row)
    assert "… 381 more" in found.expected
    assert len(found.expected) < 500


@given(
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    number=st.floats(allow_nan=False, allow_infinity=False),
)
def test_every_body_comes_through_the_shell(text: str, number: float) -> None:
    command = written_calls.curl(
        api_version="v2", body={"model": text, "input": [number, text]}, base_url="https://api.example", key="$KEY"
    )
    words = shlex.split(command.replace("\\\n", " "), posix=True)
    assert json.loads(words[words.index("--data-raw") + 1]) == {"model": text, "input": [number, text]}


def test_a_sample_older_than_thirty_days_is_not_shown(acme: Customer, walk: Walk) -> None:
    walk(NOW)
    make_version()
    row = v1_ends()
    samples.opt_in(tenant=acme.tenant)
    sampled(acme, row, NASTY)
    walk(NOW + 30 * DAY + dt.timedelta(seconds=1))
    assert rewriting.rewritten(tenant_id=acme.tenant.pk, schedule=row) is None
