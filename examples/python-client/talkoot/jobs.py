"""What a volunteer is asked to run (S44, S98, S109, S113, S115)."""

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from . import shape
from .cbor import Item
from .refusal import Refused, require

DAY_MS = 24 * 60 * 60 * 1000
DISK = 1 << 30
CHECKPOINT = 64 << 20

_LABEL = r"[a-z0-9_-]{1,63}"
_HOST = re.compile(rf"(\*\.)?(?=.{{1,253}}\Z)({_LABEL}\.)*(?![0-9]){_LABEL}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def read(item: Item, name: str) -> dict[str, Any]:
    """Reads a job, or refuses it."""
    job = _JOB(item, name)
    names = [step["name"] for step in job["steps"]]
    require(len(set(names)) == len(names), "S44", "two steps of one name")
    require(job.get("tap", names[0]) in names, "S44", "`tap` names no step")
    network = job.get("network", [])
    require(len(set(network)) == len(network), "S98", "a destination is there twice")
    if "checkpoint" in job:
        two = 2 * job["checkpoint"].get("size", CHECKPOINT)
        disk = job.get("limits", {}).get("disk", DISK)
        require(two < disk, "S109", "checkpoints leave no disk space")
    return job


def _bounded(least: int, most: int) -> shape.Shape:
    def check(item: Item, name: str) -> str:
        text = shape.any_text(item, name)
        sound = least <= len(text.encode()) <= most and "\0" not in text
        require(sound, "S44", f"{name} is too long or has a NUL")
        return text

    return check


def _arguments(item: Item, name: str) -> list[str]:
    arguments = shape.array(_bounded(0, 8192), 1, 256, "S44")(item, name)
    require(arguments[0] != "", "S44", f"{name} has an empty program")
    return arguments


def _variable(item: Item, name: str) -> str:
    variable = shape.word(r"[A-Za-z_][A-Za-z0-9_]{0,63}", "S44")(item, name)
    require(not variable.startswith("TALKOOT_"), "S44", f"{variable} is the volunteer's to set")
    return variable


def _destination(item: Item, name: str) -> str:
    destination = shape.any_text(item, name)
    host, _, port = destination.rpartition(":")
    sound = _PORT.fullmatch(port) is not None and int(port) < 1 << 16
    require(sound and _is_host(host), "S98", f"{name} is no destination")
    return destination


def _is_host(host: str) -> bool:
    if _HOST.fullmatch(host):
        return True
    try:
        if host.startswith("[") and host.endswith("]"):
            address = IPv6Address(host[1:-1])
            return address.ipv4_mapped is None and str(address) == host[1:-1]
        return str(IPv4Address(host)) == host
    except ValueError:
        return False


def _image_path(item: Item, name: str) -> str:
    path = shape.any_text(item, name)
    sound = 1 <= len(path.encode()) <= 256 and "\0" not in path
    inside = all(part not in ("", ".", "..") for part in path.split("/"))
    require(sound and inside, "S113", f"{name} is no path in the package")
    return path


_HOST_OF_REGISTRY = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
_REGISTRY = rf"(?={_HOST_OF_REGISTRY}:|[^/]*\.|localhost/){_HOST_OF_REGISTRY}(:[0-9]{{1,5}})?"
_COMPONENT = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
_repository = shape.word(rf"(?=.{{1,255}}\Z){_REGISTRY}(/{_COMPONENT})+", "S115")

_image_record = shape.record(
    {"digest": shape.word(r"sha256:[0-9a-f]{64}", "S113")},
    {"path": _image_path, "repository": _repository},
)


def _image(item: Item, name: str) -> dict[str, Any]:
    image = _image_record(item, name)
    require(("path" in image) != ("repository" in image), "S113", f"{name} has two places or none")
    return image


def _pattern(item: Item, name: str) -> str:
    pattern = _bounded(1, 256)(item, name)
    inside = not pattern.startswith("/") and ".." not in pattern.split("/")
    require(inside, "S44", f"{name} leads out")
    _check_glob(pattern)
    return pattern


def _check_glob(pattern: str) -> None:
    braces = at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            require(at < len(pattern), "S44", "a backslash at the end of a pattern")
            at += 1
        elif char == "[":
            at = _end_of_class(pattern, at)
        elif char in "{}":
            braces += 1 if char == "{" else -1
            require(braces >= 0, "S44", "a brace that closes nothing")
    require(braces == 0, "S44", "a brace that is open")


def _end_of_class(pattern: str, at: int) -> int:
    """Where the class ends that begins before ``at``."""
    first = at + 1 if pattern[at : at + 1] in ("!", "^") else at
    low, is_range = "", False
    for index in range(first, len(pattern)):
        char = pattern[index]
        if char == "]" and index > first:
            return index + 1
        if char == "-" and index > first and not is_range:
            is_range = True
            continue
        require(not is_range or low <= char, "S44", f"a range from {low} to {char}")
        low = low if is_range else char
        is_range = False
    raise Refused("S44", "a bracket that is open")


_JOB = shape.record(
    {
        "steps": shape.array(
            shape.record({"name": shape.word(r"[a-z0-9._-]{1,64}", "S44"), "run": _arguments}),
            1,
            64,
            "S44",
        )
    },
    {
        "environment": shape.table(_variable, _bounded(0, 4096), 128, "S44"),
        "limits": shape.record(
            {},
            {
                "wall-ms": shape.unsigned(64, 1, DAY_MS, "S44"),
                "memory": shape.unsigned(64, 1, rule="S44"),
                "disk": shape.unsigned(64, 1, rule="S44"),
                "output": shape.unsigned(64, 1, 16 << 20, "S44"),
                "processes": shape.unsigned(32, 1, 65_536, "S44"),
                "fuel": shape.unsigned(63, 1, rule="S44"),
            },
        ),
        "artifacts": shape.array(_pattern, 0, 64, "S44"),
        "tap": shape.any_text,
        "network": shape.array(_destination, 0, 64, "S98"),
        "image": _image,
        "checkpoint": shape.record(
            {"every-ms": shape.unsigned(64, 10_000, DAY_MS, "S109")},
            {"size": shape.unsigned(63, 1, rule="S109")},
        ),
    },
)
