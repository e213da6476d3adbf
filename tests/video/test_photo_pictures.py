# SPDX-License-Identifier: Apache-2.0
"""Still pictures have the colours that their profile says, whatever its name is."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from deepfake_video.photo_pictures import to_displayed_pixels


# Red, green and blue of sRGB in XYZ, adapted to the white D50 of profiles, as in the sRGB profile of HP (1998).
PRIMARIES = {b"r": (0.4361, 0.2225, 0.0139), b"g": (0.3851, 0.7169, 0.0971), b"b": (0.1431, 0.0606, 0.7141)}
LEVELS = np.arange(256, dtype=np.uint8)
GREYS = np.repeat(LEVELS.reshape(16, 16)[..., None], 3, axis=2)


def rgb_profile(name: str, curve: bytes) -> bytes:
    """An ICC profile (ICC.1:2001-04) with the primaries of sRGB and one tone curve."""

    def xyz(*values: float) -> bytes:
        return b"XYZ " + bytes(4) + struct.pack(">3i", *(round(value * 65536) for value in values))

    text = name.encode("ascii") + b"\0"
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", len(text)) + text + bytes(78)}
    tags[b"wtpt"] = xyz(0.9642, 1.0, 0.8249)
    for letter, values in PRIMARIES.items():
        tags |= {letter + b"XYZ": xyz(*values), letter + b"TRC": b"curv" + bytes(4) + curve}
    table, data = struct.pack(">I", len(tags)), b""
    for tag, content in tags.items():
        table += tag + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", 128 + len(table) + len(data), bytes(4), 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    header += struct.pack(">6H4s", 2026, 1, 1, 0, 0, 0, b"acsp") + bytes(28) + xyz(0.9642, 1.0, 0.8249)[8:]
    return header.ljust(128, b"\0") + table + data


def shown(pixels: np.ndarray, profile: bytes) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", icc_profile=profile)
    return to_displayed_pixels(Image.open(stream))


@pytest.mark.parametrize("name", ["GIMP built-in Linear sRGB", "sRGB-elle-V2-g10.icc"])
def test_linear_light_is_encoded_although_the_profile_is_called_srgb(name):
    # A curve without entries is the identity. The encoding is that of IEC 61966-2-1.
    light = LEVELS / 255
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    expected = np.repeat((255 * encoded).reshape(16, 16)[..., None], 3, axis=2)
    found = shown(GREYS, rgb_profile(name, struct.pack(">I", 0)))
    assert np.abs(found - expected).max() <= 1


def test_the_curve_of_srgb_changes_nothing_although_the_profile_has_another_name():
    code = np.linspace(0, 1, 1024)
    light = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
    curve = struct.pack(">I1024H", 1024, *np.rint(65535 * light).astype(int).tolist())
    colors = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    assert np.array_equal(shown(colors, rgb_profile("mine", curve)), colors)


def test_the_profile_that_pillow_writes_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert np.array_equal(shown(GREYS, profile), GREYS)
