"""Downloads: mirrors in turn, continued after an interruption, and never a file that is mixed of two versions."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from diptych.system import fetch as module
from diptych.system.fetch import fetch

DATA = bytes(range(256)) * 20


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.requests.append(dict(self.headers))
        start = 0
        if self.path == "/absent":
            self.send_error(404)
            return
        if self.headers.get("Range") and self.headers.get("If-Range") == server.tag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(server.data):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.data) - 1}/{len(server.data)}")
        self.send_header("Content-Length", str(len(server.data) - start))
        self.send_header("ETag", server.tag)
        self.end_headers()
        self.wfile.write(server.data[start : server.stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.data, server.stop, server.tag, server.requests = DATA, None, '"1"', []
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def url(server, path="file"):
    return f"http://127.0.0.1:{server.server_port}/{path}"


def interrupted(server, file):
    server.stop = 3000
    with pytest.raises(OSError, match=r"ended after 3,000 of 5,120 bytes; repeat"):
        fetch([url(server)], file)
    server.stop = None
    assert not file.exists()


def test_the_second_mirror_is_used_if_the_first_has_no_such_file(server, tmp_path):
    calls = []
    fetch([url(server, "absent"), url(server)], tmp_path / "a.zip", lambda *counts: calls.append(counts))
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
    assert calls[-1] == (5120, 5120)
    with pytest.raises(OSError, match=r"absent: HTTP Error 404.*; http.*absent: HTTP Error 404"):
        fetch([url(server, "absent")] * 2, tmp_path / "b.zip")


def test_an_interrupted_download_continues(server, tmp_path):
    interrupted(server, tmp_path / "a.zip")
    fetch([url(server)], tmp_path / "a.zip")
    assert server.requests[-1]["Range"] == "bytes=3000-"
    assert (tmp_path / "a.zip").read_bytes() == DATA
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_another_version_begins_anew(server, tmp_path):
    interrupted(server, tmp_path / "a.zip")
    server.data, server.tag = DATA[::-1], '"2"'
    fetch([url(server)], tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA[::-1]


def test_a_part_that_is_already_complete_is_fetched_anew(server, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(DATA)
    (tmp_path / "a.zip.part.version").write_text(server.tag)
    fetch([url(server)], tmp_path / "a.zip")
    assert (tmp_path / "a.zip").read_bytes() == DATA


def test_too_much_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 1000)
    with pytest.raises(OSError, match="more than"):
        fetch([url(server)], tmp_path / "a.zip")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10}))
    with pytest.raises(OSError, match=r"5,120 bytes needed in .*, 10 free"):
        fetch([url(server)], tmp_path / "b.zip")
