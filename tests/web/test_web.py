"""What servers share: bounds on requests and connections, without a server of their own."""

import asyncio
import socket
import time

import pytest

from diptych.errors import ConfigError
from diptych.web import bounded_connections, uvicorn_server
from diptych.web.request_limits import RequestLimits


async def echo(scope, receive, send):
    """Answers with the body."""
    if scope["type"] == "http":
        body = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


async def status_of(limits, *parts, headers=(), pause=0.0):
    """Return the status and body of the answer to a request whose body comes in parts."""
    waiting, sent = list(parts), []

    async def receive():
        await asyncio.sleep(pause)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def send(message):
        sent.append(message)

    await limits({"type": "http", "method": "POST", "headers": list(headers)}, receive, send)
    return sent[0]["status"], sent[1]["body"]


def test_a_body_is_read_whole_up_to_its_limit():
    limits = RequestLimits(echo, max_body=8, max_total=100)
    assert asyncio.run(status_of(limits, b"1234", b"5678")) == (200, b"12345678")
    assert asyncio.run(status_of(limits, b"1234", b"56789"))[0] == 413
    too_long = [(b"content-length", b"9")]
    assert asyncio.run(status_of(limits, headers=too_long))[0] == 413, "its body is not read"
    assert limits.held == 0


def test_a_slow_body_is_refused():
    limits = RequestLimits(echo, max_body=8, max_total=100, seconds=0.1)
    status, body = asyncio.run(status_of(limits, b"1", b"2", b"3", pause=0.06))
    assert (status, b"longer than 0.1 s" in body, limits.held) == (408, True, 0)


def test_the_bodies_of_all_requests_are_bounded():
    limits = RequestLimits(echo, max_body=8, max_total=12)

    async def both():
        return await asyncio.gather(*(status_of(limits, b"1234567", b"8", pause=0.02) for _ in range(2)))

    assert sorted(status for status, _ in asyncio.run(both())) == [200, 429]
    assert limits.held == 0


def test_answers_do_not_wait_for_acknowledgements():
    listener = uvicorn_server.listen("127.0.0.1", 0)
    assert listener.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY by it"
    with pytest.raises(ConfigError, match="choose another --port"):
        uvicorn_server.listen("127.0.0.1", listener.getsockname()[1])
    listener.close()


@pytest.mark.parametrize(("host", "token"), [("127.0.0.1", ""), ("::1", ""), ("0.0.0.0", "secret")])
def test_other_machines_need_a_token(host, token):
    uvicorn_server.check_host(host, token)
    with pytest.raises(ConfigError, match="give --token"):
        uvicorn_server.check_host("0.0.0.0", "")


def test_idle_connections_are_bounded_in_number_and_time(monkeypatch):
    monkeypatch.setattr(bounded_connections, "MAX_CONNECTIONS", 10)
    monkeypatch.setattr(bounded_connections, "HEADER_SECONDS", 0.5)

    async def run():
        listener = uvicorn_server.listen("127.0.0.1", 0)
        address, server = listener.getsockname(), uvicorn_server.server_of(echo)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        slow = [await asyncio.open_connection(*address) for _ in range(40)]
        for _, writer in slow:
            writer.write(b"GET / HT")
        await asyncio.sleep(0.1)
        counts = [len(server.server_state.connections)]
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
        answer = await asyncio.wait_for(reader.readuntil(b"ok"), 5)
        await asyncio.sleep(0.6)
        counts.append(len(server.server_state.connections))
        writer.write(b"GET / HT")  # part of a second request
        await asyncio.sleep(0.7)
        counts.append(len(server.server_state.connections))
        server.should_exit = True
        await serving
        for _, each in [*slow, (reader, writer)]:
            each.close()
        return counts, answer

    start = time.monotonic()
    (first, idle, last), answer = asyncio.run(run())
    assert answer.startswith(b"HTTP/1.1 200")
    assert (first <= 10, idle, last) == (True, 1, 0)
    assert time.monotonic() - start < 10
