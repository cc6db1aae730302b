"""Reports: what a result tells its master alone (S60 to S63, S75, S81 to S83)."""

from typing import Any

from . import cbor, kinds, statement
from .blobs import encrypted_size, padded
from .cbor import Item
from .envelope import Envelope
from .refusal import require
from .sealing import REPORT, DecryptionKey, Sealer
from .statement import Statement

LENGTH = 4


def seal(report: dict[str, Item], bond: bytes, sealer: Sealer) -> dict[str, Any]:
    """``report`` as a result carries it."""
    encoded = cbor.encode(report)
    plaintext = len(encoded).to_bytes(LENGTH, "big") + encoded
    return sealer.seal(plaintext.ljust(padded(len(plaintext)), b"\0"), bond)


def read(result: Statement, key: DecryptionKey) -> dict[str, Any]:
    """The report in ``result``, opened and checked."""
    report = kinds.REPORT(cbor.decode(unpad(open_padded(result, key))), "report")
    _check_blobs(report, result.payload.get("blobs", []))
    if "ownership" in report:
        statement.check_ownership(report["ownership"], result.signer, "S75")
    return report


def open_padded(result: Statement, key: DecryptionKey) -> bytes:
    """What is sealed in ``result``."""
    payload = result.payload
    associated = bond(result.signer, payload["lease"], payload.get("blobs", []))
    return key.open(REPORT, payload["report"], associated)


def bond(volunteer: bytes, lease: Envelope, blobs: list[dict[str, Any]]) -> bytes:
    """What a report belongs to (S81)."""
    return cbor.encode([volunteer, lease.id, [[blob["hash"], blob["size"]] for blob in blobs]])


def unpad(plaintext: bytes) -> bytes:
    """The report without its padding (S82)."""
    end = LENGTH + int.from_bytes(plaintext[:LENGTH], "big")
    sound = len(plaintext) >= end and len(plaintext) == padded(end) and not any(plaintext[end:])
    require(sound, "S82", f"a report padded to {len(plaintext)} bytes")
    return plaintext[LENGTH:end]


def _check_blobs(report: dict[str, Any], blobs: list[dict[str, Any]]) -> None:
    logs = [step["log"] for step in report["steps"]]
    parts = [log["blob"] for log in logs if "blob" in log] + report.get("artifacts", [])
    named = [part["blob"] for part in parts]
    each_once = sorted(named) == list(range(len(blobs)))
    require(each_once, "S83", f"blobs {named} of {len(blobs)}")
    for part in parts:
        size = blobs[part["blob"]]["size"]
        require(size == encrypted_size(part["size"]), "S83", f"a blob of {size} bytes")
