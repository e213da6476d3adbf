// SPDX-License-Identifier: Apache-2.0
/** What several parts of a report share. */

import type { Evidence } from "../analysis/evidence";
import type { TimelineEntry, VideoResult } from "../analysis/result";
import { general } from "../numeric";
import type { Key } from "../report_texts";
import { say } from "../report_texts";
import type { Child } from "./elements";
import { html, svg } from "./elements";
import { faceName } from "./formats";

/** A result with its pictures and with what several parts of its report show. */
export interface Report {
  result: VideoResult;
  evidence: Evidence | null;
  /** All stretches, the highest first. */
  stretches: TimelineEntry[];
  /** Whether a window reaches the threshold; otherwise the only stretch is the highest window. */
  exceeds: boolean;
  /** Whether times are shown with tenths of a second. */
  isShort: boolean;
}

/** A part of a report under its heading. */
export function section(heading: Key, ...children: Child[]): HTMLElement {
  return html("section", {}, html("h3", {}, say(heading)), ...children);
}

/** Two digits, and the exact value in the data. */
export function probability(value: number): HTMLElement {
  return html("data", { value }, value.toFixed(2));
}

/** A score as a bar; the tall marks separate the verdicts. */
export function meter(value: number, { result }: Report, tone: string): SVGElement {
  const { threshold } = result;
  const { low = null, high = null } = result.verdict_limits ?? {};
  const scale = say("band.meter", { value: value.toFixed(2), threshold: threshold.toFixed(2) });
  return svg(
    "svg",
    {
      class: "meter",
      viewBox: "0 0 1000 16",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": [scale, ...limitsOf(result)].join("; "),
    },
    svg("rect", { class: "ground", width: 1000, y: 3, height: 10 }),
    svg("rect", { class: `fill ${tone}`, width: Math.round(value * 1000), y: 3, height: 10 }),
    ...mark("threshold", threshold, 3),
    ...[low, high].flatMap((limit) => (limit === null ? [] : mark("limit", limit, 0))),
  );
}

/** The probabilities that separate the verdicts in words, as a list of at most one text. */
export function limitsOf({ verdict_limits }: VideoResult): string[] {
  const { low = null, high = null } = verdict_limits ?? {};
  if (low !== null && high !== null) {
    return [say("band.limits_low_high", { low: general(low, 3), high: general(high, 3) })];
  }
  if (low !== null) return [say("band.limits_low", { low: general(low, 3) })];
  return high === null ? [] : [say("band.limits_high", { high: general(high, 3) })];
}

/** A vertical line; the lighter one below it makes it visible on every ground. */
function mark(name: string, place: number, top: number): SVGElement[] {
  const x = Math.round(place * 1000);
  const line = { x1: x, x2: x, y1: top, y2: 16 - top, "vector-effect": "non-scaling-stroke" };
  return ["halo", name].map((kind) => svg("line", { class: kind, ...line }));
}

/** ", Face 1" behind a range of time; nothing for whole frames. */
export function ofFace(trackId: number | null): string {
  return trackId === null ? "" : say("band.of_face", { face: faceName(trackId) });
}
