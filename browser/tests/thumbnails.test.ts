// SPDX-License-Identifier: Apache-2.0
/** Cuts and different frames, with the cases and values of `tests/faces/test_watched_frames.py` and `tests/scanning/test_different_frames.py`. */

import { expect, test } from "vitest";
import { Thumbnails } from "../src/analysis/thumbnails";
import type { Picture } from "../src/video/picture";

function picture(level: number, spot?: [y: number, x: number]): Picture {
  const data = new Uint8Array(32 * 32 * 3).fill(level);
  if (spot) data.fill(130, 3 * (32 * spot[0] + spot[1]), 3 * (32 * spot[0] + spot[1]) + 3);
  return { width: 32, height: 32, data };
}

test("a frame counts if it differs anywhere from all that were counted", () => {
  const thumbnails = new Thumbnails();
  const frames = [picture(100), picture(104), picture(100, [7, 9]), picture(100, [7, 9]), picture(100, [20, 3])];
  frames.forEach((frame, index) => {
    thumbnails.add(index, frame);
  });
  expect(thumbnails.countDifferent([0, 1])).toBe(1);
  expect(thumbnails.countDifferent([0, 0, 1, 2, 3])).toBe(2);
  expect(thumbnails.countDifferent([4, 3, 2, 1, 0])).toBe(3);
});

test("cuts are found among the frames that were read", () => {
  const thumbnails = new Thumbnails();
  const timestamps = [0, 0.1, 0.2, 0.3];
  for (const index of [0, 3]) thumbnails.add(index, picture(index < 2 ? 0 : 100));
  expect([...thumbnails.cuts([0, 1, 2, 3], timestamps)]).toEqual([]);
  for (const index of [1, 2]) thumbnails.add(index, picture(index < 2 ? 0 : 100));
  expect([...thumbnails.cuts([0, 1, 2, 3], timestamps)]).toEqual([2]);
});
