// SPDX-License-Identifier: Apache-2.0
import type { InferenceSession } from "onnxruntime-common";
import { beforeEach, expect, test, vi } from "vitest";
import { Encoder } from "../src/model/encoder";

/** Milliseconds of a clock that only the networks move. */
let now = 0;

/** A network that returns these features after some milliseconds, until it fails. */
class Session {
  isLost = false;
  isReleased = false;

  constructor(
    private readonly features: number[],
    private readonly ms: number,
  ) {}

  async run(): Promise<unknown> {
    if (this.isLost) throw new Error("the device was lost");
    now += this.ms;
    return { features: { data: Float32Array.from(this.features) } };
  }

  async release(): Promise<void> {
    this.isReleased = true;
  }
}

beforeEach(() => {
  vi.spyOn(console, "warn").mockImplementation(() => {});
  vi.spyOn(performance, "now").mockImplementation(() => now);
});

const RIGHT = [1, -2, 0.5];

function open(gpu: Session | null, engine: "wasm" | "webgpu" | "fastest"): Promise<Encoder> {
  const sessions = { wasm: new Session(RIGHT, 30), webgpu: gpu };
  return Encoder.open(
    async (provider) => {
      const session = sessions[provider];
      if (session === null) throw new Error("no device");
      return session as unknown as InferenceSession;
    },
    () => ({}),
    engine,
  );
}

test.each([
  ["is faster", new Session([1, -2.001, 0.5], 1), "fastest", true],
  ["is slower", new Session(RIGHT, 90), "fastest", false],
  ["is slower but wanted", new Session(RIGHT, 90), "webgpu", true],
  ["is wrong", new Session([1, -2, 0.6], 1), "webgpu", false],
  ["returns no numbers", new Session([1, Number.NaN, 0.5], 1), "webgpu", false],
  ["cannot be opened", null, "webgpu", false],
  ["is not wanted", new Session(RIGHT, 1), "wasm", false],
] as const)("where a graphics processor %s", async (_, gpu, engine, isUsed) => {
  const encoder = await open(gpu, engine);
  expect(encoder.usesGpu).toBe(isUsed);
  const { features } = await encoder.run({}, ["features"]);
  expect((features.data as Float32Array)[0]).toBe(1);
});

test("a graphics processor that is lost is replaced by WASM", async () => {
  const gpu = new Session(RIGHT, 1);
  const encoder = await open(gpu, "fastest");
  gpu.isLost = true;
  const { features } = await encoder.run({}, ["features"]);
  expect([...(features.data as Float32Array)]).toEqual(RIGHT);
  expect(encoder.usesGpu).toBe(false);
});

test("a graphics processor that is not used is given back", async () => {
  const gpu = new Session([0, 0, 0], 1);
  await open(gpu, "webgpu");
  expect(gpu.isReleased).toBe(true);
});

test("a graphics processor that fails is given back", async () => {
  const [early, late] = [new Session(RIGHT, 1), new Session(RIGHT, 1)];
  early.isLost = true;
  await open(early, "webgpu");
  expect(early.isReleased).toBe(true);
  const encoder = await open(late, "webgpu");
  late.isLost = true;
  await encoder.run({}, ["features"]);
  expect(late.isReleased).toBe(true);
});

test("a graphics processor that cannot be given back is replaced none the less", async () => {
  const gpu = new Session(RIGHT, 1);
  const encoder = await open(gpu, "webgpu");
  gpu.isLost = true;
  gpu.release = () => Promise.reject(new Error("the device was lost"));
  const { features } = await encoder.run({}, ["features"]);
  expect([...(features.data as Float32Array)]).toEqual(RIGHT);
});
