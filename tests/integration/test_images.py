"""Maps of images made by qemu-img and qemu-io, against what qemu-img itself says of them."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from conftest import need_tool, run_patiently

from profiler.capture.images.structures import structures
from profiler.files.traces import load, save
from profiler.images import formats
from profiler.images.chain import Opened, chain
from profiler.images.map import Map, owners
from profiler.images.source import Held
from profiler.studies.record import record

SECRET = ("--object", "secret,id=key,data=secret")


@pytest.fixture(autouse=True)
def tools() -> None:
    need_tool("qemu-img")
    need_tool("qemu-io")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode in (0, 2, 3), done.stderr  # qemu-img check: 2 corrupt, 3 leaked
    return done.stdout


def create(path: Path, options: str, size: str = "8M", format: str = "qcow2", *more: str) -> Path:
    run("qemu-img", "create", "-q", "-f", format, *(("-o", options) if options else ()), *more, path, size)
    return path


def create_encrypted(path: Path, options: str, size: str, format: str) -> Path:
    """Encrypted under SECRET. The slowest hash is taken: see `run_patiently`."""
    options += f",{'' if format == 'luks' else 'encrypt.'}hash-alg=sha512"
    run_patiently(
        "qemu-img",
        "create",
        "-q",
        "-f",
        format,
        *SECRET,
        "-o",
        options,
        path,
        size,
        stdin=subprocess.DEVNULL,
    )
    return path


def write(path: Path, *commands: str, format: str = "qcow2") -> Path:
    run("qemu-io", "-f", format, *(part for command in commands for part in ("-c", command)), path)
    return path


def ask(command: str, path: Path, format: str = "qcow2", *more: str) -> Any:
    if more:
        return json.loads(run("qemu-img", command, *more[:-1], "--output=json", "--image-opts", more[-1]))
    return json.loads(run("qemu-img", command, "--output=json", "-f", format, path))


def mapped(path: Path) -> Map:
    found = formats.read(Held(path.read_bytes()))
    assert_is_whole(found, path.stat().st_size)
    return found


def assert_is_whole(found: Map, size: int) -> None:
    """Every byte of the file has one label, and each run of the guest's data has one."""
    ranges, guest = found.ranges, found.guest
    starts, ends = ranges["start"].to_numpy(), ranges["end"].to_numpy()
    assert starts[0] == 0 and ends[-1] == size
    assert (starts[1:] == ends[:-1]).all() and (starts < ends).all()
    assert (ranges["kind"].to_numpy()[1:] != ranges["kind"].to_numpy()[:-1]).all()
    assert (guest["start"].to_numpy()[1:] >= (guest["start"] + guest["length"]).to_numpy()[:-1]).all()
    places, cut = found.places()
    assert cut and (places["end"] - places["start"]).sum() == size


def clusters(found: Map, kind: str, unit: int) -> int:
    rows = found.ranges[found.ranges["kind"] == kind]
    return int((-(-rows["end"] // unit) - rows["start"] // unit).sum())


# ---- qcow2 -----------------------------------------------------------------------------------------------


def refcounts(path: Path) -> list[int]:
    """Of every cluster, by the plainest way through the tables."""
    raw = path.read_bytes()
    version, cluster_bits = struct.unpack_from(">I", raw, 4)[0], struct.unpack_from(">I", raw, 20)[0]
    table, length = struct.unpack_from(">QI", raw, 48)
    order = struct.unpack_from(">I", raw, 96)[0] if version == 3 else 4
    cluster, bits = 1 << cluster_bits, 1 << order
    per_block, counts = cluster * 8 // bits, [0] * -(-len(raw) // cluster)
    for number in range(length * cluster // 8):
        block = struct.unpack_from(">Q", raw, table + 8 * number)[0]
        if not block:
            continue
        for entry in range(per_block):
            if number * per_block + entry < len(counts):
                place = entry * bits
                if bits >= 8:
                    word = raw[block + place // 8 : block + (place + bits) // 8]
                    count = int.from_bytes(word, "big")
                else:
                    count = raw[block + place // 8] >> place % 8 & ((1 << bits) - 1)
                counts[number * per_block + entry] = count
    return counts


def assert_agrees(path: Path, found: Map, *more: str) -> None:
    """With qemu-img's info, check and map, and with the refcounts."""
    info, check = ask("info", path, "qcow2", *more), ask("check", path, "qcow2", *more)
    details = info["format-specific"]["data"]
    facts = found.facts
    assert found.format == "qcow2"
    assert facts["virtual_size"] == info["virtual-size"]
    assert facts["cluster_size"] == info["cluster-size"]
    assert facts["version"] == {"0.10": 2, "1.1": 3}[details["compat"]]
    assert facts["refcount_bits"] == details.get("refcount-bits", 16)
    assert facts["extended_l2"] == details.get("extended-l2", False)
    assert facts["compression"] == details["compression-type"]
    assert ("lazy refcounts" in facts["features"]) == details.get("lazy-refcounts", False)
    assert facts["snapshots"] == len(info.get("snapshots", []))
    assert facts["bitmaps"] == len(details.get("bitmaps", []))
    assert facts["encryption"] == details.get("encrypt", {}).get("format", "")
    assert found.backing == info.get("backing-filename", "")
    assert facts["allocated_clusters"] == check.get("allocated-clusters", 0)
    assert facts["compressed_clusters"] == check.get("compressed-clusters", 0)
    assert facts["fragmented_clusters"] == check.get("fragmented-clusters", 0)
    assert facts["leaked_clusters"] == check.get("leaks", 0)

    unit = facts["cluster_size"]
    used = found.ranges[found.ranges["kind"] != "unallocated"]
    assert -(-int(used["end"].max()) // unit) * unit == check["image-end-offset"]
    counts = np.array(refcounts(path))
    middles = np.arange(len(counts)) * unit
    kinds = found.ranges["kind"].to_numpy()[
        owners(middles, found.ranges["start"].to_numpy(), found.ranges["end"].to_numpy())
    ]
    assert ((counts > 0) == (kinds != "unallocated")).all()
    assert not {"unallocated"} & set(kinds[counts > 0])
    assert_guest(found, ask("map", path, "qcow2", *more))


def assert_guest(found: Map, rows: list[dict[str, Any]]) -> None:
    """Every range that qemu-img knows the place of, has it; and no other range lies in the image."""
    placed = [row for row in rows if not row["depth"] and row["data"] and "offset" in row]
    assert_placed(found, placed, "data cluster")
    size, facts = found.facts["virtual_size"], found.facts
    zeros = any(row["zero"] for row in rows if row["data"])
    if not (facts["compressed_clusters"] or facts["snapshots"] or facts["extended_l2"] or zeros):
        # of encrypted data qemu-img does not tell the place
        held = [row for row in rows if row["data"] or "offset" in row]
        ends = found.guest["guest"] + found.guest["length"]
        mine = int((found.guest["length"] - np.maximum(0, ends - size)).sum())
        assert mine == sum(row["length"] for row in held if not row["depth"])


WRITES = ("write 0 5k", "write 64k 70k", "write 1M 300k", "write 3500k 100k", "write 64k 1k")

VARIANTS = {
    **{f"cluster {size}": (f"cluster_size={size}", ()) for size in
       ("512", "1k", "4k", "16k", "64k", "256k", "1M", "2M")},
    **{f"refcounts of {bits}": (f"refcount_bits={bits},cluster_size=4k", ()) for bits in
       (1, 2, 4, 8, 16, 32, 64)},
    "one bit in 512": ("refcount_bits=1,cluster_size=512", ()),
    "compat 0.10": ("compat=0.10", ()),
    "compat 0.10 of 512": ("compat=0.10,cluster_size=512", ()),
    "lazy": ("lazy_refcounts=on,cluster_size=4k", ()),
    "metadata": ("preallocation=metadata,cluster_size=1k", ()),
    "falloc": ("preallocation=falloc,cluster_size=4k", ()),
    "extended": ("extended_l2=on,cluster_size=16k", ("write -z 1M 20k",)),
    "extended 128k": ("extended_l2=on", ("discard 64k 4k", "write 2000k 3k")),
    "zeros": ("cluster_size=4k", ("write -z 1M 64k", "write -z -u 64k 16k", "discard 1200k 64k")),
    "compressed": ("cluster_size=4k", ("write -c -P 7 2M 16k", "write -c 2064k 4k")),
    "compressed 64k": ("", ("write -c -P 7 2M 192k", "write -c -P 9 2752k 64k")),
    "compressed 512": ("cluster_size=512", ("write -c -P 7 2M 16k",)),
    "compressed 2M": ("cluster_size=2M", ("write -c -P 7 4M 2M",)),
    "compressed by zstd": ("compression_type=zstd,cluster_size=4k", ("write -c -P 7 2M 16k",)),
    "compressed extended": ("extended_l2=on,cluster_size=16k", ("write -c -P 7 2M 64k",)),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_layout_agrees_with_qemu_img(tmp_path: Path, variant: str) -> None:
    options, more = VARIANTS[variant]
    path = write(create(tmp_path / "image", options), *WRITES, *more)
    found = mapped(path)
    assert_agrees(path, found)
    assert found.notes == ()


def test_snapshots_share_and_keep_their_clusters(tmp_path: Path) -> None:
    path = write(create(tmp_path / "image", "cluster_size=1k"), *WRITES)
    run("qemu-img", "snapshot", "-c", "first", path)
    write(path, "write -P 3 1M 40k", "write 2M 10k")
    run("qemu-img", "snapshot", "-c", "a second one with a longer name", path)
    write(path, "write -P 4 1M 4k", "discard 3500k 50k")
    found = mapped(path)
    assert_agrees(path, found)
    assert found.notes == ()
    kinds = set(found.ranges["kind"])
    assert {"snapshot table", "snapshot L1 table"} <= kinds
    # what the first snapshot alone still holds has its place in the guest's disk too
    run("qemu-img", "snapshot", "-a", "first", path)
    again = mapped(path)
    before = found.places()[0].dropna().set_index("start")["guest"]
    after = again.places()[0].dropna().set_index("start")["guest"]
    shared = before.index.intersection(after.index)
    assert len(shared) > 3 and (before[shared] == after[shared]).all()


def test_bitmaps_are_labelled(tmp_path: Path) -> None:
    path = create(tmp_path / "image", "cluster_size=512", "64M")
    for name in ("one", "other"):
        run("qemu-img", "bitmap", "--add", "-g", "512", path, name)
    write(path, *WRITES, "write 40M 1M")
    run("qemu-img", "bitmap", "--add", "--disable", path, "third")
    found = mapped(path)
    assert_agrees(path, found)
    assert found.notes == ()
    assert found.facts["bitmaps"] == 3
    assert clusters(found, "bitmap directory", 512) == 1
    assert clusters(found, "bitmap table", 512) >= 2
    assert clusters(found, "bitmap data", 512) >= 2


def test_an_encrypted_image(tmp_path: Path) -> None:
    options = "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10,cluster_size=4k"
    path = create_encrypted(tmp_path / "image", options, "4M", "qcow2")
    place = f"driver=qcow2,encrypt.key-secret=key,file.filename={path}"
    run("qemu-io", *SECRET, *(part for command in WRITES for part in ("-c", command)), "--image-opts", place)
    found = mapped(path)
    assert_agrees(path, found, *SECRET, place)
    assert found.notes == ()
    # the LUKS header with its 8 key slots
    details = ask("info", path)["format-specific"]["data"]["encrypt"]
    assert clusters(found, "encryption header", 4096) == -(-details["payload-offset"] // 4096)


@pytest.mark.parametrize("raw", ["on", "off"])
def test_an_external_data_file(tmp_path: Path, raw: str) -> None:
    options = f"data_file={tmp_path / 'data'},data_file_raw={raw},cluster_size=4k"
    path = write(create(tmp_path / "image", options), *WRITES)
    found = mapped(path)
    assert found.notes == ()
    assert "data cluster" not in set(found.ranges["kind"])
    assert found.facts["allocated_clusters"] == ask("check", path).get("allocated-clusters", 0)
    links, notes = chain(opened(path), open_beside)
    assert notes == () and len(links) == 2
    data = links[1].map
    assert_is_whole(data, (tmp_path / "data").stat().st_size)
    rows = [row for row in ask("map", path) if row["data"] and "offset" in row]
    assert rows
    for row in rows:
        at = owners(np.array([row["offset"]]), *edges(data.ranges))[0]
        assert data.ranges["kind"].iloc[at] == "data cluster"
        assert data.ranges["end"].iloc[at] >= row["offset"] + row["length"]
    assert (data.guest["start"] == data.guest["guest"]).all()


def opened(path: Path) -> Opened:
    return Opened(Held(path.read_bytes()), str(path), path.stat().st_ino)


def open_beside(name: str, image: str) -> Opened | str:
    path = Path(image).parent / name
    return opened(path) if path.is_file() else "no such file"


def edges(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows["start"].to_numpy(), rows["end"].to_numpy()


def test_a_backing_chain_has_a_map_of_each_file(tmp_path: Path) -> None:
    write(create(tmp_path / "base.raw", "", "4M", "raw"), "write 0 4M", format="raw")
    create(tmp_path / "middle", "cluster_size=4k", "4M", "qcow2", "-b", "base.raw", "-F", "raw")
    write(tmp_path / "middle", *WRITES)
    create(tmp_path / "top", "extended_l2=on", "4M", "qcow2", "-b", "middle", "-F", "qcow2")
    write(tmp_path / "top", "write 65k 3k", "write 2M 64k")
    links, notes = chain(opened(tmp_path / "top"), open_beside)
    assert notes == ()
    assert [link.map.format for link in links] == ["qcow2", "qcow2", "raw"]
    assert [Path(link.opened.name).name for link in links] == ["top", "middle", "base.raw"]
    assert_agrees(tmp_path / "middle", links[1].map)
    # of each range that qemu-img finds in some file of the chain, the map of that file has the place
    for row in ask("map", tmp_path / "top"):
        if row["data"] and "offset" in row:
            guest = links[row["depth"]].map.guest
            starts = guest["start"].to_numpy()
            at = owners(np.array([row["offset"]]), starts, starts + guest["length"].to_numpy())[0]
            assert at >= 0
            assert guest["guest"].iloc[at] + row["offset"] - starts[at] == row["start"]


def test_leaked_clusters_are_found(tmp_path: Path) -> None:
    path = write(create(tmp_path / "image", "cluster_size=4k"), *WRITES)
    raw = bytearray(path.read_bytes())
    l1 = struct.unpack_from(">Q", raw, 40)[0]
    l2 = struct.unpack_from(">Q", raw, l1)[0] & 0xFFFFFFFFFFFE00
    raw[l2 : l2 + 8] = bytes(8)  # nobody points to the guest's first cluster any more
    path.write_bytes(raw)
    found = mapped(path)
    assert_agrees(path, found)
    assert clusters(found, "leaked cluster", 4096) == 1
    assert found.notes == ("clusters that are counted as used but nobody points to: 1",)


# ---- other formats ---------------------------------------------------------------------------------------

OTHERS = {
    "qed": ("qed", "cluster_size=4k"),
    "qed of 64k": ("qed", "cluster_size=64k,table_size=4"),
    "vdi": ("vdi", ""),
    "vdi static": ("vdi", "static=on"),
    "vmdk": ("vmdk", "subformat=monolithicSparse"),
    "vmdk with zeros": ("vmdk", "subformat=monolithicSparse,zeroed_grain=on"),
    "vhdx": ("vhdx", "block_size=1M"),
    "vhdx fixed": ("vhdx", "subformat=fixed,block_size=8M"),
}
DATA_KINDS = {"qed": "data cluster", "vdi": "data block", "vmdk": "grain", "vhdx": "payload block"}


@pytest.mark.parametrize("variant", OTHERS)
def test_other_formats_agree_with_qemu_img_map(tmp_path: Path, variant: str) -> None:
    format, options = OTHERS[variant]
    path = create(tmp_path / "image", options, "24M", format)
    write(path, *WRITES, "write 20M 1M", "write 17M 3k", format=format)
    found = mapped(path)
    assert found.format == format and found.notes == ()
    info = ask("info", path, format)
    assert found.facts["virtual_size"] == info["virtual-size"]
    if format in ("qed", "vmdk"):
        assert found.facts["cluster_size"] == info["cluster-size"]
    rows = [row for row in ask("map", path, format) if row["data"] and "offset" in row]
    assert rows or format == "vhdx"  # of which qemu-img tells no places
    assert_placed(found, rows, DATA_KINDS[format])
    # what lies in each place is what the guest sees there; and it sees nothing elsewhere
    run("qemu-img", "convert", "-f", format, "-O", "raw", path, tmp_path / "flat")
    image, flat = path.read_bytes(), bytearray((tmp_path / "flat").read_bytes())
    for start, length, guest in found.guest.to_numpy():
        length = min(length, len(flat) - guest)
        assert image[start : start + length] == flat[guest : guest + length]
        flat[guest : guest + length] = bytes(length)
    assert not any(flat)


def assert_placed(found: Map, rows: list[dict[str, Any]], kind: str) -> None:
    guest = found.guest
    starts = guest["start"].to_numpy()
    for row in rows:
        at, left = row["offset"], row["length"]
        while left > 0:
            run = owners(np.array([at]), starts, starts + guest["length"].to_numpy())[0]
            assert run >= 0
            assert guest["guest"].iloc[run] + at - starts[run] == row["start"] + at - row["offset"]
            label = owners(np.array([at]), *edges(found.ranges))[0]
            assert found.ranges["kind"].iloc[label] == kind
            step = int(starts[run] + guest["length"].iloc[run]) - at
            at, left = at + step, left - step


def test_a_compressed_stream(tmp_path: Path) -> None:
    source = create(tmp_path / "source", "", "24M", "raw")
    write(source, *WRITES, "write 20M 1M", "write 17M 3k", format="raw")
    path = tmp_path / "image"
    run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", source, path)
    found = mapped(path)
    assert found.notes == () and found.facts["compressed"]
    kinds = set(found.ranges["kind"])
    assert {"header", "descriptor", "grain directory", "grain table", "compressed grain"} <= kinds
    # every grain starts with the sector of the guest that it is about
    raw = path.read_bytes()
    assert len(found.guest)
    for start, guest in zip(found.guest["start"], found.guest["guest"], strict=True):
        assert struct.unpack_from("<Q", raw, start)[0] * 512 == guest
    sizes = [
        -(-(12 + struct.unpack_from("<I", raw, start + 8)[0]) // 512) * 512 for start in found.guest["start"]
    ]
    assert found.guest["length"].tolist() == sizes
    extents = ask("info", path, "vmdk")["format-specific"]["data"]["extents"]
    assert extents[0]["compressed"] and extents[0]["virtual-size"] == found.facts["virtual_size"]


@pytest.mark.parametrize("format", ["qcow2", "qed"])
def test_backing_names_of_other_formats(tmp_path: Path, format: str) -> None:
    create(tmp_path / "base", "", "4M", "raw")
    path = create(tmp_path / "image", "", "4M", format, "-b", "base", "-F", "raw")
    found = mapped(path)
    assert found.backing == "base" and found.backing_format == "raw"


@pytest.mark.parametrize(
    "format", ["qcow2", "raw", "qed", "vdi", "vmdk", "vhdx", "vpc", "luks", "parallels"]
)
def test_the_format_is_the_one_that_qemu_probes(tmp_path: Path, format: str) -> None:
    path = tmp_path / "image.raw"
    if format == "luks":
        create_encrypted(path, "key-secret=key,iter-time=10", "4M", format)
    else:
        create(path, "", "4M", format)
    probed = json.loads(run("qemu-img", "info", "--output=json", path))["format"]
    assert formats.probe(path.read_bytes()[: formats.PROBE_BYTES]) == probed == format


# ---- raw -------------------------------------------------------------------------------------------------


def test_a_file_system_in_a_partition(tmp_path: Path) -> None:
    mkfs = need_tool("mkfs.ext4")
    system = tmp_path / "system"
    system.write_bytes(bytes(4 << 20))
    run(mkfs, "-q", "-F", system)
    found = mapped(system)
    assert found.format == "raw" and found.facts["file_systems"] == ["ext4"]
    disk = bytearray(1 << 20) + system.read_bytes() + bytes(1 << 20)
    struct.pack_into("<B3xB3xII", disk, 446, 0x80, 0x83, 2048, 8192)
    disk[510:512] = b"\x55\xaa"
    path = tmp_path / "disk"
    path.write_bytes(disk)
    rows = {(row.start, row.end): row.kind for row in mapped(path).ranges.itertuples()}
    mib = 1 << 20
    assert rows == {
        (0, 512): "partition table",
        (512, mib): "outside partitions",
        (mib, mib + 1024): "ext4 file system",
        (mib + 1024, mib + 2048): "ext4 superblock",
        (mib + 2048, 5 * mib): "ext4 file system",
        (5 * mib, 6 * mib): "outside partitions",
    }


# ---- at capture time -------------------------------------------------------------------------------------


def test_a_trace_knows_the_structures_of_the_images_it_read(tmp_path: Path) -> None:
    write(create(tmp_path / "base", "", "8M", "raw"), "write 0 8M", format="raw")
    path = create(tmp_path / "top image", "cluster_size=4k", "8M", "qcow2", "-b", "base", "-F", "raw")
    write(path, "write 1M 64k")
    os.chmod(path, 0o400)  # nothing writes to it, and nothing has to
    before = os.stat(path)
    command = ["qemu-io", "-r", "-f", "qcow2", "-c", "read 1M 8k", "-c", "read 2M 4k", str(path)]
    trace = record(command, tracer="ptrace")
    files = {row.path: row.file for row in trace.files.itertuples()}
    top, base = files[os.fsencode(path)], files[os.fsencode(tmp_path / "base")]
    assert set(trace.structures["file"]) == {top, base}
    assert trace.meta.notes == ()
    reads = trace.reads()
    data = reads[(reads["file"] == top) & (reads["size"] == 8192)]
    assert len(data) == 1
    rows = trace.structures[trace.structures["file"] == top].reset_index(drop=True)
    at = owners(data["offset"].to_numpy(np.int64), *edges(rows))[0]
    assert rows["kind"].iloc[at] == "data cluster"
    assert rows["guest"].iloc[at] + data["offset"].iloc[0] - rows["start"].iloc[at] == 1 << 20
    below = trace.structures[trace.structures["file"] == base]
    assert below[["start", "end", "kind", "guest"]].to_numpy().tolist() == [[0, 8 << 20, "data", 0]]
    facts = trace.meta.images
    assert facts[top].format == "qcow2" and facts[top].virtual_size > 0
    assert facts[top].in_front is None
    assert facts[base].format == "raw" and facts[base].in_front == top
    after = os.stat(path)
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    save(trace, tmp_path / "trace")
    loaded = load(tmp_path / "trace")
    pd.testing.assert_frame_equal(loaded.structures, trace.structures)
    assert loaded.meta.images == facts


def test_a_trace_without_an_image_has_no_structures(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("QFI is no image\n")
    trace = record(["cat", str(tmp_path / "text")], tracer="ptrace")
    assert len(trace.structures) == 0 and len(trace.reads())


def test_a_raw_image_has_structures_where_it_is_named(tmp_path: Path) -> None:
    path = create(tmp_path / "disk", "", "8M", "raw")
    trace = record(["cat", str(path)], tracer="ptrace", image=str(path))
    assert trace.structures["kind"].tolist() == ["data"]


def test_an_image_that_another_took_the_place_of_is_left_alone(tmp_path: Path) -> None:
    path = write(create(tmp_path / "image", "cluster_size=4k"), *WRITES)
    trace = record(["cat", str(path)], tracer="ptrace")
    assert len(trace.structures)
    path.rename(tmp_path / "elsewhere")
    os.mkfifo(path)
    assert len(structures(trace)[0]) == 0


def test_a_backing_file_that_the_program_did_not_read_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path / "base", "", "8M", "raw")
    path = create(tmp_path / "top", "", "8M", "qcow2", "-b", "base", "-F", "raw")
    trace = record(["cp", str(path), str(tmp_path / "copy")], tracer="ptrace")
    opened, open_ = [], os.open

    def remembered(name: Any, *words: Any, **more: Any) -> int:
        opened.append(os.fsencode(name))
        return open_(name, *words, **more)

    monkeypatch.setattr(os, "open", remembered)
    assert len(structures(trace)[0])
    assert os.fsencode(path) in opened and os.fsencode(tmp_path / "base") not in opened


def test_what_is_wrong_with_an_image_is_in_the_notes(tmp_path: Path) -> None:
    path = write(create(tmp_path / "image", "cluster_size=4k"), *WRITES)
    raw = bytearray(path.read_bytes())
    raw[48:56] = bytes(8)  # the refcount table, in place of the header
    path.write_bytes(raw)
    trace = record(["cat", str(path)], tracer="ptrace")
    notes = [note for note in trace.meta.notes if note.startswith(f"{path}: ")]
    assert any("claimed more than once" in note for note in notes)
    assert "L2 table" in set(trace.structures["kind"])
