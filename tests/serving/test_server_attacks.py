"""Hostile clients: bombs, slow connections, paths, scripts, tokens, other hosts. The server stays healthy."""

import json
import re
import socket
import struct
import time
import zlib
from pathlib import Path

import httpx
import pytest
from model_server import png, served_models, worker_of
from onnx_files import metadata, write_onnx

pytestmark = pytest.mark.slow
NAMES = ["../inverted", "..%2finverted", "%2e%2e", "/etc/passwd", "a%00b", "%5c%5chost", "x" * 3000, "<script>"]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """The address and process of a server with a token, whose model has scripts in its name and help."""
    control = {"name": "has", "help": "<script>alert(1)</script>", "kind": "text", "default": ""}
    inputs = [{"name": "image", "dtype": "float32", "shape": (3, 0, 0)}]
    described = metadata(name="<img onerror=x>", controls=[control], inputs=inputs)
    path = write_onnx(tmp_path_factory.mktemp("served") / "<b>x.onnx", described)
    words = ("--token", "secret", "--max-megabytes", "3", "--max-megapixels", "0.7", "--timeout", "20")
    with served_models(path, *words) as (address, process):
        yield address, process


@pytest.fixture
def client(served):
    headers = {"Authorization": "Bearer secret"}
    with httpx.Client(base_url=served[0], headers=headers, timeout=30) as client:
        yield client
        start = time.monotonic()
        answer = client.post("/v1/models/b-x/translate", files={"image": png()})
        assert (answer.status_code, time.monotonic() - start < 2) == (200, True), (
            "the server is healthy after the attack"
        )


def bomb(width, height):
    """Return a PNG of zeros, which is a thousandth of its pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 1) * height), 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def memory_of(process):
    """Return the memory of a server and its worker in bytes (Linux)."""
    pages = [int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in (process.pid, worker_of(process))]
    return sum(pages) * 4096


def test_a_decompression_bomb_is_refused_by_its_header(client, served):
    data = bomb(12_000, 12_000)
    before = memory_of(served[1])
    start = time.monotonic()
    answer = client.post("/v1/models/b-x/translate", files={"image": data})
    assert (answer.status_code, answer.json()["field"]) == (413, "image")
    assert time.monotonic() - start < 1
    assert memory_of(served[1]) - before < 100e6


def test_text_chunks_that_expand_are_refused(client):
    text = zlib.compress(bytes(50_000_000), 9)
    chunk = b"zTXt" + b"k\0\0" + text
    bad = png()[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png()[33:]
    assert client.post("/v1/models/b-x/translate", files={"image": bad}).status_code in (200, 422)


@pytest.mark.parametrize("length", ["known", "chunked", "lie"])
def test_a_large_body_is_refused(client, served, length):
    address = served[0].removeprefix("http://")
    host, port = address.split(":")
    start = time.monotonic()
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = f"POST /v1/models/b-x/translate HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer secret\r\n"
        if length == "chunked":
            connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
            body = b"40000\r\n" + bytes(0x40000) + b"\r\n"
        else:
            connection.sendall(
                (head + f"Content-Length: {10**12 if length == 'known' else 10**6 - 1}\r\n\r\n").encode()
            )
            body = bytes(0x40000)
        try:
            for _ in range(16 if length != "lie" else 1):
                connection.sendall(body)
            if length == "lie":  # fewer bytes than it said, and then the end
                connection.shutdown(socket.SHUT_WR)
            answer = connection.recv(1000)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400")) or not answer
    assert time.monotonic() - start < 5


def test_many_fields_and_files_are_refused(client):
    fields = {f"f{number}": "x" for number in range(5000)}
    answer = client.post("/v1/models/b-x/translate", files={"image": png()}, data=fields)
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    files = [("image", png()) for _ in range(3)]
    assert client.post("/v1/models/b-x/translate", files=files).status_code == 422


def test_slow_connections_do_not_keep_others_out(client, served):
    address = served[0].removeprefix("http://").split(":")
    slow = []
    try:
        for _ in range(1100):
            slow.append(socket.create_connection((address[0], int(address[1])), timeout=5))
            slow[-1].sendall(b"POST /v1/models/b-x/translate HT")
        start = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - start < 1
        assert len(list(Path(f"/proc/{served[1].pid}/fd").iterdir())) < 850, "connections are bounded"
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.parametrize("name", NAMES)
def test_names_lead_nowhere(client, name):
    for path in (f"/v1/models/{name}", f"/assets/{name}", f"/v1/models/b-x/examples/{name}"):
        answer = client.get(path)
        assert answer.status_code in (404, 422), path
        assert answer.headers["content-type"] == "application/problem+json"


def test_scripts_in_names_are_text(client):
    data = png()
    files = {"image": ("<script>alert(1)</script>.png", data), "<img src=x onerror=y>": ("../../x", data)}
    answer = client.post("/v1/models/b-x/translate", files=files)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert answer.headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/models/b-x", "/docs"):
        page = client.get(path)
        assert not re.search(r"<script>|<img onerror|<b>x", page.text), path
        assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/v1/models").json()["models"][0]["name"] == "b-x"


TOKENS = ["", "Bearer wrong", "secret2", "Basic c2VjcmV0", "Bearer " + "s" * 5000, "é"]


@pytest.mark.parametrize("given", TOKENS)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/b-x/examples/0", "/metrics", "/v1/x", "/x"])
def test_nothing_but_the_state_is_told_without_the_token(client, path, given):
    answer = client.get(path, headers={"Authorization": given.encode()})
    assert (answer.status_code, answer.json()["field"]) == (401, "Authorization")
    for open_path in ("/readyz", "/models/b-x", "/models/other"):
        told = client.get(open_path, headers={"Authorization": ""})
        assert told.status_code == 200
        assert "b-x" not in told.text


def test_the_token_is_checked_before_the_body_is_read(served):
    big = httpx.post(f"{served[0]}/v1/models/b-x/translate", content=bytes(10**6), headers={"Authorization": "no"})
    assert big.status_code == 401
    assert httpx.post(f"{served[0]}/v1/models/b-x/translate?token=secret").status_code == 401, "not in addresses"


HOSTS = ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]", "", "localhost@evil"]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_name_is_refused(client, host):
    answer = client.get("/v1/models", headers={"Host": host})
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:1"])
def test_other_sites_are_refused(client, origin):
    answer = client.post("/v1/models/b-x/translate", files={"image": png()}, headers={"Origin": origin})
    assert (answer.status_code, answer.json()["field"]) == (403, "Origin")
    assert "access-control-allow-origin" not in answer.headers


def test_uploads_are_not_written_to_disk(client, served):
    data = png((800, 700))
    assert len(data) > 2**20, "more than forms keep in memory by default"
    written = written_bytes(served[1].pid)
    for _ in range(10):
        assert client.post("/v1/models/b-x/translate", files={"image": data}).status_code == 200
    assert written_bytes(served[1].pid) == written


def written_bytes(pid):
    """Return how many bytes a process has caused to be written to storage (Linux)."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes"))


def test_problems_are_json(client):
    assert json.loads(client.get("/nothing").text)["title"] == "Not Found"
    assert client.delete("/v1/models").json()["status"] == 405
