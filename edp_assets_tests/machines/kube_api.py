"""A Kubernetes API server for Jobs alone, on loopback: what a Job's container would run is run in a process here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml


@dataclass
class Cluster:
    """The Jobs that were asked for, and their processes; the pods of the first few may be told to die at once."""

    dies: int = 0
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, manifest: dict[str, Any]) -> None:
        name = manifest["metadata"]["name"]
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        program, *arguments = container["args"]
        assert program == "python"
        values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        values.pop("DAGSTER_HOME")  # where the image has it
        command = [sys.executable, "-W", "ignore", *arguments]
        if len(self.manifests) < self.dies:
            command = ["false"]
        self.manifests[name] = manifest
        self.processes[name] = subprocess.Popen(command, env={**os.environ, **values}, stdin=subprocess.DEVNULL)

    def status(self, name: str) -> dict[str, Any]:
        code = self.processes[name].poll()
        return {"active": 1} if code is None else {"failed": 1} if code else {"succeeded": 1}


def _handler(cluster: Cluster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            manifest = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            cluster.start(manifest)
            self._answer(201, manifest)

        def do_GET(self) -> None:
            parts = self.path.split("?")[0].strip("/").split("/")
            if parts[-1] == "pods":
                self._answer(200, {"kind": "PodList", "apiVersion": "v1", "items": []})
            elif parts[-1] == "status" and parts[-2] in cluster.manifests:
                self._answer(200, {**cluster.manifests[parts[-2]], "status": cluster.status(parts[-2])})
            else:
                self._answer(404, {"kind": "Status", "status": "Failure"})

        def do_DELETE(self) -> None:
            name = self.path.split("?")[0].strip("/").split("/")[-1]
            if cluster.processes[name].poll() is None:
                cluster.processes[name].kill()
            self._answer(200, {"kind": "Status", "status": "Success"})

        def _answer(self, code: int, body: dict[str, Any]) -> None:
            payload = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler


@contextmanager
def kube_api(folder: Path, dies: int = 0) -> Iterator[tuple[Cluster, Path]]:
    """Start the server and give what it was asked for, and a kubeconfig that names it."""
    cluster = Cluster(dies)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(cluster))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "users": [{"name": "me", "user": {}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(config))
    try:
        yield cluster, folder / "kubeconfig"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        for process in cluster.processes.values():
            if process.poll() is None:
                process.kill()
            process.wait()
