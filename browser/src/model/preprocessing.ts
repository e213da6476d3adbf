// SPDX-License-Identifier: Apache-2.0
/** From pictures to the input of the network; see `scanning/preprocessing.py`. */

import { cropUpright } from "../faces/cropping";
import type { Box } from "../faces/detection";
import type { FaceTrack } from "../faces/tracking";
import { linspace, range } from "../numeric";
import type { Picture } from "../video/picture";
import { resize } from "../video/picture";
import type { Preprocessing } from "./checkpoint";

/** Indices of the frames to score, ascending; see `video_sources.select_frames`. */
export function selectFrames(total: number, settings: Preprocessing): number[] {
  const { num_frames: count, frame_sampling: sampling, burst_length: length } = settings;
  if (total < count) return range(count).map((i) => Math.floor((i * total) / count));
  if (sampling === "first") return range(count);
  if (sampling === "even") return linspace(0, total - 1, count).map(Math.trunc);
  const starts = linspace(0, total - length, count / length).map(Math.trunc);
  return starts.flatMap((start) => range(length, start));
}

/** What the network sees of a frame, at its size: the face of a track in a box, or without them the whole frame. */
export function pictureFor(
  frame: Picture,
  track: FaceTrack | null,
  box: Box | undefined,
  settings: Preprocessing,
): Picture {
  const crop = track && box ? cropUpright(frame, box, track.quarterTurns, settings, track.size) : frame;
  return resize(crop, settings.size.width ?? 0, settings.size.height ?? 0);
}

/** Pictures of the network's size as planes of normalised values, (T, 3, height, width). */
export function pixelValues(frames: readonly Picture[], settings: Preprocessing): Float32Array {
  const levels = normalisedLevels(settings);
  const area = frames[0].width * frames[0].height;
  const values = new Float32Array(frames.length * 3 * area);
  frames.forEach(({ data }, t) => {
    for (let channel = 0; channel < 3; channel++) {
      const from = settings.channel_order === "bgr" ? 2 - channel : channel;
      const to = (t * 3 + channel) * area;
      for (let i = 0; i < area; i++) values[to + i] = levels[channel][data[3 * i + from]];
    }
  });
  return values;
}

function normalisedLevels(settings: Preprocessing): Float32Array[] {
  const factor = Math.fround(1 / settings.rescale_factor);
  const scaled = (values: number | number[], channel: number): number =>
    Math.fround(Math.fround(Array.isArray(values) ? values[channel] : values) * factor);
  return [0, 1, 2].map((channel) => {
    const [mean, std] = [scaled(settings.image_mean, channel), scaled(settings.image_std, channel)];
    return Float32Array.from({ length: 256 }, (_, level) => Math.fround(level - mean) / std);
  });
}
