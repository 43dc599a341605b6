"""File systems by what is behind them."""

from __future__ import annotations

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
