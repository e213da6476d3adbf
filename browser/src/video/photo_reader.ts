// SPDX-License-Identifier: Apache-2.0
/** Reads a photo as a source of one frame; see `scanning/photo_reader.py`. */

import { constants } from "../constants";
import { texts } from "../texts";
import { VideoError } from "./errors";
import type { FrameSource } from "./frame_source";
import type { PhotoFormat } from "./photo_formats";
import { readPhotoHead } from "./photo_formats";
import type { Picture } from "./picture";
import { takePixels } from "./pictures";

/** Opens a photo; the browser decodes it, turns it upright as its EXIF data say, and converts it to sRGB. */
export async function openPhoto(file: Blob, format: PhotoFormat): Promise<FrameSource> {
  if (file.size > constants.maxPhotoBytes) throw new VideoError("too_large", texts.errors.tooManyBytes);
  const content = new Uint8Array(await file.arrayBuffer());
  const { size, isAnimated } = readPhotoHead(content, format);
  if (isAnimated) throw new VideoError("unsupported", texts.errors.animated);
  if (size === null) throw new VideoError("decode_error", texts.errors.damagedPhoto);
  const pixels = size[0] * size[1];
  if (pixels > constants.maxFramePixels) throw new VideoError("too_large", texts.errors.tooManyPixels(pixels));
  return photoSource(await decode(new Blob([content], { type: `image/${format}` })), file.size);
}

async function decode(photo: Blob): Promise<Picture> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(photo, { imageOrientation: "from-image" });
  } catch {
    throw new VideoError("decode_error", texts.errors.damagedPhoto);
  }
  return takePixels(bitmap, bitmap.width, bitmap.height);
}

/** A photo whose pixels are known. */
export function photoSource(picture: Picture, numBytes: number): FrameSource {
  return {
    isPhoto: true,
    numFrames: 1,
    numBytes,
    timestamps: [0],
    fps: constants.video.nominalFps,
    durationS: 1 / constants.video.nominalFps,
    gaps: new Map(),
    size: [picture.width, picture.height],
    warnings: [],
    unread: { isCutOff: false, numOtherStreams: 0, undecodable: new Set() },
    async *frames(indices): AsyncGenerator<[number, Picture]> {
      for (const index of indices) yield [index, picture];
    },
    close: () => {},
  };
}
