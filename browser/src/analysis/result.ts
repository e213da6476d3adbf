// SPDX-License-Identifier: Apache-2.0
/** The result of one video or photo, with the keys of `scanning/results.py`. */

import type { FailureReason } from "../video/errors";

export type VerdictName = "likely fake" | "undecided" | "likely real";

/** The fake probabilities that separate the verdicts on one video. */
export interface VerdictLimits {
  low: number | null;
  high: number | null;
}

export interface FaceResult {
  track_id: number;
  fake_probability: number;
  coverage: number;
  first_s: number;
  last_s: number;
  size_px: number;
}

export interface FrameScore {
  model: number;
  track_id: number | null;
  index: number;
  time_s: number;
  fake_probability: number;
  weight: number;
}

export interface FrameRule {
  aggregation: string | null;
  temperature: number;
  fake_bias: number;
}

export interface TimelineEntry {
  start_s: number;
  end_s: number;
  fake_probability: number;
  track_id: number | null;
}

/** A range of time that was not judged. */
export interface NotJudged {
  start_s: number;
  end_s: number;
  reason: "no_face" | "no_new_picture" | "undecodable";
  stream: null;
}

export interface VideoResult {
  path: string;
  media: "video" | "image" | null;
  status: "ok" | FailureReason;
  verdict: VerdictName | null;
  verdict_reason: string | null;
  verdict_rates: string | null;
  verdict_limits: VerdictLimits | null;
  label: "real" | "fake" | null;
  fake_probability: number | null;
  threshold: number;
  message: string | null;
  warnings: string[];
  duration_s: number | null;
  frames_analyzed: number;
  face_coverage: number | null;
  bits_per_pixel: number | null;
  faces: FaceResult[];
  decisive_track_id: number | null;
  frames: FrameScore[];
  frame_rules: FrameRule[];
  timeline: TimelineEntry[];
  not_judged: NotJudged[];
  schema_version: number;
  version: string;
  created: string;
  settings: Record<string, unknown>;
  model: { id: string; revision: string | null; weights_sha256: string | null };
  sha256: string | null;
  provenance: null;
  fetched: null;
}

/** The text of the JSON file of results. */
export function toJson(results: readonly VideoResult[]): string {
  return `${JSON.stringify(results, null, 2)}\n`;
}
