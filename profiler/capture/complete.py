"""What is known of the files that a run read, and of the machine that it was on.

Reports are made from the trace alone, often elsewhere, so everything they will ask for is looked up right
after the run. What cannot be found out is None, never 0.
"""

from __future__ import annotations

import dataclasses

import pandas as pd

from profiler.capture.images.contents import with_contents
from profiler.capture.images.structures import structures
from profiler.facts.host import Device, Inodes
from profiler.machine import ext4, mounts
from profiler.machine.directories import MAX_DIRECTORIES, directories
from profiler.machine.extents import extents
from profiler.machine.host import host_facts
from profiler.trace import FILE_COLUMNS, MAPPING_OPS, Trace, host_paths, read_bytes
from profiler.units import show_count


def complete(trace: Trace) -> Trace:
    """A trace captured just now, with `extents` of the data files that were read or mapped, `structures` of
    the disk images that were read, the `contents` that the guest has there, `meta.host`, the file systems
    of all files whose device is known, and the `directories` above them, with extents too: what opening
    them costs a cold start.

    The files with the most bytes read come first where there are more extents than a trace holds, those
    that were mapped only come next.
    """
    mounts.forget()
    read = read_bytes(trace)
    events = trace.events
    mapped = events["file"][events["op"].isin(MAPPING_OPS)].drop_duplicates()
    found_mapped = [file for file in mapped if file >= 0 and file not in read.index]
    layout, images, more = structures(trace)
    marked = {number: image.dirty_before for number, image in trace.meta.images.items()}
    images = {
        number: dataclasses.replace(image, dirty_before=marked.get(number))
        for number, image in images.items()
    }
    files = _with_filesystems(trace.files)
    above, all_above = directories(files, mounts.NOWHERE)
    files = pd.concat([files, _with_filesystems(above)], ignore_index=True)
    kept = ~files["filesystem"].isin(mounts.NOWHERE)
    looked_up = files[(kept & (files["kind"] == "directory")).to_numpy(bool)]
    read_files = files.loc[[*read.index, *found_mapped]]
    found, notes = extents(pd.concat([read_files, looked_up]))
    if not all_above:
        notes = (*notes, f"directories were looked at up to the first {show_count(MAX_DIRECTORIES)} only")
    host = host_facts([*read_files["device"], *looked_up["device"]])
    devices = {
        number: dataclasses.replace(
            device,
            inodes_sought=True,
            inodes=_inodes(files[(files["device"] == number).to_numpy(bool)], device),
        )
        for number, device in host.devices.items()
    }
    host = dataclasses.replace(host, devices=devices)
    made = dataclasses.replace(
        trace,
        meta=dataclasses.replace(
            trace.meta, host=host, images=images, notes=(*trace.meta.notes, *notes, *more)
        ),
        files=files,
        extents=found,
        structures=layout,
    )
    return with_contents(made)


def _with_filesystems(files: pd.DataFrame) -> pd.DataFrame:
    kinds = [
        known
        or (
            mounts.filesystem_of(device, path) if device and kind in ("regular", "directory", "link") else ""
        )
        for (known, device, kind), path in zip(
            files[["filesystem", "device", "kind"]].to_numpy(), host_paths(files), strict=True
        )
    ]
    return files.assign(filesystem=pd.Series(kinds, dtype=FILE_COLUMNS["filesystem"], index=files.index))


def _inodes(files: pd.DataFrame, device: Device) -> Inodes | None:
    """Of one device's files, where their inodes lie, as far as that is known of the file system."""
    files = files[(files["filesystem"].isin(ext4.KINDS) & files["inode"].notna()).to_numpy(bool)]
    mounted = files[(files["kind"] == "directory").to_numpy(bool)]
    if not len(mounted) or not device.size_bytes or not device.name:
        return None
    place = host_paths(mounted)[-1]
    return ext4.geometry(device.name, device.size_bytes, files["inode"].tolist(), place)
