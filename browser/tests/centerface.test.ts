// SPDX-License-Identifier: Apache-2.0
import { expect, test } from "vitest";
import type { FaceMaps } from "../src/faces/centerface";
import { CenterFace } from "../src/faces/centerface";

const STRIDE = 4;

/** A network that finds an uncertain face in every tenth cell of every second row, each about two cells wide. */
function uncertain(width: number, height: number): FaceMaps {
  const [columns, rows] = [width / STRIDE, height / STRIDE];
  const area = columns * rows;
  const heat = new Float32Array(area);
  for (let row = 5; row < rows; row += 10) {
    for (let column = 5; column < columns; column += 10) heat[row * columns + column] = 0.3;
  }
  const logSides = new Float32Array(2 * area).fill(Math.log(8));
  return {
    width: columns,
    height: rows,
    heat,
    logSides,
    offsets: new Float32Array(2 * area),
    landmarks: new Float32Array(10 * area),
  };
}

test("as many uncertain faces of a frame are checked as in the package, and the others keep their low score", async () => {
  let numSearches = 0;
  const network = async (_: Float32Array, width: number, height: number): Promise<FaceMaps> => {
    numSearches++;
    return uncertain(width, height);
  };
  const frame = { width: 640, height: 640, data: new Uint8Array(640 * 640 * 3) };
  const faces = await new CenterFace(network, 20).detect(frame);
  expect(faces.length).toBeGreaterThan(40);
  // Both of the heights at which a frame is searched.
  expect(numSearches).toBe(2 * (1 + 32));
});
