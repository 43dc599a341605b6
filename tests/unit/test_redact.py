"""Traces that may be shown: stand-ins for what tells of somebody, the same ones everywhere."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import report_cases
from made import MIB, trace
from typer.testing import CliRunner

from profiler import cli
from profiler.files.traces import save
from profiler.report import json as as_json
from profiler.report import text
from profiler.report.figures import KINDS
from profiler.report.page import of_trace
from profiler.report.redact import is_system, redact
from profiler.report.summarise import summarise
from profiler.trace import TASK_COLUMNS, Trace, table
from profiler.validity import validate

SECRETS = ("acme", "alice", "hunter2", "billing")


def of_acme() -> Trace:
    files = [
        b"/home/alice/acme/disk0.qcow2", b"/usr/lib/libc.so.6", b"/etc/acme.conf", b"/usr/local/bin/billing",
        b"/dev/mapper/acme-vg", b"/usr/bin/qemu-img",
    ]  # fmt: skip
    task = {
        "tid": 1, "pid": 1, "parent": -1, "name": b"billing", "program": b"/opt/acme/billing",
        "cgroup": b"/user.slice/alice", "container": "acme-web", "start_ns": 0, "end_ns": None,
    }  # fmt: skip
    made = trace(
        [(number, 0, 4096) for number in range(len(files))], files, cwd="/home/alice/acme",
        command=("qemu-img", "check", "--password=hunter2", "-f", "disk0.qcow2", "-phunter2", "acme"),
        image="disk0.qcow2", notes=("dropped /home/alice/acme/disk0.qcow2, not more.", "read disk0.qcow2"),
        targets=("container:acme-web", "pid:7", "user:alice"), partial="ended by alice", cache="cold",
        wall_s=1.0,
        measured={"cold": [{**report_cases.run(1.0, 0, MIB), "stderr": "hunter2"}]},
    )  # fmt: skip
    return dataclasses.replace(made, tasks=table(TASK_COLUMNS, [task]))


def test_nothing_of_somebody_is_left() -> None:
    (made,) = redact(of_acme())
    validate(made)
    said = " ".join(
        [
            repr(made.meta),
            *(repr(getattr(made, name).to_dict("list")) for name in ("files", "tasks", "waits")),
        ]
    )
    assert not [secret for secret in SECRETS if secret in said]


def test_what_comes_with_the_system_stays() -> None:
    (made,) = redact(of_acme())
    paths = made.files["path"].tolist()
    assert paths[1] == b"/usr/lib/libc.so.6" and made.meta.command[:1] == ("qemu-img",)
    assert made.meta.command[3] == "-f" and made.meta.command[2].startswith("--password=")
    assert "pid:7" in made.meta.targets


def test_a_name_has_one_stand_in_everywhere() -> None:
    (made,) = redact(of_acme())
    path = made.files["path"].iloc[0].decode()
    assert path.endswith(".qcow2") and path.startswith("/home/")
    assert path == f"{made.meta.cwd}/{made.meta.image}" and made.meta.command[4] == made.meta.image
    assert path in made.meta.notes[0] and made.meta.notes[1] == f"read {made.meta.image}"


def test_the_numbers_stay_the_same() -> None:
    of = report_cases.image()
    (made,) = redact(of)
    one, two = summarise(of), summarise(made)
    assert one.totals == two.totals and one.answer == two.answer
    assert [cost.bytes for cost in one.costs] == [cost.bytes for cost in two.costs]
    assert one.focus is not None and two.focus is not None
    assert one.focus.role == two.focus.role == "image"


def test_stand_ins_are_stable_and_shared() -> None:
    once, again = redact(of_acme()), redact(of_acme(), report_cases.check())
    assert once[0].files["path"].tolist() == again[0].files["path"].tolist()
    assert again[1].files["path"].iloc[0].split(b"/")[-1] == once[0].files["path"].iloc[0].split(b"/")[-1]


@pytest.mark.parametrize(
    "path", [b"", b"/", b"//", b"/usr", b"usr/lib/x", b"/usr/lib/../../home/alice", b"\xff"]
)
def test_odd_paths(path: bytes) -> None:
    assert not is_system(path)
    redact(trace([(0, 0, 1)], [path or b"?"]))


def test_every_report_is_redacted() -> None:
    (made,) = redact(of_acme())
    summary = summarise(made)
    pages = [text.report(summary).plain, text.screen(summary).plain, json.dumps(as_json.report(summary))]
    assert not [secret for secret in SECRETS for page in pages if secret in page]
    assert "alice" not in of_trace(made, summary)


def test_the_option(tmp_path: Path) -> None:
    import profiler.cli.commands.report  # noqa: F401

    path = tmp_path / "acme.trace.parquet"
    save(of_acme(), path)
    for form in ("text", "json", "html", "markdown"):
        done = CliRunner().invoke(cli.app, ["report", str(path), "--redact", "--format", form])
        assert done.exit_code == 0, done.output
        assert not [secret for secret in SECRETS if secret in done.stdout.replace("base64", "")]


def test_pictures_are_redacted(tmp_path: Path) -> None:
    import profiler.cli.commands.plot  # noqa: F401

    save(of_acme(), str(tmp_path / "alice.trace.parquet"))
    for kind in KINDS:
        picture = tmp_path / f"{kind}.svg"
        said = CliRunner().invoke(
            cli.app,
            ["plot", str(tmp_path / "alice.trace.parquet"), "--redact", "--kind", kind, "-o", str(picture)],
        )
        assert said.exit_code == 0, said.output
        assert not [word for word in SECRETS if word in picture.read_text()]
        plain = tmp_path / f"plain-{kind}.svg"
        CliRunner().invoke(
            cli.app, ["plot", str(tmp_path / "alice.trace.parquet"), "--kind", kind, "-o", str(plain)]
        )
        assert [word for word in SECRETS if word in plain.read_text()]  # so that it is no empty claim
