"""The 213 days of MovieLens by Kubernetes jobs, in the stand-in that runs their pods here.

    python -m tests.proofs.k8s [--slots 2] [--kills 3 --seed 1]

Meanwhile so many pods are killed or evicted, at random. Uses the servers of the settings, with a
bucket and a database of its own, which stay. Prints how long the run took, what it made, and the
digest of the profiles, beside that of the raw blocks.
"""

import argparse
import json
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from pathlib import Path
from random import Random

import msgspec

from pipelines.cli.samples import load, movielens
from resources.embedded import running_settings
from tests.support.cluster import Cluster, open_cluster
from tests.support.cluster_runs import secret_of, started_run
from workers.declare.task import load_task
from workers.ledger.ledger import Ledger
from workers.ledger.mongo import open_database
from workers.settings import Settings, home
from workers.store import open_store
from workers.tasks import user_profiles
from workers.verify import Verdict, verify_profiles

ASSET = user_profiles.asset
MOST_OF_AN_OP = 2  # pods of an op that are harmed


def harm(cluster: Cluster, run: subprocess.Popen[str], kills: int, random: Random) -> None:
    """Kill or evict so many pods while the run goes on; none of an op more often than it is tried.

    An op is tried four times in all, and then it fails.
    """
    harmed: Counter[str] = Counter()
    started = time.monotonic()
    while run.poll() is None and harmed.total() < kills:
        time.sleep(random.uniform(1, 8))
        pods = [pod for pod in cluster.running() if harmed[pod.op] < MOST_OF_AN_OP]
        if not pods:
            continue

        pod, is_eviction = random.choice(pods), harmed.total() % 2
        harmed[pod.op] += 1
        seconds = time.monotonic() - started
        print(f"{seconds:.0f} s: {'evict' if is_eviction else 'kill'} {pod.op}", flush=True)
        if is_eviction:
            cluster.delete_pod(pod.name)
        else:
            pod.kill()


def prove(slots: int, kills: int, random: Random) -> bool:
    """Run and verify the days; tell whether all is as it should be."""
    number = uuid.uuid4().hex[:8]
    settings = running_settings()
    settings = msgspec.structs.replace(settings, bucket=f"k8s-{number}", database=f"k8s_{number}")
    store = open_store(settings)
    store.ensure()
    blocks = movielens(home() / "samples")
    load(store, blocks, lambda _: None)
    days = [str(ASSET.partition_of(key)) for key, _ in blocks]

    secret = secret_of(settings, FANFOLD_SLOTS=str(slots))
    with (
        tempfile.TemporaryDirectory() as folder,
        open_cluster(Path(folder), secrets={"fanfold": secret}) as cluster,
    ):
        started = time.monotonic()
        with started_run(cluster, ASSET.name, f"{days[0]}...{days[-1]}") as run:
            harm(cluster, run, kills, random)
            out, err = run.communicate()
        seconds = time.monotonic() - started
        if run.returncode:
            print(out, err)
            return False
        verdict = verify(settings)
        tell(cluster, json.loads(out), seconds, verdict)
        return verdict.match and not cluster.refused


def verify(settings: Settings) -> Verdict:
    """Hold the profiles against the raw blocks."""
    database = open_database(settings)
    with database.client:
        task = load_task(ASSET.task)
        return verify_profiles(ASSET, task, Ledger(database), open_store(settings))


def tell(cluster: Cluster, summary: dict[str, object], seconds: float, verdict: Verdict) -> None:
    """Print what came of the run."""
    steps = Counter(pod.op.split(".")[-1].split("_1998")[0] for pod in cluster.started)
    print(f"{len(cluster.started)} jobs, {len(cluster.refused)} refused by Kubernetes' schema")
    print(f"pods by step: {dict(steps)}")
    print(f"{summary['items']:,} items, {summary['profiles']:,} profiles, {seconds:.1f} s")
    print(f"digest {verdict.digest}, of the raw blocks {verdict.expected_digest}")


def main() -> None:
    """Run the proof; the exit code is 1 where it fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slots", type=int, default=2, help="pods of the run at once")
    parser.add_argument("--kills", type=int, default=0, help="pods that are killed or evicted")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    raise SystemExit(not prove(given.slots, given.kills, Random(given.seed)))


if __name__ == "__main__":
    main()
