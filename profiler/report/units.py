"""What runs a plan before a start: units of systemd, hooks of libvirt and of container engines, as text."""

from __future__ import annotations

import json
import re
import shlex

from profiler.errors import UsageError

HOOKS = ("libvirt", "oci")

_UNIT = re.compile(r"[A-Za-z0-9:_.@-]{1,200}\.(service|socket|target|mount|path|timer)")


def service(plan: str, unit: str) -> str:
    """The service that runs a plan, named by its absolute path, before a unit (systemd.service(5)). It fails
    nobody: what it cannot read, the start reads. Raises UsageError for what is no name of a unit."""
    _check(unit)
    return f"""\
[Unit]
Description=Read ahead what {unit} reads when it starts
DefaultDependencies=no
RequiresMountsFor={_quoted(plan).replace("$$", "$")}
Before={unit}

[Service]
Type=oneshot
ExecStart=-/usr/bin/python3 -IS {_quoted(plan)}
TimeoutStartSec=60
"""


def drop_in(service_name: str, unit: str) -> str:
    """What has a unit wait for that service (systemd.unit(5)). Raises UsageError, as `service`."""
    _check(unit)
    return f"""\
[Unit]
Wants={service_name}
After={service_name}
"""


def hook(plan: str, kind: str) -> str:
    """The hook, of HOOKS, that runs a plan, named by its absolute path.

    libvirt: a program for /etc/libvirt/hooks/qemu.d, which libvirt runs with the name of the guest and what
    happens to it (libvirt.org/hooks.html). oci: a file for /usr/share/containers/oci/hooks.d (oci-hooks(5)),
    for containers with the annotation coldseek.prefetch=yes. Raises UsageError for any other kind.
    """
    if kind == "libvirt":
        return f"""\
#!/bin/sh
# Set GUEST to the name of a guest, so that the plan is run for that one alone.
GUEST=
if [ "$2/$3" = prepare/begin ] && [ "${{GUEST:-$1}}" = "$1" ]; then
    {shlex.quote(plan)} --quiet </dev/null || true
fi
"""
    if kind == "oci":
        content = {
            "version": "1.0.0",
            "hook": {"path": plan, "args": [plan, "--quiet"], "timeout": 60},
            "when": {"annotations": {"^coldseek\\.prefetch$": "^yes$"}},
            "stages": ["prestart"],
        }
        return json.dumps(content, indent=2) + "\n"
    raise UsageError(f"no hook named {kind!r}; there are {', '.join(HOOKS)}")


def _check(unit: str) -> None:
    if not _UNIT.fullmatch(unit):
        raise UsageError(f"{unit!r} is no name of a unit; name it in full, as postgresql.service")


def _quoted(path: str) -> str:
    """A path as systemd takes it: of signs that it replaces two, white space and quotes escaped
    (systemd.syntax(7))."""
    return "".join(
        character if re.fullmatch(r"[A-Za-z0-9/._@:+,=~-]", character) else _escaped(character)
        for character in path
    )


def _escaped(character: str) -> str:
    if character in "%$":
        return 2 * character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))
