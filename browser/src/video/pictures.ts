// SPDX-License-Identifier: Apache-2.0
/** Where the pictures of a video come from: a decoder, or a video element of the page. */

import type { Picture } from "./picture";

/** One picture, or `null` where it cannot be decoded, for each of some ascending indices. */
export type PictureStream = (
  indices: readonly number[],
  warn: (sentence: string) => void,
) => AsyncGenerator<Picture | null, undefined>;

/** Shows a frame at a time in seconds with a video element; `null` if that cannot play the video. */
export type AskForFrame = (time: number) => Promise<ImageBitmap | null>;

/** Tells the caller that the work goes on, and lets its messages through; throws `Cancelled` if it wants no more. */
export type Pause = () => Promise<void>;

/** The middle of a frame's time, so that no rounding chooses its neighbour. */
export function middleOf(shown: readonly number[], index: number): number {
  const next = shown[index + 1];
  return next === undefined ? shown[index] + 1e-3 : (shown[index] + next) / 2;
}

/** The frames that a video element shows, in the colours of the browser. */
export function playedPictures(shown: readonly number[], ask: AskForFrame): PictureStream {
  return async function* (indices): AsyncGenerator<Picture | null, undefined> {
    for (const index of indices) {
      const bitmap = await ask(middleOf(shown, index));
      yield bitmap && takePixels(bitmap, bitmap.width, bitmap.height);
    }
    return undefined;
  };
}

/** The pixels of an image, which is closed; transparent parts are white. */
export function takePixels(image: ImageBitmap | VideoFrame, width: number, height: number): Picture {
  try {
    return drawPixels(image, width, height);
  } finally {
    image.close();
  }
}

function drawPixels(image: ImageBitmap | VideoFrame, width: number, height: number): Picture {
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  if (context === null) throw new Error("no canvas");
  context.fillStyle = "white";
  context.fillRect(0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const rgb = new Uint8Array(width * height * 3);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) rgb[3 * i + c] = data[4 * i + c];
  }
  return { width, height, data: rgb };
}
