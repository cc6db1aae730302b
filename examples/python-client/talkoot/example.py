"""An ad, and an offer with its delegation, as another client would make them."""

from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from . import kinds, statement
from .cbor import Item
from .ed25519 import SecretKey
from .kinds import DAY_MS, HOUR_MS, Kind
from .sealing import DecryptionKey

BATCH = 5
"""Offers in the batch: not a power of two, so that leaves differ in the length of their paths."""


@dataclass(frozen=True)
class Made:
    """A statement that was made, under the name of its file."""

    name: str
    kind: Kind
    data: bytes


@dataclass(frozen=True)
class Keys:
    """Who signs what."""

    project: SecretKey
    master: SecretKey
    volunteer: SecretKey
    broker: SecretKey

    @classmethod
    def of_seeds(cls, first: int) -> "Keys":
        """Keys for tests, from seeds of 32 equal bytes. Real seeds are random and secret."""
        return cls(*(SecretKey(bytes([first + n]) * 32) for n in range(4)))


def make(keys: Keys, now: int) -> list[Made]:
    """Makes statements that hold at ``now``, in milliseconds since 1970."""
    ad = statement.sign(kinds.AD, _ad(keys, now), keys.volunteer)
    delegation = statement.sign(kinds.DELEGATION, _delegation(keys, now), keys.project)
    offer = statement.sign(kinds.OFFER, _offer(keys, delegation, "sweep", now), keys.master)
    offers = [_offer(keys, delegation, f"sweep-{n}", now) for n in range(BATCH)]
    batch = statement.sign_batch(kinds.OFFER, offers, keys.master)
    leaves = [Made(f"offer-leaf-{n}", kinds.OFFER, leaf) for n, leaf in enumerate(batch)]
    return [
        Made("ad", kinds.AD, ad),
        Made("delegation", kinds.DELEGATION, delegation),
        Made("offer", kinds.OFFER, offer),
        *leaves,
    ]


def write(made: list[Made], folder: Path) -> None:
    """Writes each statement's bytes to a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for it in made:
        (folder / f"{it.name}.cbor").write_bytes(it.data)


def _ad(keys: Keys, now: int) -> dict[str, Item]:
    native = {
        "strength": "namespaces",
        "facts": {
            "os": "linux",
            "arch": "riscv64",
            "tool.cc": "13.2.0",
            "cpu.features": ["zba", "zbb"],
            "battery": False,
        },
    }
    return {
        "seq": now,
        "broker": keys.broker.public,
        "capabilities": {
            "platform": {"os": "linux", "arch": "riscv64"},
            "resources": {"cores": 2, "memory": 2 << 30, "disk": 8 << 30},
            "runtimes": {"native": native},
        },
        "encryption": DecryptionKey(b"volunteer".ljust(32)).public,
        "expires": now + HOUR_MS,
    }


def _delegation(keys: Keys, now: int) -> dict[str, Item]:
    encryption = DecryptionKey(b"master".ljust(32)).public
    return {"node": keys.master.public, "encryption": encryption, "expires": now + 30 * DAY_MS}


def _offer(keys: Keys, delegation: bytes, name: str, now: int) -> dict[str, Item]:
    package = b"the bytes of a tar archive"
    clauses = [
        ["one-of", "os", ["linux", "freebsd"]],
        ["version", "tool.cc", ">=12, <15"],
        ["any", [["includes", "cpu.features", ["zbb"]], ["absent", "cpu.features"]]],
        ["donates", "memory", 1 << 30],
    ]
    return {
        "project": keys.project.public,
        "name": name,
        "builder": "python",
        "tasks": 7,
        "replicas": 1,
        "package": {"hash": blake3(package).digest(), "size": len(package)},
        "requirements": {
            "runtimes": ["wasm", "native"],
            "clauses": clauses,
            "rank": [["holds", 10, ["not", ["equals", "battery", True]]]],
        },
        "job": {
            "environment": {"LC_ALL": "C"},
            "steps": [{"name": "check", "run": ["make", "check"]}],
            "limits": {"wall-ms": 60_000},
            "artifacts": ["out/**/*.txt"],
            "tap": "check",
        },
        "issued": now,
        "delegation": delegation,
        "expires": now + DAY_MS,
    }
