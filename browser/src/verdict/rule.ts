// SPDX-License-Identifier: Apache-2.0
/** The verdict on a video; see `scanning/verdict.py`. */

import type { FaceResult, VerdictLimits, VerdictName } from "../analysis/result";
import { constants } from "../constants";
import type { ScoringDescription } from "../model/checkpoint";
import { logit, sigmoid } from "../numeric";
import { texts } from "../texts";
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
    for (const [name, then] of Object.entries(bands.function?.[part] ?? {})) {
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

/** Decide about one video, by its score and the faces that count for it. */
export function decide(
  rule: VerdictRule,
  fakeProbability: number,
  faces: readonly FaceResult[],
  bitsPerPixel: number | null,
): Verdict {
  if (rule.bands === null) return { verdict: "undecided", reason: rule.absence, rates: null, limits: null };
  const { bands } = rule;
  const { reasons } = texts;
  const number = Math.max(1, faces.length);
  const high = bands.high === null ? null : sigmoid(logit(bands.high) + bands.face_exponent * Math.log(number));
  const known = { rates: describeRates(bands), limits: { low: bands.low, high } };
  let decided: { verdict: VerdictName; reason: string };
  let seen: readonly FaceResult[];
  if (high !== null && fakeProbability > high) {
    decided = { verdict: "likely fake", reason: reasons.above(fakeProbability, high, number) };
    seen = [...faces].sort((a, b) => b.fake_probability - a.fake_probability).slice(0, 1);
  } else if (bands.low !== null && fakeProbability < bands.low) {
    decided = { verdict: "likely real", reason: reasons.below(fakeProbability, bands.low) };
    seen = faces;
  } else {
    return { verdict: "undecided", reason: reasons.between(fakeProbability, bands.low, high, number), ...known };
  }
  const problem = findProblem(seen, bitsPerPixel, bands);
  return problem === null ? { ...decided, ...known } : { verdict: "undecided", reason: problem, ...known };
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
  const bound = rule.bands?.high ?? 0.5;
  const { verdict, verdict_reason } = decided;
  if (verdict !== "likely real" || highest <= bound) return { verdict, verdict_reason };
  return { verdict: "undecided", verdict_reason: texts.reasons.suspiciousPart(highest) };
}

/** Why the rates do not hold for this video, if they do not. */
function findProblem(faces: readonly FaceResult[], bitsPerPixel: number | null, bands: VerdictBands): string | null {
  const { reasons } = texts;
  const coverage = Math.min(1, ...faces.map((face) => face.coverage));
  if (coverage < constants.minFaceCoverage) return reasons.seldomSeen(coverage);
  const smallest = Math.min(...faces.map((face) => face.size_px));
  if (bands.min_face_px !== null && smallest < bands.min_face_px) return reasons.smallFace(smallest, bands.min_face_px);
  const least = bands.min_bits_per_pixel;
  if (bitsPerPixel !== null && least !== null && bitsPerPixel < least) return reasons.compressed(bitsPerPixel, least);
  return null;
}
