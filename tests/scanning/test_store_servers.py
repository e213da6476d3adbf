# SPDX-License-Identifier: Apache-2.0
"""Videos in Google Cloud Storage and on the Hub, as local servers that speak their protocols answer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import fsspec
import numpy as np
import pytest
from hub_server import Repository, serve

from deepfake_video import ScanPlan, VideoReader, scan
from deepfake_video.scanning.inputs import collect_inputs
from deepfake_video.video_errors import VideoNotFoundError
from drawn_faces import save_tiny_model, write_people
from gcs_server import gcs_server


# The endpoint is read when huggingface_hub is imported, hence the process of its own.
HUB_READING = """
import json, sys
from deepfake_video import VideoReader, video_stores
from deepfake_video.scanning.inputs import collect_inputs
video_stores.BLOCK_BYTES, video_stores.SMALL_BYTES = 4096, 0
found = [collect_inputs([address]).paths for address in sys.argv[1:]]
with VideoReader(found[0][0]) as reader:
    sums = [int(frame.sum()) for _, frame in reader.frames([0, 199])]
    print(json.dumps([found, sums, reader.fetched.num_bytes, reader.fetched.version]))
try:
    VideoReader("hf://datasets/me/videos/none.mp4")
except ValueError as error:
    print(error)
"""


@pytest.fixture
def google(monkeypatch) -> Iterator[fsspec.AbstractFileSystem]:
    """The file system of a local server of Google Cloud Storage's protocol."""
    pytest.importorskip("gcsfs")
    pytest.importorskip("gcp_storage_emulator")
    with gcs_server() as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        file_system = fsspec.get_filesystem_class("gs")
        file_system.clear_instance_cache()
        yield fsspec.filesystem("gs", use_listings_cache=False)
        file_system.clear_instance_cache()


def test_few_frames_of_a_video_in_google_cloud_storage_are_read_without_fetching_it_whole(
    google, long_clip, small_steps
):
    google.pipe_file("bucket/day/long.mp4", long_clip.read_bytes())
    google.pipe_file("bucket/day/notes.txt", b"x")
    for address in ("gs://bucket/day/", "gs://bucket/day", "gs://bucket/*/*.mp4"):
        assert collect_inputs([address]).paths == ["gs://bucket/day/long.mp4"]
    with VideoReader(str(long_clip)) as local, VideoReader("gs://bucket/day/long.mp4") as remote:
        frames, fetched = dict(local.frames([0, 199])), dict(remote.frames([0, 199]))
        assert all(np.array_equal(frames[index], fetched[index]) for index in (0, 199))
        assert 0 < remote.fetched.num_bytes < remote.fetched.size_bytes / 2
    with pytest.raises(VideoNotFoundError, match=r"^gs://bucket/none\.mp4: there is no such file"):
        VideoReader("gs://bucket/none.mp4")


def test_a_run_in_google_cloud_storage_is_resumed(google, tmp_path):
    model = save_tiny_model(tmp_path / "model")
    google.pipe_file("bucket/faces/a.mp4", write_people(tmp_path / "a.mp4", seconds=1).read_bytes())
    plan = ScanPlan(sources=["gs://bucket/faces/"], models=[model], device="cpu", output="gs://bucket/run")
    first, second = scan(plan), scan(plan)
    assert [result.status for result in first] == ["ok"]
    assert (list(second), len(second.kept)) == (list(first), 1)


def test_a_video_on_the_hub_is_found_and_read_in_parts(long_clip, tmp_path):
    with serve() as hub:
        hub.repositories["me/videos"] = Repository(private=True)
        hub.repositories["me/videos"].commits["0" * 40] = {
            "day/long.mp4": long_clip.read_bytes(),
            "day/deep/other.mov": b"x",
            "day/notes.txt": b"x",
        }
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path),
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_loopback",
        }
        addresses = [f"hf://datasets/me/videos/{name}" for name in ("day/*.mp4", "day/")]
        done = subprocess.run(
            [sys.executable, "-c", HUB_READING, *addresses],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    said, failure = done.stdout.splitlines()
    found, sums, num_bytes, version = json.loads(said)
    clip, other = (f"hf://datasets/me/videos/day/{name}" for name in ("long.mp4", "deep/other.mov"))
    assert found == [[clip], [other, clip]]
    with VideoReader(str(long_clip)) as local:
        assert sums == [int(frame.sum()) for _, frame in local.frames([0, 199])]
    assert 0 < num_bytes < long_clip.stat().st_size / 2
    assert version.startswith(f"{long_clip.stat().st_size}-")
    assert failure == "hf://datasets/me/videos/none.mp4: there is no such file in the store"
