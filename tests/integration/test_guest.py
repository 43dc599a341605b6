"""On kernels of others, under systemd, in an emulated guest: Debian 12's own (6.1), and a newer one.

It takes half an hour, mmdebstrap, and Debian's packages: COLDSEEK_GUEST=1 asks for it.
"""

from __future__ import annotations

import faulthandler
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from guest import Done, Guest, guest

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(not os.environ.get("COLDSEEK_GUEST"), reason="COLDSEEK_GUEST=1 asks for it"),
]

TESTS = (
    "tests/integration/inside_guest.py",
    # of an image of 16 GiB: minutes, under emulation
    "tests/integration/test_tracers.py --deselect "
    "tests/integration/test_tracers.py::test_as_many_reads_of_an_image_as_strace_counts",
    "tests/integration/test_watch_contract.py::test_the_23_reads_of_the_contract",
)
JOB = f"""
uname -r >/out/release
export COLDSEEK_PATIENCE_S=800
python3 -m pytest -q --color=no -p no:cacheprovider --junitxml /out/results.xml {" ".join(TESTS)}
"""
TRACERS = ("kernel", "ptrace", "strace")
ON_EACH = {
    "test_the_23_reads_of_the_contract",
    *(f"test_every_tracer_sees_the_same_23_reads[{name}]" for name in TRACERS),
    "test_recorded_itself_the_program_of_a_unit_has_all_its_reads",
    "test_pid_1_is_systemd",
    "test_what_systemd_starts_for_systemctl_is_seen_without_being_asked_for",
    "test_a_unit_that_is_named_is_watched_until_it_is_ready",
    "test_of_a_unit_s_cold_reads_what_the_disk_was_asked_for_is_seen_too",
    "test_a_mapped_file_s_page_faults_are_seen",
    "test_requests_of_libaio_past_the_page_cache_are_exact",
}
ON_NEW = {"test_probes_tell_what_the_events_do"}
ON_OLD = {
    "test_the_probes_of_a_coldseek_that_is_killed_are_removed",
    "test_without_probes_page_faults_are_said_to_be_unseen",
    "test_without_probes_doctor_says_that_others_cannot_be_watched",
    "test_without_probes_watching_is_refused[words0]",
    "test_without_probes_watching_is_refused[words1]",
    "test_without_probes_the_trace_of_a_client_says_whose_reads_are_missing",
}


@pytest.fixture(autouse=True)
def _takes_its_time() -> None:
    """A guest has a limit of its own (`guest.BOOT_S`), above that at which a test is taken to hang."""
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="module")
def machine(cache_directory: Path) -> Guest:
    return guest(cache_directory)


def outcomes(done: Done) -> tuple[set[str], dict[str, str]]:
    """The tests that passed in the guest, by name; and of the others why: skipped or wrong."""
    assert "results.xml" in done.outputs, done.console
    passed, others = set(), {}
    for case in ElementTree.fromstring(done.outputs["results.xml"]).iter("testcase"):
        name = case.get("name", "")
        parts = [part for part in case if part.tag in ("failure", "error", "skipped")]
        if parts:
            words = [f"{part.tag}: {part.get('message')}\n{part.text}" for part in parts]
            others[name] = "\n".join(words)
        else:
            passed.add(name)
    return passed, others


def wrong(others: dict[str, str]) -> dict[str, str]:
    return {name: why for name, why in others.items() if not why.startswith("skipped")}


def test_debian_12_is_watched_by_probes_and_without_them_says_what_it_lacks(machine: Guest) -> None:
    """Linux 6.1 has no events that say which file was read."""
    done = machine.run("6.1.", JOB)
    passed, others = outcomes(done)
    assert done.outputs["release"].startswith(b"6.1.")
    assert wrong(others) == {}
    assert passed >= ON_EACH | ON_OLD
    assert set(others) == ON_NEW


def test_a_newer_kernel_has_the_events(machine: Guest) -> None:
    done = machine.run("", JOB)
    passed, others = outcomes(done)
    assert wrong(others) == {}
    assert passed >= ON_EACH | ON_NEW
    assert set(others) == ON_OLD
