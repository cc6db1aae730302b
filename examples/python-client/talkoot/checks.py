"""What a project has tried on machines that trust it (S33 to S35)."""

from typing import Any

from . import facts, shape
from .cbor import Item
from .refusal import require

MAX_CHECKS = 16
MAX_ARGUMENTS = 64
MAX_COMMAND = 4 << 10
"""Bytes of one check's arguments."""
MAX_COMMANDS = 32 << 10
"""Bytes of the arguments of all checks of a registration."""
MAX_DEPENDS = 16

FAMILY = "check."
"""What the names of facts that checks find begin with."""

Check = dict[str, Any]


def _command(item: Item, name: str) -> list[str]:
    arguments: list[str] = shape.array(shape.any_text, 1, MAX_ARGUMENTS, "S34")(item, name)
    require(arguments[0] != "", "S34", f"{name} has an empty program")
    require(not any("\0" in it for it in arguments), "S34", f"{name} has a NUL")
    require(_size(arguments) <= MAX_COMMAND, "S34", f"{name} has over {MAX_COMMAND} bytes")
    return arguments


def _size(arguments: list[str]) -> int:
    return sum(len(it.encode()) for it in arguments)


def _depends(item: Item, name: str) -> list[str]:
    names: list[str] = shape.array(facts.NAME, 0, MAX_DEPENDS, "S35")(item, name)
    require(len(set(names)) == len(names), "S35", f"{name} has a fact twice")
    found = [it for it in names if it.startswith(FAMILY)]
    require(not found, "S35", f"{name} has what a check finds: {found}")
    return names


CHECK = shape.record(
    {
        "name": shape.word(r"[a-z0-9_-]{1,32}", "S33"),
        "runtime": facts.RUNTIME,
        "command": _command,
    },
    {"depends": _depends},
)


def check_together(checks: list[Check], runtimes: list[str]) -> None:
    """Refuses what is wrong among the checks of a project that asks for these ``runtimes``."""
    names = [it["name"] for it in checks]
    require(len(set(names)) == len(names), "S33", "two checks of one name")
    strange = [it["name"] for it in checks if it["runtime"] not in runtimes]
    require(not strange, "S33", f"checks in runtimes that are not asked for: {strange}")
    total = sum(_size(it["command"]) for it in checks)
    require(total <= MAX_COMMANDS, "S34", f"commands of {total} bytes")
