"""Which daemon does the work of a client: on tables of processes made here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from profiler.capture.watch.whom.clients import CLIENTS, Running, coming, served
from profiler.capture.watch.whom.targets import Target
from profiler.capture.watch.whom.wrappers import unwrapped

TABLE = [
    Running(1, "systemd"), Running(790, "containerd"), Running(812, "dockerd", ("dockerd",)),
    Running(900, "libvirtd"), Running(901, "virtlogd"), Running(20, "bash", ("bash",), 1000),
    Running(21, "systemd", ("systemd", "--user"), 1000), Running(30, "lxd"), Running(31, "incusd"),
    Running(40, "podman", ("podman", "system", "service")), Running(41, "podman", ("podman", "run")),
    Running(50, "dockerd", ("dockerd",), 1234),
]  # fmt: skip
BARE = [Running(1, "init"), Running(20, "bash", ("bash",), 1000)]


def texts(line: str, table: list[Running] = TABLE, user: int = 0, **environment: str) -> list[str]:
    """The targets of a command line, which has no spaces in its words."""
    return [str(target) for target in served(line.split(), table, environment, user)[0]]


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("docker run --rm alpine true", ["pid:812", "pid:790"]),
        ("/usr/bin/docker run --name web -p 80:80 nginx", ["pid:812", "pid:790", "container:web"]),
        ("docker -H unix:///run/docker.sock run --name=web nginx", ["pid:812", "pid:790", "container:web"]),
        ("docker -l debug container start web db", ["pid:812", "pid:790", "container:web", "container:db"]),
        ("docker exec -it -e A=b -u root web sh -c ls", ["pid:812", "pid:790", "container:web"]),
        ("docker compose up -d", ["pid:812", "pid:790"]),
        ("docker run alpine sh -H tcp://host", ["pid:812", "pid:790"]),
        ("sudo -u root docker run alpine", ["pid:812", "pid:790"]),
        ("sudo -n A=b env -u X B=c nice -n 5 timeout -k 1 10 docker run alpine", ["pid:812", "pid:790"]),
        ("docker -H ssh://host run alpine", []),
        ("docker --host=tcp://host:2375 run alpine", []),
        ("podman run alpine", []),
        ("podman --remote run --name web alpine", ["pid:40", "container:web"]),
        ("podman-remote run alpine", ["pid:40"]),
        ("podman --url ssh://host/x run alpine", []),
        ("nerdctl run --name web alpine", ["pid:790", "container:web"]),
        ("ctr -n default run docker.io/library/alpine:latest demo", ["pid:790"]),
        ("crictl runp pod.json", ["pid:790"]),
        ("virsh start vm1", ["pid:900", "pid:901"]),
        ("virsh -c qemu:///system start vm1", ["pid:900", "pid:901"]),
        ("virsh --connect qemu+ssh://host/system start vm1", []),
        ("virt-install --name vm1 --memory 512", ["pid:900", "pid:901"]),
        ("systemctl start nginx", ["unit:nginx.service"]),
        ("systemctl --no-block restart nginx.service redis", ["unit:nginx.service", "unit:redis.service"]),
        ("systemctl enable --now nginx", ["unit:nginx.service"]),
        ("systemctl start a/b", []),
        ("systemctl enable nginx", []),
        ("systemctl status nginx", []),
        ("systemctl -H host start nginx", []),
        ("systemctl", []),
        ("machinectl start box", ["unit:systemd-nspawn@box.service", "unit:systemd-machined.service"]),
        ("machinectl list", []),
        ("lxc start box", ["pid:30", "container:box"]),
        ("lxc start other:box", []),
        ("incus launch images:debian/12 box", ["pid:31"]),
        ("nginx -g daemon", []),
        ("sudo -l", []),
        ("env -S docker", []),
    ],
)  # fmt: skip
def test_the_daemons_behind_a_client(line: str, targets: list[str]) -> None:
    assert texts(line) == targets


def test_it_is_said_who_does_the_work_and_how_to_turn_it_off() -> None:
    _, told = served(["docker", "run", "alpine"], TABLE)
    assert told == (
        "docker asks dockerd (pid 812) and containerd (pid 790) to do the work: "
        "watched too; --with none turns that off"
    )
    _, told = served(["systemctl", "start", "nginx"], TABLE)
    assert (
        told
        == "systemctl asks systemd (pid 1) to start nginx.service: watched too; --with none turns that off"
    )


@pytest.mark.parametrize("client", [name for name in CLIENTS if not name.startswith("podman")])
def test_without_a_daemon_it_is_said_that_the_client_alone_is_seen(client: str) -> None:
    targets, told = served([client, "start", "web"], BARE)
    assert targets == []
    assert told.startswith(f"{client} asks ") and "none runs here" in told


def test_places_in_the_environment_count_too() -> None:
    assert texts("docker run a", DOCKER_HOST="tcp://host") == []
    assert texts("docker run a", DOCKER_HOST="unix:///run/docker.sock") == ["pid:812", "pid:790"]
    assert texts("virsh start a", LIBVIRT_DEFAULT_URI="qemu+ssh://host/system") == []
    assert texts("podman run a", CONTAINER_HOST="unix:///run/podman.sock") == ["pid:40"]
    assert "host" in served(["docker", "ps"], TABLE, {"DOCKER_HOST": "tcp://host"})[1]


def test_a_daemon_that_systemd_starts_when_asked_is_waited_for() -> None:
    targets, told = served(["virsh", "start", "vm1"], [Running(1, "systemd")])
    assert Target("unit", "virtqemud.service") in targets and all(one.coming for one in targets)
    assert "systemd" in told


def test_units_of_the_user_are_those_of_the_users_systemd() -> None:
    assert texts("systemctl --user start app", user=1000) == ["unit:app.service"]
    assert served(["systemctl", "--user", "start", "app"], TABLE, user=1000)[1].startswith(
        "systemctl asks the user's systemd (pid 21) to start app.service"
    )
    assert texts("systemctl --user start app", user=1001) == []


def test_a_daemon_of_another_user_is_not_believed() -> None:
    assert "pid:50" not in texts("docker run a")
    assert "pid:50" in texts("docker run a", user=1234)


def test_what_the_command_names_may_come_later() -> None:
    asked = [
        Target("container", "web"),
        Target("container", "db"),
        Target("unit", "a.service"),
        Target("all"),
    ]
    for command in (["docker", "run", "--name=web", "x"], ["docker", "run", "--name", "web", "x"]):
        assert [one.coming for one in coming(asked, command)] == [True, False, False, False]
    assert [one.coming for one in coming(asked, ["systemctl", "start", "a"])] == [False, False, True, False]


@pytest.mark.parametrize("command", [["sudo"], ["env"], ["timeout", "5"], ["timeout"], ["sudo", "--"], []])
def test_wrappers_around_nothing(command: list[str]) -> None:
    assert unwrapped(command) == []
    assert served(command, TABLE) == ([], "")


WORDS = st.sampled_from(
    [
        "-H",
        "--",
        "-",
        "",
        "--name",
        "--name=",
        "run",
        "start",
        "exec",
        "-it",
        "web",
        "a\nb",
        "A=b",
        "5",
        "\udcff",
    ]
)


@given(
    st.sampled_from([*CLIENTS, "sudo", "env", "timeout", "nice"]), st.lists(WORDS | st.sampled_from(CLIENTS))
)
def test_any_arguments_are_answered_in_one_line(client: str, words: list[str]) -> None:
    for table in (TABLE, BARE):
        targets, told = served([client, *words], table)
        assert "\n" not in told
        assert not targets or told
