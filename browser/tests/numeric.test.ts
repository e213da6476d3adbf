// SPDX-License-Identifier: Apache-2.0
/** Expected values are those of Python 3 and numpy. */

import { expect, test } from "vitest";
import { denseIndices, windowBounds } from "../src/analysis/timeline";
import { general, interpolate, linspace, median, percent, roundHalfEven, spread } from "../src/numeric";
import { clock, clockRange, printable } from "../src/page/formats";
import type { FrameSource } from "../src/video/frame_source";

test.each([
  [0.60168, 3, "0.602"],
  [0.5, 3, "0.5"],
  [0.00001234, 3, "1.23e-05"],
  [123456, 3, "1.23e+05"],
  [0.9999, 3, "1"],
  [0.02737, 2, "0.027"],
  [0, 3, "0"],
])("%f with %i digits is %s", (value, digits, expected) => {
  expect(general(value, digits)).toBe(expected);
});

test("halves are rounded to the even number", () => {
  expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4].map(roundHalfEven).map((value) => value + 0)).toEqual([0, 2, 2, 0, -2, 2]);
  expect(percent(0.125)).toBe("12%");
});

test("evenly spaced values end exactly with the last", () => {
  expect(linspace(0, 35, 20).map(Math.trunc)).toEqual([
    0, 1, 3, 5, 7, 9, 11, 12, 14, 16, 18, 20, 22, 23, 25, 27, 29, 31, 33, 35,
  ]);
  expect(spread([1, 2, 3, 4, 5, 6], 3)).toEqual([1, 3, 6]);
});

test("values between two positions are interpolated, and those outside are the nearest", () => {
  expect([0, 1, 2.5, 9].map((at) => interpolate(at, [1, 2, 4], [10, 20, 40]))).toEqual([10, 10, 25, 40]);
  const positions = [0, 1, 1.5, 4, 4.25, 7, 10];
  const values = [3, -1, 2, 2, 8, 0, 5];
  expect([0.5, 1, 1.25, 4.25, 5.625, 8.5].map((at) => interpolate(at, positions, values))).toEqual([
    1, -1, 0.5, 8, 4, 2.5,
  ]);
  expect(median([3, 1, 2, 10])).toBe(2.5);
});

test("the last window of a timeline ends with the last frame", () => {
  expect(windowBounds(20)).toEqual([
    [0, 12],
    [6, 18],
    [8, 20],
  ]);
  expect(windowBounds(5)).toEqual([[0, 5]]);
  const source = { fps: 25, numFrames: 10 } as FrameSource;
  expect(denseIndices(source)).toEqual([0, 4, 8]);
});

test("times and names are shown as in the report", () => {
  expect([65, 3725, 0.99].map((time) => clock(time))).toEqual(["1:05", "1:02:05", "0:00"]);
  expect([0.9999999999999999, 2.9999997, 3.96].map((time) => clock(time, true))).toEqual([
    "0:01.0",
    "0:03.0",
    "0:03.9",
  ]);
  expect([clockRange(65, 67.9), clockRange(0, 1.92), clockRange(0.68, 7.36), clockRange(58, 59.96)]).toEqual([
    "1:05.0–1:07.9",
    "0:00.0–0:02.0",
    "0:00.6–0:07.4",
    "0:58.0–1:00.0",
  ]);
  expect(printable("a\u202egpj.mp4\n")).toBe("a�gpj.mp4�");
});
