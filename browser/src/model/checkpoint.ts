// SPDX-License-Identifier: Apache-2.0
/** The files of a checkpoint, and what scoring has to know of it; see `scanning/graphs.py`. */

import { constants } from "../constants";
import type { CropSettings } from "../faces/cropping";
import type { VerdictBands } from "../verdict/bands";

/** The settings of a processor that the page uses, under the names of its JSON. */
export interface Preprocessing extends CropSettings {
  size: { height: number | null; width: number | null };
  image_mean: number | number[];
  image_std: number | number[];
  rescale_factor: number;
  channel_order: "rgb" | "bgr";
  num_frames: number;
  frame_sampling: "even" | "first" | "bursts";
  burst_length: number;
  do_crop_faces: boolean;
  face_detector: string;
  face_min_size: number;
  face_min_score: number;
}

export interface ScoringDescription {
  labels: string[];
  num_features: number;
  is_trained: boolean;
  frame_aggregation: string;
  /** What differs from the defaults of `DeepfakeConfig`. */
  configuration: { rnn_type?: string; recurrence?: string };
  temperature: number;
  fake_bias: number;
  preprocessing: Preprocessing;
}

interface Manifest {
  description: ScoringDescription;
  graphs_version: number;
  sha256: Record<string, string>;
}

export interface Checkpoint {
  description: ScoringDescription;
  weightsSha256: string;
  /** The measured bands, if the checkpoint has any. */
  bands: VerdictBands | null;
  encoder: Uint8Array<ArrayBuffer>;
  head: Uint8Array<ArrayBuffer>;
  weights: Uint8Array<ArrayBuffer>;
  faces: Uint8Array<ArrayBuffer>;
}

/** Reads a file of the model's folder by name; `null` if there is none. */
export type ReadFile = (name: string) => Promise<Uint8Array<ArrayBuffer> | null>;

/** Files of the model's folder, which the build copies there. */
export const MODEL_FILES = {
  manifest: "scoring.json",
  encoder: "frame_encoder.onnx",
  head: "head.onnx",
  weights: "model.safetensors",
  faces: "centerface.onnx",
  bands: "verdict.json",
} as const;

/**
 * Read a checkpoint. Its files must be those that the manifest was written for.
 *
 * @throws Error if a file is missing or does not belong to the others, or the preprocessing needs torch.
 */
export async function readCheckpoint(read: ReadFile): Promise<Checkpoint> {
  const need = async (name: string): Promise<Uint8Array<ArrayBuffer>> => {
    const content = await read(name);
    if (content === null) throw new Error(`the model's file ${name} is missing`);
    return content;
  };
  const parse = (content: Uint8Array): unknown => JSON.parse(new TextDecoder().decode(content));
  const { manifest: manifestName, bands: bandsName, ...graphs } = MODEL_FILES;
  const manifest = parse(await need(manifestName)) as Manifest;
  if (manifest.graphs_version !== constants.graphsVersion) throw new Error("the model's graphs have another version");
  checkPreprocessing(manifest.description.preprocessing);
  const [encoder, head, weights, faces] = await Promise.all([
    need(graphs.encoder),
    need(graphs.head),
    need(graphs.weights),
    need(graphs.faces),
  ]);
  for (const [name, content] of [
    [graphs.encoder, encoder],
    [graphs.head, head],
    [graphs.weights, weights],
  ] as const) {
    if ((await sha256(content)) !== manifest.sha256[name]) throw new Error(`the model's file ${name} has changed`);
  }
  const bands = await read(bandsName);
  return {
    description: manifest.description,
    weightsSha256: manifest.sha256[graphs.weights],
    bands: bands === null ? null : (parse(bands) as VerdictBands),
    encoder,
    head,
    weights,
    faces,
  };
}

function checkPreprocessing(preprocessing: Preprocessing): void {
  const values = preprocessing as unknown as Record<string, unknown>;
  const unsupported = Object.entries(constants.supportedPreprocessing).find(([name, value]) => values[name] !== value);
  if (unsupported) throw new Error(`the model's setting ${unsupported[0]} is not supported in a browser`);
  if (preprocessing.do_crop_faces && preprocessing.face_detector !== "centerface") {
    throw new Error(`the model's face detector ${preprocessing.face_detector} is not supported in a browser`);
  }
  if (!preprocessing.size.height || !preprocessing.size.width) throw new Error("the model has no fixed size");
}

/** The SHA-256 of a file in hexadecimal. */
export async function sha256(content: Uint8Array<ArrayBuffer>): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
