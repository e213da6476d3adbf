// SPDX-License-Identifier: Apache-2.0
/** Recognises photos, and reads their size before anything is decoded; see `scanning/photo_formats.py`. */

import type { Size } from "../faces/detection";
import { tagAt } from "./bytes";

export type PhotoFormat = "jpeg" | "png" | "webp";

/** What a photo says about itself; no size if it is damaged. */
export interface PhotoHead {
  size: Size | null;
  isAnimated: boolean;
}

/** Markers of JPEG between C0 and CF that begin no frame: DHT, JPG and DAC. */
const NO_FRAMES = [0xc4, 0xc8, 0xcc];
const WEBP_ANIMATION = 0x02;

/** The format of a photo by its first bytes; `null` for anything else. */
export function photoFormat(head: Uint8Array): PhotoFormat | null {
  const text = String.fromCharCode(...head.subarray(0, 12));
  if (text.startsWith("\xff\xd8\xff")) return "jpeg";
  if (text.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  return text.startsWith("RIFF") && text.endsWith("WEBP") ? "webp" : null;
}

export function readPhotoHead(content: Uint8Array, format: PhotoFormat): PhotoHead {
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  try {
    if (format === "jpeg") return { size: jpegSize(view), isAnimated: false };
    if (format === "png") return readPng(view);
    return readWebp(view);
  } catch (error) {
    if (error instanceof RangeError) return { size: null, isAnimated: false };
    throw error;
  }
}

/** The size in the header of the frame (ITU-T T.81, B.2.2), behind other segments. */
function jpegSize(view: DataView): Size | null {
  let place = 2;
  while (view.getUint8(place) === 0xff) {
    const marker = view.getUint8(place + 1);
    if (marker >= 0xc0 && marker <= 0xcf && !NO_FRAMES.includes(marker)) {
      return [view.getUint16(place + 7), view.getUint16(place + 5)];
    }
    // A marker may be preceded by any number of FF.
    place += marker === 0xff ? 1 : 2 + view.getUint16(place + 2);
  }
  return null;
}

/** The chunk IHDR comes first; acTL, which tells how many pictures an animation has, comes before the picture. */
function readPng(view: DataView): PhotoHead {
  const size: Size = [view.getUint32(16), view.getUint32(20)];
  for (let place = 8; place + 8 <= view.byteLength; place += 12 + view.getUint32(place)) {
    const kind = tagAt(view, place + 4);
    if (kind === "acTL") return { size, isAnimated: view.getUint32(place + 8) !== 1 };
    if (kind === "IDAT") break;
  }
  return { size, isAnimated: false };
}

function readWebp(view: DataView): PhotoHead {
  const kind = tagAt(view, 12);
  if (kind === "VP8X") {
    const side = (place: number): number => 1 + view.getUint16(place, true) + (view.getUint8(place + 2) << 16);
    return { size: [side(24), side(27)], isAnimated: (view.getUint8(20) & WEBP_ANIMATION) !== 0 };
  }
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return { size: [1 + (bits & 0x3fff), 1 + ((bits >> 14) & 0x3fff)], isAnimated: false };
  }
  const size: Size = [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff];
  return { size: kind === "VP8 " ? size : null, isAnimated: false };
}
