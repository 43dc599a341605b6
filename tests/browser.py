"""A real browser, headless, driven by the DevTools protocol over a pipe: no port, no library."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""What a browser is called that speaks the protocol; Debian's packages have the first two names."""

PATIENCE_S = 60
"""No answer comes later, on a machine however busy."""


def program() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a browser. requests: of the network, whatever it asked for but its own file. errors: of
    the console, exceptions among them."""

    def __init__(self, tells: int, hears: int) -> None:
        self._tells, self._hears = tells, hears
        self._number, self._buffer = 0, b""
        self.requests: list[str] = []
        self.errors: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = ""
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")

    def open(self, page: Path, ready: bool = True) -> None:
        """Open a file, and wait until all of it is there."""
        self._ask("Page.navigate", url=page.as_uri())
        if ready:
            self.wait("document.body && document.body.dataset.ready")

    def wait(self, expression: str) -> Any:
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            if found := self.value(expression):
                return found
            time.sleep(0.02)
        raise TimeoutError(f"{expression}: {self.errors}")

    def value(self, expression: str) -> Any:
        """What an expression of the page comes to, waited for where it is a promise."""
        found = self._ask(
            "Runtime.evaluate",
            expression=expression,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        if "exceptionDetails" in found:
            raise ValueError(f"{expression}: {found['exceptionDetails']}")
        return found["result"].get("value")

    def size(self, width: int, height: int, mobile: bool = False) -> None:
        self._ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )

    def media(self, dark: bool) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", features=[scheme])

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def drag(self, start: tuple[float, float], end: tuple[float, float], modifiers: int = 0) -> None:
        """modifiers: 8 is Shift."""
        for kind, (x, y), held in (
            ("mousePressed", start, 1), ("mouseMoved", end, 1), ("mouseReleased", end, 0),
        ):  # fmt: skip
            self.mouse(kind, x, y, button="left", buttons=held, clickCount=1, modifiers=modifiers)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        """kind: touchStart, touchMove, touchEnd."""
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self._ask("Input.dispatchTouchEvent", type=kind, touchPoints=places)

    def key(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        codes = {
            "Tab": 9,
            "Enter": 13,
            "Escape": 27,
            "ArrowLeft": 37,
            "ArrowUp": 38,
            "ArrowRight": 39,
            "ArrowDown": 40,
        }
        more = {"windowsVirtualKeyCode": codes[key], "code": key} if key in codes else {}
        if key == "Enter":
            text = {"text": "\r"}
        self._ask("Input.dispatchKeyEvent", type="keyDown", key=key, **text, **more)
        self._ask("Input.dispatchKeyEvent", type="keyUp", key=key, **more)

    def picture(self, path: Path, whole: bool = False) -> None:
        found = self._ask("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(found["data"]))

    def pdf(self) -> bytes:
        return base64.b64decode(self._ask("Page.printToPDF")["data"])

    def tree(self) -> list[dict[str, Any]]:
        """What a screen reader is told."""
        return self._ask("Accessibility.getFullAXTree")["nodes"]

    def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        wanted = self._number
        message: dict[str, Any] = {"id": wanted, "method": method, "params": params}
        if getattr(self, "_session", ""):
            message["sessionId"] = self._session
        os.write(self._tells, json.dumps(message).encode() + b"\0")
        while True:
            heard = self._hear()
            if heard.get("id") == wanted:
                if "error" in heard:
                    raise ValueError(f"{method}: {heard['error']}")
                return heard["result"]

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            if not select.select([self._hears], [], [], PATIENCE_S)[0]:
                raise TimeoutError("the browser says nothing")
            more = os.read(self._hears, 1 << 20)
            if not more:
                raise EOFError("the browser has ended")
            self._buffer += more
        line, _, self._buffer = self._buffer.partition(b"\0")
        heard: dict[str, Any] = json.loads(line)
        method, params = heard.get("method", ""), heard.get("params", {})
        if method == "Network.requestWillBeSent" and not params["request"]["url"].startswith(
            ("file:", "about:")
        ):
            self.requests.append(params["request"]["url"][:200])
        if method == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"])[:1000])
        if method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.errors.append(str(params["entry"])[:1000])
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.errors.append(str(params["args"])[:1000])
        return heard


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a graphics card, on what is here."""
    found = program()
    assert found is not None
    (their_in, tells), (hears, their_out) = os.pipe(), os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD, 20) for end in (their_in, their_out)]

    def wired() -> None:
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory() as home:
        process = subprocess.Popen(
            [found, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--hide-scrollbars", f"--user-data-dir={home}", "--remote-debugging-pipe", "--no-first-run",
             "about:blank"],
            preexec_fn=wired, pass_fds=(3, 4), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        for end in (their_in, their_out, *high):
            os.close(end)
        try:
            yield Browser(tells, hears)
        finally:
            os.close(tells)
            os.close(hears)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()
