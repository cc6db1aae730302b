"""Results: what became of a task, signed, with the blobs that go with it."""

from typing import Any

from blake3 import blake3

from . import cbor, kinds, machine, statement
from .ed25519 import SecretKey
from .running import Run
from .statement import Statement

MAX_INLINE = 2048
INLINE_IN_ALL = 16 << 10
"""Logs that travel in the statement itself; longer ones are blobs."""


def bundle(run: Run, lease: Statement, via: bytes, key: SecretKey) -> tuple[bytes, list[bytes]]:
    """The frame of a result on its way to its master, and its blobs."""
    blobs: list[bytes] = []
    steps = [{**step, "log": log} for step, log in zip(run.steps, _logs(run, blobs), strict=True)]
    artifacts = []
    for path, content in run.artifacts.items():
        blobs.append(content)
        artifacts.append({"path": path, **_named(content)})
    granted = lease.payload
    task = {word: granted[word] for word in ("project", "offer", "task", "replica")}
    result = {
        **task,
        "lease": lease.envelope.data,
        "ended": run.ended,
        "steps": steps,
        "artifacts": artifacts,
        "platform": machine.words(),
        "system": machine.description(),
        "runtime": granted["runtime"],
        "started": run.started,
        "finished": run.finished,
        "expires": granted["expires"],
    }
    signed = statement.sign(kinds.RESULT, result, key)
    return cbor.encode({"statement": signed, "via": via}), blobs


def _logs(run: Run, blobs: list[bytes]) -> list[dict[str, Any]]:
    logs, room = [], INLINE_IN_ALL
    for step in run.steps:
        log = step["log"]
        if len(log) <= min(MAX_INLINE, room):
            room -= len(log)
            logs.append({"inline": log})
        else:
            blobs.append(log)
            logs.append({"blob": _named(log)})
    return logs


def _named(blob: bytes) -> dict[str, Any]:
    return {"hash": blake3(blob).digest(), "size": len(blob)}
