// SPDX-License-Identifier: Apache-2.0
/** The ranges of time that were not judged; see `scanning/not_judged.py`. */

import { range, unique } from "../numeric";
import type { FrameSource } from "../video/frame_source";
import type { NotJudged } from "./result";
import type { Window } from "./timeline";
import { denseIndices } from "./timeline";

/** Times closer than this are the same. */
const TOLERANCE_S = 1e-6;

/**
 * Find the ranges of a video that were not judged; a frame that was sampled stands for the time until the next one.
 *
 * @param scored The frames of the score.
 * @param searched The frames in which faces were searched for it.
 * @param windows The timeline.
 */
export function findNotJudged(
  source: FrameSource,
  scored: readonly number[],
  searched: readonly number[],
  windows: readonly Window[] = [],
): NotJudged[] {
  const judged = new Set([...scored, ...windows.flatMap(({ frameIndices }) => frameIndices)]);
  const dense = windows.length ? denseIndices(source) : [];
  const lookedAt = unique([...judged, ...searched, ...dense, ...source.unread.undecodable]);
  const ranges = rangesOf(source, judged, lookedAt);
  for (const [index, start_s] of source.gaps) {
    ranges.push({ start_s, end_s: source.timestamps[index + 1], reason: "no_new_picture", stream: null });
  }
  return ranges.sort((a, b) => a.start_s - b.start_s || (a.reason < b.reason ? -1 : 1));
}

/** Join consecutive frames that were not judged for the same reason; a gap ends a range. */
function rangesOf(source: FrameSource, judged: ReadonlySet<number>, lookedAt: readonly number[]): NotJudged[] {
  const ends = endsOf(source, lookedAt);
  const ranges: NotJudged[] = [];
  for (const i of range(lookedAt.length)) {
    const index = lookedAt[i];
    if (judged.has(index)) continue;
    const reason = source.unread.undecodable.has(index) ? "undecodable" : "no_face";
    const [start_s, end_s] = [source.timestamps[index], ends[i]];
    const before = ranges.at(-1);
    if (before?.reason === reason && start_s <= before.end_s + TOLERANCE_S) before.end_s = end_s;
    else ranges.push({ start_s, end_s, reason, stream: null });
  }
  return ranges;
}

/** When each of some ascending frames ends: when the next one begins, or the first gap in between. */
function endsOf(source: FrameSource, indices: readonly number[]): number[] {
  const ends = [...indices.slice(1).map((index) => source.timestamps[index]), source.durationS];
  for (const [index, end] of source.gaps) {
    const before = indices.filter((other) => other <= index).length - 1;
    if (before >= 0) ends[before] = Math.min(ends[before], end);
  }
  return ends;
}
