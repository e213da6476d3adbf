// SPDX-License-Identifier: Apache-2.0
/** The pictures of a result: thumbnails of the faces, and the frames behind the highest windows; see `illustrating.py`. */

import { constants } from "../constants";
import type { Networks } from "../model/networks";
import { pictureFor } from "../model/preprocessing";
import { spread, unique } from "../numeric";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import type { ScoredClips } from "./detector";
import type { Heat } from "./heat";
import { heatOf } from "./heat";
import type { TimelineEntry } from "./result";
import type { Window } from "./timeline";

const { evidence: options } = constants;

export interface Thumbnail {
  time_s: number;
  track_id: number | null;
  picture: Picture;
}

/** The frame of a window that contributes most to its fake logit, and which parts of it do. */
export interface Heatmap {
  window: TimelineEntry;
  time_s: number;
  picture: Picture;
  heat: Heat;
}

export interface Evidence {
  thumbnails: Thumbnail[];
  heatmaps: Heatmap[];
}

/** A few pictures of each face, as the network received them. */
export function chooseThumbnails(source: FrameSource, scored: ScoredClips): Thumbnail[] {
  return scored.clips.flatMap(({ pictures, frameIndices, track }) =>
    spread(unique(frameIndices), options.thumbnails).map((index) => ({
      time_s: source.timestamps[index],
      track_id: track?.trackId ?? null,
      picture: pictures[frameIndices.indexOf(index)],
    })),
  );
}

/** Explain the windows with the highest fake probabilities; of those below one half only the highest. */
export async function explainWorst(
  source: FrameSource,
  windows: readonly Window[],
  networks: Networks,
): Promise<Heatmap[]> {
  const worst = worstWindows(windows, options.heatmaps).filter(
    ({ entry }, i) => i === 0 || entry.fake_probability >= constants.decisionThreshold,
  );
  const heatmaps: Heatmap[] = [];
  for (const window of worst) {
    const explained = await explain(source, window, networks);
    if (explained !== null) heatmaps.push(explained);
  }
  return heatmaps;
}

async function explain(source: FrameSource, window: Window, networks: Networks): Promise<Heatmap | null> {
  const { preprocessing } = networks.description;
  const { track, entry } = window;
  let hottest: Heatmap | null = null;
  let most = -1;
  for await (const [index, frame] of source.frames(window.frameIndices)) {
    const box = track?.boxes[track.frameIndices.indexOf(index)];
    const picture = pictureFor(frame, track, box, preprocessing);
    const heat = await heatOf(networks, picture);
    if (heat === null) return null;
    const sum = heat.values.reduce((total, value) => total + value, 0);
    if (sum <= most) continue;
    most = sum;
    hottest = { window: entry, time_s: source.timestamps[index], picture, heat };
  }
  return hottest;
}

/** The windows with the highest fake probabilities that do not overlap, the highest first. */
function worstWindows(windows: readonly Window[], count: number): Window[] {
  const chosen: Window[] = [];
  for (const window of [...windows].sort((a, b) => b.entry.fake_probability - a.entry.fake_probability)) {
    if (chosen.length === count) break;
    if (!chosen.some((other) => overlap(window.entry, other.entry))) chosen.push(window);
  }
  return chosen;
}

function overlap(a: TimelineEntry, b: TimelineEntry): boolean {
  return a.start_s < b.end_s && b.start_s < a.end_s && a.track_id === b.track_id;
}
