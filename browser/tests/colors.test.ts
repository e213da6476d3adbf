// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import type { Planes } from "../src/video/colors";
import { conversionOf, enlarge, toPlanes, toRgb } from "../src/video/colors";

/** Two by two pixels of one luma, and a chroma sample. */
function flat(y: number, u: number, v: number): Planes {
  const samples = Uint8Array.from([y, y, y, y, u, v]);
  const plane = (offset: number, stride: number) => ({ samples, offset, stride, step: 1 });
  return { luma: plane(0, 2), u: plane(4, 1), v: plane(5, 1), shiftX: 1, shiftY: 1, bits: 8 };
}

test.each([
  // Levels of libswscale 9 by PyAV 18 for yuv420p, and for yuvj420p in the third row.
  [{ matrix: null, fullRange: false }, [110, 136, 116]],
  [{ matrix: "bt709", fullRange: false }, [110, 136, 116]],
  [{ matrix: null, fullRange: true }, [110, 136, 116]],
])("planes of %o become the colours of libswscale", (color, [y, u, v]) => {
  const [r, g, b] = toRgb(flat(y, u, v), 2, 2, color).data;
  expect([r, g, b]).toEqual(EXPECTED[JSON.stringify(color)]);
});

const EXPECTED: Record<string, number[]> = {
  '{"matrix":null,"fullRange":false}': [89, 114, 125],
  '{"matrix":"bt709","fullRange":false}': [87, 113, 125],
  '{"matrix":null,"fullRange":true}': [93, 115, 124],
};

test("a picture that the browser has converted by another matrix leads back to its planes", () => {
  const planes = toPlanes(
    { width: 2, height: 2, data: Uint8Array.from(Array(4).fill([88, 114, 125]).flat()) },
    {
      matrix: "bt709",
      fullRange: false,
    },
  );
  // libyuv: Y = 110, U = 136, V = 116 give R = 1.164 * 94 - 1.797 * 12 and so on.
  expect([planes.luma.samples[0], planes.u.samples[0], planes.v.samples[planes.v.offset]]).toEqual([110, 136, 116]);
});

test("a VP8 frame that Firefox has converted leads back to its planes, whatever the frame declares", () => {
  const declared = { matrix: "bt709", fullRange: false } as const;
  // Firefox 140 shows the planes 101, 119, 96 as 48, 128, 81 in VP8, and as 41, 118, 81 in VP9 and H.264.
  for (const [codec, shown] of [["vp8", [48, 128, 81]] as const, ["vp9", [41, 118, 81]] as const]) {
    const picture = { width: 2, height: 2, data: Uint8Array.from(Array(4).fill(shown).flat()) };
    const { luma, u, v } = toPlanes(picture, conversionOf(codec, declared));
    const found = [luma.samples[0], u.samples[0], v.samples[v.offset]];
    for (const [i, value] of [101, 119, 96].entries()) expect(Math.abs(found[i] - value)).toBeLessThanOrEqual(1);
  }
});

test("planes of one colour keep it when pixels are made square", () => {
  const { luma, u, v } = enlarge(flat(110, 136, 116), [2, 2], [3, 5]);
  expect([...luma.samples]).toEqual(Array(15).fill(110));
  expect([...u.samples, ...v.samples]).toEqual([...Array(6).fill(136), ...Array(6).fill(116)]);
});
