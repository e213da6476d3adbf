// SPDX-License-Identifier: Apache-2.0
/** The timeline of a face as a drawing, as in the report of `scanning/html_report.py`. */

import type { TimelineEntry, VideoResult } from "../analysis/result";
import { constants } from "../constants";
import { general, range } from "../numeric";
import { say, sayAround } from "../report_texts";
import { html, svg } from "./elements";
import { clock, faceName } from "./formats";
import type { Report } from "./report_parts";
import { probability } from "./report_parts";
import { entriesByTrack, runsOf } from "./stretches";
import { toneOf } from "./tones";

const [WIDTH, HEIGHT] = [1000, 100];

/** One drawing for each face of the timeline, in which the stretches above the threshold are marked. */
export function drawCharts({ result, stretches }: Report): HTMLElement[] {
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
  const { threshold } = result;
  const peak = Math.max(...entries.map((entry) => entry.fake_probability));
  const ticks = ticksOf(result.duration_s ?? 0);
  const runs = runsOf(entries, (entry, before) => entry.start_s < before.end_s);
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
      "aria-label": say("when.chart", { face: name, peak: peak.toFixed(2) }),
    },
    ...marks,
    ...ticks.map(({ percent }) => {
      const x = (percent * WIDTH) / 100;
      return svg("line", { ...THIN, class: "grid", x1: x, x2: x, y1: 0, y2: HEIGHT });
    }),
    svg("line", { ...THIN, class: "threshold", x1: 0, x2: WIDTH, y1: level, y2: level }),
    ...runs.map((run) => svg("polyline", { ...THIN, points: pointsOf(run, duration) })),
  );
  return html(
    "figure",
    { class: "chart" },
    html(
      "figcaption",
      {},
      html("span", {}, counts ? name : say("when.face_of_timeline", { face: name })),
      html("span", { class: "number" }, ...sayAround("when.highest", { peak: probability(peak) })),
    ),
    html(
      "div",
      { class: "plot" },
      html("div", { class: "scale", "aria-hidden": "true" }, html("span", {}, "1"), html("span", {}, "0")),
      plot,
      // Without a viewBox, percentages place the texts and nothing distorts them.
      svg("svg", { class: "ticks", "aria-hidden": "true" }, ...ticks.map(drawTick)),
    ),
  );
}

function drawTick({ percent, label, anchor }: Tick): SVGElement {
  return svg("text", { x: `${percent}%`, y: "1em", "text-anchor": anchor }, label);
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

/** A time below a chart at its place in percent of the width, and which part of the label stands there. */
interface Tick {
  percent: number;
  label: string;
  anchor: "start" | "middle" | "end";
}

/** Times at round distances. */
function ticksOf(duration: number): Tick[] {
  const { tickStepsS: steps, maxTicks } = constants.report;
  if (duration < steps[0]) return [{ percent: 0, label: clock(0), anchor: "start" }];
  const step = steps.find((each) => duration / each < maxTicks) ?? duration / (maxTicks - 1);
  return range(Math.floor(duration / step + 1e-9) + 1).map((number) => {
    const time = number * step;
    const percent = Math.min(100, (100 * time) / duration);
    const label = step >= 1 ? clock(time) : say("seconds", { number: general(time, 6) });
    return { percent, label, anchor: number === 0 ? "start" : percent > 92 ? "end" : "middle" };
  });
}
