"""A broker's door: questions, custody and blobs over HTTP (`door.md`)."""

import base64
import http.client
import secrets
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from blake3 import blake3

from . import cbor, kinds, statement
from .cbor import Item
from .ed25519 import SecretKey

TIMEOUT_S = 90
"""A pull takes 25 s, a call over several brokers 75 s."""

MAX_ANSWER = 1 << 20
PIECE = 4 << 20
"""Bytes of a blob that are put at a time: what has come so far is not sent again."""


class Unreachable(Exception):
    """The broker did not answer, or not now: try again later."""


class Denied(Exception):
    """The door does not take this request, and would not if it were sent again."""


class Door:
    """One connection to one broker's door; each thread has its own."""

    def __init__(self, url: str, key: SecretKey) -> None:
        """``url``: such as ``https://broker.example.org``."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = connect(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        self._path = parts.path.rstrip("/") + "/talkoot/1/"
        self.url = url
        self.key = key
        introduction = cbor.decode(self._send("GET", "door", b"", {})[2])
        self.broker: bytes = introduction["key"]

    def again(self) -> "Door":
        """One more connection, for another thread."""
        return Door(self.url, self.key)

    def ask(self, word: str, question: Item) -> Item:
        """The answer to an ask (C33)."""
        return self._post("call", self._seal({word: question}))

    def hand_over(self, frame: bytes) -> Item:
        """The answer to a handover of bundles (C34)."""
        return self._post("custody", frame, {"custody": {"frame": blake3(frame).digest()}})

    def collect(self, taken: list[bytes], wait_ms: int = 25_000) -> list[bytes]:
        """The frames that wait for us, once those that we have ``taken`` need not (C35)."""
        pledge: dict[str, Item] = {"wait-ms": wait_ms, **({"taken": taken} if taken else {})}
        return self._post("collect", self._seal({"collect": pledge}))

    def get(self, name: bytes, size: int) -> bytes:
        """A blob of ``size`` bytes; goes on where it stopped (C36)."""
        blob = b""
        while len(blob) < size or not blob:
            part = {"Range": f"bytes={len(blob)}-"} if blob else {}
            got = {"get": {"hash": name, "limit": size}}
            status, _, body = self._send("GET", f"blob/{name.hex()}", b"", part, got, size + 1)
            blob = blob + body if status == 206 else body
            if not body:
                break
        if len(blob) != size or blake3(blob).digest() != name:
            raise Denied(f"the broker's blob {name.hex()} is not what its name says")
        return blob

    def put(self, blob: bytes) -> None:
        """Sends a blob, in pieces if it is large (C37)."""
        name = blake3(blob).digest()
        path, size = f"blob/{name.hex()}", len(blob)
        look = {"get": {"hash": name, "limit": size}}
        if self._send("HEAD", path, b"", {}, look, takes=(200, 404))[0] == 200:
            return
        at = 0
        while True:
            piece = blob[at : at + PIECE]
            whole = len(piece) == size
            part = {} if whole else {"Content-Range": f"bytes {at}-{at + len(piece) - 1}/{size}"}
            pledge = {"put": {"hash": name, "size": size}}
            status, headers, _ = self._send("PUT", path, piece, part, pledge, takes=(200, 202, 409))
            if status == 200:
                return
            at = int(headers["Upload-Offset"])

    def _post(self, path: str, body: bytes, what: Item = None) -> Item:
        return cbor.decode(self._send("POST", path, body, {}, what)[2])

    def _seal(self, body: Item) -> bytes:
        """A request to this broker (C31)."""
        request = {
            "audience": self.broker,
            "nonce": secrets.randbits(64),
            "expires": now() + 30_000,
            "body": cbor.encode(body),
        }
        return statement.sign(kinds.REQUEST, request, self.key)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
        what: Item = None,
        limit: int = MAX_ANSWER,
        takes: tuple[int, ...] = (200, 206),
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Sends one request, with a pass for ``what`` if there is need of one (C32)."""
        if what is not None:
            shown = base64.urlsafe_b64encode(self._seal(what)).rstrip(b"=").decode()
            headers = {**headers, "Authorization": f"Talkoot {shown}"}
        try:
            self._connection.request(method, self._path + path, body or None, headers)
            answer = self._connection.getresponse()
            content = answer.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unreachable(f"{self.url}: {error!r}") from error
        if answer.status in takes and len(content) <= limit:
            return answer.status, answer.headers, content
        self._connection.close()
        words = f"{method} {path}: {answer.status} {content[:300].decode(errors='replace').strip()}"
        if answer.status in (401, 408, 429) or answer.status >= 500:
            raise Unreachable(words)
        raise Denied(words)


def patiently(work: Callable[[], Any], tries: int = 8) -> Any:
    """What ``work`` gives, which is tried again while the broker cannot be reached."""
    for attempt in range(tries):
        try:
            return work()
        except Unreachable:
            if attempt + 1 == tries:
                raise
            # Not in lockstep with all others, when a broker has started anew.
            time.sleep(min(30, 2**attempt / 2) * (0.5 + secrets.randbelow(1000) / 1000))
    raise AssertionError("there is at least one try")


def now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
