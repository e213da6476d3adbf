// SPDX-License-Identifier: Apache-2.0
/** The golden set that `.ci/make_browser_golden.py` wrote. */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { VideoResult } from "../src/analysis/result";
import type { Picture } from "../src/video/picture";

export const GOLDEN = resolve(import.meta.dirname, "..", process.env.GOLDEN_FOLDER ?? "golden");

export interface GoldenClip {
  name: string;
  result: VideoResult;
  /** The report of the package, without its pictures. */
  report: string;
  /** For each face the indices of its frames and its boxes. */
  tracks?: [number[], [number, number, number, number][]][];
  crops?: string;
  frames?: string;
  times?: number[];
  /** Height, width and channels of the frames. */
  size?: [number, number, number];
}

export function readGolden(): GoldenClip[] {
  return JSON.parse(readFileSync(join(GOLDEN, "golden.json"), "utf-8")) as GoldenClip[];
}

/** Pictures of one size that a file of the set holds one after another. */
export function readPictures(file: string, width: number, height: number): Picture[] {
  const bytes = new Uint8Array(readFileSync(join(GOLDEN, file)));
  const size = width * height * 3;
  return Array.from({ length: bytes.length / size }, (_, i) => ({
    width,
    height,
    data: bytes.slice(i * size, (i + 1) * size),
  }));
}
