"""What a trace says of the machine that it is of, as far as that can be so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from profiler.trace import Trace

MEMORY_FILESYSTEMS = frozenset(
    {
        "autofs", "binder", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
        "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "pipefs", "proc", "pstore",
        "ramfs", "resctrl", "rootfs", "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sockfs",
        "sysfs", "tmpfs", "tracefs",
    }
)  # fmt: skip
"""File systems without a device behind them: reading them costs no I/O (marked `nodev` in
/proc/filesystems, less those that are networks or lie on other file systems)."""

PSEUDO_FILESYSTEMS = MEMORY_FILESYSTEMS - {"devtmpfs", "hugetlbfs", "ramfs", "rootfs", "tmpfs"}
"""Those among them whose files nobody wrote: the kernel makes up what is read of them."""


def facts_of_devices(trace: Trace) -> dict[str, dict[str, Any]]:
    """`Meta.host`'s facts by "major:minor", as far as they are what they should be."""
    devices = trace.meta.host.get("devices")
    if not isinstance(devices, dict):
        return {}
    return {name: facts for name, facts in devices.items() if isinstance(facts, dict)}


def number_in(facts: Mapping[str, Any], name: str, default: int, most: int) -> int:
    """A number of 0 to `most` from facts that come from outside; `default` where it is none."""
    value = facts.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return default
    return min(value, most)
