// SPDX-License-Identifier: Apache-2.0
/** Thumbnails of the frames that were read, to find cuts; see `watched_frames.py`. They also tell a still picture from a video; see `scanning/different_frames.py`. */

import { constants } from "../constants";
import { findCuts } from "../faces/tracking";
import { range, unique } from "../numeric";
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

  /** Number of these frames that differ from each other; 1 for a still picture in the form of a video. */
  countDifferent(indices: readonly number[]): number {
    const kept: number[][] = [];
    for (const index of unique(indices)) {
      const grey = greyOf(this.entries.get(index)?.thumbnail.data ?? []);
      if (
        kept.every((other) => grey.some((value, i) => Math.abs(value - other[i]) > constants.verdict.stillTolerance))
      ) {
        kept.push(grey);
      }
    }
    return kept.length;
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

/** The mean of the three colours of each pixel. */
function greyOf(data: ArrayLike<number>): number[] {
  return range(data.length / 3).map((i) => (data[3 * i] + data[3 * i + 1] + data[3 * i + 2]) / 3);
}
