// SPDX-License-Identifier: Apache-2.0
/** The pictures of a result: a still, thumbnails of the faces, and the frames behind the highest windows. */

import { constants } from "../constants";
import type { Box } from "../faces/detection";
import { rescaleBox } from "../faces/detection";
import type { Networks } from "../model/networks";
import { pictureFor } from "../model/preprocessing";
import { sigmoid, spread, unique } from "../numeric";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import { scaleBy } from "../video/picture";
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

/** A whole frame, scaled down, with the box of each face that is visible. */
export interface Still {
  time_s: number;
  picture: Picture;
  faces: { track_id: number; box: Box }[];
}

export interface Evidence {
  /** `null` if faces were not searched for. */
  still: Still | null;
  thumbnails: Thumbnail[];
  heatmaps: Heatmap[];
}

/** Choose the pictures of a file that was scored; see `illustrating.gather_evidence`. */
export async function gatherEvidence(
  source: FrameSource,
  scored: ScoredClips,
  windows: readonly Window[],
  networks: Networks,
): Promise<Evidence> {
  return {
    still: await chooseStill(source, windows),
    thumbnails: chooseThumbnails(source, scored),
    heatmaps: await explainWorst(source, windows, networks),
  };
}

/** A window for each face of a photo, or for the whole photo; see `illustrating.photo_windows`. */
export function photoWindows({ clips, margins }: ScoredClips): Window[] {
  return clips.map(({ frameIndices, track }, i) => {
    const entry = {
      start_s: 0,
      end_s: 0,
      fake_probability: sigmoid(margins[i]),
      track_id: track?.trackId ?? null,
    };
    return { entry, frameIndices, track };
  });
}

/** The middle frame of the window with the highest fake probability; see `stills.draw_still`. */
async function chooseStill(source: FrameSource, windows: readonly Window[]): Promise<Still | null> {
  const [worst] = worstWindows(windows, 1);
  if (worst === undefined || worst.track === null) return null;
  const index = worst.frameIndices[worst.frameIndices.length >> 1];
  for await (const [, frame] of source.frames([index])) {
    const picture = scaleBy(frame, Math.min(1, options.stillSide / Math.max(frame.width, frame.height)));
    const visible = new Set(
      windows.filter(({ frameIndices }) => frameIndices.includes(index)).map(({ track }) => track),
    );
    const faces = [...visible].flatMap((track) => {
      if (track === null) return [];
      const box = track.boxes[track.frameIndices.indexOf(index)];
      return [{ track_id: track.trackId, box: rescaleBox(box, track.size, [picture.width, picture.height]) }];
    });
    return { time_s: source.timestamps[index], picture, faces: faces.sort((a, b) => a.track_id - b.track_id) };
  }
  return null;
}

/** A few pictures of each face, as the network received them. */
function chooseThumbnails(source: FrameSource, scored: ScoredClips): Thumbnail[] {
  return scored.clips.flatMap(({ pictures, frameIndices, track }) =>
    spread(unique(frameIndices), options.thumbnails).map((index) => ({
      time_s: source.timestamps[index],
      track_id: track?.trackId ?? null,
      picture: pictures[frameIndices.indexOf(index)],
    })),
  );
}

/** Explain the windows with the highest fake probabilities; of those below one half only the highest. */
async function explainWorst(source: FrameSource, windows: readonly Window[], networks: Networks): Promise<Heatmap[]> {
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
