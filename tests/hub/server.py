"""A small Hub: the HTTP calls by which huggingface_hub makes repositories, uploads, commits and downloads.

Everything lies in memory. Repositories have commits (a commit is a dict of path -> blob) and references; large files
go through the LFS batch call. As on the real Hub, file contents decide nothing here: `.safetensors` files are large.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml


@dataclass
class Repository:
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    requests: int = 0  # pull requests

    def commit(self, files: dict[str, bytes], reference: str, message: str) -> str:
        self.messages.append(message)
        sha = hashlib.sha1(f"{len(self.commits)} {message}".encode()).hexdigest()
        self.commits[sha] = files
        self.references[reference] = sha
        return sha

    def resolve(self, revision: str) -> str | None:
        return self.references.get(revision, revision if revision in self.commits else None)


class Hub(ThreadingHTTPServer):
    """Started by `with Hub() as hub:`; `hub.url` is what HF_ENDPOINT should say."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}  # by SHA-256
        self.calls: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_) -> None:
        pass

    def do_GET(self) -> None:
        self.route()

    do_HEAD = do_POST = do_PUT = do_GET

    def route(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            self.body = self.read_chunks()
        parts = urlsplit(self.path)
        self.query = parse_qs(parts.query)
        with self.server.lock:
            for method, pattern, answer in ROUTES:
                match = re.fullmatch(pattern, parts.path)
                if match and self.command in method:
                    self.server.calls.append(f"{self.command} {answer.__name__}")
                    answer(self, *[unquote(group) for group in match.groups()])
                    return
            self.server.calls.append(f"{self.command} {self.path} unknown")
            self.error(404, "EntryNotFound")

    def read_chunks(self) -> bytes:
        body = b""
        while length := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    # answers

    def create(self) -> None:
        asked = json.loads(self.body)
        if "Bearer" not in self.headers.get("Authorization", ""):
            return self.error(401, None)
        name = f"{asked.get('organization') or 'alice'}/{asked['name']}"
        exists = name in self.server.repositories
        if not exists:
            repository = Repository(private=bool(asked.get("private")) or asked.get("visibility") == "private")
            repository.commit({".gitattributes": b""}, "main", "initial commit")
            self.server.repositories[name] = repository
        self.json({"url": f"{self.server.url}/{name}"}, 409 if exists else 200)

    def validate_card(self) -> None:
        front = re.match(r"---\n(.*?)\n---", json.loads(self.body)["content"], re.DOTALL)
        data = yaml.safe_load(front[1]) if front else None
        errors = [] if isinstance(data, dict) else [{"message": "no metadata"}]
        for key, kind in (("license", str), ("pipeline_tag", str), ("tags", list), ("model-index", list)):
            if isinstance(data, dict) and not isinstance(data.get(key, kind()), kind):
                errors.append({"message": f"{key} is no {kind.__name__}"})
        self.json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def preupload(self, name: str, revision: str) -> None:
        files = json.loads(self.body)["files"]
        modes = [("lfs" if file["path"].endswith(".safetensors") else "regular", file["path"]) for file in files]
        self.json({"files": [{"path": path, "uploadMode": mode, "shouldIgnore": False} for mode, path in modes]})

    def lfs_batch(self, name: str) -> None:
        objects = []
        for asked in json.loads(self.body)["objects"]:
            if asked["oid"] not in self.server.large:
                upload = {"href": f"{self.server.url}/lfs/{asked['oid']}", "header": {}}
                asked = asked | {"actions": {"upload": upload}}
            objects.append(asked)
        self.json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, oid: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != oid:
            return self.error(400, None)
        self.server.large[oid] = self.body
        self.json({})

    def commit(self, name: str, revision: str) -> None:
        repository = self.server.repositories[name]
        files = dict(repository.commits[repository.resolve(revision)])
        message = ""
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "header":
                message = value["summary"]
            elif entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            else:
                return self.error(400, None)
        answer = {}
        if self.query.get("create_pr"):
            repository.requests += 1
            revision = f"refs/pr/{repository.requests}"
            answer["pullRequestUrl"] = f"{self.server.url}/{name}/discussions/{repository.requests}"
        sha = repository.commit(files, revision, message)
        self.json(answer | {"commitUrl": f"{self.server.url}/{name}/commit/{sha}", "commitOid": sha, "success": True})

    def tag(self, name: str, revision: str) -> None:
        repository = self.server.repositories[name]
        repository.references[json.loads(self.body)["tag"]] = repository.resolve(revision)
        self.json({})

    def info(self, name: str, revision: str = "main") -> None:
        files = self.files(name, revision)
        if files is not None:
            repository = self.server.repositories[name]
            siblings = [{"rfilename": path} for path in files]
            sha = repository.resolve(revision)
            about = {"id": name, "modelId": name, "sha": sha, "private": repository.private}
            self.json(about | {"siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def tree(self, name: str, revision: str) -> None:
        files = self.files(name, revision)
        if files is not None:
            entries = []
            for path, content in files.items():
                entry = {"type": "file", "path": path, "size": len(content), "oid": _sha1(content)}
                if path.endswith(".safetensors"):
                    entry["lfs"] = {"oid": _sha256(content), "size": len(content), "pointerSize": 130}
                entries.append(entry)
            self.json(entries)

    def resolve(self, name: str, revision: str, path: str) -> None:
        files = self.files(name, revision)
        if files is None:
            return
        if path not in files:
            return self.error(404, "EntryNotFound")
        content = files[path]
        headers = {"X-Repo-Commit": self.server.repositories[name].resolve(revision), "ETag": f'"{_sha1(content)}"'}
        if path.endswith(".safetensors"):
            headers |= {"X-Linked-Etag": f'"{_sha256(content)}"', "X-Linked-Size": str(len(content))}
        self.answer(200, content, "application/octet-stream", headers)

    # helpers

    def files(self, name: str, revision: str) -> dict[str, bytes] | None:
        repository = self.server.repositories.get(name)
        sha = repository and repository.resolve(revision)
        if sha is None:
            self.error(404, "RevisionNotFound" if repository else "RepoNotFound")
            return None
        return repository.commits[sha]

    def json(self, content: object, status: int = 200) -> None:
        self.answer(status, json.dumps(content).encode(), "application/json", {})

    def error(self, status: int, code: str | None) -> None:
        self.answer(status, b"{}", "application/json", {"X-Error-Code": code} if code else {})

    def answer(self, status: int, content: bytes, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


REPO = r"([\w.-]+/[\w.-]+)"
ROUTES = [
    (("POST",), r"/api/repos/create", Handler.create),
    (("POST",), r"/api/validate-yaml", Handler.validate_card),
    (("POST",), rf"/api/models/{REPO}/preupload/([^/]+)", Handler.preupload),
    (("POST",), rf"/{REPO}\.git/info/lfs/objects/batch", Handler.lfs_batch),
    (("PUT",), r"/lfs/(\w+)", Handler.lfs_upload),
    (("POST",), rf"/api/models/{REPO}/commit/([^/]+)", Handler.commit),
    (("POST",), rf"/api/models/{REPO}/tag/([^/]+)", Handler.tag),
    (("GET",), rf"/api/models/{REPO}", Handler.info),
    (("GET",), rf"/api/models/{REPO}/revision/([^/]+)", Handler.info),
    (("GET",), rf"/api/models/{REPO}/tree/([^/]+)", Handler.tree),
    (("GET", "HEAD"), rf"/{REPO}/resolve/([^/]+)/(.+)", Handler.resolve),
]


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
