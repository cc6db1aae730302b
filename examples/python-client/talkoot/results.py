"""Results: what became of a task, sealed to the master and signed, with the blobs that go with it."""

import secrets
from typing import Any

from blake3 import blake3

from . import cbor, kinds, machine, reports, statement
from .blobs import encrypt
from .ed25519 import SecretKey
from .running import Run
from .sealing import REPORT, Sealer
from .statement import Statement

MAX_INLINE = 2048
INLINE_IN_ALL = 16 << 10
"""Logs that travel in the report itself; longer ones are blobs."""


class Blobs:
    """The blobs of one result, encrypted in the order in which its report counts them."""

    def __init__(self) -> None:
        self.key = secrets.token_bytes(32)
        self.encrypted: list[bytes] = []

    def add(self, content: bytes) -> dict[str, Any]:
        """One more; gives what the report says of it."""
        index = len(self.encrypted)
        self.encrypted.append(encrypt(content, self.key, index))
        return {"blob": index, "size": len(content), "hash": blake3(content).digest()}


def bundle(
    run: Run, lease: Statement, offer: Statement, via: bytes, key: SecretKey
) -> tuple[bytes, list[bytes]]:
    """The frame of a result on its way to its master, and its blobs."""
    blobs = Blobs()
    report = _report(run, lease.payload["runtime"], blobs)
    named = [{"hash": blake3(it).digest(), "size": len(it)} for it in blobs.encrypted]
    if offer.delegation is None:
        raise ValueError("an offer has a delegation (S7)")
    sealer = Sealer.begin(REPORT, offer.delegation.payload["encryption"])
    granted = lease.payload
    task = {word: granted[word] for word in ("project", "offer", "task", "replica")}
    result = {
        **task,
        "lease": lease.envelope.data,
        "blobs": named,
        "report": reports.seal(report, reports.bond(key.public, lease.envelope, named), sealer),
        "expires": granted["expires"],
    }
    signed = statement.sign(kinds.RESULT, result, key)
    return cbor.encode({"statement": signed, "via": via}), blobs.encrypted


def _report(run: Run, runtime: str, blobs: Blobs) -> dict[str, Any]:
    steps = [{**step, "log": log} for step, log in zip(run.steps, _logs(run, blobs), strict=True)]
    artifacts = [{"path": path, **blobs.add(content)} for path, content in run.artifacts.items()]
    return {
        "ended": run.ended,
        "steps": steps,
        "artifacts": artifacts,
        "key": blobs.key,
        "platform": machine.words(),
        "system": machine.description(),
        "runtime": runtime,
        "started": run.started,
        "finished": run.finished,
    }


def _logs(run: Run, blobs: Blobs) -> list[dict[str, Any]]:
    logs, room = [], INLINE_IN_ALL
    for step in run.steps:
        log = step["log"]
        if len(log) <= min(MAX_INLINE, room):
            room -= len(log)
            logs.append({"inline": log})
        else:
            logs.append({"blob": blobs.add(log)})
    return logs
