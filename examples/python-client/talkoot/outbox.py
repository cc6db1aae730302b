"""Results until their receipts: an originator keeps what it made (`calls.md`, section 5)."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from blake3 import blake3

from . import cbor, kinds, statement
from .door import Denied, Door, Unreachable
from .statement import Statement

FIRST_S, MOST_S = 20, 600
"""Until a result without a receipt is handed over again, doubling."""


class Outbox:
    """A folder with a file for each result, named by its id, and its blobs; and one with receipts."""

    def __init__(self, folder: Path) -> None:
        self.results, self.blobs = folder / "results", folder / "blobs"
        self.receipts = folder / "receipts"
        for place in (self.results, self.blobs, self.receipts):
            place.mkdir(parents=True, exist_ok=True)
        self._due = {name: (0.0, FIRST_S) for name in os.listdir(self.results)}
        self._lock = threading.Lock()

    def keep(self, frame: bytes, blobs: list[bytes]) -> None:
        """Keeps a bundle durably, before anybody is told of it."""
        for blob in blobs:
            write(self.blobs / blake3(blob).hexdigest(), blob)
        result = statement.read(cbor.decode(frame)["statement"], kinds.RESULT)
        write(self.results / result.id.hex(), frame)
        with self._lock:
            self._due[result.id.hex()] = (0.0, FIRST_S)

    def send(self, door: Door) -> None:
        """Hands over what is due; what is refused or fails is due again later."""
        now = time.monotonic()
        with self._lock:
            due = [name for name, (when, _) in self._due.items() if when <= now]
        for name in due:
            with self._lock:
                _, pause = self._due.get(name, (0.0, FIRST_S))
                self._due[name] = (now + pause, min(2 * pause, MOST_S))
            try:
                self._hand_over((self.results / name).read_bytes(), door)
            except (Unreachable, Denied) as error:
                print(f"result {name[:8]} not handed over yet: {error}", flush=True)

    def _hand_over(self, frame: bytes, door: Door) -> None:
        for _ in range(3):
            answer = door.hand_over(frame)
            if not isinstance(answer, dict):
                return
            if "refused" in answer:
                raise Denied(answer["refused"])
            for name in answer["missing"]:
                door.put((self.blobs / name.hex()).read_bytes())
        raise Denied("the broker keeps asking for blobs")

    def judged(self, frame: bytes) -> Statement | None:
        """The receipt in a frame, if it is about a result of ours; durable now."""
        receipt = statement.read(cbor.decode(frame)["statement"], kinds.RECEIPT)
        name = receipt.payload["result"].hex()
        if (self.receipts / name).exists():
            return None
        ours = statement.read(self._statement(name), kinds.RESULT)
        self._check(receipt, ours)
        write(self.receipts / name, receipt.envelope.data)
        (self.results / name).unlink()
        with self._lock:
            del self._due[name]
        return receipt

    def _statement(self, name: str) -> bytes:
        try:
            return cbor.decode((self.results / name).read_bytes())["statement"]
        except FileNotFoundError:
            raise Denied(f"a receipt for {name[:8]}, which is no result of ours") from None

    @staticmethod
    def _check(receipt: Statement, result: Statement) -> None:
        """Its signature and its delegation have been checked (S6, S7); the rest is here."""
        judged, made = receipt.payload, result.payload
        receipt.check_time(time.time_ns() // 1_000_000)
        same: list[Any] = ["project", "offer", "task", "replica"]
        if any(judged[word] != made[word] for word in same) or judged["volunteer"] != result.signer:
            raise Denied("a receipt of another project, or for another task")


def write(path: Path, content: bytes) -> None:
    """Makes a file durable, whole or not at all."""
    draft = path.with_suffix(".part")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
