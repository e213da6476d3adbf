# SPDX-License-Identifier: Apache-2.0
"""Decode on an NVIDIA GPU (NVDEC), through the hardware devices of libav that PyAV includes.

Only codecs whose standard determines every sample of a picture are decoded there, so an intact video has the same
frames as on the CPU. What differs is their layout in memory, see `as_planar`.
"""

from __future__ import annotations

import av
from av.codec.hwaccel import HWAccel
from av.video.reformatter import VideoReformatter


__all__ = ["DEVICE_CODECS", "DecodeDeviceError", "as_planar", "find_device"]

# Not MPEG-4 part 2 and others whose inverse transform may be rounded in several ways, nor those without a decoder.
DEVICE_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
# Layouts with interleaved chroma (and, in those of more than 8 bits, with the bits at the upper end), and the planar
# layout of the same samples, as decoders on the CPU return them.
_PLANAR = {
    **{"nv12": "yuv420p", "p010le": "yuv420p10le", "p012le": "yuv420p12le"},
    **{"nv16": "yuv422p", "p210le": "yuv422p10le"},
}
# A decoder of each device that was found, which keeps its CUDA context for the next videos.
_found: dict[str, HWAccel] = {}


class DecodeDeviceError(RuntimeError):
    """No video can be decoded on the requested device."""


def find_device(device: str) -> HWAccel:
    """Return the argument `hwaccel` of `av.open` for a device.

    Args:
        device: `"cuda"` for the first visible GPU, or `"cuda:N"`.

    Raises:
        DecodeDeviceError: If there is no such GPU, no driver, or no support for it in PyAV.
    """
    kind, _, number = device.partition(":")
    # The primary context is the one that torch uses, too.
    accelerator = HWAccel(kind, number or None, options={"primary_ctx": "1"})
    if device not in _found:
        try:
            _found[device] = accelerator.create(av.Codec("h264", "r"))
        except (av.FFmpegError, NotImplementedError) as error:
            # libav gives this error where it cannot load the library of the driver.
            is_missing = isinstance(error, av.error.PermissionError)
            reason = "the NVIDIA driver cannot be loaded" if is_missing else getattr(error, "strerror", str(error))
            message = f"videos cannot be decoded on {device} ({reason})"
            raise DecodeDeviceError(f"{message}; check nvidia-smi, or decode on the CPU") from None
    return accelerator


def as_planar(frame: av.VideoFrame, reformatter: VideoReformatter) -> av.VideoFrame:
    """Return a frame with planar chroma and the same samples and properties; other layouts are returned as they are.

    libswscale interpolates the chroma of the layouts in another way, by up to half of the range of RGB, so the picture
    would depend on the device.
    """
    layout = _PLANAR.get(frame.format.name)
    return frame if layout is None else reformatter.reformat(frame, format=layout, threads=1)
