"""The Procfile is read as it stands: nothing is passed over, and a value never becomes several arguments."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlplatform.run import procfile
from mlplatform.run.environment import ROOT
from mlplatform.run.problems import LaunchError
from mlplatform.run.procfile import Tier


def test_variables_are_filled_in_and_comments_are_not_processes() -> None:
    text = "# the web\n\nweb: serve --port $PORT --dir ${DIR}/x\nredis-state: $BIN conf\nbeat: beat --pidfile=\n"
    programs = procfile.read(text, {"PORT": "8000", "DIR": "/data", "BIN": "/usr/bin/redis-server"})
    assert [(program.name, program.argv, program.tier) for program in programs] == [
        ("web", ("serve", "--port", "8000", "--dir", "/data/x"), Tier.FACES),
        ("redis-state", ("/usr/bin/redis-server", "conf"), Tier.REDIS),
        ("beat", ("beat", "--pidfile="), Tier.WORKERS),
    ]


@given(st.text(alphabet=string.printable, max_size=40))
def test_any_value_stays_one_argument(value: str) -> None:
    (program,) = procfile.read("web: serve --dir $DIR --last", {"DIR": value})
    assert program.argv == ("serve", "--dir", value, "--last")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("web: serve\ngpu worker: celery\n", "gpu worker: celery"),
        ("web: serve\nweb: again\n", "unique"),
        ("web: serve $NOWHERE\n", "$NOWHERE"),
        ("web: serve 'open\n", "web"),
        ("web: pay 5$ now\n", "web"),
    ],
)
def test_a_procfile_that_cannot_be_meant_is_refused(text: str, named: str) -> None:
    with pytest.raises(LaunchError) as refused:
        procfile.read(text, {})
    assert named in str(refused.value)


def test_variables_of_comments_do_not_count() -> None:
    assert procfile.variables("# $GRPC_PORT\nweb: serve $PORT ${DIR}/x\n") == {"PORT", "DIR"}


def test_the_products_own_procfile_names_its_processes() -> None:
    text = (ROOT / "Procfile").read_text()
    programs = procfile.read(text, dict.fromkeys(procfile.variables(text), "1"))
    tiers = {program.name: program.tier for program in programs}
    assert {name for name, tier in tiers.items() if tier is Tier.REDIS} == {"redis-state", "redis-cache"}
    assert {name for name, tier in tiers.items() if tier is Tier.FACES} == {"web", "grpc"}
    assert {"gpu-worker", "jobs-worker", "beat"} <= {name for name, tier in tiers.items() if tier is Tier.WORKERS}
