"""What this machine can do, as its ad says it (S20)."""

import os
import platform
import shutil
import sys
from typing import Any

_ARCHITECTURES = {"arm64": "aarch64", "amd64": "x86_64", "i686": "x86"}
_SYSTEMS = {"darwin": "macos"}

PATH = "/usr/local/bin:/usr/bin:/bin"
"""Where steps find programs, and so where facts about them come from."""


def words() -> dict[str, str]:
    """System and architecture, in Rust's names."""
    architecture = platform.machine().lower()
    return {
        "os": _SYSTEMS.get(sys.platform, sys.platform),
        "arch": _ARCHITECTURES.get(architecture, architecture),
    }


def description() -> str:
    """The system in words, for people."""
    return f"{platform.system()} {platform.release()}"[:120]


def capabilities() -> dict[str, Any]:
    """One core, and facts that are true of a step as `running` runs it."""
    facts: dict[str, Any] = dict(words())
    if shutil.which("python3", path=PATH):
        facts["tool.python3"] = platform.python_version()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "platform": words(),
        "resources": {"cores": 1, "memory": pages // 2, "disk": shutil.disk_usage("/").free // 2},
        "runtimes": {"native": {"strength": "none", "facts": facts}},
    }
