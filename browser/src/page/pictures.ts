// SPDX-License-Identifier: Apache-2.0
/** Draws pictures, boxes of faces and heat; see `scanning/illustrating.py` and `scanning/stills.py`. */

import type { Still } from "../analysis/evidence";
import type { Heat } from "../analysis/heat";
import { constants } from "../constants";
import { interpolate, linspace } from "../numeric";
import type { Picture } from "../video/picture";
import { html } from "./elements";

const { evidence: options } = constants;
const JPEG_QUALITY = 0.9;
const LINE_WIDTH = 3;
const STILL_COLOR = `rgb(${options.stillColor.join(" ")})`;
const STEPS = linspace(0, 1, options.heatColors.length);
/** The heat colours channel by channel. */
const CHANNELS = [0, 1, 2].map((c) => options.heatColors.map((color) => color[c]));

/** A picture as an image of the page, which a saved page keeps; its longer side is scaled down to `side`. */
export function image(picture: Picture, alt: string, side: number): HTMLImageElement {
  return toImage(scaled(draw(picture), side), alt);
}

function toImage(canvas: HTMLCanvasElement, alt: string): HTMLImageElement {
  return html("img", {
    src: canvas.toDataURL("image/jpeg", JPEG_QUALITY),
    width: canvas.width,
    height: canvas.height,
    alt,
  });
}

/** A frame with the boxes of its faces, numbered from 1; see `stills.draw_box`. */
export function stillImage({ picture, faces }: Still, alt: string): HTMLImageElement {
  const canvas = draw(picture);
  const context = contextOf(canvas);
  const fontSize = Math.max(16, Math.floor(picture.height / 20));
  context.font = `${fontSize}px sans-serif`;
  context.textBaseline = "top";
  context.lineWidth = LINE_WIDTH;
  for (const { track_id, box } of faces) {
    const [x, y] = [box[0], Math.max(0, box[1] - fontSize * 1.4)];
    const label = String(track_id + 1);
    context.strokeStyle = STILL_COLOR;
    context.fillStyle = STILL_COLOR;
    // The line lies inside the box.
    const half = LINE_WIDTH / 2;
    context.strokeRect(x + half, box[1] + half, box[2] - x - LINE_WIDTH, box[3] - box[1] - LINE_WIDTH);
    context.fillRect(x - 4, y - 3, context.measureText(label).width + 8, fontSize + 6);
    context.fillStyle = "white";
    context.fillText(label, x, y);
  }
  return toImage(canvas, alt);
}

function draw({ width, height, data }: Picture): HTMLCanvasElement {
  const canvas = html("canvas", { width, height });
  const pixels = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = data[3 * i + c];
    pixels.data[4 * i + 3] = 255;
  }
  contextOf(canvas).putImageData(pixels, 0, 0);
  return canvas;
}

function scaled(canvas: HTMLCanvasElement, side: number): HTMLCanvasElement {
  const scale = side / Math.max(canvas.width, canvas.height);
  if (scale >= 1) return canvas;
  const [width, height] = [canvas.width, canvas.height].map((length) => Math.max(1, Math.round(length * scale)));
  const smaller = html("canvas", { width, height });
  const context = contextOf(smaller);
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, width, height);
  return smaller;
}

function contextOf(canvas: HTMLCanvasElement): CanvasRenderingContext2D {
  const context = canvas.getContext("2d");
  if (context === null) throw new Error("no canvas");
  return context;
}

/** The picture, tinted where it is hot; the hottest field gets the full tint. */
export function tint(picture: Picture, heat: Heat): Picture {
  const { width, height, data } = picture;
  const strongest = Math.max(...heat.values, 1e-12);
  const tinted = new Uint8Array(data.length);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const level = bilinear(heat, ((x + 0.5) * heat.width) / width, ((y + 0.5) * heat.height) / height) / strongest;
      const share = options.strongestTint * Math.sqrt(level);
      for (let c = 0; c < 3; c++) {
        const color = interpolate(level, STEPS, CHANNELS[c]);
        const i = (y * width + x) * 3 + c;
        tinted[i] = Math.round(data[i] * (1 - share) + color * share);
      }
    }
  }
  return { width, height, data: tinted };
}

function bilinear({ width, height, values }: Heat, x: number, y: number): number {
  const [column, row] = [Math.max(x - 0.5, 0), Math.max(y - 0.5, 0)];
  const [x0, y0] = [Math.min(Math.floor(column), width - 1), Math.min(Math.floor(row), height - 1)];
  const [x1, y1] = [Math.min(x0 + 1, width - 1), Math.min(y0 + 1, height - 1)];
  const [dx, dy] = [column - x0, row - y0];
  const upper = values[y0 * width + x0] * (1 - dx) + values[y0 * width + x1] * dx;
  const lower = values[y1 * width + x0] * (1 - dx) + values[y1 * width + x1] * dx;
  return Math.max(upper * (1 - dy) + lower * dy, 0);
}
