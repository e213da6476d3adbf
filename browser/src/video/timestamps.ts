// SPDX-License-Identifier: Apache-2.0
/** Times of frames; the part of `video_timestamps.py` that orderly files need. */

import { constants } from "../constants";
import { texts } from "../texts";

const { video: options } = constants;

export interface FrameTimes {
  seconds: number[];
  fps: number;
  endS: number;
  gaps: Map<number, number>;
  warnings: string[];
}

/**
 * Compute the times of frames on the clock of their container.
 *
 * @param shown Ascending presentation times in seconds, at least one.
 * @param startS When the container starts, on the same clock.
 * @param lastDurationS Duration of the last frame; 0 if unknown.
 */
export function readTimes(shown: readonly number[], startS: number, lastDurationS: number): FrameTimes {
  const lead = Math.max(shown[0] - startS, 0);
  const seconds = shown.map((time) => time - shown[0] + lead);
  const steps = seconds.slice(1).map((time, i) => time - seconds[i]);
  const sorted = [...steps].sort((a, b) => a - b);
  const interval = sorted.length ? sorted[(sorted.length - 1) >> 1] : 1 / options.nominalFps;
  const longest = Math.max(options.gapS, options.gapIntervals * interval) + 1e-6;
  const gaps = new Map<number, number>();
  steps.forEach((step, i) => {
    if (step > longest) gaps.set(i, seconds[i] + interval);
  });
  const last = seconds[seconds.length - 1];
  const span = Math.min(last - seconds[0], options.maxGapS);
  const longestLast = Math.max(options.maxClockStepS, options.gapIntervals * interval, span);
  const isPlausible = lastDurationS > 0 && lastDurationS >= (sorted[0] ?? 0) / 2 && lastDurationS <= longestLast;
  return {
    seconds,
    fps: averageFps(seconds, steps, gaps, interval),
    endS: last + (isPlausible ? lastDurationS : interval),
    gaps,
    warnings: gaps.size ? [describeGaps(steps, gaps, interval)] : [],
  };
}

function averageFps(seconds: number[], steps: number[], gaps: ReadonlyMap<number, number>, interval: number): number {
  let numSteps = steps.length;
  let span = seconds[seconds.length - 1] - seconds[0];
  for (const index of gaps.keys()) {
    numSteps -= 1;
    span -= steps[index];
  }
  return numSteps > 0 && span > 0 ? numSteps / span : 1 / interval;
}

function describeGaps(steps: number[], gaps: ReadonlyMap<number, number>, interval: number): string {
  const [longest] = [...gaps.keys()].sort((a, b) => steps[b] - steps[a]);
  const first = Math.min(...gaps.keys());
  return texts.warnings.gap(steps[longest] - interval, gaps.get(longest) ?? 0, gaps.size, gaps.get(first) ?? 0);
}
