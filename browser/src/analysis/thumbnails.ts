// SPDX-License-Identifier: Apache-2.0
/** Thumbnails of the frames that were read, to find cuts; see `scanning/watched_frames.py`. */

import { constants } from "../constants";
import { findCuts } from "../faces/tracking";
import type { Picture } from "../video/picture";
import { scaleDown } from "../video/picture";

/** The thumbnails of frames, by index. */
export class Thumbnails {
  private readonly entries = new Map<number, { thumbnail: Picture; aspect: number }>();

  add(index: number, frame: Picture): void {
    const { thumbnailSide: side } = constants.search;
    const thumbnail = scaleDown(frame, side, side);
    this.entries.set(index, { thumbnail, aspect: frame.width / frame.height });
  }

  /** Which of these frames start a new scene; those that were not read are left out. */
  cuts(indices: readonly number[], timestamps: readonly number[]): Set<number> {
    const read = indices.filter((index) => this.entries.has(index));
    const entries = read.flatMap((index) => this.entries.get(index) ?? []);
    return findCuts(
      read,
      entries.map(({ thumbnail }) => thumbnail),
      read.map((index) => timestamps[index]),
      entries.map(({ aspect }) => aspect),
    );
  }
}
