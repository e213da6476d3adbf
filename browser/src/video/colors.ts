// SPDX-License-Identifier: Apache-2.0
/** From the planes of a decoded frame to red, green and blue, as libswscale converts them. */

import type { VideoCodec } from "mediabunny";
import type { Picture } from "./picture";
import { newPicture } from "./picture";

/** How red and blue weigh in the luma of each matrix (ITU-T H.273, table 4), by the names of WebCodecs. */
const LUMA_WEIGHTS: Record<string, readonly [number, number]> = {
  bt709: [0.2126, 0.0722],
  bt470bg: [0.299, 0.114],
  smpte170m: [0.299, 0.114],
  "bt2020-ncl": [0.2627, 0.0593],
};

/** The matrix and range that a stream declares. */
export interface ColorMatrix {
  matrix: string | null;
  fullRange: boolean;
}

/** What a stream or a frame declares, with what holds if it declares nothing. */
export function colorMatrix({ matrix, fullRange }: VideoColorSpaceInit): ColorMatrix {
  return { matrix: matrix ?? null, fullRange: fullRange ?? false };
}

/**
 * How a browser converted a frame that it offers only as RGB, which is what the frame declares; but Firefox declares
 * BT.709 for VP8, too, whose one matrix is that of BT.601 (RFC 6386, section 9.2) and with which it converts.
 */
export function conversionOf(codec: VideoCodec | null, declared: VideoColorSpaceInit): ColorMatrix {
  return codec === "vp8" ? { matrix: "smpte170m", fullRange: false } : colorMatrix(declared);
}

/** How the chroma planes weigh in red, green and blue; without a declared matrix by that of BT.601. */
function coefficients({ matrix, fullRange }: ColorMatrix): Record<"redV" | "greenU" | "greenV" | "blueU", number> {
  const [red, blue] = LUMA_WEIGHTS[matrix ?? ""] ?? LUMA_WEIGHTS.smpte170m;
  const green = 1 - red - blue;
  const chroma = fullRange ? 1 : 255 / 224;
  return {
    redV: 2 * (1 - red) * chroma,
    greenU: ((-2 * (1 - blue) * blue) / green) * chroma,
    greenV: ((-2 * (1 - red) * red) / green) * chroma,
    blueU: 2 * (1 - blue) * chroma,
  };
}

/** One plane of samples. */
export interface Plane {
  samples: Uint8Array | Uint16Array;
  offset: number;
  /** Samples from one row to the next, and from one pixel to the next. */
  stride: number;
  step: number;
}

/** Luma and the two chroma planes, with the shifts of the chroma's width and height. */
export interface Planes {
  luma: Plane;
  u: Plane;
  v: Plane;
  shiftX: number;
  shiftY: number;
  bits: number;
}

/** Fractional bits of the coefficients of libswscale's fast conversion. */
const COEFFICIENT_BITS = 13;

/** What each level of a plane adds to a colour. */
type Products = (levels: number, zero: number, coefficient: number) => Float64Array;

/** The fast conversion, of 8 bits with half the chroma samples: fixed-point numbers, and every product is rounded down. */
const fastProducts: Products = (levels, zero, coefficient) => {
  const fixed = Math.floor(coefficient * 2 ** COEFFICIENT_BITS + 0.5);
  return Float64Array.from({ length: levels }, (_, level) =>
    Math.floor(((level - zero) * 8 * fixed) / 2 ** (COEFFICIENT_BITS + 3)),
  );
};

/** The conversion of all other planes, which rounds only the sum. */
const exactProducts: Products = (levels, zero, coefficient) =>
  Float64Array.from({ length: levels }, (_, level) => ((level - zero) * coefficient * 256) / levels);

/**
 * Convert planes to a picture with the levels of libswscale.
 *
 * Without a declared matrix it is that of BT.601, and each chroma sample holds for all of its pixels.
 */
export function toRgb(planes: Planes, width: number, height: number, color: ColorMatrix): Picture {
  const exact = coefficients(color);
  const levels = 2 ** planes.bits;
  const products = planes.bits === 8 && planes.shiftX === 1 ? fastProducts : exactProducts;
  const unit = levels / 256;
  const level = products(levels, color.fullRange ? 0 : 16 * unit, color.fullRange ? 1 : 255 / 219);
  const redV = products(levels, 128 * unit, exact.redV);
  const greenU = products(levels, 128 * unit, exact.greenU);
  const greenV = products(levels, 128 * unit, exact.greenV);
  const blueU = products(levels, 128 * unit, exact.blueU);
  const picture = newPicture(width, height);
  const pixels = new Uint8ClampedArray(picture.data.buffer);
  const { luma, u, v, shiftX, shiftY } = planes;
  let to = 0;
  for (let y = 0; y < height; y++) {
    const lumaRow = luma.offset + y * luma.stride;
    const uRow = u.offset + (y >> shiftY) * u.stride;
    const vRow = v.offset + (y >> shiftY) * v.stride;
    for (let x = 0; x < width; x++) {
      const gray = level[luma.samples[lumaRow + x * luma.step]];
      const cb = u.samples[uRow + (x >> shiftX) * u.step];
      const cr = v.samples[vRow + (x >> shiftX) * v.step];
      pixels[to++] = gray + redV[cr];
      pixels[to++] = gray + greenU[cb] + greenV[cr];
      pixels[to++] = gray + blueU[cb];
    }
  }
  return picture;
}

/** libyuv, by which browsers convert, rounds coefficients to 64ths and cuts them at 2. */
function libyuvCoefficient(exact: number): number {
  return Math.min(Math.round(exact * 64), 128) / 64;
}

/**
 * The planes behind a picture that the browser has converted itself, with one chroma sample for four pixels.
 *
 * Some browsers convert every video by one matrix, whatever the stream declares, and offer nothing else. From the planes
 * it can be converted as declared.
 */
export function toPlanes(picture: Picture, color: ColorMatrix): Planes {
  const { width, height, data } = picture;
  const exact = coefficients(color);
  const redV = libyuvCoefficient(exact.redV);
  const blueU = libyuvCoefficient(exact.blueU);
  // Without their sign, as libyuv, which subtracts them.
  const greenU = libyuvCoefficient(-exact.greenU);
  const greenV = libyuvCoefficient(-exact.greenV);
  const [columns, rows] = [Math.ceil(width / 2), Math.ceil(height / 2)];
  const sums = new Float64Array(2 * columns * rows);
  const counts = new Uint8Array(columns * rows);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = 3 * (y * width + x);
      const [r, g, b] = [data[i], data[i + 1], data[i + 2]];
      const gray = (g + (greenU / blueU) * b + (greenV / redV) * r) / (1 + greenU / blueU + greenV / redV);
      const place = (y >> 1) * columns + (x >> 1);
      sums[place] += (b - gray) / blueU;
      sums[columns * rows + place] += (r - gray) / redV;
      counts[place]++;
    }
  }
  const averages = sums.map((sum, i) => Math.round(sum / counts[i % counts.length]));
  const luma = new Uint8ClampedArray(width * height);
  const [black, scale] = color.fullRange ? [0, 1] : [16, 219 / 255];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const place = (y >> 1) * columns + (x >> 1);
      const [u, v] = [averages[place], averages[columns * rows + place]];
      const [r, g, b] = [
        data[3 * i] - redV * v,
        data[3 * i + 1] + greenU * u + greenV * v,
        data[3 * i + 2] - blueU * u,
      ];
      luma[i] = black + ((r + g + b) / 3) * scale;
    }
  }
  const samples = Uint8ClampedArray.from(averages, (average) => 128 + average);
  const plane = (from: Uint8ClampedArray, offset: number, stride: number): Plane => {
    return { samples: new Uint8Array(from.buffer), offset, stride, step: 1 };
  };
  return {
    luma: plane(luma, 0, width),
    u: plane(samples, 0, columns),
    v: plane(samples, columns * rows, columns),
    shiftX: 1,
    shiftY: 1,
    bits: 8,
  };
}

/** Whether a matrix can be converted. */
export function isKnownMatrix(matrix: string | null): boolean {
  return matrix === null || matrix in LUMA_WEIGHTS || matrix === "rgb";
}

/** Inputs of an output of the cubic filter, and its parameter in libswscale. */
const CUBIC_TAPS = 4;
const CUBIC_C = 0.6;

function cubic(distance: number): number {
  const x = Math.abs(distance);
  if (x < 1) return (2 - CUBIC_C) * x ** 3 - (3 - CUBIC_C) * x ** 2 + 1;
  return x < 2 ? CUBIC_C * (-(x ** 3) + 5 * x ** 2 - 8 * x + 4) : 0;
}

/** Enlarge planes with a bicubic filter, for pixels that are not square. */
export function enlarge(planes: Planes, size: readonly [number, number], target: readonly [number, number]): Planes {
  const half = (sides: readonly [number, number]): [number, number] => [
    (sides[0] + (1 << planes.shiftX) - 1) >> planes.shiftX,
    (sides[1] + (1 << planes.shiftY) - 1) >> planes.shiftY,
  ];
  const largest = 2 ** planes.bits - 1;
  return {
    ...planes,
    luma: enlargePlane(planes.luma, size, target, largest),
    u: enlargePlane(planes.u, half(size), half(target), largest),
    v: enlargePlane(planes.v, half(size), half(target), largest),
  };
}

function enlargePlane(
  plane: Plane,
  [width, height]: readonly [number, number],
  [newWidth, newHeight]: readonly [number, number],
  largest: number,
): Plane {
  const [columns, rows] = [cubicAxis(width, newWidth), cubicAxis(height, newHeight)];
  const wide = new Float32Array(newWidth * height);
  for (let y = 0; y < height; y++) {
    const row = plane.offset + y * plane.stride;
    for (let x = 0; x < newWidth; x++) {
      let sum = 0;
      for (let k = x * CUBIC_TAPS; k < (x + 1) * CUBIC_TAPS; k++) {
        sum += columns.weights[k] * plane.samples[row + columns.inputs[k] * plane.step];
      }
      wide[y * newWidth + x] = sum;
    }
  }
  const samples = new Uint16Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    for (let x = 0; x < newWidth; x++) {
      let sum = 0.5;
      for (let k = y * CUBIC_TAPS; k < (y + 1) * CUBIC_TAPS; k++) {
        sum += rows.weights[k] * wide[rows.inputs[k] * newWidth + x];
      }
      samples[y * newWidth + x] = Math.min(Math.max(sum, 0), largest);
    }
  }
  return { samples, offset: 0, stride: newWidth, step: 1 };
}

/** Inputs and weights of each output along an axis. */
function cubicAxis(inputs: number, outputs: number): { inputs: Int32Array; weights: Float32Array } {
  const axis = { inputs: new Int32Array(outputs * CUBIC_TAPS), weights: new Float32Array(outputs * CUBIC_TAPS) };
  for (let output = 0; output < outputs; output++) {
    const center = ((output + 0.5) * inputs) / outputs - 0.5;
    const first = Math.floor(center) - 1;
    for (let k = 0; k < CUBIC_TAPS; k++) {
      axis.inputs[output * CUBIC_TAPS + k] = Math.min(Math.max(first + k, 0), inputs - 1);
      axis.weights[output * CUBIC_TAPS + k] = cubic(center - first - k);
    }
  }
  return axis;
}
