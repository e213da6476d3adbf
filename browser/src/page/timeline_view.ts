// SPDX-License-Identifier: Apache-2.0
/** The timeline of a report: the parts with the highest scores, a chart of each face, and all windows as a table. */

import type { TimelineEntry } from "../analysis/result";
import { say, sayAround } from "../report_texts";
import { drawCharts } from "./chart";
import { html } from "./elements";
import { clockRange, faceName } from "./formats";
import type { Report } from "./report_parts";
import { probability } from "./report_parts";

export function when(report: Report): HTMLElement {
  const { result, stretches, exceeds, threshold } = report;
  const seconds = ({ start_s, end_s }: TimelineEntry): string => `${start_s.toFixed(1)}–${end_s.toFixed(1)}`;
  const parts = table("when.from_to", stretches, ({ start_s, end_s }) => clockRange(start_s, end_s));
  parts.prepend(html("caption", { hidden: true }, say("when.caption")));
  return html(
    "section",
    {},
    html("h3", {}, say("when.heading")),
    parts,
    html("p", { class: "soft" }, `${say(exceeds ? "when.parts" : "when.no_part")} ${say("when.accuracy")}`),
    ...drawCharts(result),
    html("p", { class: "soft" }, ...sayAround("when.legend", { threshold: probability(threshold) })),
    html(
      "details",
      { class: "windows" },
      html("summary", {}, say("when.all_windows", { count: result.timeline.length })),
      table("when.from_to_seconds", result.timeline, seconds),
    ),
  );
}

function table(
  times: "when.from_to" | "when.from_to_seconds",
  entries: readonly TimelineEntry[],
  rangeOf: (entry: TimelineEntry) => string,
): HTMLElement {
  const rows = entries.map((entry) =>
    html(
      "tr",
      {},
      html("td", { class: "span" }, rangeOf(entry)),
      html("td", {}, faceName(entry.track_id)),
      html("td", { class: "number" }, probability(entry.fake_probability)),
    ),
  );
  const head = html(
    "tr",
    {},
    html("th", { scope: "col" }, say(times)),
    html("th", { scope: "col" }, say("when.face")),
    html("th", { scope: "col", class: "number" }, say("when.probability")),
  );
  return html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows));
}
