"""A small server of the hub's endpoints that `huggingface_hub` uses: create, branch, preupload, commit, LFS, resolve.

Files above `LFS_FROM` bytes go through the LFS protocol, as large files on the hub do; Xet is switched off by
`HF_HUB_DISABLE_XET`. One token, `WRITER`, may write and read private repositories.
"""

import base64
import hashlib
import json
import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

LFS_FROM = 4096
WRITER, READER = "hf_writer", "hf_reader"


@dataclass
class Repository:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    sizes: dict[str, int] = field(default_factory=dict)  # sizes that the server reports wrongly

    def commit_of(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def log_message(self, *arguments):
        pass

    def body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        data = b""
        while size := int(self.rfile.readline(), 16):
            data += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return data

    def answer(self, status=200, data=b"", **headers):
        if not isinstance(data, bytes):
            data, headers["Content-Type"] = json.dumps(data).encode(), "application/json"
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fail(self, status, code, message=""):
        self.answer(status, {"error": message or code}, X_Error_Code=code, X_Error_Message=message or code)

    def handle_request(self):
        server, data = self.server, self.body()
        path = unquote(urlsplit(self.path).path).strip("/")
        server.requests.append((self.command, path, self.token))
        if server.down == "proxy":
            self.answer(data=b"<html>log in to this network</html>")
        elif server.down:
            self.fail(503, "Unavailable", "maintenance")
        elif self.token not in ("", WRITER, READER):
            self.answer(401, {}, X_Error_Message="Invalid credentials in Authorization header")
        elif self.command == "POST" and path != "api/validate-yaml" and self.token != WRITER:
            self.fail(403, "Forbidden", "this token has no write access")
        elif path == "api/validate-yaml":
            self.answer(data={"errors": [], "warnings": []})
        elif path == "api/repos/create":
            self.create(json.loads(data))
        elif path.startswith("lfs/"):
            server.large[path.removeprefix("lfs/")] = data
            self.answer()
        else:
            self.of_repository(path.removeprefix("api/models/"), data)

    def do_GET(self):
        self.handle_request()

    def do_HEAD(self):
        self.handle_request()

    def do_POST(self):
        self.handle_request()

    def do_PUT(self):
        self.handle_request()

    def create(self, values):
        name = f"{values['organization']}/{values['name']}"
        exists = name in self.server.repositories
        if not exists:
            self.server.repositories[name] = Repository(values.get("private") or values.get("visibility") == "private")
        self.answer(409 if exists else 200, {"url": f"{self.server.url}/{name}", "error": "already exists"})

    def of_repository(self, path, data):
        user, name, *rest = path.split("/")
        repo = self.server.repositories.get(f"{user}/{name.removesuffix('.git')}")
        if repo is None or (repo.private and not self.token):
            return self.fail(404 if self.token else 401, "RepoNotFound", "Repository not found")
        action, words = (rest[0], rest[1:]) if rest else ("", [])
        if action == "refs":
            heads = [
                {"name": n, "ref": f"refs/heads/{n}", "targetCommit": commit} for n, commit in repo.branches.items()
            ]
            return self.answer(data={"branches": heads, "converts": [], "tags": []})
        if action == "branch":
            exists = words[0] in repo.branches
            repo.branches.setdefault(words[0], repo.branches["main"])
            return self.answer(409 if exists else 200, {})
        if action == "info":
            return self.batch(json.loads(data))
        revision = words[0] if words else "main"
        commit = repo.commit_of(revision)
        if commit is None:
            return self.fail(404, "RevisionNotFound")
        files = repo.commits[commit]
        if action in ("", "revision"):
            sizes = {n: repo.sizes.get(n, len(content)) for n, content in files.items()}
            siblings = [{"rfilename": n, "size": size} for n, size in sizes.items()]
            facts = {"id": f"{user}/{name}", "sha": commit, "private": repo.private, "siblings": siblings}
            return self.answer(data=facts)
        if repo.gated:
            return self.fail(403, "GatedRepo", "Access to this model is restricted")
        if action == "tree":
            return self.answer(data=[entry(n, content) for n, content in files.items()])
        if action == "preupload":
            modes = [
                {"path": f["path"], "uploadMode": "lfs" if f["size"] > LFS_FROM else "regular", "shouldIgnore": False}
                for f in json.loads(data)["files"]
            ]
            return self.answer(data={"files": modes})
        if action == "commit":
            return self.commit(f"{user}/{name}", repo, revision, data)
        return self.resolve(repo, commit, "/".join(words[1:]))

    def batch(self, request):
        """Answer with the address of each large file to upload."""
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.server.url}/lfs/{each['oid']}"}}}
            for each in request["objects"]
        ]
        self.answer(data={"transfer": "basic", "objects": objects})

    def commit(self, name, repo, revision, data):
        files = dict(repo.commits[repo.branches[revision]])
        for line in map(json.loads, data.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        commit = hashlib.sha1(data + repo.branches[revision].encode()).hexdigest()
        repo.commits[commit], repo.branches[revision] = files, commit
        self.answer(data={"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})

    def resolve(self, repo, commit, name):
        content = repo.commits[commit].get(name)
        if content is None:
            return self.fail(404, "EntryNotFound")
        tag = hashlib.sha1(content).hexdigest()
        return self.answer(data=content, ETag=f'"{tag}"', X_Repo_Commit=commit)


def entry(name, content):
    """Return the entry of a file in the listing of a repository."""
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}


@contextmanager
def hub_server():
    """Start the server on a free port; `url` is its address, `repositories` its content by `user/name`."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.repositories, server.large, server.requests, server.down = {}, {}, [], False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def environment(server, cache, token=WRITER):
    """Return the environment of a process that uses the server as its hub."""
    words = {"HF_ENDPOINT": server.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_XET": "1", "no_proxy": "127.0.0.1"}
    return {**os.environ, **words, "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_TOKEN": token}


def use(server, cache, monkeypatch, token=WRITER):
    """Let this process use the server as its hub; the client has read its environment at import already."""
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars

    for name, value in environment(server, cache, token).items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "token"))
    disable_progress_bars()
