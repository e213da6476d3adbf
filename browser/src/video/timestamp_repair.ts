// SPDX-License-Identifier: Apache-2.0
/** Finds invalid timestamps, gaps and jumps of the clock; the rules are described in `video_timestamps.py`. */

import { constants } from "../constants";
import { interpolate } from "../numeric";
import { texts } from "../texts";
import type { ContainerClock } from "./timestamps";

const { video: options } = constants;

/** The place of a frame in the order of presentation, and its time in seconds. */
type Item = readonly [position: number, time: number];

export class TimestampRepair {
  /** Median seconds from one frame to the next. */
  readonly interval: number;
  private readonly gap: number;
  private readonly longest: number;
  private readonly lone: number;
  private readonly invalid: { position: number; kind: string }[] = [];
  private readonly jumps: { position: number; step: number }[] = [];
  private readonly good: Item[] = [];
  /** How many frames each clock has, by the seconds between it and the first clock. */
  private readonly clocks = new Map<number, number>([[0, 1]]);
  private offset = 0;

  /** @param times Times in the order of presentation. */
  constructor(
    private readonly times: readonly number[],
    private readonly clock: ContainerClock,
  ) {
    const ahead = this.steps.filter((step) => step > 0).sort((a, b) => a - b);
    this.interval = ahead.length ? ahead[(ahead.length - 1) >> 1] : 1 / options.nominalFps;
    const several = options.gapIntervals * this.interval;
    this.gap = Math.max(options.gapS, several);
    this.longest = Math.max(clock.hasResets ? options.maxClockStepS : options.maxGapS, several);
    this.lone = Math.max(options.maxClockStepS, Math.max(options.gapIntervals, times.length) * this.interval);
  }

  private get steps(): number[] {
    return this.times.slice(1).map((time, i) => time - this.times[i]);
  }

  private get latest(): Item {
    return this.good[this.good.length - 1];
  }

  /** Increasing times of all frames. */
  run(): number[] {
    const { times, interval } = this;
    if (this.steps.every((step) => step > 0 && step <= this.gap)) return [...times];
    this.walk();
    this.invalid.sort((a, b) => a.position - b.position);
    // The start of the container belongs to the first clock, unless that is nothing but invalid values.
    const [base] = [...this.clocks].find(([, size]) => size >= options.clockLength) ?? [0];
    const positions = this.good.map(([position]) => position);
    const values = this.good.map(([, time]) => time - base);
    const [first, last] = [positions[0], positions[positions.length - 1]];
    return times.map((_, position) => {
      if (position < first) return values[0] - interval * (first - position);
      if (position > last) return values[values.length - 1] + interval * (position - last);
      return interpolate(position, positions, values);
    });
  }

  /** What was repaired, with the resulting times. */
  sentences(seconds: readonly number[]): string[] {
    const { warnings } = texts;
    const said: string[] = [];
    const [invalid] = this.invalid;
    if (invalid) {
      said.push(warnings.invalidTimes(this.invalid.length, seconds.length, invalid.kind, seconds[invalid.position]));
    }
    const [jump] = this.jumps;
    if (jump) said.push(warnings.jumps(jump.step, seconds[jump.position], this.jumps.length));
    return said;
  }

  /** Collect the valid times on the first clock in `good`. */
  private walk(): void {
    this.good.push([0, this.times[0]]);
    let pending: Item[] = [];
    const rejectPending = (): void => {
      this.reject(pending);
      pending = [];
    };
    for (let position = 1; position < this.times.length; position++) {
      const item: Item = [position, this.times[position]];
      const before = pending.at(-1);
      const isAhead = before !== undefined && this.mapped(before)[1] > this.latest[1];
      // Times that continue each other behind a gap are not invalid, although they also continue the clock.
      const isBehindGap = isAhead && continues(before, item, this.longest);
      if (!isBehindGap && continues(this.latest, this.mapped(item), this.gap)) {
        rejectPending();
        this.keep(item);
        continue;
      }
      if (before && !continues(before, item, this.longest)) {
        const [, time] = this.mapped(item);
        const isBack = this.latest[1] < time && time <= this.mapped(before)[1];
        rejectPending();
        if (isBack && continues(this.latest, this.mapped(item), this.longest)) {
          this.keep(item);
          continue;
        }
      }
      pending.push(item);
      if (pending.length === options.clockLength) {
        this.accept(pending, this.good.length === 1);
        pending = [];
      }
    }
    if (!pending.length) return;
    const isLone = pending.length === 1;
    if (isLone && this.mapped(pending[0])[1] <= this.latest[1]) rejectPending();
    else this.accept(pending, isLone || this.good.length === 1);
  }

  private mapped([position, time]: Item): Item {
    return [position, time + this.offset];
  }

  private keep(item: Item): void {
    this.good.push(this.mapped(item));
    this.clocks.set(this.offset, (this.clocks.get(this.offset) ?? 0) + 1);
  }

  private reject(items: readonly Item[]): void {
    for (const item of items) {
      const ahead = this.mapped(item)[1] - this.latest[1];
      this.invalid.push({ position: item[0], kind: texts.warnings.invalidKind(ahead) });
    }
  }

  /** Take times for valid, after a gap or on another clock. */
  private accept(items: readonly Item[], isLone: boolean): void {
    const [position, time] = items[0];
    const [before, latest] = this.latest;
    const { soundEndS, hasResets } = this.clock;
    const hasSound = soundEndS !== null && time <= soundEndS && !hasResets;
    let { longest } = this;
    if (isLone && this.times.length > 2) {
      longest = Math.min(Math.max(this.lone, latest - this.good[0][1]), longest);
    }
    const known = [this.offset, ...this.clocks.keys()];
    let fitting = known.find((each) => continues(this.latest, [position, time + each], longest));
    if (hasSound && time + this.offset > latest) fitting = this.offset;
    if (fitting === undefined) {
      this.jumps.push({ position, step: time + this.offset - latest });
      fitting = latest + this.interval * (position - before) - time;
    }
    this.offset = fitting;
    for (const item of items) this.keep(item);
  }
}

/** Whether a time follows another, with at most `longest` seconds for each frame. */
function continues([before, earlier]: Item, [after, later]: Item, longest: number): boolean {
  const step = later - earlier;
  return step > 0 && step <= longest * (after - before) + 1e-9;
}
