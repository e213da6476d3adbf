// SPDX-License-Identifier: Apache-2.0
/** From the frames of a clip to its score, step by step, against what the Python package computes. */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as ort from "onnxruntime-web";
import { beforeAll, expect, test } from "vitest";
import { Detector } from "../src/analysis/detector";
import { CenterFace } from "../src/faces/centerface";
import { findFaceTracks } from "../src/faces/search";
import type { Checkpoint } from "../src/model/checkpoint";
import { MODEL_FILES, readCheckpoint } from "../src/model/checkpoint";
import { Networks } from "../src/model/networks";
import { selectFrames } from "../src/model/preprocessing";
import { unique } from "../src/numeric";
import type { FrameSource } from "../src/video/frame_source";
import type { Picture } from "../src/video/picture";
import type { GoldenClip } from "./golden";
import { readGolden, readPictures } from "./golden";

const MODEL = resolve(import.meta.dirname, "..", process.env.DEEPFAKE_VIDEO_MODEL ?? "../checkpoints/default");

function pathOf(name: string): string {
  if (name === MODEL_FILES.faces) return resolve(import.meta.dirname, "../../centerface.onnx");
  const isGraph = [MODEL_FILES.manifest, MODEL_FILES.encoder, MODEL_FILES.head].some((graph) => graph === name);
  return isGraph ? join(MODEL, "onnx", name) : join(MODEL, name);
}

function sourceOf(clip: GoldenClip): FrameSource {
  const [height, width] = clip.size ?? [0, 0];
  const pictures = readPictures(clip.frames ?? "", width, height);
  const { result, times = [] } = clip;
  return {
    numFrames: pictures.length,
    numBytes: ((result.bits_per_pixel ?? 0) * pictures.length * width * height) / 8,
    timestamps: times,
    fps: (times.length - 1) / (times[times.length - 1] - times[0]),
    durationS: result.duration_s ?? 0,
    gaps: new Map(),
    size: [width, height],
    warnings: [],
    async *frames(indices): AsyncGenerator<[number, Picture]> {
      for (const index of indices) yield [index, pictures[index]];
    },
    close: () => {},
  };
}

let checkpoint: Checkpoint;
let networks: Networks;
let clip: GoldenClip;
let source: FrameSource;

beforeAll(async () => {
  checkpoint = await readCheckpoint(async (name) => new Uint8Array(readFileSync(pathOf(name))));
  ort.env.wasm.numThreads = 1;
  networks = await Networks.load(ort, checkpoint, ["wasm"]);
  const found = readGolden().find((entry) => entry.frames !== undefined);
  if (found === undefined) throw new Error("no clip of the golden set has frames: write it with make_browser_golden.py");
  clip = found;
  source = sourceOf(clip);
});

test("the faces of a clip have the boxes of the Python package", async () => {
  const { preprocessing } = networks.description;
  const indices = unique(selectFrames(source.numFrames, preprocessing));
  const detector = new CenterFace(networks.findFaces, preprocessing.face_min_size);
  const tracks = await findFaceTracks(source, indices, detector, preprocessing.face_min_score);
  expect(tracks.map((track) => track.frameIndices)).toEqual(clip.tracks?.map(([frames]) => frames));
  tracks.forEach((track, t) => {
    track.boxes.forEach((box, i) => {
      box.forEach((side, k) => expect(side).toBeCloseTo(clip.tracks?.[t][1][i][k] ?? 0, 1));
    });
  });
});

test("the crops of a clip are those of the Python package", async () => {
  const { scored } = await new Detector(checkpoint, networks).score(clip.name, source);
  const { width, height } = scored.clips[0].pictures[0];
  const expected = readPictures(clip.crops ?? "", width, height);
  scored.clips.flatMap((each) => each.pictures).forEach((picture, i) => {
    const differences = picture.data.map((level, k) => Math.abs(level - expected[i].data[k]));
    expect(differences.every((difference) => difference <= 2)).toBe(true);
  });
});

test("a clip has the result of the Python package", async () => {
  const detector = new Detector(checkpoint, networks);
  const { result, scored } = await detector.score(clip.name, source);
  const { result: complete } = await detector.lookCloser(source, result, scored, () => {});
  const expected = clip.result;
  expect(complete.fake_probability).toBeCloseTo(expected.fake_probability ?? 0, 3);
  for (const key of ["status", "label", "verdict", "verdict_rates", "warnings", "decisive_track_id", "settings"] as const) {
    expect(complete[key]).toEqual(expected[key]);
  }
  expect(complete.model).toEqual(expected.model);
  expect(complete.frames.map((frame) => [frame.index, frame.weight])).toEqual(
    expected.frames.map((frame) => [frame.index, frame.weight]),
  );
  expect(Object.keys(complete)).toEqual(Object.keys(expected));
  complete.timeline.forEach((entry, i) => {
    expect(entry.start_s).toBeCloseTo(expected.timeline[i].start_s, 6);
    expect(entry.end_s).toBeCloseTo(expected.timeline[i].end_s, 6);
    expect(entry.fake_probability).toBeCloseTo(expected.timeline[i].fake_probability, 2);
  });
});
