"""A Hub in this process: the part of its HTTP interface that huggingface_hub uses to create, push and download models.

Files ending in .safetensors go through LFS, others into the commit, as on the Hub. Everything is kept in memory.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_owner"
Files = dict[str, bytes]


@dataclass
class Repository:
    private: bool
    commits: list[tuple[str, Files]]

    @property
    def head(self) -> tuple[str, Files]:
        return self.commits[-1]


@dataclass
class Hub:
    """requests: "METHOD path" of each, in order. sent: paths of files whose content arrived."""

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    requests: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def add(self, name: str, files: Files, *, private: bool = True) -> Repository:
        self.repositories[name] = Repository(private, [(_sha1(name.encode()), dict(files))])
        return self.repositories[name]

    def files(self, name: str) -> Files:
        return self.repositories[name].head[1]


@contextlib.contextmanager
def serve() -> Iterator[Hub]:
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Refused(Exception):
    """status, and the code that huggingface_hub turns into an exception."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_GET(self) -> None:
        self._answer({r"/api/models/([^/]+/[^/]+)(?:/revision/.+)?": self._info,
                      r"/api/models/([^/]+/[^/]+)/tree/(.+)": self._tree,
                      r"/([^/]+/[^/]+)/resolve/[^/]+/(.+)": self._file})  # fmt: skip

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer({r"/api/repos/create": self._create,
                      r"/api/validate-yaml": lambda: {"errors": [], "warnings": []},
                      r"/api/models/([^/]+/[^/]+)/preupload/main": self._preupload,
                      r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch": self._batch,
                      r"/api/models/([^/]+/[^/]+)/commit/main": self._commit})  # fmt: skip

    def do_PUT(self) -> None:
        self._answer({r"/large/(.+)": self._large})

    def log_message(self, *_: Any) -> None:
        pass

    # --- addresses ----------------------------------------------------------------------------------------

    def _create(self) -> dict[str, Any]:
        self._check_owner()
        asked = json.loads(self.body)
        name = f"{asked['organization']}/{asked['name']}"
        private = asked["visibility"] == "private" if "visibility" in asked else asked["private"]
        self.hub.add(name, {".gitattributes": b"*.safetensors filter=lfs\n"}, private=private)
        return {"url": f"{self.hub.url}/{name}"}

    def _info(self, name: str) -> dict[str, Any]:
        repository = self._repository(name)
        sha, files = repository.head
        siblings = [{"rfilename": path} for path in files]
        return {"id": name, "modelId": name, "sha": sha, "private": repository.private, "siblings": siblings}

    def _tree(self, name: str, revision: str) -> list[dict[str, Any]]:
        (files,) = (files for sha, files in self._repository(name).commits if sha == revision)
        return [{"type": "file", "path": path, **_described(path, content)} for path, content in files.items()]

    def _file(self, name: str, path: str) -> bytes:
        sha, files = self._repository(name).head
        tag = _described(path, files[path]).get("lfs", {"oid": _git_id(files[path])})["oid"]
        self.headers_out = {"X-Repo-Commit": sha, "ETag": f'"{tag}"', "X-Linked-Size": str(len(files[path]))}
        return files[path]

    def _preupload(self, name: str) -> dict[str, Any]:
        self._check_owner()
        there = self._repository(name).head[1]
        return {
            "files": [
                {
                    "path": (path := file["path"]),
                    "uploadMode": "lfs" if _is_large(path) else "regular",
                    "shouldIgnore": False,
                    "oid": _remote_id(path, there[path]) if path in there else None,
                }
                for file in json.loads(self.body)["files"]
            ]
        }

    def _batch(self, name: str) -> dict[str, Any]:
        self._check_owner()
        objects = []
        for asked in json.loads(self.body)["objects"]:
            upload = {"upload": {"href": f"{self.hub.url}/large/{asked['oid']}"}}
            objects.append(asked if asked["oid"] in self.hub.large else asked | {"actions": upload})
        return {"transfer": "basic", "objects": objects}

    def _large(self, digest: str) -> dict[str, Any]:
        assert hashlib.sha256(self.body).hexdigest() == digest
        self.hub.large[digest] = self.body
        self.hub.sent.append(digest)
        return {}

    def _commit(self, name: str) -> dict[str, Any]:
        self._check_owner()
        repository = self._repository(name)
        parent, files = repository.head
        header, *operations = map(json.loads, self.body.splitlines())
        if header["value"].get("parentCommit", parent) != parent:
            raise _Refused(412, "PreconditionFailed")
        files = dict(files)
        for operation in operations:
            value = operation["value"]
            if operation["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
                self.hub.sent.append(value["path"])
            elif operation["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
            else:
                raise AssertionError(f"a push that does {operation['key']}")
        sha = _sha1(self.body)
        repository.commits.append((sha, files))
        return {"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha}

    # --- what they share ----------------------------------------------------------------------------------

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.private and not self._is_owner()):
            raise _Refused(404, "RepoNotFound")
        return repository

    def _is_owner(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _check_owner(self) -> None:
        if not self._is_owner():
            raise _Refused(403, "Forbidden")

    def _answer(self, addresses: dict[str, Any]) -> None:
        path = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.hub.requests.append(f"{self.command} {path}")
        self.headers_out: dict[str, str] = {}
        status, answer = 404, b""
        for pattern, respond in addresses.items():
            if match := re.fullmatch(pattern, path):
                try:
                    answer = respond(*match.groups())
                    status = 200
                except _Refused as refused:
                    status, self.headers_out["X-Error-Code"] = refused.args
                break
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for header, value in {**self.headers_out, "Content-Length": str(len(content))}.items():
            self.send_header(header, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _is_large(path: str) -> bool:
    return path.endswith(".safetensors")


def _described(path: str, content: bytes) -> dict[str, Any]:
    described = {"size": len(content), "oid": _git_id(content)}
    if _is_large(path):
        described["lfs"] = {"oid": _remote_id(path, content), "size": len(content), "pointerSize": 134}
    return described


def _remote_id(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if _is_large(path) else _git_id(content)


def _git_id(content: bytes) -> str:
    return _sha1(b"blob %d\0" % len(content) + content)


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
