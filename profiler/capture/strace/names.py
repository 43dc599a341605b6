"""What strace prints of the file behind a descriptor (-y, -yy): which file it is, and of which kind."""

from __future__ import annotations

import functools
import re

from profiler.capture.strace.grammar import unescape

_DEVICE = re.compile(rb"<(char|block) [^<>]*>\Z")
# Of what is in /dev without being a disk; disks have any name (LVM, ZFS, DRBD, by-id ...)
_CHARACTER_DEVICE = re.compile(
    rb"/dev/(?:null|zero|full|u?random|console|tty\w*|pts|pts/\d+|ptmx|kmsg|mem|port|kvm|fuse|cuse|hpet|rtc\d*"
    rb"|stdin|stdout|stderr|fd|fd/\d+|net/.*|vhost-\w+|vfio/.*|dri/.*|snd/.*|input/.*|bus/.*|char/.*|infiniband/.*"
    rb"|cpu/.*|cpu_dma_latency|loop-control|mapper/control|btrfs-control|autofs|ppp|tap\d*|tun\d*|uinput|uhid"
    rb"|hidraw\d+|watchdog\d*|sg\d+|n?st\d+\w?|nvme\d+|nvme-fabrics|ng\d+n\d+|nvidia\S*|kfd|video\d+|v4l/.*"
    rb"|media\d+|gpiochip\d+|i2c-\d+|spidev\S+|tpm\w*|mei\d*|udmabuf|userfaultfd|vcs\w*|lp\d+|parport\d+"
    rb"|ttyprintk|xen/.*|hwrng|log|initctl|shm|mqueue|hugepages|zfs|snapshot|vga_arbiter|usb/.*)\Z"
)
_NO_DEVICE = (b"/dev/shm/", b"/dev/hugepages/", b"/dev/mqueue/")


_SHORT_NAME = 512  # bytes; longer ones are not worth the memory of being remembered


def file_of(annotation: bytes) -> tuple[bytes, bool, str]:
    """An annotation (`CallText.names`) -> path or label, whether it was deleted, and one of FILE_KINDS."""
    # most logs ask the same again and again
    return _remembered(annotation) if len(annotation) <= _SHORT_NAME else _file_of(annotation)


def _file_of(annotation: bytes) -> tuple[bytes, bool, str]:
    name, deleted = annotation, False
    for marker in (b">(deleted)", b"> (deleted)", b" (deleted)>"):
        if name.endswith(marker):
            name, deleted = name.removesuffix(marker), True
            break
    else:
        name = name.removesuffix(b">")
    device = _DEVICE.search(name)
    if device is not None:  # -yy
        return unescape(name[: device.start()]), deleted, "character" if device[1] == b"char" else "block"
    path = unescape(name)
    return path, deleted, kind_of(path)


_remembered = functools.lru_cache(4096)(_file_of)


def kind_of(path: bytes) -> str:
    """What a path or label says of the kind of file."""
    if path.startswith(b"/"):
        if path.startswith(b"/dev/") and not path.startswith(_NO_DEVICE):
            return "character" if _CHARACTER_DEVICE.match(path) else "block"
        return "regular"
    if path.startswith((b"pipe:", b"fifo:")):
        return "pipe"
    if path.startswith((b"anon_inode:", b"pid:")):
        return "anonymous"
    if b":[" in path:  # socket:[1], TCP:[..], UNIX-STREAM:[..], NETLINK:[..]
        return "socket"
    return "unknown"
