// SPDX-License-Identifier: Apache-2.0
/** Another checkpoint than the packaged one: its name, its terms, its graphs and its verdict bands. */

import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { ScoringDescription } from "../src/model/checkpoint";
import type { VerdictBands } from "../src/verdict/bands";
import { findRule } from "../src/verdict/rule";

const BROWSER = resolve(import.meta.dirname, "..");
const PACKAGED = resolve(BROWSER, "../checkpoints/default");
const folder = mkdtempSync(join(tmpdir(), "checkpoint-"));
const other = join(folder, "my-model");
cpSync(PACKAGED, other, { recursive: true });
afterAll(() => rmSync(folder, { recursive: true }));

function readJson<T>(...path: string[]): T {
  return JSON.parse(readFileSync(join(PACKAGED, ...path), "utf8")) as T;
}

function build(): { status: number | null; stderr: string } {
  const env = { ...process.env, DEEPFAKE_VIDEO_MODEL: other };
  const options = { cwd: BROWSER, env, encoding: "utf8" } as const;
  return spawnSync("npx", ["vite", "build", "--outDir", join(folder, "dist"), "--emptyOutDir"], options);
}

test("a page with another checkpoint has its name, and not the terms of the packaged one", () => {
  rmSync(join(other, "LICENSE"));
  expect(build().status).toBe(0);
  const script = spawnSync("sh", ["-c", `cat ${join(folder, "dist/assets")}/*.js`], {
    encoding: "utf8",
    maxBuffer: 1e8,
  });
  expect(script.stdout).toContain("my-model");
  expect(script.stdout).toContain("hasLicense:!1");
});

test("a page is not built with files that the graphs were not written for", () => {
  const config = join(other, "config.json");
  writeFileSync(config, readFileSync(config, "utf8").replace('"temperature": 1.3', '"temperature": 2.3'));
  const { status, stderr } = build();
  expect(status).not.toBe(0);
  expect(stderr).toContain(`${config} has changed since the graphs were written`);
});

test("verdict bands hold only for the preprocessing that they were measured with", () => {
  const bands = readJson<VerdictBands>("verdict.json");
  const { description } = readJson<{ description: ScoringDescription }>("onnx", "scoring.json");
  const find = (changed: ScoringDescription) => findRule(bands, bands.weights_sha256, changed, bands.settings);
  expect(find(description)).toEqual({ bands });
  const preprocessing = { ...description.preprocessing, face_margin: 1.3 };
  expect(find({ ...description, preprocessing })).toEqual({
    bands: null,
    absence: "the error rates were measured with face margin 1.15, not with 1.3",
  });
});
