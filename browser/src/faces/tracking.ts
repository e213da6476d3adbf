// SPDX-License-Identifier: Apache-2.0
/** Linking the faces of single frames into tracks; see `face_tracking.py`. */

import { constants } from "../constants";
import { compareTuples, mean, median } from "../numeric";
import type { Picture } from "../video/picture";
import type { Box, Face, Size } from "./detection";
import { boxIou, boxSize, interpolateBox, rescaleBox } from "./detection";

const { tracking: options } = constants;

/** One face followed through the frames of a video; arrays have one entry per frame. */
export interface FaceTrack {
  trackId: number;
  frameIndices: number[];
  boxes: Box[];
  /** Where the face was not detected but lies between two detections. */
  interpolated: boolean[];
  quarterTurns: number;
  /** Width and height of the picture that the boxes refer to. */
  size: Size;
}

interface Chain {
  positions: number[];
  faces: Face[];
}

export function medianArea(track: FaceTrack): number {
  return median(track.boxes.map(([x0, y0, x1, y1]) => (x1 - x0) * (y1 - y0)));
}

export function boxesIn(track: FaceTrack, size: Size): Box[] {
  return track.boxes.map((box) => rescaleBox(box, track.size, size));
}

function prominence(track: FaceTrack): number {
  return track.interpolated.filter((value) => !value).length * medianArea(track);
}

/** Link the faces of the frames into tracks, the main face first. */
export function linkDetections(
  indices: readonly number[],
  detections: readonly Face[][],
  times: readonly number[],
  cuts: ReadonlySet<number>,
  size: Size,
): FaceTrack[] {
  const chains: Chain[] = [];
  let alive: Chain[] = [];
  detections.forEach((found, position) => {
    const faces = [...found].sort((a, b) => compareTuples([...a.box, a.score], [...b.box, b.score]));
    alive = cuts.has(indices[position])
      ? []
      : alive.filter((chain) => position - (chain.positions.at(-1) ?? 0) <= options.maxGap + 1);
    const pairs = match(alive, faces, position, times);
    faces.forEach((face, i) => {
      let chain = pairs.get(i);
      if (chain === undefined) {
        chain = { positions: [], faces: [] };
        chains.push(chain);
        alive.push(chain);
      }
      chain.positions.push(position);
      chain.faces.push(face);
    });
  });
  return chains
    .map((chain) => toTrack(chain, indices, times, detections, size))
    .sort((a, b) => prominence(b) - prominence(a))
    .map((track, trackId) => ({ ...track, trackId }));
}

/** Pairs of the position of a face and the chain it continues, one to one, the closest first. */
function match(alive: Chain[], faces: Face[], position: number, times: readonly number[]): Map<number, Chain> {
  const costs: [number, number, number][] = [];
  alive.forEach((chain, k) => {
    const last = chain.positions.at(-1) ?? 0;
    const elapsed = times[position] - times[last];
    faces.forEach((face, i) => {
      const cost = stepCost(chain.faces[chain.faces.length - 1].box, face.box, elapsed);
      if (cost !== null) costs.push([cost, k, i]);
    });
  });
  const pairs = new Map<number, Chain>();
  const taken = new Set<Chain>();
  for (const [, k, i] of costs.sort(compareTuples)) {
    if (pairs.has(i) || taken.has(alive[k])) continue;
    pairs.set(i, alive[k]);
    taken.add(alive[k]);
  }
  return pairs;
}

/** How far a face would have moved and grown, in its own sizes; `null` if that is not one face. */
function stepCost(old: Box, current: Box, elapsed: number): number | null {
  const [oldSize, newSize] = [boxSize(old), boxSize(current)];
  const x = (old[0] + old[2] - current[0] - current[2]) / 2;
  const y = (old[1] + old[3] - current[1] - current[3]) / 2;
  const distance = Math.sqrt(x * x + y * y) / Math.sqrt(oldSize * newSize);
  const growth = Math.max(oldSize, newSize) / Math.min(oldSize, newSize);
  const couldMove =
    distance <= Math.min(options.sizesPerSecond * elapsed, options.maxSizes) && growth <= options.maxGrowth;
  return couldMove || boxIou(old, current) > options.minIou ? distance + Math.log2(growth) : null;
}

function toTrack(
  chain: Chain,
  indices: readonly number[],
  times: readonly number[],
  detections: readonly Face[][],
  size: Size,
): FaceTrack {
  const { positions, faces } = chain;
  const known = positions.map((position) => indices[position]);
  const boxAt = (position: number): Box => interpolateBox(indices[position], known, (i) => faces[i].box);
  const kept = [...positions];
  for (let i = 1; i < positions.length; i++) {
    if (times[positions[i]] - times[positions[i - 1]] > options.maxInterpolatedS) continue;
    for (let p = positions[i - 1] + 1; p < positions[i]; p++) {
      const box = boxAt(p);
      if (detections[p].every((face) => boxIou(box, face.box) <= options.minIou)) kept.push(p);
    }
  }
  kept.sort((a, b) => a - b);
  const detected = new Set(positions);
  return {
    trackId: 0,
    frameIndices: kept.map((p) => indices[p]),
    boxes: kept.map(boxAt),
    interpolated: kept.map((p) => !detected.has(p)),
    quarterTurns: 0,
    size,
  };
}

/** Frame indices that start a new scene, judged by frames that are close in time. */
export function findCuts(
  indices: readonly number[],
  thumbnails: readonly Picture[],
  times: readonly number[],
  aspects: readonly number[],
): Set<number> {
  const cuts = new Set<number>();
  const changes: number[] = [];
  const dense: boolean[] = [];
  for (let i = 0; i + 1 < indices.length; i++) {
    const [before, after] = [thumbnails[i].data, thumbnails[i + 1].data];
    changes.push(mean(before.map((value, k) => Math.abs(value - after[k]))));
    const isSameShape = Math.abs(Math.log(aspects[i + 1]) - Math.log(aspects[i])) <= options.maxAspectChange;
    dense.push(times[i + 1] - times[i] <= options.denseS + 1e-6 && isSameShape);
  }
  changes.forEach((change, i) => {
    if (!dense[i] || change <= options.cutLevel) return;
    const around = changes.filter((_, k) => k !== i && Math.abs(k - i) <= 4 && dense[k]);
    const limit = around.length ? options.cutRatio * median(around) : options.loneCutLevel;
    if (change > limit) cuts.add(indices[i + 1]);
  });
  return cuts;
}

/** Average each box with its neighbours wherever the frames are consecutive. */
export function smoothBoxes(track: FaceTrack): FaceTrack {
  const { frameIndices, boxes } = track;
  const smoothed = [...boxes];
  let first = 0;
  while (first < boxes.length) {
    let last = first;
    while (last + 1 < boxes.length && frameIndices[last + 1] === frameIndices[last] + 1) last++;
    for (let i = first; i <= last; i++) {
      const radius = Math.min(2, i - first, last - i);
      const around = boxes.slice(i - radius, i + radius + 1);
      const [x0, y0, x1, y1] = [0, 1, 2, 3].map((side) => mean(around.map((box) => box[side])));
      smoothed[i] = [x0, y0, x1, y1];
    }
    first = last + 1;
  }
  return { ...track, boxes: smoothed };
}
