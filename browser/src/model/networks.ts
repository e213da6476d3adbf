// SPDX-License-Identifier: Apache-2.0
/** The networks of a checkpoint, run by onnxruntime. */

import type { InferenceSession, TensorConstructor } from "onnxruntime-common";
import type { FaceMaps, FaceNetwork } from "../faces/centerface";
import type { Picture } from "../video/picture";
import type { Checkpoint, ScoringDescription } from "./checkpoint";
import type { Engine } from "./encoder";
import { Encoder } from "./encoder";
import { withFeatureMaps, withWeights } from "./onnx_graph";
import { pixelValues } from "./preprocessing";
import { readSafetensors } from "./safetensors";

/** What the page uses of onnxruntime. */
export interface Runtime {
  InferenceSession: { create(graph: Uint8Array, options: InferenceSession.SessionOptions): Promise<InferenceSession> };
  Tensor: TensorConstructor;
}

/** Frames that pass the network at once; bounds the memory. */
const FRAMES_PER_PASS = 4;

/** Logits of clips of one length: `clips` times the labels, and `clips` times `frames` times the labels. */
export interface ClipLogits {
  logits: Float32Array;
  frameLogits: Float32Array;
}

/** Maps of `channels` times `height` times `width` values, and the features of the same picture. */
export interface FeatureMaps {
  channels: number;
  height: number;
  width: number;
  values: Float32Array;
  features: Float32Array;
}

export class Networks {
  private constructor(
    private readonly runtime: Runtime,
    readonly description: ScoringDescription,
    private readonly encoder: Encoder,
    private readonly head: InferenceSession,
    private readonly faces: InferenceSession,
    private readonly mapsName: string | null,
  ) {}

  static async load(runtime: Runtime, checkpoint: Checkpoint, engine: Engine = "wasm"): Promise<Networks> {
    const tensors = readSafetensors(checkpoint.weights);
    // Errors only: the face detector's old opset gives warnings.
    const options = { logSeverityLevel: 3 as const };
    const create = (graph: Uint8Array, provider = "wasm"): Promise<InferenceSession> =>
      runtime.InferenceSession.create(graph, { ...options, executionProviders: [provider] });
    const [graph, mapsName] = withFeatureMaps(checkpoint.encoder);
    const weighted = withWeights(graph, tensors);
    const { height, width } = checkpoint.description.preprocessing.size;
    const makeSample = (): InferenceSession.FeedsType => {
      const dims = [1, 3, height ?? 0, width ?? 0];
      const length = dims.reduce((product, side) => product * side);
      const values = Float32Array.from({ length }, (_, i) => Math.sin(i));
      return { frames: new runtime.Tensor("float32", values, dims) };
    };
    return new Networks(
      runtime,
      checkpoint.description,
      await Encoder.open((provider) => create(weighted, provider), makeSample, engine),
      await create(withWeights(checkpoint.head, tensors)),
      await create(checkpoint.faces),
      mapsName,
    );
  }

  /** Whether a graphics processor computes the features of frames. */
  get usesGpu(): boolean {
    return this.encoder.usesGpu;
  }

  /** The network of the face detector. */
  readonly findFaces: FaceNetwork = async (image, width, height): Promise<FaceMaps> => {
    const tensor = new this.runtime.Tensor("float32", image, [1, 3, height, width]);
    const outputs = await this.faces.run({ image: tensor });
    const values = (name: string): Float32Array => outputs[name].data as Float32Array;
    const [, , rows, columns] = outputs.heat.dims;
    return {
      width: columns,
      height: rows,
      heat: values("heat"),
      logSides: values("log_sides"),
      offsets: values("offsets"),
      landmarks: values("landmarks"),
    };
  };

  /** Features of pictures of the network's size, one row of `num_features` per picture. */
  async frameFeatures(frames: readonly Picture[]): Promise<Float32Array> {
    const { num_features: width, preprocessing } = this.description;
    const features = new Float32Array(frames.length * width);
    for (let first = 0; first < frames.length; first += FRAMES_PER_PASS) {
      const part = frames.slice(first, first + FRAMES_PER_PASS);
      const dims = [part.length, 3, part[0].height, part[0].width];
      const tensor = new this.runtime.Tensor("float32", pixelValues(part, preprocessing), dims);
      const outputs = await this.encoder.run({ frames: tensor }, ["features"]);
      features.set(outputs.features.data as Float32Array, first * width);
    }
    return features;
  }

  /** The last feature maps of one picture, with its features; `null` if the network has no maps. */
  async featureMaps(frame: Picture): Promise<FeatureMaps | null> {
    if (this.mapsName === null) return null;
    const pixels = pixelValues([frame], this.description.preprocessing);
    const tensor = new this.runtime.Tensor("float32", pixels, [1, 3, frame.height, frame.width]);
    const { [this.mapsName]: maps, features } = await this.encoder.run({ frames: tensor }, [this.mapsName, "features"]);
    const [, channels, height, width] = maps.dims;
    const values = maps.data as Float32Array;
    return { channels, height, width, values, features: features.data as Float32Array };
  }

  /** The logits of clips of `frames` frames each, from their features. */
  async classify(features: Float32Array, clips: number, frames: number): Promise<ClipLogits> {
    const dims = [clips, frames, this.description.num_features];
    const outputs = await this.head.run({ features: new this.runtime.Tensor("float32", features, dims) });
    return { logits: outputs.logits.data as Float32Array, frameLogits: outputs.frame_logits.data as Float32Array };
  }

  /** Margin of the fake logit over the other labels, for each row of logits; its sigmoid is the fake probability. */
  fakeMargins(logits: Float32Array): number[] {
    const { labels } = this.description;
    const fake = labels.indexOf("fake");
    const margins: number[] = [];
    for (let row = 0; row < logits.length; row += labels.length) {
      const others = [...logits.subarray(row, row + labels.length)].filter((_, label) => label !== fake);
      const largest = Math.max(...others);
      const sum = others.reduce((total, value) => total + Math.exp(value - largest), 0);
      margins.push(logits[row + fake] - largest - Math.log(sum));
    }
    return margins;
  }
}
