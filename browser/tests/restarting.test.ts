// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import { range } from "../src/numeric";
import type { Decode } from "../src/video/restarting";
import { restarting } from "../src/video/restarting";

const GROUP = 10;
/** So many packets are decoded before the first frame arrives. */
const AHEAD = 4;
const groupOf = (index: number): number => Math.floor(index / GROUP);

/** A decoder of groups of ten frames that fails at some of them, and that works ahead. */
function decoderThatFails(damaged: readonly number[], error = new Error("damaged"), calls: number[][] = []) {
  const decode: Decode<number> = async function* (indices) {
    calls.push([...indices]);
    for (const index of indices) {
      const last = Math.min(index + AHEAD, indices[indices.length - 1]);
      const decoded = range(last - groupOf(index) * GROUP + 1, groupOf(index) * GROUP);
      if (decoded.some((packet) => damaged.includes(packet))) throw error;
      yield index;
    }
  };
  return { decode, calls };
}

async function read(decode: Decode<number>, indices: readonly number[]): Promise<number[]> {
  const found: number[] = [];
  for await (const sample of restarting(decode, indices, groupOf)) if (sample !== null) found.push(sample);
  return found;
}

test("only the frames between a damaged one and the next keyframe are lost", async () => {
  const { decode } = decoderThatFails([14, 35]);
  expect(await read(decode, range(50))).toEqual([...range(14), ...range(15, 20), ...range(10, 40)]);
  expect(await read(decode, [3, 13, 16, 18, 21, 34, 36, 41])).toEqual([3, 13, 21, 34, 41]);
});

test("an intact track is decoded in one go", async () => {
  const { decode, calls } = decoderThatFails([]);
  expect(await read(decode, range(50))).toEqual(range(50));
  expect(calls.length).toBe(1);
});

test("a file that cannot be read any more ends the video", async () => {
  const gone = new DOMException("moved", "NotReadableError");
  await expect(read(decoderThatFails([14], gone).decode, range(50))).rejects.toBe(gone);
});
