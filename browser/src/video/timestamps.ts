// SPDX-License-Identifier: Apache-2.0
/** Times of frames, as a player shows them, on one clock; see `video_timestamps.py`. */

import { constants } from "../constants";
import { texts } from "../texts";
import { TimestampRepair } from "./timestamp_repair";

const { video: options } = constants;
/** Start times may be rounded to microseconds. */
const ROUNDING_S = 2e-6;

/** What a container says about its clock; see `video_timestamps.ContainerClock`. */
export interface ContainerClock {
  /** When the container starts, in seconds of its own clock. */
  startS: number;
  /** Whether the clock may be reset inside the file. */
  hasResets: boolean;
  /** When the sound ends, in seconds of the container's own clock. */
  soundEndS: number | null;
}

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
 * @param stored Times of the frames in seconds as the file stores them, in the order of presentation; at least one.
 * @param lastDurationS Duration of the last frame; 0 if unknown.
 */
export function readTimes(stored: readonly number[], clock: ContainerClock, lastDurationS: number): FrameTimes {
  const repair = new TimestampRepair(stored, clock);
  const shown = repair.run();
  const { interval } = repair;
  const [lead, leadWarnings] = leadOf(shown[0], clock);
  const seconds = shown.map((time) => time - shown[0] + lead);
  const steps = seconds.slice(1).map((time, i) => time - seconds[i]);
  const longest = Math.max(options.gapS, options.gapIntervals * interval) + 1e-6;
  const gaps = new Map<number, number>();
  steps.forEach((step, i) => {
    if (step > longest) gaps.set(i, seconds[i] + interval);
  });
  const last = seconds[seconds.length - 1];
  const span = Math.min(last - seconds[0], options.maxGapS);
  const longestLast = Math.max(options.maxClockStepS, options.gapIntervals * interval, span);
  const shortest = steps.reduce((least, step) => Math.min(least, step), steps[0] ?? 0);
  const isPlausible = lastDurationS > 0 && lastDurationS >= shortest / 2 && lastDurationS <= longestLast;
  return {
    seconds,
    fps: averageFps(seconds, steps, gaps, interval),
    endS: last + (isPlausible ? lastDurationS : interval),
    gaps,
    warnings: [
      ...repair.sentences(seconds),
      ...leadWarnings,
      ...(gaps.size ? [describeGaps(steps, gaps, interval)] : []),
    ],
  };
}

/** Seconds from the start of the container to its first picture, and a warning if they are unusable. */
function leadOf(first: number, clock: ContainerClock): [number, string[]] {
  const lead = first - clock.startS;
  if (lead < ROUNDING_S) return [0, []];
  if (lead <= (clock.hasResets ? options.maxClockStepS : options.maxGapS)) return [lead, []];
  return [0, [texts.warnings.clockAhead(lead)]];
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
