"""A check as JUnit XML, which build servers show as tests: a case for each quantity."""

from __future__ import annotations

import shlex
from xml.etree import ElementTree

from profiler.analysis.check.held import REGRESSED, UNKNOWN, UNLIMITED, Held
from profiler.report.check.words import at_most, change, changed, value, verdict, why_unknown
from profiler.units import show_path

MAX_CHANGES = 100


def junit(held: Held) -> str:
    """One suite. What could not be told is an error, what has no limit is skipped."""
    command = show_path(shlex.join(held.now.command))
    suite = ElementTree.Element("testsuite", name="coldseek check")
    counts = {"failure": 0, "error": 0, "skipped": 0}

    def case(name: str, kind: str = "", message: str = "", words: str = "") -> None:
        made = ElementTree.SubElement(suite, "testcase", classname=command, name=name)
        if kind:
            counts[kind] += 1
            ElementTree.SubElement(made, kind, message=message).text = words

    different = "\n".join("{}: {}, {}".format(*changed(one)) for one in held.changes[:MAX_CHANGES])
    for line in held.lines:
        numbers = f"{value(line.name, line.before)} -> {value(line.name, line.now)}"
        shown = show_path(line.name)
        if line.state == REGRESSED:
            message = f"{shown}: {numbers} ({change(line)}), at most {at_most(line)}"
            case(shown, "failure", message, different)
        elif line.state == UNKNOWN:
            case(shown, "error", f"{shown}: {numbers}")
        elif line.state == UNLIMITED:
            case(shown, "skipped", "no limit")
        else:
            case(shown)
    if held.state == UNKNOWN and not counts["error"]:
        case("could tell", "error", why_unknown(held), "\n".join(map(show_path, held.faults)))
    ElementTree.SubElement(suite, "system-out").text = "\n".join(
        map(show_path, (verdict(held), *held.warnings))
    )
    names = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    suite.attrib.update({name: str(counts[kind]) for name, kind in names.items()})
    suite.set("tests", str(len(suite.findall("testcase"))))
    ElementTree.indent(suite)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"
    )
