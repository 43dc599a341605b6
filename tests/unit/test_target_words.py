"""Whom to watch: the words of the command line, and which control groups and processes belong."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import string
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from profiler.capture.watch.whom import processes
from profiler.capture.watch.whom.containers import Names, ids_in, told_roots
from profiler.capture.watch.whom.targets import Target, Watched, in_container, in_group, in_unit, parse
from profiler.errors import ColdseekError, UsageError

WEB, OTHER = "ab" * 32, "cd" * 32


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("17", Target("pid", "17")),
        ("pid:0017", Target("pid", "17")),
        ("unit:nginx", Target("unit", "nginx.service")),
        ("unit:ssh.socket", Target("unit", "ssh.socket")),
        ("unit:getty@tty1", Target("unit", "getty@tty1.service")),
        ("unit:org.gnome.Shell", Target("unit", "org.gnome.Shell.service")),
        ("unit:service", Target("unit", "service.service")),
        ("container:web_1", Target("container", "web_1")),
        ("cgroup:a//b/", Target("cgroup", "/a/b")),
        ("cgroup:/", Target("cgroup", "/")),
        ("user:www-data", Target("user", "www-data")),
        ("all", Target("all")),
        ("none", Target("none")),
    ],
)
def test_a_word_is_a_target_and_the_target_gives_it_back(text: str, target: Target) -> None:
    assert parse(text) == target
    assert parse(str(target)) == target


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "pid", "pid:", "pid:0", "pid:x", "pid:-1", "pid:\u0661", "\u0661", "unit:a/b", "unit:",
        "all:", "container:a/b", "container:-a", "cgroup:/a/../b", "cgroup:", "user:", "job:1", "nginx",
        "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_target_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(text)
    assert str(caught.value).isprintable()


@given(
    st.text()
    | st.builds("{}:{}".format, st.sampled_from(["pid", "unit", "container", "cgroup", "user"]), st.text())
)
@example("user:a\nb")
def test_any_text_is_a_target_or_refused_in_one_line(text: str) -> None:
    try:
        target = parse(text)
    except UsageError as error:
        assert "\n" not in str(error)
    else:
        assert parse(str(target)) == target


def test_a_control_group_and_those_below_it() -> None:
    assert in_group("/a/b", ["/a/b"]) and in_group("/a/b/c", ["/x", "/a/b"]) and in_group("/a", ["/"])
    assert (
        not in_group("/a/bc", ["/a/b"]) and not in_group("/a", ["/a/b"]) and not in_group("/x/a/b", ["/a/b"])
    )
    assert in_group("/x/a/b/c", ["/a/b"], nested=True) and not in_group("/x/a/bc", ["/a/b"], nested=True)


def test_units_are_those_of_systemd_not_of_what_is_inside_others() -> None:
    nginx = ["nginx.service"]
    assert in_unit("/system.slice/nginx.service", nginx)
    assert in_unit("/system.slice/nginx.service/worker", nginx)
    assert in_unit("/system.slice/system-x.slice/x@1.service", ["x@1.service"])
    assert in_unit("/user.slice/user-1.slice/user@1.service/app.slice/nginx.service", nginx)
    assert in_unit("/init.scope", ["init.scope"]) and in_unit("/system.slice/a.service", ["system.slice"])
    assert in_unit("/system.slice/_cpu.service", ["cpu.service"])
    assert not in_unit("/system.slice/nginx.service2", nginx) and not in_unit("/", nginx)
    assert not in_unit(f"/system.slice/docker-{WEB}.scope/system.slice/nginx.service", nginx)
    assert not in_unit("/system.slice/other.service/nginx.service", nginx)
    assert in_unit("/docker/x/system.slice/nginx.service", nginx, nested=True)


@pytest.mark.parametrize(
    "group",
    [
        f"/docker/{WEB}",
        f"/system.slice/docker-{WEB}.scope", f"/machine.slice/libpod-{WEB}.scope/container",
        f"/kubepods.slice/kubepods-pod1.slice/cri-containerd-{WEB}.scope", f"/kubepods/pod1/{WEB}",
        f"/k8s.io/{WEB}", f"/system.slice/nerdctl-{WEB}.scope", f"/kubepods.slice/crio-{WEB}.scope",
    ],
)  # fmt: skip
def test_containers_by_their_control_groups(group: str, tmp_path: Path) -> None:
    known = Names(str(tmp_path))
    assert ids_in(group) == [WEB]
    assert in_container(group, [WEB], known) and in_container(group, [WEB[:12]], known)
    assert not in_container(group, [OTHER[:12], WEB[:11]], known)


def test_the_monitor_of_a_container_is_not_in_it() -> None:
    assert ids_in(f"/machine.slice/libpod-conmon-{WEB}.scope") == ids_in(f"/x/crio-conmon-{WEB}.scope") == []


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def test_names_are_found_where_each_runtime_keeps_them(tmp_path: Path) -> None:
    docker = tmp_path / "var/lib/docker/containers" / WEB / "config.v2.json"
    podman = tmp_path / "var/lib/containers/storage/overlay-containers/containers.json"
    tasks = tmp_path / "run/containerd/io.containerd.runtime.v2.task"
    write(docker, {"ID": WEB, "Name": "/web"})
    write(podman, [{"id": OTHER, "names": ["db", 3]}, 5, {"id": None}])
    write(
        tasks / "k8s.io" / ("ef" * 32) / "config.json",
        {"annotations": {"io.kubernetes.cri.container-name": "pod"}},
    )
    write(tasks / "default" / "demo" / "config.json", "not JSON")
    known = Names(str(tmp_path))
    for name in ("web", "db", "pod", "demo", WEB, OTHER[:12]):
        assert known.exists(name), name
    for name in ("we", "w", "default", "..", WEB[:11]):
        assert not known.exists(name), name
    assert in_container(f"/docker/{WEB}", ["web"], known) and not in_container(
        f"/docker/{WEB}", ["db"], known
    )
    assert in_container(f"/machine.slice/libpod-{OTHER}.scope", ["db"], known)
    assert in_container("/default/demo", ["demo"], known) and not in_container(
        "/other/demo", ["demo"], known
    )
    assert in_container("/lxc.payload.box/init.scope", ["box"], known)
    assert in_container("/machine.slice/machine-my\\x2dbox.scope", ["my-box"], known)


def test_a_container_that_is_made_later_is_found_then(tmp_path: Path) -> None:
    known = Names(str(tmp_path))
    group = f"/docker/{WEB}"
    assert not in_container(group, ["web"], known)
    write(tmp_path / "var/lib/docker/containers" / WEB / "config.v2.json", {"Name": "/web"})
    for _ in range(1000):
        if in_container(group, ["web"], known):
            return
        time.sleep(0.01)
    pytest.fail("its name is there and is not found")


@pytest.mark.parametrize(
    "content", ["", "[", "[" * 100_000, "[]", "3", '{"Name": 3}', '{"Name": null}', '{"x": "\ud800"}']
)
def test_files_of_others_may_hold_anything(content: str, tmp_path: Path) -> None:
    storage = tmp_path / "var/lib/containers/storage/vfs-containers/containers.json"
    for path in (tmp_path / "var/lib/docker/containers" / WEB / "config.v2.json", storage):
        path.parent.mkdir(parents=True)
        path.write_bytes(content.encode("utf-8", "surrogatepass"))
    assert not Names(str(tmp_path)).exists("web")
    assert Names(str(tmp_path)).exists(WEB)


def test_the_data_roots_of_a_daemon() -> None:
    assert told_roots(["dockerd", "--data-root=/a", "-g", "/b", "--data-root", "/c", "-g"]) == [
        "/a",
        "/b",
        "/c",
    ]
    assert told_roots(["dockerd", "--data-root", "relative"]) == []


# -- processes ---------------------------------------------------------------------------------------------


def test_a_process_may_be_named_as_it_likes() -> None:
    rest = b"S 7 1 1 0 -1 4194304 0 0 0 0 0 0 0 0 20 0 1 0 12345 0 0"
    found = processes.parse_stat(b"42 (a) R 1 (b\n\xff) " + rest)
    assert (found.pid, found.parent, found.start, found.name) == (42, 7, 12345, "a) R 1 (b\n\udcff")


@given(st.binary())
def test_what_proc_says_may_be_cut_off(text: bytes) -> None:
    with contextlib.suppress(ValueError, IndexError):
        processes.parse_stat(text)
    assert all("\n" not in path for path in processes.parse_groups(text))
    with contextlib.suppress(ValueError):
        processes.parse_users(text)


def test_control_groups_of_a_process() -> None:
    text = b"12:cpu,cpuacct:/a:b\n1:name=systemd:/init.scope\n0::/x (deleted)\n"
    assert processes.parse_groups(text) == ("/a:b", "/init.scope", "/x")


def test_users_are_the_real_and_the_effective_one() -> None:
    assert processes.parse_users(b"Name:\tUid:\nUid:\t1000\t0\t0\t0\n") == (1000, 0)


def test_what_may_change_is_read_again_sooner_then_later() -> None:
    now = 0.0
    looked = processes.Processes(users=True, clock=lambda: now)
    own, read = os.getpid(), []
    for step in range(500):
        now = step / 100
        if any(one.pid == own for one in looked.look()[1]):
            read.append(now)
    gaps = [later - sooner for sooner, later in itertools.pairwise(read)]
    assert gaps[0] <= 0.021 and max(gaps) <= 1.011 and gaps[:7] == sorted(gaps[:7]) and 6 < len(read) < 13


# -- what cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "pid:999999999",
        "user:no-such-user-here",
        "cgroup:/no/such/group/here",
        "container:no-such-container-here",
    ],
)
def test_what_is_not_there_is_said_in_one_line(text: str) -> None:
    with pytest.raises(ColdseekError) as caught:
        Watched([parse(text)])
    assert str(caught.value).isprintable() and ";" in str(caught.value)


def test_coldseek_itself_is_no_target() -> None:
    with pytest.raises(UsageError, match="own"):
        Watched([Target("pid", str(os.getpid()))], own={os.getpid()})


def test_what_the_command_brings_about_need_not_be_there() -> None:
    watched = Watched([Target("container", "no-such-container-here", coming=True)])
    assert watched.look() == {}
    assert not watched.holds(f"/docker/{WEB}")


def test_none_is_alone() -> None:
    with pytest.raises(UsageError):
        Watched([Target("none"), Target("all")])
    nobody = Watched([Target("none")])
    assert not nobody.everything and nobody.look() == nobody.anchors() == {} and not nobody.holds("/a")


def test_names_of_units_and_containers_need_no_quoting() -> None:
    letters = set(string.printable) - set(string.ascii_letters + string.digits + "-_.:@\\\t\n\r\x0b\x0c ")
    for letter in letters:
        with pytest.raises(UsageError):
            parse(f"unit:a{letter}b")
