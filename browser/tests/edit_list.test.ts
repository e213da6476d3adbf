// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { isShown, shownSegments, WHOLE } from "../src/video/edit_list";

/** A box of an MP4 file; numbers are of 32 bits. */
function box(kind: string, ...content: (number | Uint8Array)[]): Uint8Array<ArrayBuffer> {
  const parts = content.map((part) => (typeof part === "number" ? word(part) : part));
  const bytes = [...word(8 + parts.reduce((sum, part) => sum + part.length, 0)), ...new TextEncoder().encode(kind)];
  return Uint8Array.from([...bytes, ...parts.flatMap((part) => [...part])]);
}

function word(value: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setInt32(0, value);
  return bytes;
}

const NORMAL = 0x10000;

/** A file whose second track has these edits: the duration in milliseconds, the time in ticks of 1/12800 s, the speed. */
function fileWith(edits: [number, number, number][], ...others: Uint8Array[]): Blob {
  const track = (id: number, list: [number, number, number][]): Uint8Array =>
    box(
      "trak",
      box("tkhd", 0, 0, 0, id),
      box("edts", box("elst", 0, list.length, ...list.flat())),
      box("mdia", box("mdhd", 0, 0, 0, 12800)),
    );
  const movie = box("moov", box("mvhd", 0, 0, 0, 1000), track(1, [[1, 0, NORMAL]]), track(2, edits), ...others);
  return new Blob([box("ftyp", 0), box("mdat", 1, 2, 3), movie]);
}

test.each<[string, [number, number, number][], [number, number][]]>([
  ["a trimmed end", [[2000, 1024, NORMAL]], [[0, 2]]],
  [
    "time without a picture before it",
    [
      [500, -1, NORMAL],
      [2000, 1024, NORMAL],
    ],
    [[0.5, 2.5]],
  ],
  [
    "a part that is cut out",
    [
      [1000, 12800, NORMAL],
      [2000, 64000, NORMAL],
    ],
    [
      [0, 1],
      [4, 6],
    ],
  ],
  ["an open end", [[0, 1024, NORMAL]], [[0, Number.POSITIVE_INFINITY]]],
])("%s", async (_, edits, expected) => {
  const found = await shownSegments(fileWith(edits), 2);
  expect(found.map(({ startS, endS }) => [startS, endS])).toEqual(expected);
});

test("a list that mediabunny ignores, or of a file in fragments, hides nothing", async () => {
  expect(await shownSegments(fileWith([[2000, 1024, NORMAL / 2]]), 2)).toBe(WHOLE);
  expect(await shownSegments(fileWith([[2000, 1024, NORMAL]], box("mvex")), 2)).toBe(WHOLE);
  expect(await shownSegments(fileWith([]), 2)).toBe(WHOLE);
});

test("a damaged file hides nothing", async () => {
  expect(await shownSegments(new Blob([box("ftyp", 0), word(3), word(0)]), 2)).toBe(WHOLE);
  const cut = fileWith([[2000, 1024, NORMAL]]);
  expect(await shownSegments(cut.slice(0, cut.size - 40), 2)).toBe(WHOLE);
});

test("a picture that begins before an edit is not shown, and none that begins at its end", () => {
  const segments = [{ startS: 0, endS: 2 }];
  expect([-0.01, 0, 1.96, 2].map((time) => isShown(segments, time))).toEqual([false, true, true, false]);
});
