// SPDX-License-Identifier: Apache-2.0
/** The behaviour that `tests/video/test_video_timestamps.py` states for the package. */

import { expect, test } from "vitest";
import { range } from "../src/numeric";
import { orderPackets } from "../src/video/packets";
import type { ContainerClock } from "../src/video/timestamps";
import { readTimes } from "../src/video/timestamps";

const FILE: ContainerClock = { startS: 0, hasResets: false, soundEndS: null };
const STREAM: ContainerClock = { ...FILE, hasResets: true };
const HOUR = 3600;
const EVEN = range(60).map((i) => 0.04 * i);

/** `EVEN` with other times at some places. */
function changed(changes: Record<number, number>): number[] {
  return EVEN.map((time, i) => changes[i] ?? time);
}

function expectEven(seconds: readonly number[]): void {
  expect(seconds.map((time) => time.toFixed(6))).toEqual(EVEN.map((time) => time.toFixed(6)));
}

test("a long step is a gap, and a late picture keeps its time", () => {
  const times = readTimes([2, 2.04, 2.08, 7, 7.04], FILE, 0.04);
  expect(times.seconds[0]).toBeCloseTo(2);
  expect([...times.gaps.keys()]).toEqual([2]);
  expect(times.gaps.get(2)).toBeCloseTo(2.12);
  expect(times.fps).toBeCloseTo(25);
  expect(times.endS).toBeCloseTo(7.08);
  expect(times.warnings).toEqual(["no new picture for 4.9 s, starting at 2.1 s"]);
});

test.each([2.5, 3, 5])("bursts of pictures between pauses of %d s keep their times", (pause) => {
  const bursts = range(12).flatMap((burst) => range(3).map((i) => 0.5 + (pause + 0.08) * burst + 0.04 * i));
  const ticks = [0, 0.04, 0.08, ...bursts];
  const times = readTimes(ticks, FILE, 0.04);
  expect(times.seconds.map((time) => time.toFixed(6))).toEqual(ticks.map((time) => time.toFixed(6)));
});

test.each([2, 3, 5, 60, 3000])("a gap of %i s stays and is named", (length) => {
  const times = readTimes(
    EVEN.map((time, i) => (i < 30 ? time : time + length)),
    FILE,
    0.04,
  );
  expect(times.seconds[30]).toBeCloseTo(1.2 + length);
  expect(times.warnings).toEqual([`no new picture for ${length}.0 s, starting at 1.2 s`]);
  expect([...times.gaps.keys()]).toEqual([29]);
});

test.each([
  [{ 20: -0.4 }, "1.2 s behind, at 0.80 s"],
  [{ 20: 3 * HOUR }, "10799.2 s ahead, at 0.80 s"],
  [{ 20: 90 }, "89.2 s ahead, at 0.80 s"],
  [{ 20: 3 * HOUR, 21: 3 * HOUR + 0.04, 22: 3 * HOUR + 0.08 }, "3 of 60 timestamps are invalid"],
  [{ 20: EVEN[19] }, "repeated, at 0.80 s"],
])("invalid times %o are replaced, and the others stay", (changes, said) => {
  for (const clock of [FILE, STREAM]) {
    const times = readTimes(changed(changes), clock, 0.04);
    expectEven(times.seconds);
    expect(times.fps).toBeCloseTo(25);
    expect(times.endS).toBeCloseTo(2.4);
    expect(times.warnings.map((warning) => warning.includes(said))).toEqual([true]);
  }
});

test.each([
  ["first", { 0: 3 * HOUR }],
  ["first", { 0: -60 }],
  ["last", { 59: 3 * HOUR }],
  ["last", { 59: 0 }],
])("the %s time may be the invalid one: %o", (_, changes) => {
  const times = readTimes(changed(changes), FILE, 0);
  expectEven(times.seconds);
  expect(times.warnings.length).toBe(1);
});

test.each([3 * HOUR, -3 * HOUR, -1.2])("a clock that jumps by %f s is brought together", (step) => {
  const times = readTimes(
    EVEN.map((time, i) => (i < 30 ? time : time + step)),
    STREAM,
    0.04,
  );
  expectEven(times.seconds);
  expect(times.warnings[0]).toContain(`timestamps jump ${step > 0 ? "forward" : "back"} by`);
});

test("a clock that comes back is the old one", () => {
  const uneven = range(60).map((i) => 0.041 * i + 0.001 * (i % 3));
  const { seconds } = readTimes(
    uneven.map((time, i) => (i >= 20 && i < 40 ? time + 3 * HOUR : time)),
    STREAM,
    0,
  );
  seconds.slice(40).forEach((time, i) => {
    expect(time).toBeCloseTo(uneven[40 + i], 6);
  });
});

test("what the sound covers is a gap however long", () => {
  const late = EVEN.map((time, i) => (i < 30 ? time : time + 2 * HOUR));
  expect(readTimes(late, { ...FILE, soundEndS: 7300 }, 0).seconds[59]).toBeCloseTo(7202.36);
  expect(readTimes(late, FILE, 0).seconds[59]).toBeCloseTo(2.36);
});

test("a start time hours before the picture is not believed", () => {
  const times = readTimes(EVEN, { ...FILE, startS: -7200 }, 0);
  expect(times.seconds[0]).toBe(0);
  expect(times.warnings[0]).toContain("7200.0 s ahead");
});

test("packets are shown by their times, and a clock that goes back begins a new sequence", () => {
  const stored = [0, 3, 1, 2, 6, 4, 5];
  const packet = (timestamp: number, place: number) => ({
    timestamp,
    duration: 1,
    place,
    isKey: timestamp === 0,
    group: 0,
  });
  const order = orderPackets([...stored, ...stored, 5].map(packet));
  expect(order.shown.map(({ timestamp }) => timestamp)).toEqual([0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6]);
  expect([order.numResets, order.numRepeated]).toEqual([1, 1]);
});
