// SPDX-License-Identifier: Apache-2.0

import type { VideoResult } from "../analysis/result";
import { constants } from "../constants";
import { texts } from "../texts";
import { capitalise } from "./formats";

/** The tone of a verdict: a class of the style sheet. */
export function toneOf(result: VideoResult): "fake" | "real" | "mixed" | "unknown" {
  if (result.status !== "ok" || result.warnings.includes(constants.untrainedWarning)) return "unknown";
  if (result.verdict === "likely fake") return "fake";
  return result.verdict === "likely real" ? "real" : "mixed";
}

export function verdictOf(result: VideoResult): string {
  return result.status === "ok" ? capitalise(result.verdict ?? "undecided") : texts.page.notScored;
}
