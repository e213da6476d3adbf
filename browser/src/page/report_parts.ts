// SPDX-License-Identifier: Apache-2.0
/** What several parts of a report share. */

import type { Evidence } from "../analysis/evidence";
import type { TimelineEntry, VideoResult } from "../analysis/result";
import { say } from "../report_texts";
import { html, svg } from "./elements";
import { faceName } from "./formats";

/** A result with its pictures and with what several parts of its report show. */
export interface Report {
  result: VideoResult;
  evidence: Evidence | null;
  stretches: TimelineEntry[];
  /** Whether a window reaches the threshold; otherwise the only stretch is the highest window. */
  exceeds: boolean;
  threshold: number;
  /** Whether times are shown with tenths of a second. */
  isShort: boolean;
}

/** Two digits, and the exact value in the data. */
export function probability(value: number): HTMLElement {
  return html("data", { value }, value.toFixed(2));
}

export function meter(value: number, threshold: number, tone: string): SVGElement {
  const x = Math.round(threshold * 1000);
  return svg(
    "svg",
    {
      class: "meter",
      viewBox: "0 0 1000 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": say("band.meter", { value: value.toFixed(2), threshold: threshold.toFixed(2) }),
    },
    svg("rect", { class: "ground", width: 1000, height: 10 }),
    svg("rect", { class: `fill ${tone}`, width: Math.round(value * 1000), height: 10 }),
    svg("line", {
      class: "threshold",
      x1: x,
      x2: x,
      y1: 0,
      y2: 10,
      "stroke-width": 2,
      "vector-effect": "non-scaling-stroke",
    }),
  );
}

/** ", Face 1" behind a range of time; nothing for whole frames. */
export function ofFace(trackId: number | null): string {
  return trackId === null ? "" : say("band.of_face", { face: faceName(trackId) });
}
