"""Bodies over real connections to the real server: in chunks and packed, from clients that send like this, whole and broken."""

from __future__ import annotations

import gzip
import json
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
import requests

from tests.processes.conftest import Client, assert_charged_exactly, assert_none_failed
from tests.support.every_call import CALLS, Call
from tests.support.http import Http, Load
from tests.support.stack import Stack

pytestmark = [pytest.mark.processes, pytest.mark.xdist_group("stack")]

PLAIN = [name for name, call in CALLS.items() if not call.once]
SENTIMENT = json.dumps({"model": "sentiment", "input": "What a wonderful morning!"}).encode()


def chunks(content: bytes, size: int) -> Iterator[bytes]:
    """The content in pieces of this size."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def framed(pieces: Iterable[bytes]) -> bytes:
    """The pieces as chunks, with the end of all."""
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def raw(port: int, call: Call, secret: str, body: bytes, *, headers: Mapping[str, str], end: bool = False) -> bytes:
    """What the server says to these bytes. ``end``: the client sends no more after them."""
    lines = {
        "Host": "127.0.0.1", "Authorization": f"Bearer {secret}", "Content-Type": call.content_type,
        "Connection": "close", **call.headers, **headers,
    }  # fmt: skip
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"POST {call.path} HTTP/1.1\r\n{head}\r\n".encode() + body)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(65_536):
            answer += piece
    return answer


CHUNKED = {"Transfer-Encoding": "chunked"}
PACKED = {**CHUNKED, "Content-Encoding": "gzip"}


@pytest.mark.parametrize("name", PLAIN)
def test_chunks_of_any_size_are_one_body(stack: Stack, client: Client, name: str) -> None:
    call = CALLS[name]
    packed = gzip.compress(call.content)
    for size in (1, 100, 10_000_000):
        answer = raw(stack.webs[0].port, call, client.secret, framed(chunks(call.content, size)), headers=CHUNKED)
        assert answer.startswith(b"HTTP/1.1 200 "), answer
    answer = raw(stack.webs[0].port, call, client.secret, framed(chunks(packed, 7)), headers=PACKED)
    assert answer.startswith(b"HTTP/1.1 200 "), answer


BROKEN = {
    "an invalid size": framed([SENTIMENT[:20]])[:-5] + b"zz\r\n" + SENTIMENT[20:] + b"\r\n0\r\n\r\n",
    "a negative size": framed([SENTIMENT[:20]])[:-5] + b"-5\r\nhello\r\n0\r\n\r\n",
    "a size beyond all bounds": framed([SENTIMENT[:20]])[:-5] + b"f" * 20 + b"\r\nhello",
    "a chunk longer than it says": b"5\r\n" + SENTIMENT + b"\r\n0\r\n\r\n",
    "cut off in a chunk": b"ff\r\n" + SENTIMENT[:20],
    "cut off behind a chunk": framed([SENTIMENT[:20]])[:-5],
    "nothing at all": b"",
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_chunks_are_refused_and_cost_nothing(stack: Stack, client: Client, what: str) -> None:
    answer = raw(stack.webs[0].port, CALLS["v2"], client.secret, BROKEN[what], headers=CHUNKED, end=True)
    assert answer == b"" or answer[:13] in {b"HTTP/1.1 400 ", b"HTTP/1.1 422 "}, answer
    good = stack.webs[0].predict(client.secret, "after it")
    assert good.status == 200
    assert_charged_exactly(stack, client, [good])


@pytest.mark.walk
def test_framing_that_two_servers_could_read_differently(stack: Stack, client: Client) -> None:
    port, call, body = stack.webs[0].port, CALLS["v2"], framed([SENTIMENT])
    for headers in ({"Transfer-Encoding": "gzip, chunked"}, {"Transfer-Encoding": "chunked, chunked"},
                    {"Transfer-Encoding": "gzip"}, {"Content-Length": "-1"}, {"Content-Length": "abc"},
                    {**CHUNKED, "Content-Length": "3"}):  # fmt: skip
        answer = raw(port, call, client.secret, body, headers=headers)
        assert answer.startswith(b"HTTP/1.1 400 "), (headers, answer)


def _url(web: Http, call: Call) -> str:
    return f"http://127.0.0.1:{web.port}{call.path}"


@pytest.mark.walk
def test_generators_of_requests(stack: Stack, client: Client) -> None:
    for name in PLAIN:
        call = CALLS[name]
        headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": call.content_type, **call.headers}
        answer = requests.post(_url(stack.webs[0], call), data=chunks(call.content, 50), headers=headers, timeout=30)
        assert answer.status_code == 200, answer.text
    openai = CALLS["openai"]
    headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": openai.content_type}
    answer = requests.post(_url(stack.webs[0], openai), data=openai.content, headers=headers, timeout=30)
    assert answer.headers["Content-Encoding"] == "gzip", "requests asks for it by itself"
    assert answer.json()["data"][0]["embedding"]


NODE = """
const [port, path, secret, body, size] = process.argv.slice(1);
const content = size ? Buffer.alloc(+size, 32) : Buffer.from(body);
const headers = {Authorization: 'Bearer ' + secret, 'Content-Type': 'application/json'};
const byRequest = () => new Promise((done) => {
  const call = require('http').request({port, path, method: 'POST', headers}, (answer) => {
    answer.resume(); answer.on('end', () => done(answer.statusCode));
  });
  call.on('error', (error) => done(error.code));
  for (let at = 0; at < content.length; at += 65536) call.write(content.subarray(at, at + 65536));
  call.end();
});
const byFetch = async () => {
  const stream = new ReadableStream({start(it) { it.enqueue(content); it.close(); }});
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {method: 'POST', headers, body: stream, duplex: 'half'});
  return answer.status;
};
(async () => console.log(JSON.stringify([await byRequest(), await byFetch()])))();
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node")
def test_node_sends_in_chunks(stack: Stack, client: Client) -> None:
    def run(call: Call, size: int = 0) -> Any:
        command = ["node", "-e", NODE, str(stack.webs[0].port), call.path, client.secret, call.content.decode()]
        ran = subprocess.run([*command, str(size or "")], capture_output=True, check=True, text=True, timeout=60)
        return json.loads(ran.stdout)

    for name in ("v2", "batch", "users", "graphql", "openai", "oip"):
        assert run(CALLS[name]) == [200, 200], name
    assert run(CALLS["v2"], 3 * 1024 * 1024) == [413, 413], "it reads the answer when it has sent everything"


@pytest.mark.parametrize("in_chunks", [True, False])
def test_a_body_beyond_the_limit_gets_its_answer(stack: Stack, client: Client, in_chunks: bool) -> None:
    content = b" " * (4 * 1024 * 1024)
    for call in (CALLS["v2"], CALLS["oip"], CALLS["openai"], CALLS["graphql"], CALLS["users"]):
        headers = {"Authorization": f"Bearer {client.secret}", "Content-Type": call.content_type}
        data: Any = chunks(content, 65_536) if in_chunks else content
        answer = requests.post(_url(stack.webs[0], call), data=data, headers=headers, timeout=30)
        assert answer.status_code == 413
        assert "2,097,152 bytes" in call.problem(answer.json())
    assert_charged_exactly(stack, client, [])


@pytest.mark.walk
def test_every_change_is_unseen_by_callers(stack: Stack, client: Client) -> None:
    """The process has the caller in memory, finds that it is stale, reads it anew, and answers the call it had read."""
    for what in ("contract", "key", "rotate") * 4:
        before = [web.predict(client.secret, f"{what}") for web in stack.webs]
        stack.shell("change", what=what, key_id=client.key_id)
        after = [web.predict(client.secret, f"{what}") for web in stack.webs]
        assert [answer.status for answer in before + after] == [200] * 4, [answer.text for answer in after]


def test_no_call_under_load_is_lost_to_a_change(stack: Stack, client: Client) -> None:
    with Load(stack.webs, client.secret, clients=8, about="changes") as load:
        for what in ("contract", "key", "rotate") * 4:
            stack.shell("change", what=what, key_id=client.key_id)
    assert_none_failed(load)
    assert_charged_exactly(stack, client, list(load.answers.values()))
