# SPDX-License-Identifier: Apache-2.0
"""Write the golden set of the page in `browser`: what the package says of files, `make_browser_golden.py FOLDER`.

The folder gets clips and photos, `golden.json` with the result of each, the report of each without its pictures, the
face crops of each as raw bytes, and for some their whole frames, so that tests without a browser can follow every
step. Generated files cover codecs, colours, rotation, the shape of pixels and clocks that jump; `--videos DIR` adds
videos of real people.
"""

import argparse
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import ExifTags, Image

from deepfake_video.scanning.clip_reading import read_open_video
from deepfake_video.scanning.detector import Detector
from deepfake_video.scanning.html_report import render_report
from deepfake_video.scanning.media import open_media
from deepfake_video.scanning.sample import draw_face
from deepfake_video.scanning.settings import ScanSettings


FPS, SECONDS = 12, 3
DATA_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".mpg", ".ts", ".jpg", ".png", ".webp")
# Crops are kept of clips up to this many faces, to bound the size of the set.
FEW_FACES = 2
# The files whose frames are kept.
WITH_FRAMES = ("plain.mp4", "few-frames.mp4", "lying.mp4", "transparent.png")


def encode(
    path: Path,
    pictures: Iterator[np.ndarray],
    *,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int | None = None,
    aspect: Fraction | None = None,
    gap_after: int | None = None,
    gap_s: int = 3,
    options: dict[str, str] | None = None,
    matrix: int | None = None,
) -> None:
    """Write a clip; `gap_after` is the number of the frame that is followed by `gap_s` seconds without one."""
    with av.open(str(path), "w") as container:
        first = next(pictures)
        stream: Any = container.add_stream(codec, rate=FPS, options={"crf": "20", **(options or {})})
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = pix_fmt
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            stream.codec_context.colorspace = matrix
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, picture in enumerate([first, *pictures]):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            if matrix is not None:
                frame = frame.reformat(format=pix_fmt, dst_colorspace=matrix)
            late = gap_s * FPS if gap_after is not None and number > gap_after else 0
            frame.pts, frame.time_base = number + late, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def people(
    *, seconds: float = SECONDS, size: tuple[int, int] | None = None, quarter_turns: int = 0, both: bool = False
) -> Iterator[np.ndarray]:
    """Pictures of one or two drawn people, perhaps of another width and height, perhaps turned."""
    for number in range(round(seconds * FPS)):
        picture = draw_face(number / FPS)
        if both:
            picture = np.hstack([picture[:, 180:460], draw_face(number / FPS + 1.3)[:, 180:460]])
        if size is not None:
            picture = np.asarray(Image.fromarray(picture).resize(size))
        yield np.ascontiguousarray(np.rot90(picture, quarter_turns))


def noise() -> Iterator[np.ndarray]:
    """Pictures without a face."""
    generator = np.random.default_rng(0)
    for _ in range(FPS):
        small = Image.fromarray(generator.integers(90, 160, (9, 16, 3), dtype=np.uint8))
        yield np.asarray(small.resize((320, 180), Image.Resampling.BICUBIC))


def joined(path: Path) -> None:
    """Write two transport streams one behind the other, so that the clock goes back."""
    encode(path, people())
    first = path.read_bytes()
    encode(path, people(both=True))
    path.write_bytes(first + path.read_bytes())


def hidden(path: Path) -> None:
    """Write a VP8 clip in which every tenth picture is hidden, as pictures that only serve others are."""
    encode(path, people(), codec="libvpx", options={"deadline": "realtime", "b:v": "1M"})
    with av.open(str(path)) as source:
        template = source.streams.video[0]
        packets = [packet for packet in source.demux(template) if packet.size]
        with av.open(str(path.with_suffix(".tmp.webm")), "w") as container:
            stream = container.add_stream_from_template(template)
            for number, packet in enumerate(packets):
                content = bytearray(bytes(packet))
                is_hidden = number % 10 == 4
                if is_hidden:
                    content[0] &= ~0x10
                copy = av.Packet(bytes(content))
                # Encoders give a hidden picture the time of the next one.
                copy.pts = copy.dts = packets[number + is_hidden].pts
                copy.time_base, copy.is_keyframe, copy.stream = packet.time_base, packet.is_keyframe, stream
                container.mux(copy)
    path.with_suffix(".tmp.webm").replace(path)


def turned_photo(path: Path) -> None:
    """Write a photo that is stored lying on its side, as cameras do."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(np.rot90(draw_face(0.5))).save(path, quality=90, exif=exif)


def transparent_photo(path: Path) -> None:
    """Write a photo whose left edge is transparent, which is shown in white."""
    pixels = draw_face(0.5)
    opacity = np.full(pixels.shape[:2], 255, np.uint8)
    opacity[:, :40] = np.linspace(0, 255, 40).astype(np.uint8)
    Image.fromarray(np.dstack([pixels, opacity])).save(path)


FILES: dict[str, Callable[[Path], None]] = {
    "plain.mp4": lambda path: encode(path, people()),
    "bt709.mp4": lambda path: encode(path, people(), matrix=1),
    "full-range.mp4": lambda path: encode(path, people(), pix_fmt="yuvj420p"),
    "rotated-90.mp4": lambda path: encode(path, people(quarter_turns=3), rotation=90),
    "rotated-270.mp4": lambda path: encode(path, people(quarter_turns=1), rotation=270),
    "rotated-180.mov": lambda path: encode(path, people(quarter_turns=2), rotation=180),
    "wide-pixels.mp4": lambda path: encode(path, people(size=(480, 360)), aspect=Fraction(4, 3)),
    "tall-pixels.mp4": lambda path: encode(path, people(size=(640, 240)), aspect=Fraction(2, 3)),
    "two-people.mp4": lambda path: encode(path, people(both=True)),
    "vp9.webm": lambda path: encode(path, people(), codec="libvpx-vp9", options={"deadline": "realtime"}),
    "vp8.webm": lambda path: encode(path, people(), codec="libvpx", options={"deadline": "realtime", "b:v": "1M"}),
    "hidden.webm": hidden,
    "groups.mp4": lambda path: encode(path, people(), options={"g": str(FPS)}),
    "matroska.mkv": lambda path: encode(path, people(), options={"bf": "0"}),
    "lying.mp4": lambda path: encode(path, people(quarter_turns=1)),
    "small.mp4": lambda path: encode(path, people(size=(320, 180))),
    "large.mp4": lambda path: encode(path, people(size=(1280, 720))),
    "odd-size.mp4": lambda path: encode(path, people(size=(638, 358))),
    "few-frames.mp4": lambda path: encode(path, people(seconds=0.5)),
    "gap.mp4": lambda path: encode(path, people(), gap_after=22, options={"bf": "0"}),
    "jump.mkv": lambda path: encode(path, people(), gap_after=20, gap_s=7200),
    "joined.ts": joined,
    "yuv444.mp4": lambda path: encode(path, people(), pix_fmt="yuv444p"),
    "ten-bit.mp4": lambda path: encode(path, people(), pix_fmt="yuv420p10le"),
    "no-face.mp4": lambda path: encode(path, noise()),
    "turned.jpg": turned_photo,
    "transparent.png": transparent_photo,
    "pair.webp": lambda path: Image.fromarray(next(people(both=True))).save(path, quality=90),
}


def judge(detector: Detector, path: Path, folder: Path) -> dict[str, Any]:
    """What the package says of a file; its report and the crops go into files."""
    examination = detector.examine(path, with_evidence=True)
    message = examination.result.message and examination.result.message.removeprefix(f"{path}: ")
    found = replace(examination.result, path=path.name, message=message, provenance=None)
    result = found.to_dict()
    report = re.sub(r"base64,[^\"]*", "base64,", render_report([found], [examination.evidence]))
    (folder / f"{path.name}.html").write_text(report, encoding="utf-8")
    entry: dict[str, Any] = {"name": path.name, "result": result, "report": f"{path.name}.html"}
    if result["status"] != "ok" or len(result["faces"]) > FEW_FACES:
        return entry
    with open_media(path) as reader:
        video = read_open_video(path, reader, detector.processors, detector.settings)
        crops = np.concatenate([clip.frames for clip in video.clips[0]])
        (folder / f"{path.name}.crops").write_bytes(crops.tobytes())
        tracks = [(face.track.frame_indices.tolist(), face.track.boxes.tolist()) for face in video.faces[0]]
        entry |= {"crops": f"{path.name}.crops", "tracks": tracks}
        if path.name in WITH_FRAMES:
            frames = dict(reader.frames(range(reader.num_frames)))
            (folder / f"{path.name}.frames").write_bytes(np.stack(list(frames.values())).tobytes())
            size = next(iter(frames.values())).shape
            entry |= {"frames": f"{path.name}.frames", "times": reader.timestamps_s.tolist(), "size": size}
    return entry


def main() -> None:
    """Write the set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--videos", type=Path, help="a folder with videos of real people")
    parser.add_argument("--only", nargs="*", help="names of the generated files to write")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in FILES.items():
        if arguments.only is None or name in arguments.only:
            write(folder / name)
    for video in sorted(arguments.videos.iterdir()) if arguments.videos else ():
        if video.suffix in DATA_SUFFIXES:
            shutil.copyfile(video, folder / video.name)
    detector = Detector(device="cpu", settings=ScanSettings(timeline=True))
    files = [path for path in sorted(folder.iterdir()) if path.suffix in DATA_SUFFIXES]
    entries = [judge(detector, path, folder) for path in files]
    (folder / "golden.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
