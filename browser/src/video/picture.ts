// SPDX-License-Identifier: Apache-2.0
/** Pictures of three channels, their slices, turns and resampling. */

import { modulo, roundHalfEven } from "../numeric";

/** `data` holds `height` rows of `width` pixels of red, green and blue. */
export interface Picture {
  width: number;
  height: number;
  data: Uint8Array;
}

export function newPicture(width: number, height: number): Picture {
  return { width, height, data: new Uint8Array(width * height * 3) };
}

/** The columns `x0` to `x1` and rows `y0` to `y1` of a picture. */
export function slice(picture: Picture, x0: number, y0: number, x1: number, y1: number): Picture {
  const part = newPicture(x1 - x0, y1 - y0);
  for (let y = y0; y < y1; y++) {
    const first = (y * picture.width + x0) * 3;
    part.data.set(picture.data.subarray(first, first + part.width * 3), (y - y0) * part.width * 3);
  }
  return part;
}

/** Turn a picture counterclockwise by `quarterTurns` times 90 degrees, as `numpy.rot90`. */
export function turn(picture: Picture, quarterTurns: number): Picture {
  const turns = modulo(quarterTurns, 4);
  if (turns === 0) return picture;
  const { width, height } = picture;
  const turned = turns === 2 ? newPicture(width, height) : newPicture(height, width);
  for (let y = 0; y < turned.height; y++) {
    for (let x = 0; x < turned.width; x++) {
      const [sourceX, sourceY] =
        turns === 1 ? [width - 1 - y, x] : turns === 2 ? [width - 1 - x, height - 1 - y] : [y, height - 1 - x];
      const from = (sourceY * width + sourceX) * 3;
      const to = (y * turned.width + x) * 3;
      for (let c = 0; c < 3; c++) turned.data[to + c] = picture.data[from + c];
    }
  }
  return turned;
}

/** Mirror a picture left to right. */
export function mirror(picture: Picture): Picture {
  const { width, height } = picture;
  const mirrored = newPicture(width, height);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const from = (y * width + width - 1 - x) * 3;
      const to = (y * width + x) * 3;
      for (let c = 0; c < 3; c++) mirrored.data[to + c] = picture.data[from + c];
    }
  }
  return mirrored;
}

/** Fixed-point weights of a resized axis: output `i` is a weighted sum of `counts[i]` inputs from `starts[i]` on. */
interface Axis {
  starts: Int32Array;
  counts: Int32Array;
  weights: Int32Array;
  taps: number;
  precision: number;
}

/** How many fractional bits the weights have, given the largest of them. */
type Precision = (largest: number) => number;

/** Weights of 16 bits, as torchvision's antialiased `resize` of uint8. */
const torchPrecision: Precision = (largest) => {
  let bits = 0;
  while (bits < 22 && Math.floor(0.5 + largest * 2 ** (bits + 1)) < 1 << 15) bits++;
  return bits;
};
/** The fixed precision of Pillow. */
const pillowPrecision: Precision = () => 22;

/** Resize a picture with an antialiased triangle filter, with the values of `frame_resizing.resize_frame`. */
export function resize(picture: Picture, width: number, height: number): Picture {
  return resample(picture, width, height, picture.width, picture.height, torchPrecision);
}

/** Resize a picture by area averaging, with the values of `face_detection.scale_frame`. */
export function scaleDown(picture: Picture, width: number, height: number): Picture {
  if (picture.width === width && picture.height === height) return picture;
  const factorX = Math.floor(picture.width / width) || 1;
  const factorY = Math.floor(picture.height / height) || 1;
  const reduced = reduce(picture, factorX, factorY);
  // Pillow keeps the part of a picture that it resizes in single precision.
  const [spanX, spanY] = [Math.fround(picture.width / factorX), Math.fround(picture.height / factorY)];
  return resample(reduced, width, height, spanX, spanY, pillowPrecision);
}

/** Average blocks of pixels, as `PIL.Image.reduce`; the last blocks of a row or column may be smaller. */
function reduce(picture: Picture, factorX: number, factorY: number): Picture {
  if (factorX === 1 && factorY === 1) return picture;
  const { width, height, data } = picture;
  const reduced = newPicture(Math.ceil(width / factorX), Math.ceil(height / factorY));
  let to = 0;
  for (let y = 0; y < reduced.height; y++) {
    const rows = Math.min(factorY, height - y * factorY);
    for (let x = 0; x < reduced.width; x++) {
      const columns = Math.min(factorX, width - x * factorX);
      const pixels = rows * columns;
      // Pillow's division by a multiplication with a float32 that is truncated.
      const multiplier = Math.floor(Math.fround(2 ** 32 / (256 * pixels)));
      const half = pixels >> 1;
      let red = half;
      let green = half;
      let blue = half;
      for (let row = 0; row < rows; row++) {
        let from = ((y * factorY + row) * width + x * factorX) * 3;
        for (let column = 0; column < columns; column++) {
          red += data[from++];
          green += data[from++];
          blue += data[from++];
        }
      }
      reduced.data[to++] = (red * multiplier) / 2 ** 24;
      reduced.data[to++] = (green * multiplier) / 2 ** 24;
      reduced.data[to++] = (blue * multiplier) / 2 ** 24;
    }
  }
  return reduced;
}

/** Resample the part of a picture from 0 to `spanX` and `spanY`, columns first. */
function resample(
  picture: Picture,
  width: number,
  height: number,
  spanX: number,
  spanY: number,
  precision: Precision,
): Picture {
  let current = picture;
  if (current.width !== width || spanX !== current.width) {
    current = resampleColumns(current, makeAxis(current.width, spanX, width, precision));
  }
  if (current.height !== height || spanY !== current.height) {
    current = resampleRows(current, makeAxis(current.height, spanY, height, precision));
  }
  return current === picture ? { ...picture, data: picture.data.slice() } : current;
}

function makeAxis(inputs: number, span: number, outputs: number, precisionOf: Precision): Axis {
  const scale = span / outputs;
  const support = Math.max(scale, 1);
  const taps = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(outputs);
  const counts = new Int32Array(outputs);
  const shares = new Float64Array(outputs * taps);
  let largest = 0;
  for (let i = 0; i < outputs; i++) {
    const center = scale * (i + 0.5);
    starts[i] = Math.max(Math.trunc(center - support + 0.5), 0);
    counts[i] = Math.min(Math.trunc(center + support + 0.5), inputs) - starts[i];
    let sum = 0;
    for (let k = 0; k < counts[i]; k++) {
      const share = Math.max(1 - Math.abs((starts[i] + k - center + 0.5) / support), 0);
      shares[i * taps + k] = share;
      sum += share;
    }
    for (let k = 0; k < counts[i]; k++) {
      shares[i * taps + k] /= sum;
      largest = Math.max(largest, shares[i * taps + k]);
    }
  }
  const precision = precisionOf(largest);
  const weights = Int32Array.from(shares, (share) => Math.floor(0.5 + share * 2 ** precision));
  return { starts, counts, weights, taps, precision };
}

function resampleColumns(picture: Picture, axis: Axis): Picture {
  const resized = newPicture(axis.starts.length, picture.height);
  const { data } = picture;
  const half = axis.precision > 0 ? 1 << (axis.precision - 1) : 0;
  let to = 0;
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < resized.width; x++) {
      let from = (y * picture.width + axis.starts[x]) * 3;
      let red = half;
      let green = half;
      let blue = half;
      const last = x * axis.taps + axis.counts[x];
      for (let k = x * axis.taps; k < last; k++) {
        const weight = axis.weights[k];
        red += data[from++] * weight;
        green += data[from++] * weight;
        blue += data[from++] * weight;
      }
      resized.data[to++] = clip(red >> axis.precision);
      resized.data[to++] = clip(green >> axis.precision);
      resized.data[to++] = clip(blue >> axis.precision);
    }
  }
  return resized;
}

function resampleRows(picture: Picture, axis: Axis): Picture {
  const resized = newPicture(picture.width, axis.starts.length);
  const { data } = picture;
  const stride = picture.width * 3;
  const half = axis.precision > 0 ? 1 << (axis.precision - 1) : 0;
  const sums = new Int32Array(stride);
  for (let y = 0; y < resized.height; y++) {
    sums.fill(half);
    for (let k = 0; k < axis.counts[y]; k++) {
      const weight = axis.weights[y * axis.taps + k];
      const from = (axis.starts[y] + k) * stride;
      for (let i = 0; i < stride; i++) sums[i] += data[from + i] * weight;
    }
    const to = y * stride;
    for (let i = 0; i < stride; i++) resized.data[to + i] = clip(sums[i] >> axis.precision);
  }
  return resized;
}

function clip(value: number): number {
  return Math.min(Math.max(value, 0), 255);
}

/** Scale a picture by a factor, both sides rounded as in Python. */
export function scaleBy(picture: Picture, factor: number): Picture {
  const width = Math.max(1, roundHalfEven(picture.width * factor));
  return scaleDown(picture, width, Math.max(1, roundHalfEven(picture.height * factor)));
}
