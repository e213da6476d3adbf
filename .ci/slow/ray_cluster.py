# SPDX-License-Identifier: Apache-2.0
"""Scan on a local Ray cluster of two nodes while a node and the driver are killed; needs the extra `cluster`.

python .ci/slow/ray_cluster.py [--videos 200] [--driver-kills 5]

The table must be that of an undisturbed run without Ray, with every video once.
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster


sys.path.insert(0, str(Path(__file__).parents[2] / "tests/helpers"))
from clips import write_clip


NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}
# Whole frames: neither node has the time to search for faces.
OPTIONS = ["--faces", "none", "--num-frames", "2", "--no-timeline", "--quiet"]


def write_videos(folder: Path, count: int) -> None:
    """Write small clips, every twentieth of which is damaged."""
    folder.mkdir()
    originals = [write_clip(folder / f"{number:03}.mp4", num_frames=4 + number) for number in range(20)]
    for number in range(20, count):
        copy = folder / f"{number:03}.mp4"
        # A box of its own makes each content distinct.
        content = originals[number % 20].read_bytes() + b"\0\0\0\x0cfree" + number.to_bytes(4, "big")
        copy.write_bytes(content[:500] if number % 20 == 0 else content)


def count_results(output: Path) -> int:
    """The number of results that are stored so far."""
    paths = set()
    for file in output.glob("results*.jsonl"):
        try:
            paths |= {json.loads(line)["path"] for line in file.read_bytes().splitlines()}
        except (OSError, ValueError):
            continue  # merged or written at this moment
    return len(paths)


def read_table(file: Path) -> list[dict[str, str]]:
    """The rows of a table without the time at which each video was scored."""
    with file.open(newline="", encoding="utf-8") as stream:
        return [{name: cell for name, cell in row.items() if name != "created"} for row in csv.DictReader(stream)]


def start(folder: Path, output: Path, address: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "deepfake_video.cli", "predict", str(folder), *OPTIONS]
    command += ["--output", str(output), "--csv", str(output) + ".csv", "--ray", address, "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def disturb(folder: Path, output: Path, num_videos: int, driver_kills: int) -> None:
    """Run until all videos are scored; kill the driver several times, and once a node under its workers."""
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    node = cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    try:
        for kill in range(driver_kills + 1):
            began_s, known = time.monotonic(), count_results(output)
            target = known + (num_videos - known) // (driver_kills + 2 - kill)
            driver = start(folder, output, cluster.address)
            if kill == driver_kills:
                # The last run may end, but one of its workers is lost with its machine.
                wait_for(output, target, driver)
                cluster.remove_node(node, allow_graceful=False)
                print(f"node killed at {count_results(output)} results", flush=True)
                cluster.add_node(**NODE)
                code = driver.wait()
                print(f"last run ended with {code} after {time.monotonic() - began_s:.0f} s", flush=True)
            else:
                wait_for(output, target, driver)
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
                now = count_results(output)
                spent_s = time.monotonic() - began_s
                print(f"driver killed at {now} results, {now - known} new, after {spent_s:.0f} s", flush=True)
    finally:
        cluster.shutdown()


def wait_for(output: Path, count: int, driver: subprocess.Popen[bytes]) -> None:
    while count_results(output) < count:
        if driver.poll() is not None:
            raise SystemExit(f"the driver ended with {driver.returncode} before {count} results")
        time.sleep(0.3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--driver-kills", type=int, default=5)
    arguments = parser.parse_args()
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112 (so is its name)
    with tempfile.TemporaryDirectory() as scratch:
        folder, output, reference = (Path(scratch) / name for name in ("videos", "run", "reference.csv"))
        write_videos(folder, arguments.videos)
        undisturbed = [sys.executable, "-m", "deepfake_video.cli", "predict", str(folder), *OPTIONS]
        began_s = time.monotonic()
        subprocess.run([*undisturbed, "--csv", str(reference)], stdout=subprocess.DEVNULL, check=False)
        print(f"{arguments.videos} videos without Ray in {time.monotonic() - began_s:.0f} s", flush=True)
        disturb(folder, output, arguments.videos, arguments.driver_kills)
        paths = [json.loads(line)["path"] for line in (output / "results.jsonl").read_bytes().splitlines()]
        assert sorted(paths) == sorted(map(str, folder.iterdir())), "a video is missing or listed twice"
        assert not list(output.glob("results-*")), "results were not merged"
        table, expected = read_table(Path(f"{output}.csv")), read_table(reference)
        different = [pair for pair in zip(table, expected, strict=True) if pair[0] != pair[1]]
        assert not different, f"{len(different)} rows differ, the first: {different[0]}"
        print(f"every one of {len(paths)} videos once; {len(table)} rows equal in all columns but the time of scoring")


if __name__ == "__main__":
    main()
