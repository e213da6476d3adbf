// SPDX-License-Identifier: Apache-2.0

import type { VideoResult } from "../analysis/result";
import { constants } from "../constants";
import type { Key } from "../report_texts";
import { say } from "../report_texts";

/** The last part of the keys of the texts on a verdict. */
type VerdictKey = "failed" | "likely_fake" | "undecided" | "likely_real";

export function isTrained(result: VideoResult): boolean {
  return !result.warnings.includes(constants.untrainedWarning);
}

/** The tone of a verdict: a class of the style sheet. */
export function toneOf(result: VideoResult): "fake" | "real" | "mixed" | "unknown" {
  if (result.status !== "ok" || !isTrained(result)) return "unknown";
  if (result.verdict === "likely fake") return "fake";
  return result.verdict === "likely real" ? "real" : "mixed";
}

export function verdictOf(result: VideoResult): string {
  return say(`verdict.${verdictKey(result)}`);
}

/** What the verdict means; see `scanning.texts.meaning_key`. */
export function meaningOf(result: VideoResult): string {
  const { status, media } = result;
  const key = `${media === "image" ? "photo" : "band"}.${verdictKey(result)}` as Key;
  return status === "ok" ? say(key) : say(key, { status: say(`status.${status}`), code: status });
}

function verdictKey(result: VideoResult): VerdictKey {
  return result.status === "ok" ? ((result.verdict ?? "undecided").replace(" ", "_") as VerdictKey) : "failed";
}
