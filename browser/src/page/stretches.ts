// SPDX-License-Identifier: Apache-2.0
/** Joins the overlapping windows of a timeline to stretches; see `scanning/stretches.py`. */

import type { TimelineEntry, VideoResult } from "../analysis/result";
import { append, compareTuples } from "../numeric";

/** Length of the longest window in seconds, to which the times of a timeline are accurate. */
export function longestWindow(result: VideoResult): string {
  return Math.max(0, ...result.timeline.map(({ start_s, end_s }) => end_s - start_s)).toFixed(1);
}

/** The windows of each face in order of time; the main face first. */
export function entriesByTrack(result: VideoResult): Map<number | null, TimelineEntry[]> {
  const keyOf = (entry: TimelineEntry): number[] => [entry.track_id ?? 0, entry.start_s];
  const sorted = [...result.timeline].sort((a, b) => compareTuples(keyOf(a), keyOf(b)));
  const tracks = new Map<number | null, TimelineEntry[]>();
  for (const entry of sorted) append(tracks, entry.track_id, entry);
  return tracks;
}

/** The stretches at or above the threshold, the highest first; if there are none, the highest window. */
export function worstStretches(result: VideoResult): TimelineEntry[] {
  const stretches = [...entriesByTrack(result).values()].flatMap((track) =>
    runsOf(
      track.filter((entry) => entry.fake_probability >= result.threshold),
      (entry, before) => entry.start_s <= before.end_s,
    ).map(join),
  );
  if (!stretches.length && result.timeline.length) stretches.push(highest(result.timeline));
  const decisive = result.timeline.filter((entry) => entry.track_id === result.decisive_track_id);
  if (decisive.length && stretches.every((stretch) => stretch.track_id !== result.decisive_track_id)) {
    stretches.push(highest(decisive));
  }
  return stretches.sort((a, b) => b.fake_probability - a.fake_probability || a.start_s - b.start_s);
}

/** Runs of windows of one face, each of which continues the one before. */
export function runsOf(
  entries: readonly TimelineEntry[],
  continues: (entry: TimelineEntry, before: TimelineEntry) => boolean,
): TimelineEntry[][] {
  const runs: TimelineEntry[][] = [];
  for (const entry of entries) {
    const before = runs.at(-1)?.at(-1);
    if (before && continues(entry, before)) runs[runs.length - 1].push(entry);
    else runs.push([entry]);
  }
  return runs;
}

function join(run: readonly TimelineEntry[]): TimelineEntry {
  return {
    ...run[0],
    end_s: run[run.length - 1].end_s,
    fake_probability: Math.max(...run.map((entry) => entry.fake_probability)),
  };
}

function highest(entries: readonly TimelineEntry[]): TimelineEntry {
  return entries.reduce((best, entry) => (entry.fake_probability > best.fake_probability ? entry : best));
}
