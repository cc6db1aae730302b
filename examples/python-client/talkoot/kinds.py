"""The 19 kinds of statements: shape, bounds, and how long they may live."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import checks, facts, jobs, requirements, shape
from .blobs import encrypted_size
from .cbor import Item
from .refusal import require
from .sealing import has_small_order
from .shape import HASH, KEY, array, boolean, choice, record, statement, text, unsigned

Payload = dict[str, Any]

MINUTE_MS = 60 * 1000
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS

TIME = unsigned()
NAME = text(64)
REASON = text(256)

_BLOB: dict[str, shape.Shape] = {"hash": HASH, "size": unsigned()}
_PART: dict[str, shape.Shape] = {"blob": unsigned(32), **_BLOB}
_TASK: dict[str, shape.Shape] = {"offer": HASH, "task": unsigned(32), "replica": unsigned(16)}


@dataclass(frozen=True)
class Kind:
    """What statements of a kind are like."""

    number: int
    name: str
    longest_ms: int
    """How far ahead one may expire (S9)."""
    shape: shape.Shape
    check: Callable[[Payload], None] = lambda _payload: None
    """Refuses what the shape cannot tell."""


def _summary_class(item: Item, name: str) -> Payload:
    return record(
        {
            "runtime": facts.RUNTIME,
            "cores-log2": unsigned(32),
            "memory-log2": unsigned(32),
            "count": unsigned(32),
        }
    )(item, name)


def _encryption_key(item: Item, name: str) -> bytes:
    key = KEY(item, name)
    require(not has_small_order(key), "S80", f"{name} is of small order")
    return key


_SEALED = record(
    {"to": _encryption_key, "encapsulated": KEY, "number": unsigned(32), "body": shape.octets()}
)

_AD = record(
    {
        "seq": unsigned(),
        "broker": KEY,
        "capabilities": facts.CAPABILITIES,
        "encryption": _encryption_key,
        "expires": TIME,
    }
)

_SUMMARY = record(
    {
        "seq": unsigned(),
        "shard": text(65),
        "classes": array(_summary_class, 0, 1024, "S21"),
        "expires": TIME,
    }
)

_REGISTRATION = record(
    {
        "name": NAME,
        "permissions": record(
            {"runtimes": array(facts.RUNTIME, 0, 8, "S30")}, {"network": boolean}
        ),
        "expires": TIME,
    },
    {
        "homepage": text(256),
        "keywords": array(text(32), 0, 16, "S30"),
        "checks": array(checks.CHECK, 0, checks.MAX_CHECKS, "S33"),
    },
)


def _check_registration(payload: Payload) -> None:
    require(payload["name"] != "", "S30", "an empty name")
    homepage = payload.get("homepage", "")
    is_web = homepage == "" or homepage.startswith(("https://", "http://"))
    require(is_web, "S30", "a homepage that is no web address")
    checks.check_together(payload.get("checks", []), payload["permissions"]["runtimes"])


_DELEGATION = record({"node": KEY, "encryption": _encryption_key, "expires": TIME})

_HOME = record(
    {
        "project": KEY,
        "epoch": unsigned(64, 0, 2**64 - 2, "S32"),
        "home": KEY,
        "delegation": statement,
        "expires": TIME,
    },
    {"standbys": array(KEY, 0, 4, "S32")},
)


def _check_home(payload: Payload) -> None:
    own = payload["home"] in payload.get("standbys", ())
    require(not own, "S32", "the home is among its standbys")


_OFFER = record(
    {
        "project": KEY,
        "name": NAME,
        "builder": NAME,
        "tasks": unsigned(32, 1, 100_000, "S40"),
        "replicas": unsigned(16, 1, 16, "S41"),
        "package": record({"hash": HASH, "size": unsigned(64, 0, 1 << 30, "S42")}),
        "requirements": requirements.read,
        "job": jobs.read,
        "issued": TIME,
        "delegation": statement,
        "expires": TIME,
    },
    {
        "private": record(
            {
                "size": unsigned(),
                "recipients": array(record({"volunteer": KEY, "key": _SEALED}), 1, 64, "S85"),
            }
        ),
        "offline-ms": unsigned(64, 0, 30 * 24 * 60 * 60 * 1000, "S90"),
        "priority": unsigned(8, 0, 9, "S91"),
    },
)


def _check_offer(payload: Payload) -> None:
    if payload["job"].get("network"):
        asks = requirements.NETWORK_PROXY in payload["requirements"].clauses
        require(asks, "S99", "destinations, and no `network.proxy` is required")
    if "repository" in payload["job"].get("image", {}):
        asks = requirements.IMAGE_ENGINE in payload["requirements"].clauses
        require(asks, "S116", "an image of a repository, and no `image.engine` is required")
    if "fuel" in payload["job"].get("limits", {}):
        wasm_alone = all(runtime == "wasm" for runtime in payload["requirements"].runtimes)
        require(wasm_alone, "S111", "fuel in another runtime than wasm")
    if "private" not in payload:
        return
    private = payload["private"]
    volunteers = {recipient["volunteer"] for recipient in private["recipients"]}
    bodies = {len(recipient["key"]["body"]) for recipient in private["recipients"]}
    require(bodies == {48}, "S85", "a sealed key of other than 48 bytes")
    once = len(volunteers) == len(private["recipients"])
    require(once, "S85", "a recipient that is there twice")
    encrypted = payload["package"]["size"] == encrypted_size(private["size"])
    require(encrypted, "S85", "a private package that has not the size of its contents")


_WITHDRAWAL = record({"statement": HASH, "expires": TIME}, {"reason": REASON})

_CLAIM = record(
    {
        "offer": HASH,
        "epoch": unsigned(),
        "count": unsigned(16, 1, 256, "S50"),
        "runtime": facts.RUNTIME,
        "ad": statement,
        "nonce": unsigned(),
        "expires": TIME,
    },
    {"ownership": statement, "offline": boolean},
)

_LEASE = record(
    {
        "project": KEY,
        **_TASK,
        "epoch": unsigned(),
        "volunteer": KEY,
        "runtime": facts.RUNTIME,
        "granted": TIME,
        "term-ms": unsigned(64, 1000, rule="S51"),
        "expires": TIME,
    },
    {"deadline": TIME},
)


def _check_lease(payload: Payload) -> None:
    deadline = payload.get("deadline", payload["granted"])
    after = payload["granted"] <= deadline
    within = deadline <= payload["expires"] or "deadline" not in payload
    require(after and within, "S93", "a deadline before the grant or after the expiry")


_RENEWAL = record(
    {
        "leases": array(HASH, 1, 256, "S52"),
        "offer": HASH,
        "epoch": unsigned(),
        "intent": choice(("keep", "release")),
        "issued": TIME,
        "expires": TIME,
    },
    {"lost": boolean},
)


def _inline_log(item: Item, name: str) -> bytes:
    log = shape.octets()(item, name)
    require(len(log) <= 2048, "S62", f"{name} has {len(log)} bytes")
    return log


def _artifact_path(item: Item, name: str) -> str:
    path = text(512)(item, name)
    inside = not any(part in ("", ".", "..") for part in path.split("/"))
    require(inside, "S63", f"{name} leads elsewhere")
    return path


_STEP_REPORT = record(
    {
        "name": NAME,
        "wall-ms": unsigned(),
        "cpu-ms": unsigned(),
        "memory": unsigned(),
        "log": choice((), {"inline": _inline_log, "blob": record(_PART)}),
    },
    {"exit": shape.signed_32, "ending": REASON},
)

_RESULT = record(
    {"project": KEY, **_TASK, "lease": statement, "report": _SEALED, "expires": TIME},
    {"blobs": array(record(_BLOB), 0, 320, "S83")},
)

REPORT = record(
    {
        "ended": choice(("passed", "failed"), {"limit": REASON, "machine": REASON}),
        "steps": array(_STEP_REPORT, 0, 64, "S60"),
        "key": KEY,
        "platform": facts.PLATFORM,
        "runtime": facts.RUNTIME,
        "started": TIME,
        "finished": TIME,
    },
    {
        "artifacts": array(record({"path": _artifact_path, **_PART}), 0, 256, "S61"),
        "system": text(128),
        "ownership": statement,
    },
)

_RECEIPT = record(
    {
        "project": KEY,
        "result": HASH,
        **_TASK,
        "volunteer": KEY,
        "verdict": choice((), {"accepted": unsigned(), "rejected": REASON, "again": REASON}),
        "issued": TIME,
        "delegation": statement,
        "expires": TIME,
    }
)

_BROKER_CARD = record(
    {
        "seq": unsigned(),
        "addresses": array(text(256), 0, 8, "S22"),
        "links": array(KEY, 0, 256, "S22"),
        "expires": TIME,
    }
)

_REVOCATION = record({"key": KEY, "expires": TIME}, {"reason": REASON})
_SUCCESSION = record({"successor": KEY, "expires": TIME})
_OWNERSHIP = record({"nodes": array(KEY, 0, 1024, "S72"), "expires": TIME})
_LISTED_BROKER = record({"key": KEY, "addresses": array(text(256), 1, 4, "S96")})
_NETWORK = record(
    {
        "name": NAME,
        "seq": unsigned(),
        "brokers": array(_LISTED_BROKER, 1, 32, "S96"),
        "expires": TIME,
    }
)


def _check_network(payload: Payload) -> None:
    require(payload["name"] != "", "S96", "an empty name")
    keys = [broker["key"] for broker in payload["brokers"]]
    require(len(set(keys)) == len(keys), "S96", "a broker twice")


_LISTED_PROJECT = record(
    {"key": KEY, "name": NAME},
    {"brokers": array(text(256), 0, 4, "S106"), "keywords": array(text(32), 0, 8, "S106")},
)
_LIST = record(
    {
        "name": NAME,
        "seq": unsigned(),
        "projects": array(_LISTED_PROJECT, 0, 256, "S106"),
        "expires": TIME,
    }
)


def _check_list(payload: Payload) -> None:
    named = [payload, *payload["projects"]]
    require(all(it["name"] != "" for it in named), "S106", "an empty name")
    keys = [project["key"] for project in payload["projects"]]
    require(len(set(keys)) == len(keys), "S106", "a project twice")


_REQUEST = record({"audience": KEY, "nonce": unsigned(), "expires": TIME, "body": shape.octets()})

AD = Kind(1, "ad", DAY_MS, _AD)
DELEGATION = Kind(4, "delegation", 366 * DAY_MS, _DELEGATION)
HOME = Kind(5, "home", 366 * DAY_MS, _HOME, _check_home)
OFFER = Kind(6, "offer", 30 * DAY_MS, _OFFER, _check_offer)
CLAIM = Kind(8, "claim", HOUR_MS, _CLAIM)
LEASE = Kind(9, "lease", 30 * DAY_MS, _LEASE, _check_lease)
RENEWAL = Kind(10, "renewal", HOUR_MS, _RENEWAL)
RESULT = Kind(11, "result", 30 * DAY_MS, _RESULT)
RECEIPT = Kind(12, "receipt", 366 * DAY_MS, _RECEIPT)
REVOCATION = Kind(14, "revocation", 366 * DAY_MS, _REVOCATION)
SUCCESSION = Kind(15, "succession", 366 * DAY_MS, _SUCCESSION)
OWNERSHIP = Kind(16, "ownership", 366 * DAY_MS, _OWNERSHIP)
REQUEST = Kind(17, "request", MINUTE_MS, _REQUEST)
NETWORK = Kind(18, "network", 366 * DAY_MS, _NETWORK, _check_network)
LIST = Kind(19, "list", 366 * DAY_MS, _LIST, _check_list)

ALL = (
    AD,
    Kind(2, "summary", HOUR_MS, _SUMMARY),
    Kind(3, "registration", 366 * DAY_MS, _REGISTRATION, _check_registration),
    DELEGATION,
    HOME,
    OFFER,
    Kind(7, "withdrawal", 30 * DAY_MS, _WITHDRAWAL),
    CLAIM,
    LEASE,
    RENEWAL,
    RESULT,
    RECEIPT,
    Kind(13, "broker card", DAY_MS, _BROKER_CARD),
    REVOCATION,
    SUCCESSION,
    OWNERSHIP,
    REQUEST,
    NETWORK,
    LIST,
)

BY_NUMBER = {kind.number: kind for kind in ALL}
BY_NAME = {kind.name: kind for kind in ALL}
