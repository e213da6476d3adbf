// SPDX-License-Identifier: Apache-2.0
/** From the frames of a clip to its score, step by step, against what the Python package computes. */

import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as ort from "onnxruntime-web";
import { beforeAll, expect, test } from "vitest";
import { Detector } from "../src/analysis/detector";
import type { FrameScore } from "../src/analysis/result";
import { CenterFace } from "../src/faces/centerface";
import { findFaceTracks } from "../src/faces/search";
import type { Checkpoint } from "../src/model/checkpoint";
import { MODEL_FILES, readCheckpoint } from "../src/model/checkpoint";
import { Networks } from "../src/model/networks";
import { selectFrames } from "../src/model/preprocessing";
import { unique } from "../src/numeric";
import type { FrameSource } from "../src/video/frame_source";
import { photoSource } from "../src/video/photo_reader";
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
  if (result.media === "image") return photoSource(pictures[0], 0);
  return {
    isPhoto: false,
    numFrames: pictures.length,
    numBytes: ((result.bits_per_pixel ?? 0) * pictures.length * width * height) / 8,
    timestamps: times,
    fps: (times.length - 1) / (times[times.length - 1] - times[0]),
    durationS: result.duration_s ?? 0,
    gaps: new Map(),
    size: [width, height],
    warnings: [],
    unread: { isCutOff: false, numOtherStreams: 0, undecodable: new Set() },
    async *frames(indices): AsyncGenerator<[number, Picture]> {
      for (const index of indices) yield [index, pictures[index]];
    },
    close: () => {},
  };
}

const clips = readGolden().filter((clip) => clip.frames !== undefined);
let checkpoint: Checkpoint;
let networks: Networks;

beforeAll(async () => {
  checkpoint = await readCheckpoint(async (name) => new Uint8Array(readFileSync(pathOf(name))));
  ort.env.wasm.numThreads = 1;
  networks = await Networks.load(ort, checkpoint);
});

test.each(clips)("$name: the faces have the boxes of the Python package", async (clip) => {
  const { preprocessing } = networks.description;
  const source = sourceOf(clip);
  const indices = source.isPhoto ? [0] : unique(selectFrames(source.numFrames, preprocessing));
  const detector = new CenterFace(networks.findFaces, preprocessing.face_min_size);
  const tracks = await findFaceTracks(source, indices, detector, preprocessing.face_min_score);
  expect(tracks.map((track) => track.frameIndices)).toEqual(clip.tracks?.map(([frames]) => frames));
  tracks.forEach((track, t) => {
    track.boxes.forEach((box, i) => {
      for (const [k, side] of box.entries()) expect(side).toBeCloseTo(clip.tracks?.[t][1][i][k] ?? 0, 2);
    });
  });
});

test.each(clips)("$name: the crops and the result are those of the Python package", async (clip) => {
  const detector = new Detector(checkpoint, networks);
  const source = sourceOf(clip);
  const { result, scored } = await detector.score(clip.name, source);
  const pictures = scored.clips.flatMap((each) => each.pictures);
  const crops = readPictures(clip.crops ?? "", pictures[0].width, pictures[0].height);
  expect(pictures.map((picture, i) => largestDifference(picture, crops[i]) <= 2)).toEqual(crops.map(() => true));

  const { result: complete } = await detector.lookCloser(source, result, scored, () => {});
  const expected = clip.result;
  expect(Object.keys(complete)).toEqual(Object.keys(expected));
  expect(complete.fake_probability).toBeCloseTo(expected.fake_probability ?? 0, 3);
  for (const key of [
    "status",
    "media",
    "label",
    "verdict",
    "verdict_rates",
    "warnings",
    "model",
    "frame_rules",
  ] as const) {
    expect(complete[key]).toEqual(expected[key]);
  }
  expect(complete.verdict_limits?.low ?? 0).toBeCloseTo(expected.verdict_limits?.low ?? 0, 6);
  expect(complete.verdict_limits?.high ?? 0).toBeCloseTo(expected.verdict_limits?.high ?? 0, 6);
  expect(complete.settings).toEqual(expected.settings);
  const placeOf = ({ index, weight, track_id }: FrameScore): unknown[] => [index, weight, track_id];
  expect(complete.frames.map(placeOf)).toEqual(expected.frames.map(placeOf));
  expect(complete.not_judged.map(({ reason }) => reason)).toEqual(expected.not_judged.map(({ reason }) => reason));
  complete.not_judged.forEach((entry, i) => {
    expect(entry.start_s).toBeCloseTo(expected.not_judged[i].start_s, 6);
    expect(entry.end_s).toBeCloseTo(expected.not_judged[i].end_s, 6);
  });
  expect(complete.timeline.length).toBe(expected.timeline.length);
  complete.timeline.forEach((entry, i) => {
    expect(entry.start_s).toBeCloseTo(expected.timeline[i].start_s, 6);
    expect(entry.end_s).toBeCloseTo(expected.timeline[i].end_s, 6);
    expect(entry.fake_probability).toBeCloseTo(expected.timeline[i].fake_probability, 2);
  });
});

function largestDifference(one: Picture, other: Picture): number {
  return one.data.reduce((most, level, i) => Math.max(most, Math.abs(level - other.data[i])), 0);
}
