// SPDX-License-Identifier: Apache-2.0
import type { VideoCodec } from "mediabunny";
import { expect, test } from "vitest";
import { hiddenTest } from "../src/video/vpx";

test.each<[VideoCodec, number[], boolean]>([
  ["vp8", [0b00010001, 0], false],
  ["vp8", [0b00000001, 0], true],
  ["vp9", [0b10000010, 0], false],
  ["vp9", [0b10000000, 0], true],
  // A picture of before is shown again.
  ["vp9", [0b10001000, 0], false],
  // Profile 3, whose number is followed by a reserved bit.
  ["vp9", [0b10110001, 0], false],
  ["vp9", [0b10110000, 0], true],
  // A superframe.
  ["vp9", [0b10000000, 0b11000001], false],
])("whether a packet of %s is hidden: %j", (codec, packet, isHidden) => {
  expect(hiddenTest(codec)?.(Uint8Array.from(packet))).toBe(isHidden);
});

test("other codecs have no hidden packets", () => {
  expect(hiddenTest("avc")).toBeNull();
});
