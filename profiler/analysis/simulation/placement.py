"""Where requests lie on their devices: by the extents that were recorded, else by their place in the
file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from profiler.analysis.intervals import PAGE, Ints, spans
from profiler.analysis.simulation.kernel.settings import MAX_SECTORS_KB, MAX_SEGMENTS
from profiler.errors import ColdseekError
from profiler.facts.host import Host
from profiler.facts.values import known

UNWRITTEN = 0x800
"""FIEMAP_EXTENT_UNWRITTEN (linux/fiemap.h): allocated, never written; reads as zeros without any I/O."""

LAST = 0x1
"""FIEMAP_EXTENT_LAST: the file's last extent. Where it is missing, the list was cut off and the rest of the
file is taken to go on right behind the last extent that is known."""

FILE_GAP = 32 * 2**20
"""Bytes between two files that are laid one after another, because nothing better is known: about a third of
an ext4 block group (128 MiB), the mean distance of two places picked in one group. ext4 puts the files of
one directory into one group."""

SPACE = 2**61
"""Device offsets stay below this: files of claimed sizes that add up to more wrap around."""

MAX_PIECES = 50_000_000
"""More pieces than this are refused: a hostile trace may cut a million direct reads at a million extents
each."""


_BIO_FOLIOS = 256
"""A bio holds so many folios, and is cut at the device's limits for itself (linux/bio.h: BIO_MAX_VECS)."""

TOGETHER = -1.0
HALF = 0.5
"""Of full bios so many are split for their pieces of memory, where it is not known: 256 folios that lie
apart are two more than the usual 254 segments, two pairs that lie together make up for it, and which do
depends on what memory is free. Of 45 such bios each, 35 to 67% were split in eight cold starts of node and
java (Linux 6.18, virtio). With far fewer segments all are split."""
_FEW = 8  # pieces too many, for which the folios that chance lays together make up

_MAX_CALL = 2**31
"""No call moves more bytes (MAX_RW_COUNT)."""

_MOST = 2**22
"""No device takes requests of more KiB, or of more pieces; a hostile trace may claim any number."""


@dataclass(frozen=True)
class Placement:
    """Requests with their places.

    requests: the columns that were given plus device ("major:minor", "" not known) and device_offset (int64,
    bytes from the start of the device); in order, cut where extents end. known: "all" if every place
    is physical, "some", or "none" if file offsets were taken as device offsets throughout ("all" for no
    requests).
    """

    requests: pd.DataFrame
    known: str


def place(
    requests: pd.DataFrame,
    files: pd.DataFrame,
    extents: pd.DataFrame,
    host: Host | None = None,
    scattered: float = TOGETHER,
) -> Placement:
    """Place `requests` (of `simulate` or `first_touches`) on their devices.

    A file with rows in `extents` is read where these say; its holes and its unwritten extents cost nothing.
    Of a file without, the offsets are taken as device offsets: such files lie one after another in the order
    of their numbers, which is the order in which the run met them, FILE_GAP apart and behind everything that
    is known of that device.

    host: of its devices max_sectors_kb and max_segments count; where these are not known,
    MAX_SECTORS_KB and MAX_SEGMENTS. Each row is then one submission, as `simulate` gives them: what of
    it lies together on the device is one request, over holes of the file too, and is cut at what the
    device takes at once. None: rows are cut where extents end, no more. scattered: TOGETHER where
    folios that follow each other in a file do so in memory: then only max_sectors_kb counts. Else
    folios are pieces of memory of their own, and of the bios that have a few more than the device takes
    this share, from 0 to 1, is split all the same; see HALF.

    Raises ColdseekError if the extents cut the requests into more than MAX_PIECES.
    """
    requests = requests.reset_index(drop=True)
    mapped = np.isin(requests["file"].to_numpy(), extents["file"].to_numpy())
    physical, exact = _by_extents(requests[mapped], extents)
    logical = requests[~mapped]
    names = np.append(files["device"].to_numpy(object), "")  # where file -1 points

    bases = _bases(logical, physical, files, names)
    logical = logical.assign(
        device_offset=bases[logical["file"].to_numpy(np.int64)] + logical["offset"] % SPACE
    )
    placed = logical if not len(physical) else physical if not len(logical) else _merged(physical, logical)
    placed = placed.assign(device=names[placed["file"].to_numpy(np.int64)])
    if host is not None:
        placed = _cut(_together(placed), host, scattered)
    placed = placed.reset_index(drop=True)
    known = "all" if exact and not len(logical) else "some" if len(physical) else "none"
    return Placement(placed, known)


def _together(placed: pd.DataFrame) -> pd.DataFrame:
    """Parts of one submission that follow each other on the device as one. The index says whose parts."""
    row = placed.index.to_numpy(np.int64)
    offset, size = (placed[name].to_numpy(np.int64) for name in ("device_offset", "size"))
    follows = np.zeros(len(placed), bool)
    follows[1:] = (row[1:] == row[:-1]) & (offset[1:] == offset[:-1] + size[:-1])
    if not follows.any():
        return placed
    first = np.flatnonzero(~follows)
    kept: pd.DataFrame = placed.iloc[first]
    return kept.assign(size=np.add.reduceat(size, first))


def _cut(placed: pd.DataFrame, host: Host, scattered: float) -> pd.DataFrame:
    """The requests, none larger or in more pieces of memory than its device takes.

    A large submission in scattered memory is made of bios of _BIO_FOLIOS folios. Each is cut for itself, and
    what is left of it is not joined with the next: together they would be too much again.
    """
    if scattered in (TOGETHER, 1.0):
        return _pieces(placed, host, apart=scattered == 1.0)
    bios = _pieces(placed, host, apart=True, whole=True)
    parts = _pieces(bios.assign(bio=np.arange(len(bios))), host, apart=True)
    bio = parts["bio"].to_numpy(np.int64)
    first = np.diff(bio, prepend=-1) != 0
    split = np.bincount(bio, minlength=len(bios)) == 2
    split &= parts["size"].to_numpy(np.int64)[np.diff(bio, append=-1) != 0] <= _FEW * _folios(bios)
    # spread evenly: with a half, each second one
    counted = np.floor(np.cumsum(split) * scattered)
    kept = split & (np.diff(counted, prepend=0.0) == 0)
    size = np.where(kept[bio], bios["size"].to_numpy(np.int64)[bio], parts["size"].to_numpy(np.int64))
    found: pd.DataFrame = parts.assign(size=size)[first | ~kept[bio]].drop(columns="bio")
    return found


def _pieces(placed: pd.DataFrame, host: Host, apart: bool, whole: bool = False) -> pd.DataFrame:
    """The requests, cut for the device. apart: each folio is a piece of memory. whole: into bios, and no
    more."""
    which, names = pd.factorize(placed["device"])
    limits = [host.device(name) for name in names]
    sectors_kb = [known(device.max_sectors_kb, MAX_SECTORS_KB) for device in limits]
    segments = [known(device.max_segments, MAX_SEGMENTS) for device in limits]
    largest = np.array([max(min(size, _MOST) * 1024, PAGE) for size in sectors_kb], np.int64)
    most = np.array([max(min(count, _MOST), 1) for count in segments], np.int64)
    size = placed["size"].to_numpy(np.int64)
    folio = _folios(placed)
    pieces = most[which] if len(names) else np.zeros(0, np.int64)
    if not apart:
        folio = np.full(len(placed), 2**40)
    if whole:
        pieces = np.maximum(pieces // _BIO_FOLIOS, 1) * _BIO_FOLIOS
    step = np.minimum(pieces * folio, largest[which]) if len(names) else pieces
    if (size <= step).all():
        return placed
    bio = np.maximum(pieces // _BIO_FOLIOS, 1) * _BIO_FOLIOS * folio
    claimed = size > _MAX_CALL  # left as they are: to cut what a hostile trace claims would fill the memory
    step, bio = np.where(claimed, size, step), np.where(claimed, size, bio)
    each = -(-bio // step)
    counts = size // bio * each + -(-(size % bio) // step)
    if float(counts.sum(dtype=np.float64)) > MAX_PIECES:
        raise ColdseekError(
            f"the trace's reads are {int(counts.sum(dtype=np.float64))} requests; at most {MAX_PIECES} "
            f"can be modelled"
        )
    row = np.repeat(np.arange(len(size)), counts)
    number = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    inside = number % each[row] * step[row]
    start = number // each[row] * bio[row] + inside
    length = np.minimum(np.minimum(step[row], bio[row] - inside), size[row] - start)
    parts: pd.DataFrame = placed.iloc[row]
    return parts.assign(
        size=length,
        offset=parts["offset"].to_numpy(np.int64) + start,
        device_offset=parts["device_offset"].to_numpy(np.int64) + start,
    )


def _folios(placed: pd.DataFrame) -> Ints:
    """The bytes of a folio of each request."""
    return placed["folio"].to_numpy(np.int64) if "folio" in placed else np.full(len(placed), PAGE)


def _merged(physical: pd.DataFrame, logical: pd.DataFrame) -> pd.DataFrame:
    """Both in the order of the requests, which are their indexes; the parts of one keep theirs."""
    placed = pd.concat([physical, logical])
    return placed.iloc[np.argsort(placed.index.to_numpy(), kind="stable")]


def _by_extents(requests: pd.DataFrame, extents: pd.DataFrame) -> tuple[pd.DataFrame, bool]:
    """The parts of `requests` in written extents, with their device_offset; and whether none is a guess."""
    start, end = spans(*(requests[name].to_numpy(np.int64) for name in ("offset", "size")))
    file = requests["file"].to_numpy(np.int64)
    extents, guessed = _to_the_end(extents)
    owner = extents["file"].to_numpy(np.int64)
    logical, until = spans(*(extents[name].to_numpy(np.int64) for name in ("logical", "length")))
    follows = owner[1:] == owner[:-1]
    # extents never overlap, unless the trace lies: then the later one counts
    until[:-1] = np.where(follows, np.minimum(until[:-1], logical[1:]), until[:-1])

    start_key, end_key, logical_key, until_key = _sortable(
        (file, start), (file, end), (owner, logical), (owner, until)
    )
    first = np.searchsorted(until_key, start_key, side="right")
    counts = np.maximum(np.searchsorted(logical_key, end_key, side="left") - first, 0)
    if int(counts.sum()) > MAX_PIECES:
        raise ColdseekError(
            f"the trace's extents cut its reads into {int(counts.sum())} pieces; at most {MAX_PIECES} "
            f"can be modelled; record it again"
        )
    request = np.repeat(np.arange(len(start)), counts)
    extent = first[request] + np.arange(len(request)) - np.repeat(np.cumsum(counts) - counts, counts)
    begin, stop = np.maximum(start[request], logical[extent]), np.minimum(end[request], until[extent])
    kept = (stop > begin) & (extents["flags"].to_numpy(np.int64)[extent] & UNWRITTEN == 0)
    request, extent, begin, stop = request[kept], extent[kept], begin[kept], stop[kept]
    physical = np.minimum(extents["physical"].to_numpy(np.int64), SPACE)
    offset = physical[extent] + (begin - logical[extent]) % SPACE
    pieces: pd.DataFrame = requests.iloc[request]
    pieces = pieces.assign(offset=begin, size=stop - begin, device_offset=offset)
    return pieces, not guessed[extent].any()


def _to_the_end(extents: pd.DataFrame) -> tuple[pd.DataFrame, npt.NDArray[np.bool_]]:
    """The extents by file and place; where the last is not LAST, one more that goes on. Which those are."""
    extents = extents[extents["length"] > 0].sort_values(
        ["file", "logical"], kind="stable", ignore_index=True
    )
    ending = extents[~extents["file"].duplicated(keep="last")]
    cut = ending[ending["flags"] & LAST == 0]
    more = cut.assign(
        logical=np.minimum(cut["logical"], SPACE) + np.minimum(cut["length"], SPACE),
        physical=np.minimum(cut["physical"], SPACE) + np.minimum(cut["length"], SPACE),
        length=SPACE,
        flags=0,
    )
    every = pd.concat([extents, more], ignore_index=True)
    order = np.lexsort((every["logical"].to_numpy(), every["file"].to_numpy()))
    return every.iloc[order], order >= len(extents)


def _sortable(*pairs: tuple[Ints, Ints]) -> list[Ints]:
    """For each (file, offset) a number; the numbers order as the pairs do, and cannot overflow."""
    offsets, rank = np.unique(np.concatenate([offset for _, offset in pairs]), return_inverse=True)
    keys = np.concatenate([file for file, _ in pairs]) * (len(offsets) + 1) + rank.reshape(-1)
    return np.split(keys, np.cumsum([len(file) for file, _ in pairs])[:-1])


def _bases(logical: pd.DataFrame, physical: pd.DataFrame, files: pd.DataFrame, devices: np.ndarray) -> Ints:
    """For each file of the trace: where it begins on its device if its extents are not known."""
    width = np.zeros(len(devices), np.int64)
    size = files["size"].to_numpy(np.int64, na_value=0)
    used = np.unique(logical["file"].to_numpy(np.int64))
    np.maximum.at(
        width, logical["file"].to_numpy(np.int64), (logical["offset"] + logical["size"]).to_numpy()
    )
    width[used] = np.minimum(np.maximum(width[used], np.append(size, 0)[used]), SPACE) + FILE_GAP
    bases = np.zeros(len(devices), np.int64)
    for device in np.unique(devices[used].astype(str)):
        here = used[devices[used] == device]
        ends = physical[devices[physical["file"].to_numpy(np.int64)] == device]
        base = int((ends["device_offset"] + ends["size"]).max()) + FILE_GAP if len(ends) else 0
        before = np.concatenate([[0], np.cumsum(width[here].astype(np.uint64))[:-1]]).astype(np.uint64)
        bases[here] = (before + np.uint64(base)) % np.uint64(SPACE)
    return bases
