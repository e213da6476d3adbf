// SPDX-License-Identifier: Apache-2.0
/** Files of the golden set through the reader, with a decoder whose pictures tell their times. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { InputVideoTrack } from "mediabunny";
import {
  ALL_FORMATS,
  BufferSource,
  BufferTarget,
  EncodedPacketSink,
  EncodedVideoPacketSource,
  Input,
  Mp4OutputFormat,
  Output,
} from "mediabunny";
import { afterEach, expect, test, vi } from "vitest";
import { range } from "../src/numeric";
import { Cancelled } from "../src/video/errors";
import type { FrameSource } from "../src/video/frame_source";
import { openVideo } from "../src/video/video_reader";
import { GOLDEN } from "./golden";
import { shownTime, stubWebCodecs } from "./webcodecs";

function open(name: string, pause = async (): Promise<void> => {}): Promise<FrameSource> {
  return openVideo(new Blob([readFileSync(join(GOLDEN, name))]), async () => null, pause);
}

/** The times of the pictures that frames hold. */
async function shownTimes(source: FrameSource, indices: readonly number[]): Promise<number[]> {
  const times: number[] = [];
  for await (const [, { data }] of source.frames(indices)) times.push(shownTime(data[0]));
  return times;
}

afterEach(() => vi.unstubAllGlobals());

test.each([1, 3])("hidden pictures are no frames, and the others have their own times: every %d", async (step) => {
  stubWebCodecs();
  const source = await open("hidden.webm");
  expect(source.numFrames).toBe(32);
  expect(source.warnings).toEqual([]);
  const indices = range(32).filter((index) => index % step === 0);
  const times = await shownTimes(source, indices);
  expect(times.length).toBe(indices.length);
  for (const [i, index] of indices.entries()) expect(Math.abs(times[i] - source.timestamps[index])).toBeLessThan(0.03);
});

test("the frames before a damaged one are read, and the others are known to be unread", async () => {
  stubWebCodecs(1);
  const source = await open("hidden.webm");
  const times = await shownTimes(source, range(32));
  expect(times.length).toBe(11);
  expect([...source.unread.undecodable]).toEqual(range(21, 11));
  expect(source.warnings).toEqual(["21 of the requested frames cannot be decoded"]);
  // What cannot be decoded is not tried again.
  stubWebCodecs();
  expect((await shownTimes(source, range(30))).length).toBe(11);
  expect(source.warnings.length).toBe(1);
});

test("a cancel ends the reading of frames that cannot be decoded too", async () => {
  stubWebCodecs(1);
  let isCancelled = false;
  const source = await open("hidden.webm", async () => {
    if (isCancelled) throw new Cancelled();
  });
  const frames = source.frames(range(32));
  while ((await frames.next()).value?.[0] !== 10);
  isCancelled = true;
  await expect(frames.next()).rejects.toThrow(Cancelled);
  expect(source.unread.undecodable.size).toBe(0);
});

test("the first of several default tracks is read, as in the package", async () => {
  stubWebCodecs();
  const output = new Output({ format: new Mp4OutputFormat(), target: new BufferTarget() });
  const copies: [InputVideoTrack, EncodedVideoPacketSource][] = [];
  for (const name of ["small.mp4", "plain.mp4"]) {
    const input = new Input({ source: new BufferSource(readFileSync(join(GOLDEN, name))), formats: ALL_FORMATS });
    const track = await input.getPrimaryVideoTrack();
    if (track === null) throw new Error("no track");
    const copy = new EncodedVideoPacketSource("avc");
    output.addVideoTrack(copy);
    copies.push([track, copy]);
  }
  await output.start();
  for (const [track, copy] of copies) {
    const meta = { decoderConfig: (await track.getDecoderConfig()) ?? undefined } as EncodedVideoChunkMetadata;
    for await (const packet of new EncodedPacketSink(track).packets()) await copy.add(packet, meta);
    copy.close();
  }
  await output.finalize();
  const both = await openVideo(
    new Blob([output.target.buffer ?? ""]),
    async () => null,
    async () => {},
  );
  expect(both.numBytes).toBe((await open("small.mp4")).numBytes);
  expect(both.unread.numOtherStreams).toBe(1);
});

test("a file that is trimmed by its edit list ends where that says", async () => {
  stubWebCodecs();
  const content = new Uint8Array(readFileSync(join(GOLDEN, "plain.mp4")));
  const list = Buffer.from(content).indexOf("elst");
  // Milliseconds of the first edit.
  new DataView(content.buffer).setUint32(list + 12, 1000);
  const source = await openVideo(
    new Blob([content]),
    async () => null,
    async () => {},
  );
  expect(source.numFrames).toBe(12);
});
