// SPDX-License-Identifier: Apache-2.0
/** The verdict on a video; see `scanning/verdict.py`. */

import type { FaceResult, NotJudged, VerdictLimits, VerdictName, VideoResult } from "../analysis/result";
import { constants } from "../constants";
import type { ScoringDescription } from "../model/checkpoint";
import { logit, sigmoid } from "../numeric";
import { texts } from "../texts";
import type { Unread } from "../video/frame_source";
import type { VerdictBands } from "./bands";
import { describeRates } from "./bands";

export interface Verdict {
  verdict: VerdictName;
  reason: string;
  rates: string | null;
  limits: VerdictLimits | null;
}

/** The bands that hold for a scan, or why there are none. */
export type VerdictRule = { bands: VerdictBands } | { bands: null; absence: string };

/** Find the rule of a scan: the bands beside the weights, if they belong to them and to the settings. */
export function findRule(
  bands: VerdictBands | null,
  weightsSha256: string,
  description: ScoringDescription,
  settings: Record<string, unknown>,
): VerdictRule {
  const { reasons } = texts;
  if (!description.is_trained) return { bands: null, absence: reasons.untrained };
  if (bands === null) return { bands: null, absence: constants.verdict.noBands };
  const isOfModel =
    bands.format === constants.verdict.format &&
    bands.weights_sha256 === weightsSha256 &&
    bands.temperature === description.temperature &&
    bands.fake_bias === description.fake_bias;
  if (!isOfModel) return { bands: null, absence: reasons.otherWeights };
  const pairs = constants.verdict.boundSettings.map((name) => [name, bands.settings[name], settings[name]] as const);
  for (const part of ["configuration", "preprocessing"] as const) {
    const now = description[part] as Record<string, unknown>;
    // A setting that did not exist when the bands were measured is not compared.
    for (const [name, then] of Object.entries(bands.function[part])) {
      pairs.push([name, then, name in now ? now[name] : "no value"]);
    }
  }
  const other = pairs.find(([, then, now]) => !isSame(then, now));
  return other ? { bands: null, absence: reasons.otherSettings(...other) } : { bands };
}

/** Whether two JSON values are the same. */
function isSame(one: unknown, other: unknown): boolean {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return one === other;
  const keys = Object.keys(one);
  return (
    keys.length === Object.keys(other).length &&
    keys.every((key) => isSame((one as Record<string, unknown>)[key], (other as Record<string, unknown>)[key]))
  );
}

/** What a verdict is decided by. */
export interface Evidence {
  fakeProbability: number;
  /** The faces that count for the score; none for whole frames. */
  faces: readonly FaceResult[];
  /** Faces that were found too seldom to count for it. */
  seldom: readonly FaceResult[];
  /** Number of different frames that were scored. */
  numDifferent: number;
  bitsPerPixel: number | null;
}

/** Decide about one video. */
export function decide(rule: VerdictRule, evidence: Evidence): Verdict {
  if (rule.bands === null) return { verdict: "undecided", reason: rule.absence, rates: null, limits: null };
  const { bands } = rule;
  const { reasons } = texts;
  const { fakeProbability, faces } = evidence;
  const number = Math.max(1, faces.length);
  const high = bands.high === null ? null : sigmoid(logit(bands.high) + bands.face_exponent * Math.log(number));
  const known = { rates: describeRates(bands), limits: { low: bands.low, high } };
  const reason = reasons.ofScore(fakeProbability, bands.low, high, number);
  let verdict: VerdictName;
  let seen: readonly FaceResult[];
  if (high !== null && fakeProbability > high) {
    verdict = "likely fake";
    seen = [...faces].sort((a, b) => b.fake_probability - a.fake_probability).slice(0, 1);
  } else if (bands.low !== null && fakeProbability < bands.low) {
    verdict = "likely real";
    seen = faces;
  } else {
    return { verdict: "undecided", reason, ...known };
  }
  let problem = findProblem(seen, evidence, bands);
  if (verdict === "likely real") problem ??= findSuspicious(evidence.seldom, rule);
  return problem === null ? { verdict, reason, ...known } : { verdict: "undecided", reason: problem, ...known };
}

/** Leave a photo undecided: the bands and their rates were measured on videos. */
export function decidePhoto(rule: VerdictRule): Verdict {
  const reason = rule.bands === null ? rule.absence : constants.verdict.notForPhotos;
  return { verdict: "undecided", reason, rates: null, limits: null };
}

/** Reconsider a verdict once the timeline is known: a video with a suspicious part is not called likely real. */
export function decideAfterTimeline(
  rule: VerdictRule,
  decided: { verdict: VerdictName | null; verdict_reason: string | null },
  highest: number,
): { verdict: VerdictName | null; verdict_reason: string | null } {
  const { verdict, verdict_reason } = decided;
  if (verdict !== "likely real" || highest <= suspicionOf(rule)) return { verdict, verdict_reason };
  return { verdict: "undecided", verdict_reason: texts.reasons.suspiciousPart(highest) };
}

/** Add the ranges that were not judged to a result. It is no longer likely real if a larger part was not read. */
export function addNotJudged(result: VideoResult, not_judged: NotJudged[], unread: Unread): VideoResult {
  const added = { ...result, not_judged };
  const problem = result.verdict === "likely real" ? findUnread(added, unread) : null;
  return problem === null ? added : { ...added, verdict: "undecided", verdict_reason: problem };
}

/** Fake probability of a part or face above which a video is not called likely real. */
function suspicionOf(rule: VerdictRule): number {
  return rule.bands?.high ?? 0.5;
}

/** Why faces that do not count for the score forbid to call the video likely real, if they do. */
function findSuspicious(faces: readonly FaceResult[], rule: VerdictRule): string | null {
  const [worst] = [...faces].sort((a, b) => b.fake_probability - a.fake_probability);
  if (worst === undefined || worst.fake_probability <= suspicionOf(rule)) return null;
  return texts.reasons.suspiciousFace(worst.coverage, worst.fake_probability);
}

/** Why what was not read of a file forbids to call it likely real, if it does. */
function findUnread({ not_judged, duration_s }: VideoResult, unread: Unread): string | null {
  const { reasons } = texts;
  if (unread.numOtherStreams) return reasons.otherStreams(unread.numOtherStreams);
  if (unread.isCutOff) return reasons.cutOff;
  const ranges = not_judged.filter(({ reason }) => reason === "undecodable");
  const unreadS = ranges.reduce((sum, { start_s, end_s }) => sum + end_s - start_s, 0);
  const lengthS = duration_s ?? 0;
  return unreadS > constants.verdict.maxUnreadShare * lengthS ? reasons.undecodable(unreadS, lengthS) : null;
}

/** Why the rates do not hold for this video, if they do not. */
function findProblem(
  faces: readonly FaceResult[],
  { numDifferent, bitsPerPixel }: Evidence,
  bands: VerdictBands,
): string | null {
  const { reasons } = texts;
  const wanted = Number(bands.settings.num_frames);
  if (numDifferent < constants.minFaceCoverage * wanted) return reasons.fewDifferent(numDifferent, wanted);
  const coverage = Math.min(1, ...faces.map((face) => face.coverage));
  if (coverage < constants.minFaceCoverage) return reasons.seldomSeen(coverage);
  const smallest = Math.min(...faces.map((face) => face.size_px));
  if (bands.min_face_px !== null && smallest < bands.min_face_px) return reasons.smallFace(smallest, bands.min_face_px);
  const least = bands.min_bits_per_pixel;
  if (bitsPerPixel !== null && least !== null && bitsPerPixel < least) return reasons.compressed(bitsPerPixel, least);
  return null;
}
