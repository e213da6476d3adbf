// SPDX-License-Identifier: Apache-2.0
/** The timeline of a face as a drawing, as in the report of `scanning/html_report.py`. */

import type { TimelineEntry, VideoResult } from "../analysis/result";
import { linspace } from "../numeric";
import { texts } from "../texts";
import { html, svg } from "./elements";
import { clock, faceName } from "./formats";
import { entriesByTrack, unbroken } from "./stretches";
import { toneOf } from "./tones";

const [WIDTH, HEIGHT] = [1000, 100];

/** One drawing for each face of the timeline; of the worst stretches, those above the threshold are marked. */
export function drawCharts(result: VideoResult, stretches: readonly TimelineEntry[]): HTMLElement[] {
  const known = new Set<number | null>(result.faces.length ? result.faces.map((face) => face.track_id) : [null]);
  return [...entriesByTrack(result)].map(([trackId, entries]) =>
    drawChart(result, stretches, trackId, entries, known.has(trackId)),
  );
}

function drawChart(
  result: VideoResult,
  stretches: readonly TimelineEntry[],
  trackId: number | null,
  entries: readonly TimelineEntry[],
  counts: boolean,
): HTMLElement {
  const duration = result.duration_s || 1;
  const threshold = result.threshold ?? 1;
  const peak = Math.max(...entries.map((entry) => entry.fake_probability)).toFixed(2);
  const name = faceName(trackId);
  const marks = stretches
    .filter((stretch) => stretch.track_id === trackId && stretch.fake_probability >= threshold)
    .map(({ start_s, end_s }) => {
      const width = (WIDTH * (end_s - start_s)) / duration;
      return svg("rect", { class: `mark ${toneOf(result)}`, x: (WIDTH * start_s) / duration, width, height: HEIGHT });
    });
  const level = HEIGHT * (1 - threshold);
  const plot = svg(
    "svg",
    {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": texts.page.chart(name, peak),
    },
    ...marks,
    svg("line", { ...THIN, class: "threshold", x1: 0, x2: WIDTH, y1: level, y2: level }),
    ...unbroken(entries).map((run) => svg("polyline", { ...THIN, points: pointsOf(run, duration) })),
  );
  return html(
    "figure",
    { class: "chart" },
    html(
      "figcaption",
      {},
      html("span", {}, name + (counts ? "" : texts.page.timelineOnly)),
      html("span", { class: "number" }, texts.page.highest + peak),
    ),
    html(
      "div",
      { class: "plot" },
      html("div", { class: "scale", "aria-hidden": "true" }, html("span", {}, "1"), html("span", {}, "0")),
      plot,
      html("div", { class: "ticks" }, ...ticksOf(duration).map((tick) => html("span", {}, tick))),
    ),
  );
}

const THIN = { "vector-effect": "non-scaling-stroke" };

/** A line through the middles of the windows, extended to the start of the first and the end of the last one. */
function pointsOf(run: readonly TimelineEntry[], duration: number): string {
  const [first, last] = [run[0], run[run.length - 1]];
  const knots = [
    [first.start_s, first.fake_probability],
    ...run.map((entry) => [(entry.start_s + entry.end_s) / 2, entry.fake_probability]),
    [last.end_s, last.fake_probability],
  ];
  return knots.map(([x, y]) => `${((WIDTH * x) / duration).toFixed(1)},${(HEIGHT * (1 - y)).toFixed(1)}`).join(" ");
}

/** Five times at equal distances, with as many digits as tell them apart. */
function ticksOf(duration: number): string[] {
  const times = linspace(0, duration, 5);
  let labels = times.map(clock);
  for (let digits = 1; digits < 4 && new Set(labels).size < labels.length; digits++) {
    labels = times.map((time) => `${time.toFixed(digits)} s`);
  }
  return [...new Set(labels)];
}
