# SPDX-License-Identifier: Apache-2.0
"""Colours of decoded frames: HDR and wide-gamut pictures are mapped to SDR with BT.709 primaries.

HDR (PQ or HLG, ITU-R BT.2100) is decoded to display light, with the system gamma of 1.2 for HLG at its nominal peak of
1,000 cd/m2. The EETF of ITU-R BT.2390 maps it to the 100 cd/m2 of an SDR reference display: light below about
30 cd/m2 keeps its level and highlights are compressed. The curve is applied to the largest of R, G and B, which keeps
the hue. Then the primaries are converted, colours outside BT.709 are clipped, and the result is encoded for a
BT.1886 display. Wide-gamut SDR takes only the last three steps.

All other frames are converted by the matrix and range that the stream declares, as BT.601 and limited range where it
declares none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, VideoReformatter


__all__ = ["UnsupportedColorError", "check_matrix", "color_note", "put_on_white", "to_rgb"]

# Light in cd/m2: peak of the HDR source (nominal for HLG, usual for PQ) and of the SDR reference display (BT.2035).
SOURCE_PEAK, TARGET_PEAK = 1000.0, 100.0
DISPLAY_GAMMA = 2.4
_HLG_GAMMA = 1.2
_HDR = {int(ColorTrc.SMPTE2084): "PQ", int(ColorTrc.ARIB_STD_B67): "HLG"}
_UNSPECIFIED = int(ColorPrimaries.UNSPECIFIED)
# Chromaticities (x, y) of red, green and blue; white is D65 throughout.
_BT709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
_WIDE = {
    int(ColorPrimaries.BT2020): ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))),
    int(ColorPrimaries.SMPTE432): ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))),
}
_D65 = (0.3127, 0.3290)
# Matrix coefficients (ITU-T H.273, table 4) for which libswscale has no conversion to RGB.
_UNSUPPORTED_MATRICES = {
    **{8: "YCgCo", 10: "BT.2020 constant luminance", 11: "YDzDx", 12: "chroma-derived", 13: "chroma-derived"},
    **{14: "ICtCp", 15: "IPT-C2", 16: "YCgCo-Re", 17: "YCgCo-Ro"},
}
_RESERVED_MATRIX = 3
# Entries of the tables; those that are indexed by light are spaced by its square root, finer in the shadows.
_ENTRIES = 1 << 16
# Levels of full range for those of limited range, 16 to 235 (ITU-R BT.709, 5.6).
_FROM_LIMITED = np.clip(np.round((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
# Rows converted at once, so that intermediate results stay in the processor's cache.
_ROWS = 16


class UnsupportedColorError(ValueError):
    """The colour matrix of a frame cannot be converted to RGB."""


def check_matrix(frame: av.VideoFrame) -> None:
    """Check the colour matrix of a frame. A reserved value is treated as unspecified, as in players.

    Raises:
        UnsupportedColorError: If there is no conversion from the colour matrix of the frame.
    """
    if frame.colorspace in _UNSUPPORTED_MATRICES:
        raise UnsupportedColorError(f"its colour matrix ({_UNSUPPORTED_MATRICES[frame.colorspace]}) is not supported")
    if frame.colorspace == _RESERVED_MATRIX:
        frame.colorspace = _UNSPECIFIED


def to_rgb(frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Convert a frame that passed `check_matrix` to (H, W, 3) uint8 SDR RGB with BT.709 primaries.

    Raises:
        av.FFmpegError: If the pixel format cannot be converted.
    """
    if color_note(frame) is None:
        pixels = _packed_pixels(reformatter.reformat(frame, format="rgb24", threads=1))
        # libswscale takes grey frames for full range, whatever they declare.
        is_limited_grey = frame.format.name.startswith("gray") and frame.color_range == ColorRange.MPEG
        return _FROM_LIMITED[pixels] if is_limited_grey else pixels
    is_declared = frame.colorspace != _UNSPECIFIED or "yuv" not in frame.format.name
    matrix = None if is_declared else Colorspace.BT2020
    # Not packed 16-bit RGB: for odd widths, libswscale leaves its last column unwritten (8-bit video) or takes its
    # chroma from wrong places (10 bits), and for 8-bit video of any width it is off by two levels of 255.
    wide = reformatter.reformat(frame, format="gbrp16le", src_colorspace=matrix, threads=1)
    return _map_to_sdr(_planar_pixels(wide), frame.color_trc, frame.color_primaries)


def color_note(frame: av.VideoFrame) -> str | None:
    """Describe the mapping that `to_rgb` applies in a sentence; `None` for ordinary SDR, which is not mapped."""
    name = _WIDE[frame.color_primaries][0] if frame.color_primaries in _WIDE else ""
    if frame.color_trc in _HDR:
        kind = ", ".join(filter(None, (_HDR[frame.color_trc], name)))
        return f"the picture is HDR ({kind}): it was tone-mapped to SDR before scoring"
    return f"the colours are wide-gamut ({name}): they were converted to BT.709 before scoring" if name else None


def put_on_white(picture: np.ndarray, frame: av.VideoFrame, reformatter: VideoReformatter) -> np.ndarray:
    """Return the (H, W, 3) uint8 picture of a frame with its transparent parts on white, as viewers show them.

    Raises:
        av.FFmpegError: If the pixel format cannot be converted.
    """
    if not any(component.is_alpha for component in frame.format.components):
        return picture
    opacity = _packed_pixels(reformatter.reformat(frame, format="rgba", threads=1), 4)[..., 3:]
    if (opacity == 255).all():
        return picture
    return (255 - ((255 - picture.astype(np.uint16)) * opacity + 127) // 255).astype(np.uint8)


def _packed_pixels(frame: av.VideoFrame, channels: int = 3) -> np.ndarray:
    """Pixels of a packed 8-bit frame as (H, W, channels), without a copy."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)  # type: ignore[call-overload]
    pixels: np.ndarray = rows[:, : frame.width * channels].reshape(frame.height, frame.width, channels)
    return pixels


def _planar_pixels(frame: av.VideoFrame) -> np.ndarray:
    """Pixels of a planar 16-bit RGB frame, whose planes are green, blue and red, as (H, W, 3)."""
    green, blue, red = (
        np.frombuffer(plane, np.uint16).reshape(plane.height, -1)[:, : frame.width]  # type: ignore[call-overload]
        for plane in frame.planes
    )
    return np.stack([red, green, blue], axis=-1)


def _map_to_sdr(pixels: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """(H, W, 3) uint16 RGB in the given encoding to uint8 SDR RGB with BT.709 primaries."""
    tables = _tables(transfer)
    if transfer in _HDR and primaries == _UNSPECIFIED:
        primaries = int(ColorPrimaries.BT2020)
    to_bt709 = _matrix_to_bt709(primaries)
    luminance = _xyz_matrix(_WIDE[int(ColorPrimaries.BT2020)][1])[1].astype(np.float32)
    mapped = np.empty(pixels.shape, np.uint8)
    for first in range(0, len(pixels), _ROWS):
        rows = pixels[first : first + _ROWS]
        light = tables.light[rows]
        if transfer == ColorTrc.ARIB_STD_B67:
            # BT.2100, table 5: the display light is Y ** (gamma - 1) times the scene light.
            light *= (light @ luminance)[..., None] ** np.float32(_HLG_GAMMA - 1)
        if tables.gain is not None:
            largest = np.maximum(np.maximum(light[..., 0], light[..., 1]), light[..., 2])
            light *= tables.gain[_index(largest)][..., None]
        mapped[first : first + _ROWS] = tables.code[_index(light.reshape(-1, 3) @ to_bt709.T)].reshape(rows.shape)
    return mapped


def _index(light: np.ndarray) -> np.ndarray:
    """Positions in a table that is spaced by the square root of light in [0, 1]."""
    return (np.sqrt(np.clip(light, 0, 1)) * (_ENTRIES - 1) + np.float32(0.5)).astype(np.uint16)


@dataclass(frozen=True)
class _Tables:
    """Functions of one channel with 65,536 entries each.

    Attributes:
        light: Maps 16-bit code values to light relative to the peak of the source (scene light for HLG).
        gain: Maps light relative to the peak of the source to the factor that gives light relative to the peak of the
            target. `None` for SDR, where both are the same.
        code: Maps light relative to the peak of the target to 8-bit code values.
    """

    light: np.ndarray
    gain: np.ndarray | None
    code: np.ndarray


@cache
def _tables(transfer: int) -> _Tables:
    grid = np.linspace(0, 1, _ENTRIES)
    # Decoding each of the two encodings; for everything else the inverse of what encodes the result.
    decode = {"PQ": lambda code: np.minimum(_pq_to_light(code) / SOURCE_PEAK, 1), "HLG": _hlg_to_light}
    light = decode[_HDR[transfer]](grid) if transfer in _HDR else grid**DISPLAY_GAMMA
    gain = None
    if transfer in _HDR:
        source = np.maximum(grid, 1e-6) ** 2 * SOURCE_PEAK
        gain = (_compress(source) / TARGET_PEAK / (source / SOURCE_PEAK)).astype(np.float32)
    code = np.rint(255 * (grid**2) ** (1 / DISPLAY_GAMMA)).astype(np.uint8)
    return _Tables(light=light.astype(np.float32), gain=gain, code=code)


def _pq_to_light(code: np.ndarray) -> np.ndarray:
    """The EOTF of PQ (BT.2100, table 4): code values in [0, 1] to cd/m2."""
    root = code ** (32 / 2523)
    return 10_000 * (np.maximum(root - 107 / 128, 0) / (2413 / 128 - 2392 / 128 * root)) ** (8192 / 1305)


def _light_to_pq(light: np.ndarray | float) -> np.ndarray:
    root = (np.asarray(light) / 10_000) ** (1305 / 8192)
    return ((107 / 128 + 2413 / 128 * root) / (1 + 2392 / 128 * root)) ** (2523 / 32)


def _hlg_to_light(code: np.ndarray) -> np.ndarray:
    """The inverse OETF of HLG (BT.2100, table 5): code values to scene light, both in [0, 1]."""
    a = 0.17883277
    b, c = 1 - 4 * a, 0.5 - a * np.log(4 * a)
    return np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)


def _compress(light: np.ndarray) -> np.ndarray:
    """The EETF of BT.2390 (5.4.1) from the peak of the source to that of the target, blacks at 0: cd/m2 to cd/m2."""
    peak = _light_to_pq(SOURCE_PEAK)
    code, target = _light_to_pq(light) / peak, _light_to_pq(TARGET_PEAK) / peak
    knee = 1.5 * target - 0.5
    t = np.clip((code - knee) / (1 - knee), 0, 1)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * target
    return _pq_to_light(np.where(code < knee, code, spline) * peak)


def _xyz_matrix(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
    """(3, 3) matrix from linear RGB to CIE XYZ (SMPTE RP 177)."""
    columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in (*primaries, _D65)]).T
    scale = np.linalg.solve(columns[:, :3], columns[:, 3])
    return np.asarray(columns[:, :3] * scale)


@cache
def _matrix_to_bt709(primaries: int) -> np.ndarray:
    """(3, 3) float32 matrix from linear RGB with these primaries; those that are not wide count as BT.709."""
    source = _WIDE[primaries][1] if primaries in _WIDE else _BT709
    return np.linalg.solve(_xyz_matrix(_BT709), _xyz_matrix(source)).astype(np.float32)
