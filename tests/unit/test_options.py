"""An option that several commands have is declared once, and is the same for all of them."""

from __future__ import annotations

import inspect
import typing
from collections import defaultdict

from typer.models import OptionInfo

from profiler.cli import _register, app

OTHERS = {
    ("--copies", "project"), ("--for", "attach"), ("--for", "calibrate"), ("--runs", "advise"),
    ("--runs", "replay"), ("--runs", "check"),  # there no warm ones
    ("--quiet", "calibrate"),
    ("--format", "report"), ("--format", "compare"),  # which make pages, too, and tables
    ("--format", "prefetch"),  # which lists ranges
    ("--format", "check"),  # JUnit XML, too
}  # fmt: skip
"""Options that mean another thing with this command than with the others."""


def declared() -> dict[str, dict[int, list[str]]]:
    """The commands of each option, by the declaration they use."""
    _register()
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for command in app.registered_commands:
        call = command.callback
        assert call is not None
        hints = typing.get_type_hints(call, vars(inspect.getmodule(call)), include_extras=True)
        for name, hint in hints.items():
            for option in getattr(hint, "__metadata__", ()):
                if isinstance(option, OptionInfo):
                    # in an Annotated the first word stands where a default would
                    words = (f"--{name.replace('_', '-')}", option.default, *(option.param_decls or ()))
                    found[[word for word in words if word is not ...][-1]][id(option)].append(call.__name__)
    return found


def test_an_option_of_several_commands_is_declared_once() -> None:
    found = declared()
    assert len(found["--with"]) == 1 and len(*found["--with"].values()) == 4  # these are read rightly
    for option, uses in found.items():
        if option == "--output":  # what it is that is written differs with each
            continue
        same = [names for names in uses.values() if not all((option, name) in OTHERS for name in names)]
        assert len(same) <= 1, (option, same)


def test_no_exception_is_for_nothing() -> None:
    found = declared()
    for option, command in OTHERS:
        alone = [names for names in found[option].values() if command in names]
        assert len(found[option]) > 1, (option, command)
        assert all((option, name) in OTHERS for names in alone for name in names), (option, command)
