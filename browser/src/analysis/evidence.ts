// SPDX-License-Identifier: Apache-2.0
/** The pictures of a result; see `scanning/evidence.py`. */

import { spread, unique } from "../numeric";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import type { ScoredClips } from "./detector";

const NUM_THUMBNAILS = 5;

export interface Thumbnail {
  time_s: number;
  track_id: number | null;
  picture: Picture;
}

export interface Heatmap {
  start_s: number;
  end_s: number;
  time_s: number;
  track_id: number | null;
  fake_probability: number;
  picture: Picture;
  /** Heat from 0 to 1 in `heatWidth` times `heatHeight` fields, or `null` if the network offers none. */
  heat: Float32Array | null;
  heatWidth: number;
  heatHeight: number;
}

export interface Evidence {
  thumbnails: Thumbnail[];
  heatmaps: Heatmap[];
}

/** A few pictures of each face, as the network received them. */
export function chooseThumbnails(source: FrameSource, scored: ScoredClips): Thumbnail[] {
  return scored.clips.flatMap(({ pictures, frameIndices, track }) =>
    spread(unique(frameIndices), NUM_THUMBNAILS).map((index) => ({
      time_s: source.timestamps[index],
      track_id: track?.trackId ?? null,
      picture: pictures[frameIndices.indexOf(index)],
    })),
  );
}
