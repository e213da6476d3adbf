// SPDX-License-Identifier: Apache-2.0
/** The verdict, with the cases and values of `tests/scanning/test_verdict.py`. */

import { expect, test } from "vitest";
import type { FaceResult, NotJudged, VerdictName, VideoResult } from "../src/analysis/result";
import type { VerdictBands } from "../src/verdict/bands";
import { addNotJudged, decide, type Evidence } from "../src/verdict/rule";
import type { Unread } from "../src/video/frame_source";

const BANDS: VerdictBands = {
  format: 1,
  weights_sha256: "a".repeat(64),
  temperature: 1.5,
  fake_bias: -0.25,
  settings: { num_frames: 20 },
  low: 0.2,
  high: 0.8,
  false_alarms: { count: 1, number: 100, low: 0.0003, high: 0.0545 },
  misses: { count: 4, number: 50, low: 0.02, high: 0.19 },
  undecided_real: { count: 20, number: 100, low: 0.12, high: 0.29 },
  undecided_fake: null,
  face_exponent: 1,
  people: 100,
  fakes: 50,
  min_face_px: 40,
  min_bits_per_pixel: 0.02,
  function: { configuration: {}, preprocessing: {} },
};

const WHOLE: Unread = { numOtherStreams: 0, isCutOff: false, undecodable: new Set() };

function face(fake_probability: number, coverage = 1): FaceResult {
  return { track_id: 0, fake_probability, coverage, first_s: 0, last_s: 1, size_px: 100 };
}

function decided(fakeProbability: number, evidence: Partial<Evidence> = {}) {
  const faces = [face(fakeProbability)];
  const all = {
    ...{ fakeProbability, faces, seldom: [], numDifferent: 20, bitsPerPixel: null },
    ...evidence,
  };
  return decide({ bands: BANDS }, all);
}

test("a suspicious face that is seen too seldom to count forbids likely real", () => {
  const seldom = [face(0.3, 0.1), face(0.93, 0.2)];
  const { verdict, reason } = decided(0.1, { seldom });
  expect(verdict).toBe("undecided");
  expect(reason).toContain("a face that was found in only 20% of the sampled frames");
  expect(reason).toContain("has a fake probability of 0.93");
  expect(decided(0.1, { seldom: [face(0.79, 0.2)] }).verdict).toBe("likely real");
  expect(decided(0.9, { seldom }).verdict).toBe("likely fake");
});

test("a video of few different frames is nearly a photo", () => {
  expect(decided(0.1, { numDifferent: 5 }).verdict).toBe("likely real");
  expect(decided(0.1, { numDifferent: 4 }).verdict).toBe("undecided");
  expect(decided(0.1, { numDifferent: 1 }).reason).toBe(
    "only 1 different frame was scored; the error rates were measured with 20 frames",
  );
});

function damaged(end_s: number): NotJudged[] {
  return [{ start_s: 2, end_s, reason: "undecodable", stream: null }];
}

test.each<[NotJudged[], Partial<Unread>, VerdictName, string | null]>([
  [damaged(3), {}, "likely real", null],
  [damaged(3.5), {}, "undecided", "1.5 of 10 seconds could not be read"],
  [[{ start_s: 2, end_s: 9, reason: "no_face", stream: null }], {}, "likely real", null],
  [[], { isCutOff: true }, "undecided", "how much is missing is not known"],
  [[], { numOtherStreams: 1 }, "undecided", "contains another video stream, not scored"],
  [[], { numOtherStreams: 2 }, "undecided", "contains 2 other video streams, not scored"],
])("a file of which much was not read is not likely real: %j %j", (ranges, unread, verdict, said) => {
  const whole = { ...WHOLE, ...unread };
  const real = { verdict: "likely real", verdict_reason: "low", duration_s: 10 } as VideoResult;
  const found = addNotJudged(real, ranges, whole);
  expect(found).toMatchObject({ verdict, not_judged: ranges });
  expect(found.verdict_reason).toContain(said ?? "low");
  expect(addNotJudged({ ...real, verdict: "likely fake" }, ranges, whole).verdict).toBe("likely fake");
});

test.each([
  [0.19996, "0.19996 is below 0.2"],
  [0.80004, "0.80004 is above 0.8"],
  [0.1, "0.1 is below 0.2"],
  [0.20004, "0.20004 is in the undecided range: likely real below 0.2, likely fake above 0.8"],
])("a probability next to a limit has enough digits: %d", (probability, said) => {
  expect(decided(probability).reason).toContain(said);
});
