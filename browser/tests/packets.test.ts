// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { InputVideoTrack } from "mediabunny";
import { ALL_FORMATS, BufferSource, CustomSource, EncodedPacketSink, Input } from "mediabunny";
import { expect, test } from "vitest";
import type { PacketEntry } from "../src/video/packets";
import { orderPackets, rewriteTimes } from "../src/video/packets";
import { GOLDEN } from "./golden";

/** Two streams one behind the other, so that the clock goes back. */
const JOINED = new Uint8Array(readFileSync(join(GOLDEN, "joined.ts")));

async function trackOf(input: Input): Promise<InputVideoTrack> {
  const track = await input.getPrimaryVideoTrack();
  if (track === null) throw new Error("no track");
  return track;
}

/** The video track of a file; what lies behind `readable` of its bytes cannot be read. */
function openJoined(readable: number, error: Error): Promise<InputVideoTrack> {
  const read = (start: number, end: number): Uint8Array => {
    if (end > readable) throw error;
    return JOINED.subarray(start, end);
  };
  return trackOf(new Input({ source: new CustomSource({ read, getSize: () => JOINED.length }), formats: ALL_FORMATS }));
}

async function packetsOf(track: InputVideoTrack): Promise<PacketEntry[]> {
  const packets: PacketEntry[] = [];
  for await (const { timestamp, duration, type } of new EncodedPacketSink(track).packets()) {
    packets.push({ timestamp, duration, isKey: type === "key", group: 0, place: packets.length });
  }
  return packets;
}

async function rewrite(track: InputVideoTrack): Promise<number[]> {
  const whole = await packetsOf(await trackOf(new Input({ source: new BufferSource(JOINED), formats: ALL_FORMATS })));
  const { shown } = orderPackets(whole);
  const copy = await rewriteTimes(
    track,
    shown,
    shown.map((_, i) => i / 12),
    JOINED.length,
    async () => {},
  );
  const copied = await packetsOf(await trackOf(copy));
  return copied.map(({ timestamp }) => Math.round(timestamp * 12)).sort((a, b) => a - b);
}

test("a copy has all packets, at their new times", async () => {
  const copied = await rewrite(await openJoined(JOINED.length, new Error("unused")));
  expect(copied.length).toBe(72);
  expect(copied).toEqual(copied.map((_, i) => i));
});

test("a copy of a damaged file has the packets before the damage", async () => {
  const copied = await rewrite(await openJoined(JOINED.length * 0.7, new Error("damaged")));
  expect(copied.length).toBeGreaterThan(10);
  expect(copied.length).toBeLessThan(72);
});

test("a file that cannot be read any more is not copied", async () => {
  const gone = new DOMException("moved", "NotReadableError");
  await expect(rewrite(await openJoined(JOINED.length * 0.7, gone))).rejects.toBe(gone);
});

test("a large file is refused before anything of it is read", async () => {
  const track = {} as InputVideoTrack;
  await expect(rewriteTimes(track, [], [], 256 * 2 ** 20 + 1, async () => {})).rejects.toMatchObject({
    reason: "too_large",
  });
});
