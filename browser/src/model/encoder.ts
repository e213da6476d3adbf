// SPDX-License-Identifier: Apache-2.0
/** The network that most of the time goes to, on a graphics processor where that is right and faster. */

import type { InferenceSession } from "onnxruntime-common";

/** What computes: WASM, WebGPU wherever its values are right, or the faster of both. */
export type Engine = "wasm" | "webgpu" | "fastest";

type Feeds = InferenceSession.FeedsType;
type Outputs = InferenceSession.OnnxValueMapType;

/** The largest difference of a feature on a graphics processor, as a share of the largest feature. */
const MAX_DIFFERENCE = 0.002;

export class Encoder {
  private constructor(
    private readonly wasm: InferenceSession,
    private gpu: InferenceSession | null,
  ) {}

  get usesGpu(): boolean {
    return this.gpu !== null;
  }

  /**
   * Open the network, and compare what computes it.
   *
   * @param create Opens the network for an execution provider of onnxruntime.
   * @param makeSample Makes an input for the comparison, where there is one.
   */
  static async open(
    create: (provider: "wasm" | "webgpu") => Promise<InferenceSession>,
    makeSample: () => Feeds,
    engine: Engine,
  ): Promise<Encoder> {
    const wasm = await create("wasm");
    if (engine === "wasm") return new Encoder(wasm, null);
    let gpu: InferenceSession | null = null;
    try {
      gpu = await create("webgpu");
      const sample = makeSample();
      const [byWasm, wasmMs] = await measure(wasm, sample);
      const [byGpu, gpuMs] = await measure(gpu, sample);
      const isChosen = areAlike(byWasm, byGpu) && (engine === "webgpu" || gpuMs < wasmMs);
      if (isChosen) return new Encoder(wasm, gpu);
    } catch (error) {
      console.warn("WebGPU is not used:", error);
    }
    if (gpu !== null) await release(gpu);
    return new Encoder(wasm, null);
  }

  async run(feeds: Feeds, names: readonly string[]): Promise<Outputs> {
    const { gpu } = this;
    if (gpu !== null) {
      try {
        const outputs = await gpu.run(feeds, names);
        if (!(outputs.features.data as Float32Array).every(Number.isFinite)) throw new Error("a feature is no number");
        return outputs;
      } catch (error) {
        // A graphics processor may be lost at any time.
        console.warn("WebGPU is not used any more:", error);
        this.gpu = null;
        await release(gpu);
      }
    }
    return this.wasm.run(feeds, names);
  }
}

/** Give back the memory of a session; that may fail on a device that is lost. */
async function release(session: InferenceSession): Promise<void> {
  try {
    await session.release();
  } catch (error) {
    console.warn("WebGPU cannot be released:", error);
  }
}

/** The features of the sample, and the milliseconds of a second run; the first one compiles and reserves memory. */
async function measure(session: InferenceSession, sample: Feeds): Promise<[Float32Array, number]> {
  await session.run(sample, ["features"]);
  const start = performance.now();
  const { features } = await session.run(sample, ["features"]);
  return [features.data as Float32Array, performance.now() - start];
}

function areAlike(expected: Float32Array, found: Float32Array): boolean {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  // False for values that are not numbers, too.
  return expected.every((value, i) => Math.abs(value - found[i]) <= MAX_DIFFERENCE * largest);
}
