// SPDX-License-Identifier: Apache-2.0
/** Faces in single frames, and the geometry of their boxes; see `face_detection.py`. */

import { interpolateAt, modulo, roundHalfEven } from "../numeric";
import type { Picture } from "../video/picture";
import { turn } from "../video/picture";

/** Corners x0, y0, x1, y1 in pixels; a box may extend beyond its frame. */
export type Box = readonly [number, number, number, number];
export type Point = readonly [number, number];
export type Size = readonly [number, number];

export interface Face {
  box: Box;
  score: number;
  /** Eyes, nose and corners of the mouth. */
  landmarks: readonly Point[] | null;
}

/** A detector of the faces of one frame, the highest score first. */
export interface FaceDetector {
  detect(frame: Picture): Promise<Face[]>;
}

/** A detector that can also follow a face from frame to frame. */
export interface FollowingDetector extends FaceDetector {
  scaled(frame: Picture): Picture;
  detectNear(frame: Picture, box: Box): Promise<Face[]>;
  finer(): FollowingDetector;
}

export function isFollowing(detector: FaceDetector): detector is FollowingDetector {
  return "detectNear" in detector;
}

/** Counterclockwise turns by 90 degrees that make a face upright; `null` without landmarks. */
export function quarterTurnsOf(face: Face): number | null {
  if (face.landmarks === null) return null;
  const [leftEye, rightEye, , leftMouth, rightMouth] = face.landmarks;
  const x = leftMouth[0] + rightMouth[0] - leftEye[0] - rightEye[0];
  const y = leftMouth[1] + rightMouth[1] - leftEye[1] - rightEye[1];
  return modulo(roundHalfEven(-Math.atan2(x, y) / (Math.PI / 2)), 4);
}

export function boxSize(box: Box): number {
  return Math.sqrt(Math.max(box[2] - box[0], 1e-3) * Math.max(box[3] - box[1], 1e-3));
}

/** The share of two boxes that they have in common (intersection over union). */
export function boxIou(a: Box, b: Box): number {
  const width = Math.max(Math.min(a[2], b[2]) - Math.max(a[0], b[0]), 0);
  const height = Math.max(Math.min(a[3], b[3]) - Math.max(a[1], b[1]), 0);
  const common = width * height;
  return common / Math.max(boxSize(a) ** 2 + boxSize(b) ** 2 - common, 1e-9);
}

/** A box of a picture of one width and height in a picture of another; see `face_tracking.rescale_box`. */
export function rescaleBox(box: Box, old: Size | null, current: Size): Box {
  if (old === null || (old[0] === current[0] && old[1] === current[1])) return box;
  const scale = Math.max(...current) / Math.max(...old);
  const x = (current[0] - old[0] * scale) / 2;
  const y = (current[1] - old[1] * scale) / 2;
  return [box[0] * scale + x, box[1] * scale + y, box[2] * scale + x, box[3] * scale + y];
}

/** The box at a place among ascending positions; each side is interpolated by itself. */
export function interpolateBox(at: number, positions: readonly number[], boxAt: (i: number) => Box): Box {
  const side = (k: 0 | 1 | 2 | 3): number => interpolateAt(at, positions, (i) => boxAt(i)[k]);
  return [side(0), side(1), side(2), side(3)];
}

/** A square around a box, `scale` times its longer side and clipped to the frame, in whole pixels. */
export function regionAround(box: Box, scale: number, frame: Picture): Box {
  const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const reach = (Math.max(box[2] - box[0], box[3] - box[1]) * scale) / 2;
  return [
    Math.floor(Math.max(x - reach, 0)),
    Math.floor(Math.max(y - reach, 0)),
    Math.ceil(Math.min(x + reach, frame.width)),
    Math.ceil(Math.min(y + reach, frame.height)),
  ];
}

/** A detector of faces that are upright after counterclockwise turns by 90 degrees. */
export class TurnedDetector implements FaceDetector {
  constructor(
    private readonly detector: FollowingDetector,
    readonly quarterTurns: number,
  ) {}

  async detect(frame: Picture): Promise<Face[]> {
    const picture = this.detector.scaled(frame);
    const [scaleX, scaleY] = [frame.width / picture.width, frame.height / picture.height];
    const back = (point: Point): Point => {
      const [x, y] = turnBack(point, this.quarterTurns, picture.width, picture.height);
      return [x * scaleX, y * scaleY];
    };
    const found = await this.detector.detect(turn(picture, this.quarterTurns));
    return found.map(({ box, score, landmarks }) => {
      const [a, b] = [back([box[0], box[1]]), back([box[2], box[3]])];
      return {
        box: [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])],
        score,
        landmarks: landmarks?.map(back) ?? null,
      };
    });
  }
}

function turnBack([x, y]: Point, quarterTurns: number, width: number, height: number): Point {
  if (quarterTurns === 1) return [width - y, x];
  if (quarterTurns === 2) return [width - x, height - y];
  return [y, height - x];
}
