# SPDX-License-Identifier: Apache-2.0
"""Photos: recognised by their content, shown upright, scored once, and never given a verdict measured on videos."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from PIL import Image, ImageCms, features

from deepfake_video import VideoReader
from deepfake_video.cli import main
from deepfake_video.scanning import photo_reader, results
from deepfake_video.scanning.explanation import explain
from deepfake_video.scanning.html_report import render_report
from deepfake_video.scanning.inputs import collect_inputs
from deepfake_video.scanning.media import SEQUENCE_HINT, open_media
from deepfake_video.scanning.photo_formats import MAX_GIF_BLOCKS, MAX_WEBP_CHUNKS, is_animated_gif, photo_format
from deepfake_video.scanning.results import PHOTO_WARNING
from deepfake_video.scanning.sample import draw_face, write_sample_video
from deepfake_video.scanning.verdict import NOT_FOR_PHOTOS
from deepfake_video.video_errors import UnsupportedVideoError, VideoError, VideoLimits
from drawn_faces import redness_detector, save_tiny_model


SCHEMA = json.loads((Path(results.__file__).parent / "result.schema.json").read_text(encoding="utf-8"))
FACE = draw_face(0.3)
SMALL = FACE[100:164, 280:376]
FORMATS = ["JPEG", "PNG", "WEBP", "GIF", *(["AVIF"] if features.check("avif") else [])]


@pytest.fixture(scope="module")
def detector():
    return redness_detector(timeline=True)


def encoded(picture: np.ndarray, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


def saved(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def pixels_of(path: Path) -> np.ndarray:
    with open_media(path) as reader:
        ((_, picture),) = reader.frames([0])
    return picture


def error_of(path: Path, **limits: int) -> VideoError:
    with pytest.raises(VideoError) as caught, open_media(path, limits=VideoLimits(**limits)) as reader:
        list(reader.frames([0]))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("kind", FORMATS)
def test_a_photo_is_scored_once_and_has_no_time(kind, tmp_path, detector):
    result = detector.score(saved(tmp_path / f"photo.{kind.lower()}", encoded(FACE, kind)))
    jsonschema.validate(json.loads(result.to_json()), SCHEMA)
    assert (result.status, result.media, result.duration_s) == ("ok", "image", None)
    assert (result.timeline, result.not_judged, result.frames_analyzed) == ([], [], 1)
    assert [(frame.time_s, frame.weight) for frame in result.frames] == [(0.0, 1.0)]
    assert result.frames[0].fake_probability == pytest.approx(result.fake_probability)
    assert result.fake_probability == result.faces[0].fake_probability
    assert result.warnings == [PHOTO_WARNING]


def test_a_verdict_measured_on_videos_is_not_given_to_a_photo(tmp_path, detector):
    photo = detector.score(saved(tmp_path / "photo.png", encoded(FACE, "PNG")))
    video = detector.score(write_sample_video(tmp_path / "video.mp4", num_frames=8))
    assert "real people" in video.verdict_rates
    assert (photo.verdict, photo.verdict_reason, photo.verdict_rates) == ("undecided", NOT_FOR_PHOTOS, None)


# By CIPA DC-008, 4.6.5: on which visual side of the picture the first stored row and column are.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright[:, ::-1].swapaxes(0, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: upright[::-1].swapaxes(0, 1),
}


def oriented(orientation: int, picture: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(np.ascontiguousarray(STORED[orientation](picture)), kind, exif=exif, **options)


@pytest.mark.parametrize("orientation", STORED)
def test_the_orientation_is_applied(orientation, tmp_path):
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True})):
        path = saved(tmp_path / f"photo.{kind.lower()}", oriented(orientation, SMALL, kind, **options))
        assert np.array_equal(pixels_of(path), SMALL)


def test_a_photo_on_its_side_scores_like_an_upright_one(tmp_path, detector):
    upright = detector.score(saved(tmp_path / "upright.png", encoded(FACE, "PNG")))
    turned = detector.score(saved(tmp_path / "turned.png", oriented(6, FACE)))
    assert turned.fake_probability == upright.fake_probability
    assert turned.warnings == upright.warnings


def test_damaged_exif_data_is_a_warning(tmp_path):
    path = saved(
        tmp_path / "photo.jpg", encoded(SMALL, "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" * 9)
    )
    with open_media(path) as reader:
        assert (reader.width, reader.height) == (96, 64)


@pytest.mark.parametrize("at", [0.3, 0.6, 0.9])
def test_a_png_with_a_flipped_bit_is_damaged(at, tmp_path):
    content = bytearray(encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8), "PNG"))
    content[int(at * len(content))] ^= 1
    assert error_of(saved(tmp_path / "photo.png", bytes(content))).reason == "decode_error"


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_with_zeroed_bytes_is_scored_with_a_warning(options, tmp_path, detector):
    content = encoded(FACE, "JPEG", quality=90, **options)
    damaged = bytearray(content)
    middle = len(content) // 2
    damaged[middle : middle + 2048] = bytes(2048)
    intact = detector.score(saved(tmp_path / "intact.jpg", content))
    result = detector.score(saved(tmp_path / "damaged.jpg", bytes(damaged)))
    assert intact.warnings == [PHOTO_WARNING]
    assert any("JPEG data is damaged" in warning for warning in result.warnings)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_an_intact_jpeg_of_any_kind_has_no_warning(mode, tmp_path):
    picture = Image.fromarray(FACE).convert(mode)
    for number, options in enumerate(({}, {"subsampling": 0, "quality": 100}, {"progressive": True}, {"dpi": (9, 9)})):
        path = tmp_path / f"{number}.jpg"
        picture.save(path, "JPEG", **options)
        path.write_bytes(path.read_bytes() + bytes(100))
        with open_media(path) as reader:
            assert reader.warnings == []


def test_colours_follow_the_profile(tmp_path):
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # In a profile whose red and blue are exchanged, a picture looks as if its channels were.
    for place in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        names = {b"rXYZ": b"bXYZ", b"bXYZ": b"rXYZ"}
        profile[place : place + 4] = names.get(bytes(profile[place : place + 4]), profile[place : place + 4])
    renamed = bytes(profile).replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be")).replace(b"sRGB", b"mine")
    path = saved(tmp_path / "photo.png", encoded(SMALL, "PNG", icc_profile=renamed))
    assert np.abs(pixels_of(path).astype(int) - SMALL[..., ::-1]).max() <= 2
    broken = saved(tmp_path / "broken.png", encoded(SMALL, "PNG", icc_profile=renamed[:200]))
    assert np.array_equal(pixels_of(broken), SMALL)


def test_transparent_parts_are_white(tmp_path):
    opacity = np.full((*SMALL.shape[:2], 1), 255, np.uint8)
    opacity[:20] = 0
    shown = pixels_of(saved(tmp_path / "photo.png", encoded(np.concatenate([SMALL, opacity], axis=2), "PNG")))
    assert (shown[:20] == 255).all()
    assert np.array_equal(shown[20:], SMALL[20:])


def test_sixteen_bits_of_grey_are_not_cut_off(tmp_path):
    levels = np.linspace(0, 65535, 64 * 96).astype(np.uint16).reshape(64, 96)
    shown = pixels_of(saved(tmp_path / "photo.png", encoded(levels, "PNG")))
    assert np.array_equal(shown, np.repeat((levels >> 8).astype(np.uint8)[..., None], 3, axis=2))


def png_of(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def webp_of(width: int, height: int) -> bytes:
    body = b"\x02\x00\x00\x00" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBPVP8X" + struct.pack("<I", len(body)) + body + b"ANIM" + struct.pack("<I", 6) + bytes(6)
    return b"RIFF" + struct.pack("<I", len(content)) + content


@pytest.mark.parametrize("size", [(8000, 5001), (30_000, 30_000)])
@pytest.mark.parametrize("write", [png_of, webp_of])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(size, write, tmp_path):
    error = error_of(saved(tmp_path / "bomb.png", write(*size)))
    assert error.reason == "too_large"
    assert "DEEPFAKE_VIDEO_MAX_FRAME_PIXELS" in error.message


def test_the_limit_of_pixels_can_be_set(tmp_path):
    path = saved(tmp_path / "photo.png", encoded(SMALL, "PNG"))
    assert error_of(path, max_frame_pixels=96 * 64 - 1).reason == "too_large"
    with open_media(path, limits=VideoLimits(max_frame_pixels=96 * 64)) as reader:
        assert reader.num_frames == 1


def test_too_many_bytes_are_refused(tmp_path, monkeypatch):
    path = saved(tmp_path / "photo.png", encoded(SMALL, "PNG"))
    monkeypatch.setattr(photo_reader, "MAX_PHOTO_BYTES", path.stat().st_size - 1)
    assert error_of(path).reason == "too_large"


def test_a_jpeg_of_endless_scans_is_refused(tmp_path):
    content = encoded(SMALL, "JPEG", progressive=True)
    scan = content[content.index(b"\xff\xda") : -2]
    bomb = content[:-2] + scan * photo_reader.MAX_JPEG_SCANS + b"\xff\xd9"
    assert "scans" in error_of(saved(tmp_path / "photo.jpg", bomb)).message


def test_the_search_for_a_second_picture_of_a_gif_ends(tmp_path):
    # A comment of sub-blocks of one byte each (GIF89a, 24): two bytes of the file for each of them.
    start = encoded(SMALL, "GIF")[:-1] + b"\x21\xfe"
    for num_blocks, is_animated in ((1000, False), (MAX_GIF_BLOCKS, True)):
        path = saved(tmp_path / "photo.gif", start + b"\x01a" * num_blocks + b"\x00;" + bytes(10_000_000))
        with path.open("rb", buffering=0) as file:
            assert is_animated_gif(file) is is_animated
            assert file.tell() < len(start) + 2 * num_blocks + 100_000
        with path.open("rb", buffering=0) as file:
            assert photo_format(file) == (None if is_animated else "GIF")
            assert file.tell() == 0


def test_the_file_of_a_gif_is_read_in_large_pieces():
    class Counted(io.BytesIO):
        num_reads = 0

        def readinto(self, buffer) -> int:
            self.num_reads += 1
            return super().readinto(buffer)

    file = Counted(encoded(SMALL, "GIF")[:-1] + b"\x21\xfe" + b"\x01a" * 100_000 + b"\x00;")
    assert not is_animated_gif(file)
    assert file.num_reads <= 5  # 200 KB


def test_a_webp_of_endless_chunks_is_refused(tmp_path):
    header = b"RIFF\x00\x00\x00\x00WEBP"
    error = error_of(saved(tmp_path / "photo.webp", header + bytes(8 * (MAX_WEBP_CHUNKS + 1))))
    assert (error.reason, "chunks" in error.message) == ("decode_error", True)


PRIVATE_CHUNK = bytes(4) + b"prVt" + struct.pack(">I", zlib.crc32(b"prVt"))


@pytest.mark.parametrize(("kind", "place", "part"), [("PNG", 33, PRIVATE_CHUNK), ("JPEG", 2, b"\xff\xfe\x00\x02")])
def test_a_photo_of_endless_parts_is_refused(kind, place, part, tmp_path, monkeypatch):
    monkeypatch.setattr(photo_reader, "MAX_READS", 3000)
    content = encoded(SMALL, kind)
    few, many = (content[:place] + part * number + content[place:] for number in (500, 3000))
    assert pixels_of(saved(tmp_path / "few", few)).shape == SMALL.shape
    error = error_of(saved(tmp_path / "many", many))
    assert (error.reason, "tiny parts" in error.message) == ("unsupported", True)


def test_the_time_for_the_header_of_a_photo_is_limited(tmp_path):
    content = encoded(SMALL, "PNG")
    path = saved(tmp_path / "photo.png", content[:33] + PRIVATE_CHUNK * 100_000 + content[33:])
    with pytest.raises(VideoError) as caught, open_media(path, limits=VideoLimits(max_read_s=0.01)):
        pass
    assert caught.value.reason == "timeout"


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_the_limit_of_the_length_applies_to_animations(kind, tmp_path):
    path = tmp_path / "moving"
    pictures = [Image.fromarray(np.roll(SMALL, number, axis=1)) for number in range(3)]
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=1000)
    assert error_of(path, max_duration_s=2).reason == "too_large"
    with open_media(path, limits=VideoLimits(max_duration_s=3)) as reader:
        assert reader.duration_s == pytest.approx(3.0)


def test_a_photo_whose_header_is_cut_off_is_said_to_have_no_readable_header(tmp_path):
    error = error_of(saved(tmp_path / "photo.png", encoded(SMALL, "PNG")[:40]))
    assert error.message == "the picture is damaged or incomplete (its header cannot be read); copy it again"


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_photo_is_one_sentence(kind, share, tmp_path):
    content = encoded(FACE, kind)
    error = error_of(saved(tmp_path / "photo.jpg", content[: int(len(content) * share)]))
    assert error.reason in ("decode_error", "unsupported")


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_leads_to_pixels_or_to_one_sentence(kind, tmp_path):
    content, chance = encoded(SMALL, kind), np.random.default_rng(0)
    for number in range(40):
        damaged = bytearray(content)
        for place in chance.integers(8, len(content), 1 + number % 5):
            damaged[place] = chance.integers(256)
        path = saved(tmp_path / "photo", bytes(damaged))
        try:
            assert pixels_of(path).dtype == np.uint8
        except VideoError as error:
            assert "\n" not in str(error)  # noqa: PT017


def test_a_photo_with_the_name_of_a_video_is_a_photo_and_says_so(tmp_path, detector):
    result = detector.score(saved(tmp_path / "clip.mp4", encoded(FACE, "JPEG")))
    assert (result.status, result.media) == ("ok", "image")
    assert "the file is a picture in JPEG format, although its name ends in .mp4" in result.warnings


def test_a_video_with_the_name_of_a_photo_is_a_video_and_says_so(tmp_path):
    clip = write_sample_video(tmp_path / "clip.mp4", num_frames=5)
    with open_media(clip.rename(tmp_path / "photo.jpg")) as reader:
        assert (reader.is_photo, reader.num_frames) == (False, 5)
        assert reader.warnings == ["the file is a video, although its name ends in .jpg"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<!DOCTYPE html><html></html>", "text"),
        (b"", "empty"),
        (encoded(SMALL, "BMP"), "convert it to JPEG or PNG"),
        (encoded(SMALL, "TIFF"), "convert it to JPEG or PNG"),
    ],
    ids=["web page", "empty", "BMP", "TIFF"],
)
def test_what_is_no_photo_is_refused_by_its_kind(content, said, tmp_path):
    error = error_of(saved(tmp_path / "photo.jpg", content))
    assert error.reason == "unsupported"
    assert said in error.message


def test_what_follows_a_photo_in_its_file_is_never_opened(tmp_path):
    clip = write_sample_video(tmp_path / "clip.mp4", num_frames=5).read_bytes()
    photo = saved(tmp_path / "photo.jpg", encoded(SMALL, "JPEG"))
    for name, appended in (("motion.jpg", clip), ("archive.jpg", b"PK\x03\x04" + bytes(99)), ("page.jpg", b"<html>")):
        path = saved(tmp_path / name, photo.read_bytes() + appended)
        assert np.array_equal(pixels_of(path), pixels_of(photo))
        with open_media(path) as reader:
            assert any("motion photo" in warning for warning in reader.warnings) == (name == "motion.jpg")


def test_of_several_pictures_in_a_file_the_first_is_scored(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(SMALL).save(stream, "MPO", save_all=True, append_images=[Image.fromarray(SMALL[::-1])])
    path = saved(tmp_path / "photo.jpg", stream.getvalue())
    with open_media(path) as reader:
        assert reader.is_photo
        assert reader.warnings == ["the file contains several pictures; only the first one was scored"]
    assert np.abs(pixels_of(path).astype(int) - SMALL).mean() < 10


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "GIF"])
def test_an_animated_picture_is_a_video(kind, tmp_path, detector):
    pictures = [Image.fromarray(draw_face(number / 5)) for number in range(6)]
    path = tmp_path / f"moving.{kind.lower()}"
    durations = [100, 200, 300, 100, 100, 400]
    pictures[0].save(path, kind, save_all=True, append_images=pictures[1:], duration=durations, lossless=True)
    with open_media(path) as reader:
        assert not reader.is_photo
        assert reader.timestamps_s.tolist() == pytest.approx([0.0, 0.1, 0.3, 0.6, 0.7, 0.8])
        assert reader.duration_s == pytest.approx(1.2)
        assert [index for index, _ in reader.frames([5, 2])] == [2, 5]
        if kind == "WEBP":
            assert all(np.array_equal(frame, pictures[index]) for index, frame in reader.frames(range(6)))
    result = detector.score(path)
    assert (result.status, result.media, len(result.timeline)) == ("ok", "video", 1)


def test_a_model_of_sequences_refuses_a_photo(tmp_path, capsys):
    photo = saved(tmp_path / "photo.png", encoded(FACE, "PNG"))
    models = [save_tiny_model(tmp_path / name, recurrence=name) for name in ("sequence", "per-frame")]
    assert main(["predict", str(photo), "--model", models[0], "--json"]) == 1
    (refused,) = json.loads(capsys.readouterr().out)
    assert (refused["status"], refused["media"]) == ("unsupported", "image")
    assert refused["message"] == f"{photo}: {SEQUENCE_HINT}"
    jsonschema.validate(refused, SCHEMA)
    assert main(["predict", str(photo), "--model", models[1], "--json"]) == 0


def test_a_photo_has_face_crops_and_heat_maps(tmp_path, detector):
    red = np.clip(FACE[:, 180:460] * np.array([1.3, 0.7, 0.7]), 0, 255).astype(np.uint8)
    path = saved(tmp_path / "photo.png", encoded(np.hstack([FACE[:, 180:460], red]), "PNG"))
    examination = detector.examine(path, with_evidence=True)
    result, evidence = examination.result, examination.evidence
    assert (len(result.faces), result.label, result.timeline, examination.windows) == (2, "fake", [], ())
    assert evidence.still.track_ids == [0, 1]
    assert {thumbnail.track_id for thumbnail in evidence.thumbnails} == {0, 1}
    (heatmap,) = evidence.heatmaps
    assert heatmap.fake_probability == result.fake_probability
    assert heatmap.track_id == result.decisive_track_id


def test_report_and_explanation_speak_of_a_photo_and_of_no_time(tmp_path, detector):
    path = saved(tmp_path / "photo.png", encoded(FACE, "PNG"))
    examination = detector.examine(path, with_evidence=True)
    page = render_report([examination.result], [examination.evidence]).replace(examination.result.created, "")
    assert "the photo may be real or manipulated" in page
    assert PHOTO_WARNING in page
    assert "data:image/jpeg" in page
    assert "0:00" not in page
    said = dict(explain(examination.result))
    assert said["When"] == ["A photo has no timeline: it shows nothing about motion and time."]
    assert not any("video of" in sentence or "0:00" in sentence for part in said.values() for sentence in part)


def test_a_photo_cannot_be_annotated(tmp_path, capsys):
    photo = saved(tmp_path / "photo.png", encoded(FACE, "PNG"))
    assert main(["predict", str(photo), "--annotate", str(tmp_path / "copy.mp4"), "--quiet"]) == 1
    assert "--annotate is for videos" in capsys.readouterr().err
    assert not (tmp_path / "copy.mp4").exists()


def test_photos_in_folders_are_scored_only_if_asked_for(tmp_path):
    for name in ("a.mp4", "b.jpg", "c.HEIC", "notes.txt"):
        saved(tmp_path / name, b"")
    found = collect_inputs([str(tmp_path)])
    assert ([Path(path).name for path in found.paths], found.num_others, found.num_photos) == (["a.mp4"], 3, 2)
    found = collect_inputs([str(tmp_path)], photos=True)
    assert ([Path(path).name for path in found.paths], found.num_others) == (["a.mp4", "b.jpg", "c.HEIC"], 1)
    assert [Path(path).name for path in collect_inputs([f"{tmp_path}/*.jpg"]).paths] == ["b.jpg"]


def test_the_note_on_skipped_files_names_the_way_to_photos(tmp_path, capsys):
    saved(tmp_path / "photo.jpg", b"")
    assert main(["predict", str(tmp_path)]) == 2
    assert "--photos" in capsys.readouterr().err


def test_photos_are_scored_without_torch(tmp_path):
    photo = saved(tmp_path / "photo.jpg", encoded(FACE, "JPEG"))
    script = (
        "import sys; from deepfake_video.cli import main; code = main(['predict', sys.argv[1], '--quiet']); "
        "sys.exit(code or int(bool({'torch', 'transformers', 'pillow_heif'} & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(photo)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_the_reader_of_videos_still_refuses_photos(tmp_path):
    path = saved(tmp_path / "photo.jpg", encoded(SMALL, "JPEG"))
    with pytest.raises(UnsupportedVideoError, match="still picture"):
        VideoReader(path)


HEIC_HEAD = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def test_without_its_package_a_heic_photo_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = error_of(saved(tmp_path / "photo.heic", HEIC_HEAD + bytes(100)))
    assert error.reason == "unsupported"
    assert "pip install 'deepfake-video[heic]'" in error.message


def test_a_heic_photo_is_upright_whatever_its_exif_data_says(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = Image.fromarray(np.ascontiguousarray(STORED[6](FACE)))
    pillow_heif.from_pillow(turned).save(tmp_path / "photo.heic", exif=exif.tobytes(), quality=-1)
    with pillow_heif.open_heif(tmp_path / "photo.heic").to_pillow() as expected:
        assert np.array_equal(pixels_of(tmp_path / "photo.heic"), np.asarray(expected))
    content = (tmp_path / "photo.heic").read_bytes()
    assert error_of(saved(tmp_path / "cut.heic", content[: len(content) // 2])).reason == "decode_error"
    assert error_of(tmp_path / "photo.heic", max_frame_pixels=1000).reason == "too_large"
