"""Control groups, and the containers that they are of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.machine.cgroups import container_of, holds, path_of

ID = b"3f4e1d2c5b6a" + b"0123456789abcdef" * 3 + b"0123"
assert len(ID) == 64


@pytest.mark.parametrize(
    ("cgroup", "container"),
    [
        (b"/system.slice/docker-" + ID + b".scope", "3f4e1d2c5b6a"),
        (b"/docker/" + ID, "3f4e1d2c5b6a"),
        (b"/docker/" + ID + b"/init.scope", "3f4e1d2c5b6a"),
        (b"/machine.slice/libpod-" + ID + b".scope/container", "3f4e1d2c5b6a"),
        (b"/machine.slice/libpod-conmon-" + ID + b".scope", ""),
        (b"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/cri-containerd-" + ID
         + b".scope", "3f4e1d2c5b6a"),
        (b"/kubepods/besteffort/pod4f9a6f1e-7a58-4a4e-9f34-1c2d3e4f5a6b/" + ID, "3f4e1d2c5b6a"),
        (b"/kubepods.slice/crio-" + ID + b".scope", "3f4e1d2c5b6a"),
        (b"/lxc.payload.web/system.slice/nginx.service", "web"),
        (b"/lxc/web", "web"),
        (b"/machine.slice/machine-qemu\\x2d1\\x2dvm\\x2d1.scope/libvirt/emulator", "vm-1"),
        (b"/machine.slice/machine-qemu\\x2d12\\x2dbuster.scope", "buster"),
        (b"/machine.slice/machine-fedora.scope", "fedora"),
        (b"/machine.slice/systemd-nspawn@web.service/payload", "web"),
        (b"/docker/" + ID + b"/docker/" + b"e" * 64, "eeeeeeeeeeee"),  # one in the other
        (b"/user.slice/user-1000.slice/session-3.scope", ""),
        (b"/system.slice/docker.service", ""),
        (b"/", ""), (b"", ""), (b"/machine.slice/machine-\xff.scope", "\\xff"),
    ],
)  # fmt: skip
def test_the_container_is_told_by_the_path(cgroup: bytes, container: str) -> None:
    assert container_of(cgroup) == container


def test_of_version_1_the_controller_is_taken_that_tells_most() -> None:
    text = b"12:pids:/docker/x\n3:cpuset:/\n1:name=systemd:/docker/x/y\n0::/\n"
    assert path_of(text) == b"/docker/x/y"
    assert path_of(b"0::/system.slice/a:b.service\n1:name=systemd:/c\n") == b"/system.slice/a:b.service"
    assert path_of(b"0::/\n") == b"/"
    assert path_of(b"") == path_of(b"nonsense\n\n::\n") == b""


@given(st.binary(max_size=100), st.sampled_from([b"/machine-", b"/lxc/", b"/docker-", b"0::", b":"]))
def test_any_text_is_read(text: bytes, head: bytes) -> None:
    container_of(path_of(head + text))
    assert isinstance(container_of(head + text), str)


@pytest.mark.parametrize(
    ("groups", "file", "text", "held"),
    [
        (b"0::/a/b\n", "a/io.max", "8:0 rbps=max wbps=max riops=400 wiops=max\n", True),
        (b"0::/a/b\n", "a/b/io.max", "8:0 rbps=1000 wbps=max riops=max wiops=max\n", False),
        (b"0::/a/b\n", "a/b/io.max", "8:16 rbps=max wbps=max riops=400 wiops=max\n", False),
        (b"0::/a/b\n", "unified/a/b/io.max", "8:0 riops=400\n", True),
        (b"4:blkio:/c\n1:cpu:/d\n", "blkio/c/blkio.throttle.read_iops_device", "8:0 120\n", True),
        (b"4:blkio:/c\n1:cpu:/d\n", "cpu/d/blkio.throttle.read_iops_device", "8:0 120\n", False),
        (b"rubbish\n::\n\xff:\xff:/../../x", "x/io.max", "8:0 riops=1\n", False),
    ],
)
def test_a_group_that_holds_a_disk_is_found(
    tmp_path: Path, groups: bytes, file: str, text: str, held: bool
) -> None:
    place = tmp_path / file
    place.parent.mkdir(parents=True)
    place.write_text(text)
    assert holds("8:0", groups, str(tmp_path)) is held
