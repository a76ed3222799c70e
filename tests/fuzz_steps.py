"""A station among damaged files, in a process of its own that may die of them: `fuzz_steps.py FOLDER FIRST LAST`.

Each seed is printed before its file is decoded, so that the last line names a file that ends the process. The final
line is what became of all.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from mutations import mutation
from networks import tiny_bundle
from stations import Bench

from station.bench.alone import memory_mb
from station.contract.decoding import decode
from station.contract.errors import ImageError
from station.contract.headers import read_header
from station.settings import Limits
from station.watching import scan

MAX_MEGAPIXELS = 2.0
_NET_BYTES = 3 << 30  # address space: a file that asks for more ends this process and not the machine's others


def decode_all(first: int, last: int) -> int:
    """The most memory that one file took beyond all before it, MB. Raises what is no ImageError."""
    most = 0.0
    for seed in range(first, last):
        damaged = mutation(seed)
        print(f"{seed} ({damaged.what})", flush=True)
        before = _peak_mb()
        _decode(damaged.data)
        most = max(most, _peak_mb() - before)
    return round(most)


def _decode(data: bytes) -> None:
    try:
        pixels = decode(data, max_megapixels=MAX_MEGAPIXELS)
    except ImageError:
        return
    header = read_header(data)
    found = pixels.shape[:2]
    assert found in ((header.height, header.width), (header.width, header.height)), (found, header)


def take_all(root: Path, first: int, last: int) -> dict[str, object]:
    """What a whole station makes of the files: at once, and after they stood still for a quarter of an hour."""
    bench = Bench(root, tiny_bundle(), cell_diameter_px=60)
    bench.settings = bench.settings.model_copy(update={"limits": Limits(max_megapixels=MAX_MEGAPIXELS)})
    bench.restart()
    for seed in range(first, last):
        damaged = mutation(seed)
        (bench.folder / damaged.name).write_bytes(damaged.data)
    before = scan(bench.folder)
    bench.run()
    at_once = _states(bench)
    bench.bell.seconds += 900
    bench.run()
    return {"at once": at_once, "later": _states(bench), "untouched": scan(bench.folder) == before}


def _states(bench: Bench) -> dict[str, list[object]]:
    """File name -> status, reason, count; each file once, also where two hold the same."""
    query = "SELECT p.path, r.status, r.reason, r.wbc_count FROM files AS p JOIN image_results AS r USING (image_id)"
    with closing(sqlite3.connect(bench.settings.database.path)) as connection:
        return {Path(path).name: state for path, *state in connection.execute(query)}


def _peak_mb() -> float:
    peak = memory_mb("VmHWM")
    assert peak is not None
    return peak


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (_NET_BYTES, _NET_BYTES))
    numbers = (int(sys.argv[2]), int(sys.argv[3]))
    one_file_mb, imported_mb = decode_all(*numbers), _peak_mb()
    print("in the station", flush=True)
    became = take_all(Path(sys.argv[1]), *numbers)
    print(json.dumps(became | {"one file, MB": one_file_mb, "decoder, MB": imported_mb, "station, MB": _peak_mb()}))
