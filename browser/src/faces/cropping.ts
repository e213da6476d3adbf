// SPDX-License-Identifier: Apache-2.0
/** Cropping faces; see `face_cropping.py`. */

import { modulo, roundHalfEven } from "../numeric";
import type { Picture } from "../video/picture";
import { newPicture, turn } from "../video/picture";
import type { Box, Size } from "./detection";
import { rescaleBox } from "./detection";

/** The settings of a processor that shape a crop. */
export interface CropSettings {
  face_margin: number;
  face_square: boolean;
  face_padding: "reflect" | "zero";
}

/** Crop a face, for a box in pixels of a picture of `size`, and turn it upright. */
export function cropUpright(
  frame: Picture,
  box: Box,
  quarterTurns: number,
  settings: CropSettings,
  size: Size | null,
): Picture {
  return turn(cropFace(frame, rescaleBox(box, size, [frame.width, frame.height]), settings), quarterTurns);
}

function cropFace(frame: Picture, box: Box, settings: CropSettings): Picture {
  const longest = Math.max(frame.width, frame.height);
  const [x0, y0, x1, y1] = box.map((value) => Math.min(Math.max(value, -longest), 2 * longest));
  let sides = [Math.abs(x1 - x0) * settings.face_margin, Math.abs(y1 - y0) * settings.face_margin];
  if (settings.face_square) sides = [Math.max(...sides), Math.max(...sides)];
  const [width, height] = sides.map((side) => Math.min(Math.max(roundHalfEven(side), 1), 2 * longest));
  const left = roundHalfEven((x0 + x1 - width) / 2);
  const top = roundHalfEven((y0 + y1 - height) / 2);
  const crop = newPicture(width, height);
  const isZero = settings.face_padding === "zero";
  for (let row = 0; row < height; row++) {
    const y = top + row;
    if (isZero && (y < 0 || y >= frame.height)) continue;
    const sourceRow = reflect(y, frame.height) * frame.width;
    for (let column = 0; column < width; column++) {
      const x = left + column;
      if (isZero && (x < 0 || x >= frame.width)) continue;
      const from = (sourceRow + reflect(x, frame.width)) * 3;
      const to = (row * width + column) * 3;
      crop.data[to] = frame.data[from];
      crop.data[to + 1] = frame.data[from + 1];
      crop.data[to + 2] = frame.data[from + 2];
    }
  }
  return crop;
}

/** Map a position outside 0 to `length - 1` by repeated reflection at the first and last pixel. */
function reflect(position: number, length: number): number {
  if (position >= 0 && position < length) return position;
  if (length === 1) return 0;
  const period = 2 * (length - 1);
  const folded = modulo(position, period);
  return Math.min(folded, period - folded);
}
