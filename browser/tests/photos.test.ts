// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { PhotoFormat } from "../src/video/photo_formats";
import { photoFormat, readPhotoHead } from "../src/video/photo_formats";
import { GOLDEN } from "./golden";

/** The generator of the golden set draws 640 by 360 pixels; those of the JPEG file are stored on their side. */
test.each<[string, PhotoFormat, [number, number]]>([
  ["turned.jpg", "jpeg", [360, 640]],
  ["transparent.png", "png", [640, 360]],
  ["pair.webp", "webp", [560, 360]],
])("the size of %s is read before it is decoded", (file, format, size) => {
  const content = new Uint8Array(readFileSync(join(GOLDEN, file)));
  expect(photoFormat(content)).toBe(format);
  expect(readPhotoHead(content, format)).toEqual({ size, isAnimated: false });
});

test.each([
  [0, true],
  [1, false],
  [2, true],
])("a picture that announces %d pictures is an animation: %s", (count, isAnimated) => {
  const content = new Uint8Array(readFileSync(join(GOLDEN, "transparent.png")));
  const control = [0, 0, 0, 8, ...new TextEncoder().encode("acTL"), 0, 0, 0, count, ...new Uint8Array(8)];
  const end = 8 + 25;
  const animated = Uint8Array.from([...content.subarray(0, end), ...control, ...content.subarray(end)]);
  expect(readPhotoHead(animated, "png")).toEqual({ size: [640, 360], isAnimated });
});

test.each<PhotoFormat>(["jpeg", "png", "webp"])("a %s file that ends in its header has no size", (format) => {
  const heads = {
    jpeg: [0xff, 0xd8, 0xff, 0xe0, 0, 16],
    png: [0x89, 0x50],
    webp: [...new TextEncoder().encode("RIFF")],
  };
  expect(readPhotoHead(Uint8Array.from(heads[format]), format).size).toBeNull();
});
