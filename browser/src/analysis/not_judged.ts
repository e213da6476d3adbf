// SPDX-License-Identifier: Apache-2.0

import type { FrameSource } from "../video/frame_source";
import type { NotJudged, TimelineEntry } from "./result";

/** The ranges of time that no window covers: gaps without a new picture, and the rest, in which no face was followed. */
export function findNotJudged(source: FrameSource, timeline: readonly TimelineEntry[]): NotJudged[] {
  const ranges: NotJudged[] = [...source.gaps].map(([index, start_s]) => {
    const end_s = source.timestamps[index + 1];
    return { start_s, end_s, reason: "no_new_picture", stream: null };
  });
  const covered = [...timeline, ...ranges].sort((a, b) => a.start_s - b.start_s);
  let judged = source.timestamps[0];
  for (const { start_s, end_s } of [...covered, { start_s: source.durationS, end_s: source.durationS }]) {
    if (start_s > judged + 1e-6) ranges.push({ start_s: judged, end_s: start_s, reason: "no_face", stream: null });
    judged = Math.max(judged, end_s);
  }
  return ranges.sort((a, b) => a.start_s - b.start_s);
}
