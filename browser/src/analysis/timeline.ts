// SPDX-License-Identifier: Apache-2.0
/** The timeline: a denser pass over a video, and windows that slide over its features; see `scanning/timeline.py`. */

import { constants } from "../constants";
import type { Box, FollowingDetector, Size } from "../faces/detection";
import { boxIou, interpolateBox, rescaleBox } from "../faces/detection";
import { findFaceTracks } from "../faces/search";
import type { FaceTrack } from "../faces/tracking";
import { boxesIn } from "../faces/tracking";
import type { Networks } from "../model/networks";
import { pictureFor } from "../model/preprocessing";
import { append, compareTuples, range, sigmoid, unique } from "../numeric";
import { VideoError } from "../video/errors";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import type { TimelineEntry } from "./result";
import { Thumbnails } from "./thumbnails";

const { timeline: options } = constants;
const FRAMES_PER_BATCH = 8;

/** Consecutive frames of one face that were scored together. */
export interface Window {
  entry: TimelineEntry;
  frameIndices: number[];
  track: FaceTrack | null;
}

/** A track of the pass, `null` for whole frames, with the features of each of its frames. */
interface Followed {
  track: FaceTrack | null;
  boxes: Map<number, Box>;
  features: Map<number, Float32Array>;
}

/**
 * Score a video window by window, in order of time and face.
 *
 * @param seen The faces of the score, whose numbers the windows use.
 * @param onFrame Called with the seconds of each frame that was scored.
 */
export async function makeTimeline(
  source: FrameSource,
  seen: readonly FaceTrack[],
  networks: Networks,
  detector: FollowingDetector | null,
  onFrame: (second: number) => void,
): Promise<Window[]> {
  const dense = denseIndices(source);
  const tracks = detector === null ? [null] : await findDenseTracks(source, dense, seen, networks, detector);
  const followed = tracks.map((track): Followed => {
    const boxes = new Map(track?.frameIndices.map((index, i) => [index, track.boxes[i]]));
    return { track, boxes, features: new Map() };
  });
  const indices = unique([...dense, ...tracks.flatMap((track) => track?.frameIndices ?? [])]);
  const thumbnails = await readFeatures(source, indices, followed, networks, onFrame);
  const spans = new Spans(source, indices, thumbnails.cuts(dense, source.timestamps));
  const isDense = new Set(dense);
  const regular = spans.windows(range(indices.length).filter((position) => isDense.has(indices[position])));
  const windows: Window[] = [];
  for (const face of followed) {
    const isPresent = (position: number): boolean => face.features.has(indices[position]);
    let chosen = regular.filter((window) => window.filter(isPresent).length >= 0.5 * window.length);
    if (!chosen.length && face.track !== null && face.track.trackId < seen.length) {
      const longest = options.windowFrames * options.denseIntervalS;
      chosen = spans.windows(range(indices.length).filter(isPresent), longest);
    }
    for (const positions of chosen) {
      const frameIndices = positions.filter(isPresent).map((position) => indices[position]);
      const [start_s, end_s] = spans.span(positions);
      const fake_probability = await judge(frameIndices, face.features, networks);
      const entry = { start_s, end_s, fake_probability, track_id: face.track?.trackId ?? null };
      windows.push({ entry, frameIndices, track: face.track });
    }
  }
  const keyOf = ({ entry }: Window): number[] => [entry.start_s, entry.track_id ?? 0];
  return windows.sort((a, b) => compareTuples(keyOf(a), keyOf(b)));
}

/** Indices of the frames of the denser pass. */
export function denseIndices(source: FrameSource): number[] {
  const byRate = Math.floor(source.fps * options.denseIntervalS + 1e-6);
  const step = Math.max(1, byRate, Math.ceil(source.numFrames / options.maxDenseFrames));
  return range(Math.ceil(source.numFrames / step)).map((i) => i * step);
}

/** The tracks that the denser pass finds, and those of `seen` that it misses, in order of their numbers. */
async function findDenseTracks(
  source: FrameSource,
  dense: readonly number[],
  seen: readonly FaceTrack[],
  networks: Networks,
  detector: FollowingDetector,
): Promise<FaceTrack[]> {
  let found: FaceTrack[] = [];
  try {
    found = await findFaceTracks(source, dense, detector, networks.description.preprocessing.face_min_score);
  } catch (error) {
    if (!(error instanceof VideoError && error.reason === "no_face" && seen.length)) throw error;
  }
  const tracks = numberTracks(found, seen);
  const missed = seen.filter((face) => tracks.every((track) => track.trackId !== face.trackId));
  return [...tracks, ...missed].sort((a, b) => a.trackId - b.trackId);
}

/** Compute the features of all faces, and return a thumbnail of each frame. */
async function readFeatures(
  source: FrameSource,
  indices: readonly number[],
  followed: readonly Followed[],
  networks: Networks,
  onFrame: (second: number) => void,
): Promise<Thumbnails> {
  const thumbnails = new Thumbnails();
  const { preprocessing } = networks.description;
  const width = networks.description.num_features;
  let pending: { face: Followed; index: number; picture: Picture }[] = [];
  const flush = async (): Promise<void> => {
    if (!pending.length) return;
    const features = await networks.frameFeatures(pending.map(({ picture }) => picture));
    pending.forEach(({ face, index }, row) => {
      face.features.set(index, features.slice(row * width, (row + 1) * width));
    });
    pending = [];
  };
  for await (const [index, frame] of source.frames(indices)) {
    thumbnails.add(index, frame);
    for (const face of followed) {
      const box = face.boxes.get(index);
      if (face.track !== null && box === undefined) continue;
      pending.push({ face, index, picture: pictureFor(frame, face.track, box, preprocessing) });
      if (pending.length >= FRAMES_PER_BATCH) await flush();
    }
    onFrame(source.timestamps[index]);
  }
  await flush();
  return thumbnails;
}

async function judge(
  indices: readonly number[],
  features: ReadonlyMap<number, Float32Array>,
  networks: Networks,
): Promise<number> {
  const width = networks.description.num_features;
  const clip = new Float32Array(indices.length * width);
  indices.forEach((index, row) => {
    clip.set(features.get(index) ?? [], row * width);
  });
  const { logits } = await networks.classify(clip, 1, indices.length);
  return sigmoid(networks.fakeMargins(logits)[0]);
}

/** Forms windows from the frames of a video, as positions among `indices`, and tells their times. */
class Spans {
  private readonly starts: number[];
  private readonly ends: number[];
  /** How many gaps and cuts each frame follows. */
  private readonly breaksBefore: number[];

  constructor(source: FrameSource, indices: readonly number[], cuts: ReadonlySet<number>) {
    this.starts = indices.map((index) => source.timestamps[index]);
    this.ends = [...this.starts.slice(1), source.durationS];
    const gaps = [...source.gaps.keys()].sort((a, b) => a - b);
    const scenes = [...cuts];
    // A gap follows the frame of its index, a cut precedes it.
    this.breaksBefore = indices.map(
      (index) => gaps.filter((gap) => gap < index).length + scenes.filter((cut) => cut <= index).length,
    );
    // If there are several gaps before the next of these frames, the first one ends the frame.
    for (const gap of gaps.reverse()) {
      this.ends[indices.filter((index) => index <= gap).length - 1] = source.gaps.get(gap) ?? 0;
    }
  }

  /** Overlapping windows over these positions, none of which extends across a gap, a cut or a step above `longest`. */
  windows(positions: readonly number[], longest = Number.POSITIVE_INFINITY): number[][] {
    const runs: number[][] = [];
    positions.forEach((position, i) => {
      const before = positions[i - 1];
      const isApart =
        i === 0 ||
        this.breaksBefore[position] > this.breaksBefore[before] ||
        this.starts[position] - this.starts[before] > longest;
      if (isApart) runs.push([]);
      runs[runs.length - 1].push(position);
    });
    return runs.flatMap((run) => windowBounds(run.length).map(([start, stop]) => run.slice(start, stop)));
  }

  span(positions: readonly number[]): [number, number] {
    return [this.starts[positions[0]], this.ends[positions[positions.length - 1]]];
  }
}

/** Start and stop of each window over a number of frames. The last window ends with the last frame. */
export function windowBounds(numFrames: number): [number, number][] {
  const last = Math.max(0, numFrames - options.windowFrames);
  const starts = range(Math.floor(last / options.hopFrames) + 1).map((i) => i * options.hopFrames);
  return unique([...starts, last]).map((start) => [start, Math.min(start + options.windowFrames, numFrames)]);
}

/** Give the tracks of the denser pass the numbers of the faces they show, and join those of the same face. */
function numberTracks(found: readonly FaceTrack[], seen: readonly FaceTrack[]): FaceTrack[] {
  const parts = new Map<number, FaceTrack[]>();
  let newcomer = seen.length;
  for (const track of found) {
    let best: [number, number] = [0, 0];
    let owner = newcomer;
    for (const face of seen) {
      const agreement = agree(track, face);
      // Of equals, the first face.
      if (compareTuples(agreement, best) <= 0) continue;
      best = agreement;
      owner = compareTuples(agreement, [0, constants.tracking.minIou]) > 0 ? face.trackId : newcomer;
    }
    const own = new Set(track.frameIndices);
    // A face cannot be in two places at once.
    if (parts.get(owner)?.some((part) => part.frameIndices.some((index) => own.has(index)))) owner = newcomer;
    if (owner === newcomer) newcomer++;
    append(parts, owner, track);
  }
  return [...parts].sort(([a], [b]) => a - b).map(([trackId, joined]) => joinTracks(trackId, joined));
}

/** Number of frames of `face` at which the dense track is in the same place, and their overlap at its middle. */
function agree(dense: FaceTrack, face: FaceTrack): [number, number] {
  const { frameIndices } = dense;
  const middle = frameIndices[frameIndices.length >> 1];
  const step = frameIndices.length > 1 ? frameIndices[1] - frameIndices[0] : 0;
  const [first, last] = [frameIndices[0] - step, frameIndices[frameIndices.length - 1] + step];
  const boxes = boxesIn(face, dense.size);
  const common = face.frameIndices.filter(
    (index, i) =>
      first < index && index < last && boxIou(boxes[i], boxAt(dense, index, dense.size)) > constants.tracking.minIou,
  ).length;
  const isBetween = face.frameIndices[0] <= middle && middle <= face.frameIndices[face.frameIndices.length - 1];
  return [common, isBetween ? boxIou(boxAt(face, middle, dense.size), boxAt(dense, middle, dense.size)) : 0];
}

function boxAt(track: FaceTrack, index: number, size: Size): Box {
  return interpolateBox(index, track.frameIndices, (i) => rescaleBox(track.boxes[i], track.size, size));
}

/** Join several tracks. If two contain the same frame, the box of the first, more prominent one is used. */
function joinTracks(trackId: number, parts: readonly FaceTrack[]): FaceTrack {
  const entries = new Map<number, [Box, boolean]>();
  for (const part of parts) {
    part.frameIndices.forEach((index, i) => {
      if (!entries.has(index)) entries.set(index, [part.boxes[i], part.interpolated[i]]);
    });
  }
  const sorted = [...entries].sort(([a], [b]) => a - b);
  return {
    ...parts[0],
    trackId,
    frameIndices: sorted.map(([index]) => index),
    boxes: sorted.map(([, [box]]) => box),
    interpolated: sorted.map(([, [, isInterpolated]]) => isInterpolated),
  };
}
