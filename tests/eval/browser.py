"""Open a page in headless Chromium and talk to it over the DevTools protocol."""

import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
    "--window-size=1280,1400",
)


class Page:
    """A page under test; everything it says to the console or asks the network for is kept."""

    def __init__(self, socket: Any) -> None:  # noqa: ANN401 - websockets' connection
        self.socket, self.count = socket, 0
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def send(self, method: str, **params: object) -> dict[str, Any]:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=30))
            if message.get("id") == self.count:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self._note(message)

    def evaluate(self, script: str) -> Any:  # noqa: ANN401 - any JSON value
        answer = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def until(self, script: str, *, seconds: float = 20.0) -> Any:  # noqa: ANN401 - any JSON value
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            value = self.evaluate(script)
            if value:
                return value
            time.sleep(0.05)
        raise TimeoutError(f"still not true after {seconds} s: {script}")

    def _note(self, message: dict[str, Any]) -> None:
        method, params = message.get("method"), message.get("params", {})
        if method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
            self.complaints.append(json.dumps(params))
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


@contextmanager
def opened(browser: str, path: Path) -> Iterator[Page]:
    """Open ``path`` in a fresh browser; close it afterwards."""
    client = pytest.importorskip("websockets.sync.client", reason="needs websockets: pip install -e '.[serve]'")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with client.connect(_address(Path(profile), process), max_size=None) as socket:
                page = Page(socket)
                for domain in ("Runtime", "Log", "Network", "Page"):
                    page.send(f"{domain}.enable")
                page.send("Page.navigate", url=path.resolve().as_uri())
                page.until("document.readyState === 'complete' && location.protocol === 'file:'")
                yield page
        finally:
            process.terminate()
            process.wait(timeout=20)


def _address(profile: Path, process: subprocess.Popen) -> str:
    import urllib.request

    for _ in range(300):
        try:
            port = (profile / "DevToolsActivePort").read_text().splitlines()[0]
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=5) as answer:
                pages = [page for page in json.load(answer) if page["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        except (OSError, IndexError):
            pass
        if process.poll() is not None:
            raise RuntimeError(f"the browser ended with status {process.returncode}")
        time.sleep(0.1)
    raise TimeoutError("the browser did not open its debugging port")
