# SPDX-License-Identifier: Apache-2.0
"""Videos and results in a store: a server of Amazon S3's protocol, and fsspec's store in memory."""

import importlib.util
import json
import logging
import time
from dataclasses import replace

import fsspec
import numpy as np
import pytest

from clips import LONG_CLIP, write_clip
from deepfake_video import ScanPlan, ScanSettings, VideoLimits, VideoReader, scan, video_stores
from deepfake_video.cli import main
from deepfake_video.common.files import OutputError, write_atomically
from deepfake_video.scanning import store_listing
from deepfake_video.scanning.addresses import AddressError, StoreTarget, as_target, check_target
from deepfake_video.scanning.inputs import collect_inputs
from deepfake_video.scanning.listing import InputError
from deepfake_video.video_addresses import printable_name
from deepfake_video.video_errors import (
    UnsupportedVideoError,
    VideoNotFoundError,
    VideoTimeoutError,
    VideoTooLargeError,
    VideoUnreadableError,
)
from drawn_faces import save_tiny_model, write_people
from s3_server import ACCESS_KEY, SECRET_KEY, s3_server


@pytest.fixture(scope="module")
def server():
    with s3_server() as variables:
        yield variables


@pytest.fixture
def s3(server, monkeypatch):
    """The file system of the server, whose variables are set."""
    for name, value in server.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    return fsspec.filesystem("s3", use_listings_cache=False)


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    return save_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def face(tmp_path_factory) -> bytes:
    """A video with a face."""
    return write_people(tmp_path_factory.mktemp("video") / "face.mp4", seconds=1).read_bytes()


def plan(model: str, *sources: str, **options) -> ScanPlan:
    return ScanPlan(sources=sources, models=[model], device="cpu", settings=ScanSettings(), **options)


def in_memory(name: str, content: bytes) -> str:
    fsspec.filesystem("memory").pipe_file(f"/videos/{name}", content)
    return f"memory://videos/{name}"


# Reading


def test_few_frames_of_a_long_video_are_read_without_fetching_it_whole(s3, long_clip, small_steps):
    s3.pipe_file("bucket/long.mp4", long_clip.read_bytes())
    wanted = [0, 100, 199]
    with VideoReader(str(long_clip)) as local, VideoReader("s3://bucket/long.mp4") as remote:
        frames, fetched = dict(local.frames(wanted)), dict(remote.frames(wanted))
        assert all(np.array_equal(frames[index], fetched[index]) for index in wanted)
        assert np.array_equal(local.timestamps_s, remote.timestamps_s)
        assert remote.fetched.size_bytes == long_clip.stat().st_size
        assert 0 < remote.fetched.num_bytes < remote.fetched.size_bytes / 2
        assert remote.sha256() is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain.mp4", {}),
        ("index_first.mp4", {"container_options": {"movflags": "faststart"}}),
        ("fragmented.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("reordered.mp4", {"options": {"preset": "veryfast", "bf": "3", "crf": "1"}, "audio": True}),
        ("hevc.mp4", {"codec": "libx265", "num_frames": 60, "options": {"x265-params": "log-level=0:lossless=1"}}),
        ("matroska.mkv", {}),
        ("stream.ts", {}),
        ("vp9.webm", {"codec": "libvpx-vp9", "num_frames": 40, "options": {"lossless": "1", "cpu-used": "8"}}),
        ("indexed.avi", {}),
    ],
)
def test_a_video_in_a_store_has_the_frames_of_the_same_file(tmp_path, small_steps, name, options):
    clip = write_clip(tmp_path / name, **{**LONG_CLIP, **options})
    with VideoReader(str(clip)) as local, VideoReader(in_memory(name, clip.read_bytes())) as remote:
        wanted = np.linspace(0, local.num_frames - 1, 5).astype(int)
        assert np.array_equal(local.timestamps_s, remote.timestamps_s)
        assert (local.num_bytes, local.warnings) == (remote.num_bytes, remote.warnings)
        pairs = zip(local.frames(wanted), remote.frames(wanted), strict=True)
        assert all(index == other and np.array_equal(a, b) for (index, a), (other, b) in pairs)


def test_no_byte_is_fetched_twice(long_clip, small_steps):
    with VideoReader(in_memory("long.mp4", long_clip.read_bytes())) as reader:
        for _ in range(3):
            list(reader.frames(range(reader.num_frames), keep=False))
        assert reader.fetched.num_bytes == long_clip.stat().st_size
        with VideoReader(str(long_clip)) as local:
            assert reader.sha256() == local.sha256()


def test_a_result_says_how_many_bytes_were_fetched(face, model, capsys):
    result = scan(in_memory("face.mp4", face), model=model)
    assert result.status == "ok"
    assert (result.fetched.num_bytes, result.fetched.size_bytes) == (len(face), len(face))
    assert main(["predict", "memory://videos/face.mp4", "--model", model]) == 0
    assert f"fetched {len(face) / 1e6:.2f} of {len(face) / 1e6:.2f} MB" in " ".join(capsys.readouterr().out.split())


def test_a_score_does_not_depend_on_where_the_video_is(tmp_path, face, model):
    local = tmp_path / "face.mp4"
    local.write_bytes(face)
    here, there = scan(local, model=model), scan(in_memory("face.mp4", face), model=model)
    assert here.fake_probability == there.fake_probability
    assert here.sha256 == there.sha256


# Limits and failures


def test_a_missing_file_is_reported(s3):
    with pytest.raises(VideoNotFoundError, match=r"^s3://bucket/none\.mp4: there is no such file"):
        VideoReader("s3://bucket/none.mp4")


def test_a_folder_is_no_video(s3):
    s3.pipe_file("bucket/folder.mp4/clip.mp4", b"x")
    with pytest.raises(UnsupportedVideoError, match="folder"):
        VideoReader("s3://bucket/folder.mp4")


@pytest.mark.parametrize("content", [b"#EXTM3U\nclip.ts\n", b"\x89PNG\r\n\x1a\n" + bytes(100), b""])
def test_what_is_refused_as_a_file_is_refused_in_a_store(content):
    with pytest.raises(UnsupportedVideoError):
        VideoReader(in_memory("lookalike.mp4", content))


def test_no_more_bytes_are_fetched_than_allowed(long_clip, small_steps):
    address = in_memory("long.mp4", long_clip.read_bytes())
    with pytest.raises(VideoTooLargeError, match="more than 9,000 bytes of it would be fetched"):
        VideoReader(address, limits=VideoLimits(max_download_bytes=9_000))


def test_a_store_that_does_not_answer_ends_with_the_time_limit(face, monkeypatch):
    address = in_memory("face.mp4", face)
    memory = fsspec.get_filesystem_class("memory")
    monkeypatch.setattr(memory, "cat_file", lambda *_, **__: time.sleep(5))
    with pytest.raises(VideoTimeoutError, match="DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"):
        VideoReader(address, limits=VideoLimits(max_download_s=0.2))


def test_a_version_that_is_not_answered_in_time_is_unknown(face, monkeypatch):
    address = in_memory("face.mp4", face)
    assert video_stores.read_version(address)
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_DOWNLOAD_S", "0.2")
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "info", lambda *_, **__: time.sleep(5))
    begun_s = time.monotonic()
    assert video_stores.read_version(address) is None
    assert time.monotonic() - begun_s < 3


@pytest.mark.parametrize("use", [StoreTarget.exists, StoreTarget.read_bytes, StoreTarget.unlink])
def test_an_output_that_is_not_answered_in_time_is_an_error(monkeypatch, use):
    target = as_target("memory://slow/results.jsonl")
    target.write_bytes(b"x")
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_DOWNLOAD_S", "0.2")
    for name in ("exists", "_open", "rm_file", "rm"):
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), name, lambda *_, **__: time.sleep(5))
    with pytest.raises(TimeoutError, match="DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"):
        use(target)
    with pytest.raises(OutputError, match=r"cannot be written \(.*DEEPFAKE_VIDEO_MAX_DOWNLOAD_S"):
        write_atomically(target, b"y")


def test_a_server_that_is_gone_is_reported_without_credentials(s3, monkeypatch, caplog, capsys):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(s3).clear_instance_cache()
    caplog.set_level(logging.DEBUG, logger="deepfake_video")
    with pytest.raises(VideoUnreadableError, match="the store could not be read") as raised:
        VideoReader("s3://bucket/clip.mp4")
    said = str(raised.value) + caplog.text + "".join(capsys.readouterr())
    assert ACCESS_KEY not in said
    assert SECRET_KEY not in said


def test_credentials_in_an_address_are_refused_and_not_repeated():
    with pytest.raises(InputError, match="user name or password") as raised:
        collect_inputs(["s3://AKID:SECRET@bucket/clip.mp4"])
    assert "SECRET" not in str(raised.value)
    assert "AKID" not in str(raised.value)


def test_a_query_is_not_repeated():
    assert printable_name("s3://bucket/clip.mp4?token=SECRET") == "s3://bucket/clip.mp4"


@pytest.mark.parametrize(("scheme", "package", "extra"), [("s3", "s3fs", "s3"), ("gs", "gcsfs", "gcs")])
def test_a_missing_package_is_named_with_the_extra(monkeypatch, scheme, package, extra):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    wanted = rf"^{scheme}://bucket/clip\.mp4: this address needs {package}: pip install 'deepfake-video\[{extra}\]'\.$"
    with pytest.raises(InputError, match=wanted):
        collect_inputs([f"{scheme}://bucket/clip.mp4"])


@pytest.mark.parametrize("address", ["ftp://host/clip.mp4", "zip://clip.mp4::s3://bucket/a.zip", "sftp://host/x.mp4"])
def test_other_schemes_of_fsspec_are_not_opened(address):
    with pytest.raises(VideoNotFoundError, match="addresses must begin with http://"):
        VideoReader(address)


# Listing


def test_a_prefix_is_searched_like_a_folder(s3):
    for name in ("day/b.mp4", "day/deep/a.MOV", "day/notes.txt", "day/.DS_Store", "other/c.mp4"):
        s3.pipe_file(f"bucket/{name}", b"x")
    for address in ("s3://bucket/day/", "s3://bucket/day"):
        inputs = collect_inputs([address])
        assert inputs.paths == ["s3://bucket/day/b.mp4", "s3://bucket/day/deep/a.MOV"]
        assert inputs.num_others == 2


def test_a_pattern_is_expanded_unless_a_file_has_that_name(s3):
    for name in ("glob/1.mp4", "glob/2.mp4", "glob/[x].mp4", "glob/deep/3.mp4"):
        s3.pipe_file(f"bucket/{name}", b"x")
    assert collect_inputs(["s3://bucket/glob/?.mp4"]).paths == ["s3://bucket/glob/1.mp4", "s3://bucket/glob/2.mp4"]
    assert collect_inputs(["s3://bucket/glob/[x].mp4"]).paths == ["s3://bucket/glob/[x].mp4"]
    with pytest.raises(InputError, match="none matches it"):
        collect_inputs(["s3://bucket/nothing/*.mp4"])


def test_photos_below_a_prefix_are_listed_only_if_asked_for(s3):
    for name in ("album/a.mp4", "album/b.JPG", "album/deep/c.heic", "album/._d.jpg", "album/notes.txt"):
        s3.pipe_file(f"bucket/{name}", b"x")
    found = collect_inputs(["s3://bucket/album/"])
    assert (found.paths, found.num_others, found.num_photos) == (["s3://bucket/album/a.mp4"], 4, 2)
    for address in ("s3://bucket/album/", "s3://bucket/alb*"):
        found = collect_inputs([address], photos=True)
        assert found.paths == [f"s3://bucket/album/{name}" for name in ("a.mp4", "b.JPG", "deep/c.heic")]
        assert found.num_others == 2


def test_the_folders_that_match_a_pattern_are_searched(s3):
    for name in ("2026-01/a.mp4", "2026-02/deep/b.mp4", "2026-02/notes.txt", "2025-12/c.mp4"):
        s3.pipe_file(f"bucket/days/{name}", b"x")
    found = collect_inputs(["s3://bucket/days/2026-*"])
    assert found.paths == ["s3://bucket/days/2026-01/a.mp4", "s3://bucket/days/2026-02/deep/b.mp4"]
    assert found.num_others == 1


def test_files_that_a_pattern_matches_several_times_are_counted_once(s3):
    for name in ("a/x.mp4", "a/c/y.mp4", "a/c/._y.mp4", "a-b/z.mp4"):
        s3.pipe_file(f"bucket/nested/{name}", b"x")
    found = collect_inputs(["s3://bucket/nested/*/**"])
    assert sorted(found.paths) == [f"s3://bucket/nested/{name}" for name in ("a-b/z.mp4", "a/c/y.mp4", "a/x.mp4")]
    assert found.num_others == 1


@pytest.mark.parametrize("method", ["isdir", "exists", "glob"])
def test_a_store_that_does_not_answer_while_it_is_listed_ends_with_the_time_limit(monkeypatch, method):
    monkeypatch.setenv("DEEPFAKE_VIDEO_MAX_DOWNLOAD_S", "0.2")
    monkeypatch.setattr(store_listing, "MAX_LISTING_S", 0.2)
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), method, lambda *_, **__: time.sleep(5))
    begun_s = time.monotonic()
    with pytest.raises(InputError, match=r"^memory://slow/\*\.mp4: .* took longer than"):
        collect_inputs(["memory://slow/*.mp4"])
    assert time.monotonic() - begun_s < 3


def test_a_prefix_without_a_video_is_an_error(s3):
    s3.pipe_file("bucket/texts/notes.txt", b"x")
    with pytest.raises(InputError, match="contains no video"):
        collect_inputs(["s3://bucket/texts/"])


def test_a_file_address_is_a_path(tmp_path):
    clip = tmp_path / "a clip.mp4"
    clip.touch()
    assert collect_inputs([clip.as_uri()]).paths == [str(clip)]


# Results


def lines(content: bytes) -> list[dict]:
    return [json.loads(line) for line in content.splitlines()]


def test_a_run_in_a_store_is_resumed_without_scoring_anything_twice(s3, face, model):
    for name in ("a.mp4", "b.mp4"):
        s3.pipe_file(f"bucket/resumed/{name}", face)
    wanted = plan(model, "s3://bucket/resumed/", output="s3://bucket/run1", csv="s3://bucket/run1.csv")
    first = scan(wanted)
    stored = s3.cat_file("bucket/run1/results.jsonl")
    assert [line["status"] for line in lines(stored)] == ["ok", "ok"]
    assert not s3.glob("bucket/run1/results-*")
    assert s3.cat_file("bucket/run1.csv").count(b"\n") == 3
    second = scan(wanted)
    assert len(second.kept) == 2
    assert list(second) == list(first)
    assert s3.cat_file("bucket/run1/results.jsonl") == stored


def test_what_a_killed_run_stored_is_kept(s3, face, model):
    """A run that was killed leaves one file per result, which are merged later."""
    s3.pipe_file("bucket/killed/a.mp4", face)
    s3.pipe_file("bucket/killed/b.mp4", face)
    scan(plan(model, "s3://bucket/killed/a.mp4", output="s3://bucket/run2"))
    s3.mv("bucket/run2/results.jsonl", "bucket/run2/results-0-ab12-0.jsonl")
    results = scan(plan(model, "s3://bucket/killed/", output="s3://bucket/run2"))
    assert results.kept == {"s3://bucket/killed/a.mp4"}
    assert [line["path"] for line in lines(s3.cat_file("bucket/run2/results.jsonl"))] == [r.path for r in results]
    assert not s3.exists("bucket/run2/results-0-ab12-0.jsonl")


def test_a_video_that_was_replaced_is_scored_again(s3, face, model):
    s3.pipe_file("bucket/replaced/a.mp4", face)
    wanted = plan(model, "s3://bucket/replaced/a.mp4", output="s3://bucket/run3")
    scan(wanted)
    s3.pipe_file("bucket/replaced/a.mp4", face + bytes(8))
    assert not scan(wanted).kept


def test_results_of_another_function_are_refused(s3, face, model):
    s3.pipe_file("bucket/other/a.mp4", face)
    scan(plan(model, "s3://bucket/other/a.mp4", output="s3://bucket/run4"))
    code = main(["predict", "s3://bucket/other/a.mp4", "--output", "s3://bucket/run4", "--model", model, "--timeline"])
    assert code == 2


def test_local_videos_and_pictures_are_stored_and_kept_too(s3, tmp_path, face, model):
    (tmp_path / "a.mp4").write_bytes(face)
    wanted = replace(
        plan(model, str(tmp_path / "a.mp4"), output="s3://bucket/run5", report="s3://bucket/report.html"),
        settings=ScanSettings(timeline=True),
    )
    scan(wanted)
    assert b"<html" in s3.cat_file("bucket/report.html")[:200]
    assert len(scan(wanted).kept) == 1


def test_an_output_that_cannot_be_written_ends_before_the_first_video(s3):
    with pytest.raises(AddressError, match="nothing is written to the Hub"):
        check_target("hf://datasets/user/name/run", is_folder=True)
    with pytest.raises(AddressError, match="user name or password"):
        check_target("s3://a:b@bucket/run", is_folder=True)


def test_heat_maps_are_written_to_a_path_only(face, capsys):
    assert main(["predict", in_memory("face.mp4", face), "--heatmaps", "memory://maps"]) == 2
    assert "local path" in capsys.readouterr().err
