// SPDX-License-Identifier: Apache-2.0
/** The timeline of a report: the parts with the highest scores, a chart of each face, and all windows as a table. */

import type { TimelineEntry } from "../analysis/result";
import { constants } from "../constants";
import { say, sayAround } from "../report_texts";
import { drawCharts } from "./chart";
import { columnHead, html, table } from "./elements";
import { clockRange, faceName } from "./formats";
import type { Report } from "./report_parts";
import { probability, section } from "./report_parts";
import { longestWindow } from "./stretches";

export function when(report: Report): HTMLElement {
  const { result, exceeds } = report;
  const seconds = ({ start_s, end_s }: TimelineEntry): string => `${start_s.toFixed(1)}–${end_s.toFixed(1)}`;
  const accuracy = say("when.accuracy", { seconds: longestWindow(result) });
  const stretches = report.stretches.slice(0, constants.report.stretches);
  const parts = windowTable("when.from_to", stretches, ({ start_s, end_s }) => clockRange(start_s, end_s));
  parts.prepend(html("caption", { hidden: true }, say("when.caption")));
  return section(
    "when.heading",
    parts,
    html("p", { class: "soft" }, `${say(exceeds ? "when.parts" : "when.no_part")} ${accuracy}`),
    ...drawCharts(report),
    html("p", { class: "soft" }, ...sayAround("when.legend", { threshold: probability(result.threshold) })),
    html(
      "details",
      { class: "windows" },
      html("summary", {}, say("when.all_windows", { count: result.timeline.length })),
      windowTable("when.from_to_seconds", result.timeline, seconds),
    ),
  );
}

function windowTable(
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
  const heads = [columnHead(say(times)), columnHead(say("when.face")), columnHead(say("when.probability"), true)];
  return table(heads, rows);
}
