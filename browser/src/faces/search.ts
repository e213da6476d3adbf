// SPDX-License-Identifier: Apache-2.0
/** Search a video for faces; see `face_search.py`. */

import { constants } from "../constants";
import { append, compareTuples, range, spread } from "../numeric";
import { texts } from "../texts";
import { VideoError } from "../video/errors";
import type { FrameSource } from "../video/frame_source";
import type { Picture } from "../video/picture";
import { scaleDown } from "../video/picture";
import type { Box, Face, FaceDetector, FollowingDetector, Size } from "./detection";
import { boxIou, interpolateBox, isFollowing, quarterTurnsOf, rescaleBox, TurnedDetector } from "./detection";
import type { FaceTrack } from "./tracking";
import { findCuts, linkDetections, smoothBoxes } from "./tracking";

const { search: options } = constants;

/** Faces found in one pass over some frames, in pixels of a picture of `size`. */
interface Search {
  size: Size;
  indices: number[];
  faces: Face[][];
  searchedWhole: boolean[];
  cuts: Set<number>;
}

/** Find the face tracks of a video on the frames `indices`, the main face first. */
export async function findFaceTracks(
  source: FrameSource,
  indices: readonly number[],
  detector: FollowingDetector,
  minScore: number,
): Promise<FaceTrack[]> {
  const tracks = await searchTracks(source, indices, detector, minScore);
  if (!tracks.length) {
    throw new VideoError("no_face", texts.errors.noFace);
  }
  return options.smoothBoxes ? tracks.map(smoothBoxes) : tracks;
}

async function searchTracks(
  source: FrameSource,
  indices: readonly number[],
  following: FollowingDetector,
  minScore: number,
): Promise<FaceTrack[]> {
  let search = await searchFrames(source, indices, following, minScore);
  let detector: FaceDetector = following;
  const seen = search.faces.filter((faces) => isSeen(faces)).length;
  if (seen < options.seldom * search.faces.length) {
    [search, detector] = await searchHarder(source, search, following, minScore);
  }
  if (!search.faces.some((faces) => faces.length)) return [];
  let tracks = link(source, search);
  if (isFollowing(detector) && (await lookAgain(source, search, tracks, detector, minScore))) {
    tracks = link(source, search);
  }
  const quarterTurns = detector instanceof TurnedDetector ? detector.quarterTurns : 0;
  return tracks.map((track) => ({ ...track, quarterTurns }));
}

function link(source: FrameSource, search: Search): FaceTrack[] {
  const times = search.indices.map((index) => source.timestamps[index]);
  return linkDetections(search.indices, search.faces, times, search.cuts, search.size);
}

/** Search frames in order, and follow the faces found last if the detector supports it. */
async function searchFrames(
  source: FrameSource,
  indices: readonly number[],
  detector: FaceDetector,
  minScore: number,
): Promise<Search> {
  const search: Search = { size: [0, 0], indices: [], faces: [], searchedWhole: [], cuts: new Set() };
  const thumbnails: Picture[] = [];
  const sizes: Size[] = [];
  for await (const [index, frame] of source.frames(indices)) {
    if (!sizes.length) search.size = source.size;
    thumbnails.push(scaleDown(frame, options.thumbnailSide, options.thumbnailSide));
    const size: Size = [frame.width, frame.height];
    const before = sizes.at(-1);
    sizes.push(size);
    let found: Face[] | null = null;
    const isFollowed = search.faces.length % options.wholeSearchEvery !== 0;
    if (isFollowed && before?.[0] === size[0] && before[1] === size[1] && isFollowing(detector)) {
      found = await follow(detector, frame, search.faces[search.faces.length - 1], minScore, search.size);
    }
    search.searchedWhole.push(found === null);
    found ??= (await detectSure(detector, frame, minScore)).map((face) => rescaleFace(face, size, search.size));
    search.indices.push(index);
    search.faces.push(found);
  }
  const times = search.indices.map((index) => source.timestamps[index]);
  const aspects = sizes.map(([width, height]) => width / height);
  search.cuts = findCuts(search.indices, thumbnails, times, aspects);
  return search;
}

function rescaleFace(face: Face, old: Size, size: Size): Face {
  if (old[0] === size[0] && old[1] === size[1]) return face;
  return { box: rescaleBox(face.box, old, size), score: face.score, landmarks: null };
}

async function detectNear(detector: FollowingDetector, frame: Picture, box: Box, size: Size): Promise<Face[]> {
  const own: Size = [frame.width, frame.height];
  const found = await detector.detectNear(frame, rescaleBox(box, size, own));
  return found.map((face) => rescaleFace(face, own, size));
}

/** Find each of the `last` faces in this frame; `null` if there are none or one is lost. */
async function follow(
  detector: FollowingDetector,
  frame: Picture,
  last: readonly Face[],
  minScore: number,
  size: Size,
): Promise<Face[] | null> {
  const found: Face[] = [];
  for (const face of last) {
    const match = closest(await detectNear(detector, frame, face.box, size), face.box, found, minScore);
    if (match === null) return null;
    found.push(match);
  }
  return found.length ? found : null;
}

/** The face that overlaps `box` most, except uncertain ones and those in `taken`. */
function closest(near: readonly Face[], box: Box, taken: readonly Face[], minScore: number): Face | null {
  const { minIou } = constants.tracking;
  let best: [number, number, number] = [0, 0, 0];
  near.forEach((face, i) => {
    if (face.score < minScore || taken.some((other) => boxIou(face.box, other.box) > minIou)) return;
    const candidate: [number, number, number] = [boxIou(face.box, box), face.score, i];
    if (compareTuples(candidate, best) > 0) best = candidate;
  });
  return best[0] > minIou ? near[best[2]] : null;
}

/** Search for each face in the frames next to its detections; whether any was found. */
async function lookAgain(
  source: FrameSource,
  search: Search,
  tracks: readonly FaceTrack[],
  detector: FollowingDetector,
  minScore: number,
): Promise<boolean> {
  const positionOf = new Map(search.indices.map((index, position) => [index, position]));
  const expected = new Map<number, [Box, number][]>();
  for (const track of tracks) {
    const known = track.frameIndices.map((index) => positionOf.get(index) ?? 0);
    const detected = known.filter((_, i) => !track.interpolated[i]);
    const boxes = track.boxes.filter((_, i) => !track.interpolated[i]);
    const reach = options.wholeSearchEvery - 1;
    const around = new Set(detected.flatMap((position) => range(2 * reach + 1, position - reach)));
    for (const position of detected) around.delete(position);
    for (const p of [...around].sort((a, b) => a - b)) {
      const isInside = detected[0] < p && p < detected[detected.length - 1];
      if (p < 0 || p >= search.indices.length || (search.searchedWhole[p] && !isInside)) continue;
      const box = interpolateBox(p, detected, (i) => boxes[i]);
      append(expected, search.indices[p], [box, isInside ? Math.min(options.gapScore, minScore) : minScore]);
    }
  }
  let isAnyFound = false;
  const wanted = [...expected.keys()].sort((a, b) => a - b);
  for await (const [index, frame] of source.frames(wanted)) {
    const faces = search.faces[positionOf.get(index) ?? 0];
    for (const [box, score] of expected.get(index) ?? []) {
      const match = closest(await detectNear(detector, frame, box, search.size), box, faces, score);
      if (match === null) continue;
      faces.push(match);
      isAnyFound = true;
    }
  }
  return isAnyFound;
}

/** A search that finds more than `search`, and its detector: rotated frames, smaller faces, then more frames. */
async function searchHarder(
  source: FrameSource,
  search: Search,
  detector: FollowingDetector,
  minScore: number,
): Promise<[Search, FaceDetector]> {
  const { indices } = search;
  const isEmpty = !search.faces.some((faces) => faces.length);
  const few = spread(indices, isEmpty ? options.fineFrames : options.turnedFrames);
  const upright = indices.filter((index, i) => few.includes(index) && isSeen(search.faces[i])).length;
  const fine = isEmpty ? detector.finer() : null;
  const turns = [1, 3, 2].map((quarterTurns) => new TurnedDetector(detector, quarterTurns));
  const counts = [0, 0, 0];
  let isSmall = false;
  for await (const [, frame] of source.frames(few)) {
    for (const [i, turned] of turns.entries()) {
      if (isSeen(await detectSure(turned, frame, minScore), turned.quarterTurns)) counts[i]++;
    }
    isSmall ||= fine !== null && (await detectSure(fine, frame, minScore)).length > 0;
  }
  const most = Math.max(...counts);
  const turned = turns[counts.indexOf(most)];
  if (most >= Math.max(options.turnedShare * few.length, 2 * upright)) {
    return [await searchFrames(source, indices, turned, minScore), turned];
  }
  if (!isEmpty) return [search, detector];
  if (isSmall && fine !== null) return [await searchFrames(source, indices, fine, minScore), fine];
  const count = Math.min(options.moreFramesFactor * indices.length, options.maxMoreFrames);
  const more = spread(range(source.numFrames), count).filter((index) => !indices.includes(index));
  const found = await searchFrames(source, more, detector, minScore);
  if (!found.faces.some((faces) => faces.length) && most) {
    return [await searchFrames(source, indices, turned, minScore), turned];
  }
  return [found, detector];
}

async function detectSure(detector: FaceDetector, frame: Picture, minScore: number): Promise<Face[]> {
  return (await detector.detect(frame)).filter((face) => face.score >= minScore);
}

/** Whether this rotation makes a face upright, as far as that is known. */
function isSeen(faces: readonly Face[], quarterTurns = 0): boolean {
  return faces.some((face) => [null, quarterTurns].includes(quarterTurnsOf(face)));
}
