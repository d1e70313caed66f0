"""A small Hub on this machine's loopback address: repositories in memory, the part of the protocol that clients use."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN, USER = "hf_of_the_tests", "ada"
LARGE = (".safetensors", ".bin", ".pt")


@dataclass
class Repo:
    """Commits of one repository; branches and tags name them."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def commit(self, files: Mapping[str, bytes], *, branch: str = "main") -> str:
        name = hashlib.sha1(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        known = {**self.branches, **self.tags}
        return known.get(revision) or (revision if revision in self.commits else None)


@dataclass
class Answer:
    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that ends the request at once."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message)
        headers = {"X-Error-Code": code, "X-Error-Message": message}
        self.answer = Answer(status, {"error": message}, {key: text for key, text in headers.items() if text})


@dataclass
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:  # noqa: ANN401
        return json.loads(self.body or b"{}")


class Loopback(ThreadingHTTPServer):
    """The server; `busy` holds status codes that the next requests get instead of an answer."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos: dict[str, Repo] = {}
        self.blobs: dict[str, bytes] = {}
        self.busy: list[int] = []
        self.log: list[tuple[str, str]] = []
        self.guard = threading.RLock()
        self.address = f"http://127.0.0.1:{self.server_port}"

    def put(self, name: str, files: Mapping[str, bytes], *, tag: str | None = None) -> str:
        """Make a commit without going through the protocol."""
        repo = self.repos.setdefault(name, Repo())
        commit = repo.commit(files)
        if tag:
            repo.tags[tag] = commit
        return commit

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        repo = self.repos[name]
        return repo.commits[repo.find(revision) or ""]

    def fetched(self) -> list[str]:
        """Names of the files that were downloaded, in order."""
        return [path.rpartition("/")[2] for method, path in self.log if method == "GET" and "/resolve/" in path]

    def answer(self, request: Request) -> Answer:
        self.log.append((request.method, request.path))
        if self.busy:
            return Answer(self.busy.pop(0), {"error": "busy"})
        given = request.headers.get("authorization")
        if given not in (None, f"Bearer {TOKEN}"):
            raise Refusal(401, message="Invalid credentials in Authorization header")
        for method, pattern, handle in ROUTES:
            match = re.fullmatch(pattern, request.path)
            if match and request.method in method.split():
                if request.method in ("POST", "DELETE") and given is None:
                    raise Refusal(401, message="Unauthorized")
                return handle(self, request, *map(unquote, match.groups()))
        raise Refusal(404, message=f"no route for {request.method} {request.path}")

    # -- what a request does ------------------------------------------------------------------------------------

    def whoami(self, request: Request) -> Answer:
        if "authorization" not in {key.lower() for key in request.headers}:
            raise Refusal(401, message="Unauthorized")
        return Answer(body={"type": "user", "name": USER, "orgs": [], "auth": {}})

    def check_yaml(self, request: Request) -> Answer:
        assert request.json["content"]
        return Answer(body={"errors": [], "warnings": []})

    def create(self, request: Request) -> Answer:
        asked = request.json
        name = f"{asked.get('organization') or USER}/{asked['name']}"
        url = {"url": f"{self.address}/{name}", "name": name, "id": name}
        if name in self.repos:
            return Answer(409, {"error": "You already created this model repo", **url})
        self.repos[name] = Repo(private=bool(asked.get("private") or asked.get("visibility") == "private"))
        self.repos[name].commit({})
        return Answer(body=url)

    def announce(self, request: Request, name: str, revision: str) -> Answer:
        self._commit_of(request, name, revision)
        modes = [
            {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
            for f in request.json["files"]
        ]
        return Answer(body={"files": modes})

    def batch(self, request: Request, _: str) -> Answer:
        rows = []
        for wanted in request.json["objects"]:
            row = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.blobs:
                row["actions"] = {"upload": {"href": f"{self.address}/_blobs/{wanted['oid']}"}}
            rows.append(row)
        return Answer(body={"transfer": "basic", "objects": rows})

    def store(self, request: Request, oid: str) -> Answer:
        if hashlib.sha256(request.body).hexdigest() != oid:
            raise Refusal(400, message="the content is not what was announced")
        self.blobs[oid] = request.body
        return Answer(body={})

    def commit(self, request: Request, name: str, revision: str) -> Answer:
        repo, base = self._commit_of(request, name, revision)
        files = dict(repo.commits[base])
        for line in request.body.decode().splitlines():
            row = json.loads(line)
            kind, value = row["key"], row["value"]
            if kind == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                files[value["path"]] = self.blobs[value["oid"]]
        made = repo.commit(files, branch=revision)
        return Answer(body={"success": True, "commitOid": made, "commitUrl": f"{self.address}/{name}/commit/{made}"})

    def tag(self, request: Request, name: str, revision: str) -> Answer:
        repo, commit = self._commit_of(request, name, revision)
        if request.json["tag"] in repo.tags:
            return Answer(409, {"error": "the tag exists"})
        repo.tags[request.json["tag"]] = commit
        return Answer(body={})

    def refs(self, request: Request, name: str) -> Answer:
        repo, _ = self._commit_of(request, name, "main")
        rows = {
            kind: [{"name": key, "ref": f"refs/{kind}/{key}", "targetCommit": value} for key, value in known.items()]
            for kind, known in (("branches", repo.branches), ("tags", repo.tags))
        }
        return Answer(body={**rows, "converts": []})

    def info(self, request: Request, name: str, revision: str = "main") -> Answer:
        repo, commit = self._commit_of(request, name, revision)
        siblings = [{"rfilename": file} for file in sorted(repo.commits[commit])]
        return Answer(body={"id": name, "sha": commit, "private": repo.private, "siblings": siblings, "tags": []})

    def tree(self, request: Request, name: str, revision: str) -> Answer:
        repo, commit = self._commit_of(request, name, revision)
        rows = [
            {"type": "file", "path": path, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for path, data in sorted(repo.commits[commit].items())
        ]
        return Answer(body=rows)

    def resolve(self, request: Request, name: str, revision: str, file: str) -> Answer:
        repo, commit = self._commit_of(request, name, revision)
        data = repo.commits[commit].get(file)
        if data is None:
            raise Refusal(404, "EntryNotFound", "Entry not found")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(data).hexdigest()}"', "Accept-Ranges": "bytes"}
        part = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if part:
            first, last = int(part[1]), int(part[2] or len(data) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
            return Answer(206, data[first : last + 1], headers)
        return Answer(body=data, headers=headers)

    def _commit_of(self, request: Request, name: str, revision: str) -> tuple[Repo, str]:
        repo = self.repos.get(name)
        if repo is None or (repo.private and "authorization" not in {key.lower() for key in request.headers}):
            raise Refusal(404 if repo is None else 401, "RepoNotFound", "Repository not found")
        commit = repo.find(revision)
        if commit is None:
            raise Refusal(404, "RevisionNotFound", "Invalid rev id")
        return repo, commit


NAME = r"([^/]+/[^/]+)"
ROUTES: list[tuple[str, str, Callable[..., Answer]]] = [
    ("GET", r"/api/whoami-v2", Loopback.whoami),
    ("POST", r"/api/validate-yaml", Loopback.check_yaml),
    ("POST", r"/api/repos/create", Loopback.create),
    ("POST", rf"/api/models/{NAME}/preupload/([^/]+)", Loopback.announce),
    ("POST", rf"/{NAME}\.git/info/lfs/objects/batch", Loopback.batch),
    ("PUT", r"/_blobs/([0-9a-f]{64})", Loopback.store),
    ("POST", rf"/api/models/{NAME}/commit/([^/]+)", Loopback.commit),
    ("POST", rf"/api/models/{NAME}/tag/([^/]+)", Loopback.tag),
    ("GET", rf"/api/models/{NAME}/refs", Loopback.refs),
    ("GET", rf"/api/models/{NAME}/revision/([^/]+)", Loopback.info),
    ("GET", rf"/api/models/{NAME}/tree/([^/]+)(?:/.*)?", Loopback.tree),
    ("GET", rf"/api/models/{NAME}", Loopback.info),
    ("GET HEAD", rf"/{NAME}/resolve/([^/]+)/(.+)", Loopback.resolve),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Loopback

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while length := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(length))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _serve(self) -> None:
        body = self._body()
        request = Request(self.command, urlsplit(self.path).path, self.headers, body)  # pyright: ignore
        try:
            with self.server.guard:
                answer = self.server.answer(request)
        except Refusal as refusal:
            answer = refusal.answer
        data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for key, value in {"Content-Length": str(len(data)), **answer.headers}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve


@contextmanager
def loopback() -> Iterator[Loopback]:
    """Serve until the block ends."""
    server = Loopback()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
