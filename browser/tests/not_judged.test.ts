// SPDX-License-Identifier: Apache-2.0
/** The behaviour that `tests/scanning/test_not_judged.py` states for the package. */

import { expect, test } from "vitest";
import { findNotJudged } from "../src/analysis/not_judged";
import type { Window } from "../src/analysis/timeline";
import { range } from "../src/numeric";
import type { FrameSource } from "../src/video/frame_source";

/** Ten seconds with ten frames each. */
function source(undecodable: readonly number[], gaps: [number, number][] = []): FrameSource {
  return {
    numFrames: 100,
    timestamps: range(100).map((i) => i / 10),
    fps: 10,
    durationS: 10,
    gaps: new Map(gaps),
    unread: { isCutOff: false, numOtherStreams: 0, undecodable: new Set(undecodable) },
  } as Partial<FrameSource> as FrameSource;
}

function windowOf(frameIndices: number[]): Window {
  return { entry: { start_s: 0, end_s: 0, fake_probability: 0, track_id: 0 }, frameIndices, track: null };
}

const SAMPLED = range(10).map((i) => 10 * i);
const [no_face, undecodable, no_new_picture] = ["no_face", "undecodable", "no_new_picture"] as const;

test("without a timeline, a sampled frame stands for the time until the next one", () => {
  const judged = SAMPLED.filter((index) => index < 40 || index > 70);
  expect(findNotJudged(source([50, 60]), judged, SAMPLED)).toEqual([
    { start_s: 4, end_s: 5, reason: no_face, stream: null },
    { start_s: 5, end_s: 7, reason: undecodable, stream: null },
    { start_s: 7, end_s: 8, reason: no_face, stream: null },
  ]);
});

test("frames that the timeline could not decode are told from those without a face", () => {
  const windows = [windowOf(range(50)), windowOf(range(25, 75))];
  expect(findNotJudged(source(range(10, 60)), SAMPLED.slice(0, 5), SAMPLED, windows)).toEqual([
    { start_s: 5, end_s: 6, reason: no_face, stream: null },
    { start_s: 6, end_s: 7, reason: undecodable, stream: null },
    { start_s: 7, end_s: 7.5, reason: no_face, stream: null },
  ]);
});

test("a gap ends a range and is one itself", () => {
  const judged = SAMPLED.filter((index) => index !== 40);
  expect(findNotJudged(source([], [[44, 4.5]]), judged, SAMPLED)).toEqual([
    { start_s: 4, end_s: 4.5, reason: no_face, stream: null },
    { start_s: 4.5, end_s: 4.5, reason: no_new_picture, stream: null },
  ]);
});
