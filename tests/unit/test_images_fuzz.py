"""Images that nobody would make: no exception, no hang, and a map that is sound."""

from __future__ import annotations

import json
import os

import mutate
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from profiler.images.names import named
from profiler.images.readers import vpc

RELAXED = settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink is not worth the time
)


@pytest.mark.parametrize("name", mutate.NAMES)
@RELAXED
@given(data=st.data())
def test_a_changed_image_is_read_without_harm(name: str, data: st.DataObject) -> None:
    choices = iter(data.draw(st.lists(st.integers(0, 2**20), min_size=60, max_size=60)))
    image = mutate.mutated(name, lambda below: next(choices, 0) % below)
    found = mutate.check(image)
    mutate.check_tables(found)
    mutate.check_chain(image)


@pytest.mark.parametrize("name", mutate.NAMES)
def test_an_image_cut_anywhere(name: str) -> None:
    whole = mutate.content(name)
    for place in (*range(0, 600, 7), *mutate.places(name)[::40], len(whole) - 1, len(whole)):
        mutate.check(mutate.Patched(whole, [], min(place, len(whole))))


@RELAXED
@given(
    raw=st.binary(max_size=2000), format=st.sampled_from((None, "raw", "qcow2", "vmdk", "vpc", "nonsense"))
)
def test_any_bytes(raw: bytes, format: str | None) -> None:
    mutate.check(mutate.Patched(raw, []), format)


@RELAXED
@given(
    st.recursive(
        st.text(max_size=10) | st.integers() | st.none(),
        lambda inner: st.dictionaries(
            st.sampled_from(("driver", "file", "filename", "file.filename", "file.driver", "image")), inner
        ) | st.lists(inner, max_size=2),
    )
)  # fmt: skip
def test_any_json_name(value: object) -> None:
    for name in ("json:" + json.dumps(value), json.dumps(value)[:40]):
        meant = named(name)
        assert bool(meant.path) + bool(meant.remote) + bool(meant.reason) == 1 or name == ""
        assert b"\0" not in os.fsencode(meant.path)


@pytest.mark.parametrize("name", mutate.NAMES)
def test_the_images_as_they_are_have_no_faults(name: str) -> None:
    found = mutate.check(mutate.Patched(mutate.content(name), []))
    notes = set(found.notes) - {vpc.NO_PARENT}
    if name.startswith("dfvfs") and found.format == "vpc":
        assert notes and all("checksum" in note for note in notes)
    else:
        assert not notes
