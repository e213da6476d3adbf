# SPDX-License-Identifier: Apache-2.0
"""
A small Hugging Face Hub on the loopback interface, in memory.

It speaks what `huggingface_hub` asks of the Hub in a push, in a download and as a file system: create, branch,
preupload, LFS batch and upload, commit, info, tree, resolve with ranges. Xet is not spoken: set
`HF_HUB_DISABLE_XET=1`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


TOKEN = "hf_loopback"


@dataclass
class Repository:
    """
    Attributes:
        private: Whether it needs the token to be read.
        branches: The commit of each branch.
        commits: The files of each commit.
    """

    private: bool
    branches: dict[str, str] = field(default_factory=lambda: {"main": "0" * 40})
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {"0" * 40: {}})

    def files(self, branch: str = "main") -> dict[str, bytes]:
        """The files at the tip of a branch."""
        return self.commits[self.branches[branch]]


class Hub:
    """
    The state of the server.

    Attributes:
        url: Where it listens; the value of `HF_ENDPOINT`.
        repositories: By name.
        requests: Method and path of each request.
        fail_at: Text in the path of requests that are answered by an error of the server.
    """

    def __init__(self) -> None:
        self.url = ""
        self.repositories: dict[str, Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.fail_at: str | None = None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        """Nothing is logged."""

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _json(self, status: int, content: Any) -> None:
        self._send(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _handle(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        body = self._body()
        if self.hub.fail_at and self.hub.fail_at in f"{self.command} {path}":
            return self._json(400, {"error": "the server was told to fail"})
        is_allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        # Uploaded bytes go to a storage whose signed address is the permission.
        if self.command in ("POST", "PUT") and not path.startswith("/storage/") and not is_allowed:
            return self._json(401, {"error": "Invalid user token."})
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return getattr(self, method)(body, is_allowed, *match.groups())
        return self._json(404, {"error": f"not spoken: {self.command} {path}"})

    do_GET = do_HEAD = do_POST = do_PUT = _handle

    def whoami(self, body: bytes, is_allowed: bool) -> None:
        self._json(200, {"type": "user", "name": "me", "orgs": [], "auth": {"accessToken": {"role": "write"}}})

    def validate_yaml(self, body: bytes, is_allowed: bool) -> None:
        self._json(200, {"errors": [], "warnings": []})

    def create(self, body: bytes, is_allowed: bool) -> None:
        wanted = json.loads(body)
        name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
        url = {"url": f"{self.hub.url}/{name}", "name": name}
        if name in self.hub.repositories:
            return self._json(409, {"error": "You already created this model repo", **url})
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repositories[name] = Repository(private)
        return self._json(200, url)

    def branch(self, body: bytes, is_allowed: bool, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        if branch in repository.branches:
            return self._json(409, {"error": "Reference already exists"})
        repository.branches[branch] = repository.branches["main"]
        return self._json(200, {})

    def preupload(self, body: bytes, is_allowed: bool, name: str, branch: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular",
                "shouldIgnore": False,
                "oid": None,
            }
            for file in json.loads(body)["files"]
        ]
        self._json(200, {"files": files})

    def lfs_batch(self, body: bytes, is_allowed: bool, name: str) -> None:
        objects = [
            {
                **item,
                "actions": {
                    "upload": {"href": f"{self.hub.url}/storage/{item['oid']}"},
                    "verify": {"href": f"{self.hub.url}/verify/{item['oid']}"},
                },
            }
            for item in json.loads(body)["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects})

    def store(self, body: bytes, is_allowed: bool, oid: str) -> None:
        if hashlib.sha256(body).hexdigest() != oid:
            return self._json(400, {"error": "the hash does not fit"})
        self.hub.objects[oid] = body
        return self._send(200)

    def verify(self, body: bytes, is_allowed: bool, oid: str) -> None:
        self._json(200 if oid in self.hub.objects else 404, {})

    def commit(self, body: bytes, is_allowed: bool, name: str, branch: str) -> None:
        repository = self.hub.repositories[name]
        files = dict(repository.files(branch))
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "deletedFile":
                del files[value["path"]]
            elif item["key"] == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self._json(400, {"error": "an LFS object was never uploaded"})
                files[value["path"]] = self.hub.objects[value["oid"]]
        commit = hashlib.sha1(body + branch.encode()).hexdigest()
        repository.commits[commit] = files
        repository.branches[branch] = commit
        url = f"{self.hub.url}/{name}/commit/{commit}"
        return self._json(200, {"success": True, "commitOid": commit, "commitUrl": url, "hookOutput": ""})

    def _find(self, name: str, revision: str, is_allowed: bool) -> tuple[str, dict[str, bytes]] | None:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not is_allowed):
            self._send(401, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
            return None
        commit = repository.branches.get(revision, revision)
        if commit not in repository.commits:
            self._send(404, b'{"error": "Revision not found"}', {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, repository.commits[commit]

    def info(self, body: bytes, is_allowed: bool, name: str, revision: str | None) -> None:
        if found := self._find(name, revision or "main", is_allowed):
            commit, files = found
            content = {"id": name, "modelId": name, "private": self.hub.repositories[name].private, "sha": commit}
            self._json(200, {**content, "tags": [], "siblings": [{"rfilename": path} for path in files]})

    def tree(self, body: bytes, is_allowed: bool, name: str, revision: str, folder: str | None) -> None:
        if found := self._find(name, revision, is_allowed):
            is_deep = "recursive=true" in self.path.lower()
            start = f"{folder}/" if folder else ""
            below = {path.removeprefix(start): data for path, data in found[1].items() if path.startswith(start)}
            if not below and folder:
                return self._send(404, b'{"error": "Entry not found"}', {"X-Error-Code": "EntryNotFound"})
            files = [_file(start + path, data) for path, data in below.items() if is_deep or "/" not in path]
            folders = {start + path.split("/")[0] for path in below if "/" in path}
            self._json(200, [*files, *map(_folder, sorted(folders))])
        return None

    def resolve(self, body: bytes, is_allowed: bool, name: str, revision: str, path: str) -> None:
        if found := self._find(name, revision, is_allowed):
            commit, files = found
            if path not in files:
                headers = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}
                return self._send(404, b'{"error": "Entry not found"}', headers)
            data = files[path]
            etag = hashlib.sha256(data).hexdigest()
            headers = {"ETag": f'"{etag}"', "X-Repo-Commit": commit, "X-Linked-Size": str(len(data))}
            if wanted := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
                start, last = int(wanted[1]), min(int(wanted[2]), len(data) - 1)
                headers["Content-Range"] = f"bytes {start}-{last}/{len(data)}"
                return self._send(206, data[start : last + 1], headers)
            self._send(200, data, headers)
        return None


def _file(path: str, data: bytes) -> dict[str, Any]:
    return {"type": "file", "oid": hashlib.sha1(data).hexdigest(), "size": len(data), "path": path}


def _folder(path: str) -> dict[str, Any]:
    return {"type": "directory", "oid": "0" * 40, "path": path}


_NAME = r"([\w.-]+/[\w.-]+)"
_KIND = "(?:models|datasets)"
_ROUTES = [
    (r"GET /api/whoami-v2", "whoami"),
    (r"POST /api/validate-yaml", "validate_yaml"),
    (r"POST /api/repos/create", "create"),
    (rf"POST /api/models/{_NAME}/branch/(.+)", "branch"),
    (rf"POST /api/models/{_NAME}/preupload/(.+)", "preupload"),
    (rf"POST /api/models/{_NAME}/commit/(.+)", "commit"),
    (rf"POST /{_NAME}\.git/info/lfs/objects/batch", "lfs_batch"),
    (r"PUT /storage/(\w+)", "store"),
    (r"POST /verify/(\w+)", "verify"),
    (rf"GET /api/{_KIND}/{_NAME}/tree/([^/]+)(?:/(.*))?", "tree"),
    (rf"GET /api/{_KIND}/{_NAME}(?:/revision/(.+))?", "info"),
    (rf"(?:GET|HEAD) (?:/datasets)?/{_NAME}/resolve/([^/]+)/(.+)", "resolve"),
]


@contextmanager
def serve() -> Iterator[Hub]:
    """A running hub; it ends with the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
