// SPDX-License-Identifier: Apache-2.0
/** The face detector CenterFace; see `face_centerface.py`. */

import { constants } from "../constants";
import type { Picture } from "../video/picture";
import { scaleBy, slice } from "../video/picture";
import type { Box, Face, FollowingDetector, Point } from "./detection";
import { boxIou, regionAround } from "./detection";

const { centerface: options } = constants;

/** The outputs of the network for one image, each a row of channels of `height` times `width` values. */
export interface FaceMaps {
  width: number;
  height: number;
  heat: Float32Array;
  logSides: Float32Array;
  offsets: Float32Array;
  landmarks: Float32Array;
}

/** Runs the graph on an image of three planes of float32. */
export type FaceNetwork = (image: Float32Array, width: number, height: number) => Promise<FaceMaps>;

export class CenterFace implements FollowingDetector {
  constructor(
    private readonly network: FaceNetwork,
    private readonly minFaceSize: number,
    private readonly maxSide: number = options.maxSide,
  ) {}

  scaled(frame: Picture): Picture {
    return scaleBy(frame, Math.min(1, this.maxSide / Math.max(frame.width, frame.height)));
  }

  finer(): CenterFace {
    return new CenterFace(this.network, options.finerMinFaceSize, Math.max(options.finerMaxSide, this.maxSide));
  }

  async detect(frame: Picture): Promise<Face[]> {
    const longest = Math.max(frame.width, frame.height);
    const scale = Math.min(Math.max(longest, options.minSide), this.maxSide) / longest;
    const sizeOf = ({ box }: Face): number => ((box[3] - box[1]) * scale) / this.minFaceSize;
    let faces: Face[] = [];
    for (const height of options.heights) {
      faces = await this.detectAt(frame, scale * Math.min(1, height / this.minFaceSize));
      faces = faces.filter((face) => sizeOf(face) >= options.tolerance);
      if (faces.some((face) => face.score >= SURE_SCORE && sizeOf(face) >= options.large)) break;
    }
    return faces;
  }

  async detectNear(frame: Picture, box: Box): Promise<Face[]> {
    const [x0, y0, x1, y1] = regionAround(box, options.regionScale, frame);
    if (x1 <= x0 || y1 <= y0) return [];
    const region = slice(frame, x0, y0, x1, y1);
    const found = await this.search(region, options.regionSide / Math.max(region.width, region.height));
    return found.map((face) => ({
      box: [face.box[0] + x0, face.box[1] + y0, face.box[2] + x0, face.box[3] + y0],
      score: face.score,
      landmarks: face.landmarks?.map(([x, y]): Point => [x + x0, y + y0]) ?? null,
    }));
  }

  /** Detect the faces of a frame at a scale; uncertain ones are checked at a higher resolution. */
  private async detectAt(frame: Picture, scale: number): Promise<Face[]> {
    const faces: Face[] = [];
    let numChecks = 0;
    for (const found of await this.search(frame, scale)) {
      let face = found;
      if (found.score < SURE_SCORE && numChecks < options.maxChecks) {
        numChecks++;
        for (const other of await this.detectNear(frame, found.box)) {
          if (boxIou(other.box, found.box) > constants.tracking.minIou && other.score > face.score) face = other;
        }
      }
      if (faces.every((other) => boxIou(face.box, other.box) <= options.maxOverlap)) faces.push(face);
    }
    return faces.sort((a, b) => b.score - a.score);
  }

  private async search(frame: Picture, scale: number): Promise<Face[]> {
    const picture = scaleBy(frame, scale);
    const width = Math.ceil(picture.width / options.multiple) * options.multiple;
    const height = Math.ceil(picture.height / options.multiple) * options.multiple;
    const image = new Float32Array(3 * width * height);
    for (let y = 0; y < picture.height; y++) {
      for (let x = 0; x < picture.width; x++) {
        const from = (y * picture.width + x) * 3;
        for (let c = 0; c < 3; c++) image[(c * height + y) * width + x] = picture.data[from + c];
      }
    }
    const maps = await this.network(image, width, height);
    const scaleX = frame.width / picture.width;
    const scaleY = frame.height / picture.height;
    return decode(maps).map(({ box, score, landmarks }) => {
      const [x0, y0, x1, y1] = adjust(box);
      return {
        box: [x0 * scaleX, y0 * scaleY, x1 * scaleX, y1 * scaleY],
        score,
        landmarks: landmarks?.map(([x, y]): Point => [x * scaleX, y * scaleY]) ?? null,
      };
    });
  }
}

function toScore(heat: number): number {
  return (options.oddsFactor * heat) / (1 + (options.oddsFactor - 1) * heat);
}

const SURE_SCORE = toScore(options.sureHeat);

/** Adjust a box of CenterFace to those of MTCNN. */
function adjust([x0, y0, x1, y1]: Box): Box {
  const [width, height] = [x1 - x0, y1 - y0];
  const side = Math.sqrt(width * height);
  const x = (x0 + x1) / 2 + options.boxShift[0] * side;
  const y = (y0 + y1) / 2 + options.boxShift[1] * side;
  const [halfWidth, halfHeight] = [(width * options.boxFactor[0]) / 2, (height * options.boxFactor[1]) / 2];
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
}

/** Decode the faces in pixels of the image, the highest heat first. In all maps, y precedes x. */
export function decode(maps: FaceMaps): Face[] {
  const { width, height, heat, logSides, offsets, landmarks } = maps;
  const { stride } = options;
  const area = width * height;
  const peaks: number[] = [];
  for (let i = 0; i < area; i++) if (heat[i] >= options.lowestHeat) peaks.push(i);
  peaks.sort((a, b) => heat[b] - heat[a]);
  const kept: Face[] = [];
  for (const i of peaks) {
    const [row, column] = [Math.floor(i / width), i % width];
    const [boxHeight, boxWidth] = [Math.exp(logSides[i]) * stride, Math.exp(logSides[area + i]) * stride];
    const x0 = (column + offsets[area + i] + 0.5) * stride - boxWidth / 2;
    const y0 = (row + offsets[i] + 0.5) * stride - boxHeight / 2;
    const box: Box = [x0, y0, x0 + boxWidth, y0 + boxHeight];
    if (kept.some((other) => boxIou(box, other.box) > options.maxOverlap)) continue;
    const points = [0, 1, 2, 3, 4].map((point): Point => {
      const y = landmarks[2 * point * area + i] * boxHeight + y0;
      return [landmarks[(2 * point + 1) * area + i] * boxWidth + x0, y];
    });
    kept.push({ box, score: toScore(heat[i]), landmarks: points });
  }
  return kept;
}
