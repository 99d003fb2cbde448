"""Scripts touch only the keys that they declare, all of one hash slot."""

import subprocess
import time
from collections.abc import Iterator

import pytest
import redis
from redis.crc import key_slot

from billing.admission import LimitKind, Settled, Settlement, keys
from mlplatform.run import redis_binary
from tests.billing.admission.world import SHARD, TENANT, World, limit
from tests.support.redis_server import RedisServer, free_port
from tests.support.windows import AGES_S

LIMITS = (
    limit(LimitKind.TOKEN_BUCKET, 100),
    limit(LimitKind.FIXED_WINDOW, 100, window_s=AGES_S),
    limit(LimitKind.SLIDING_WINDOW, 100),
    limit(LimitKind.MONTHLY, 100),
    limit(LimitKind.CONCURRENCY, 5, counts="requests"),
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    """A cluster of one server that owns every slot; it refuses scripts that reach into another slot."""
    port = free_port()
    tmp_path = tmp_path_factory.mktemp("cluster")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                str(redis_binary.find().path),
                *("--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path), "--save", ""),
                *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
            ],
            stdout=log,
            stderr=log,
        )
    try:
        with redis.Redis(port=port) as client:
            wait_for(client)
            yield client
    finally:
        process.kill()
        process.wait()


def wait_for(client: redis.Redis) -> None:
    for _ in range(500):
        try:
            client.ping()
            break
        except redis.ConnectionError:
            time.sleep(0.02)
    client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
    for _ in range(500):
        if b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"):
            return
        time.sleep(0.02)
    raise AssertionError("the cluster never became ready")


def use_everything(world: World) -> None:
    """Every script, along every path that writes."""
    decision = world.admit(LIMITS, 10, 20, ttl_s=0.001)
    assert decision.granted
    time.sleep(0.002)
    kept = world.admit(LIMITS, 10, 20)  # Sweeps the two that have expired.
    assert kept.granted
    assert not world.admit(LIMITS, 101).granted
    assert world.admit(LIMITS, 1, settle_now=True).granted
    assert world.settle(Settlement(kept.hold_ids[0], 5)) == (Settled.NOW,)
    assert world.release(kept.hold_ids[1]) == 1
    assert world.void(*world.admit(LIMITS, 2, 3).hold_ids, *world.admit(LIMITS, 4, settle_now=True).hold_ids) == 1
    refusal = world.explain("req-1")
    assert refusal is not None
    assert world.remaining(*LIMITS[1:]) == [94, 94, 94, 5]


def test_every_key_of_a_call_has_one_slot() -> None:
    names = keys.of_caller(SHARD, TENANT, "key_prod")
    assert len(set(names)) == 8
    assert {key_slot(name) for name in names} == {key_slot(f"s{SHARD}".encode())}


def test_everything_runs_on_a_cluster(cluster: redis.Redis) -> None:
    use_everything(World(cluster))


def test_cluster_of_the_test_refuses_a_script_that_reaches_into_another_slot(cluster: redis.Redis) -> None:
    with pytest.raises(redis.ResponseError):
        cluster.eval("#!lua\nredis.call('GET', KEYS[1]) return redis.call('GET', '{s4}:b')", 1, "{s3}:a")


@pytest.fixture
def confined(server: RedisServer) -> Iterator[redis.Redis]:
    """A user who may touch the declared keys of one caller, and no other key at all."""
    with server.client() as admin:
        admin.flushall()
        names = [name.decode() for name in keys.of_caller(SHARD, TENANT, "key_prod")]
        admin.acl_setuser("confined", enabled=True, nopass=True, categories=["+@all"], keys=names, reset=True)
        with redis.Redis(port=server.port, username="confined", password="any") as client:
            yield client
        admin.acl_deluser("confined")


class ConfinedWorld(World):
    """A world whose clock is the server's, since its key is not among the declared ones."""

    def start_over(self, now: int = 0) -> None:
        self.used = self.ledger_reads = 0


def test_scripts_touch_declared_keys_only(confined: redis.Redis) -> None:
    use_everything(ConfinedWorld(confined))


def test_user_of_the_test_may_touch_no_other_key(confined: redis.Redis) -> None:
    with pytest.raises(redis.exceptions.NoPermissionError):
        confined.get(f"{{s{SHARD}}}:limits:{TENANT + 1}")
