// SPDX-License-Identifier: Apache-2.0
/** Functions on numbers and collections, with the semantics of Python and numpy. */

/** Round to the nearest integer, halves to the even one, as `round` of Python and `rint` of numpy. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/** The remainder with the sign of the divisor, as `%` of Python. */
export function modulo(value: number, divisor: number): number {
  return ((value % divisor) + divisor) % divisor;
}

/** `numpy.linspace(first, last, count)`. */
export function linspace(first: number, last: number, count: number): number[] {
  if (count === 1) return [first];
  const step = (last - first) / (count - 1);
  const values = Array.from({ length: count }, (_, i) => i * step + first);
  values[count - 1] = last;
  return values;
}

/** `numpy.interp(at, positions, values)` for ascending positions. */
export function interpolate(at: number, positions: readonly number[], values: readonly number[]): number {
  return interpolateAt(at, positions, (i) => values[i]);
}

/** As `interpolate`, for values that are computed where they are needed. */
export function interpolateAt(at: number, positions: readonly number[], valueAt: (i: number) => number): number {
  const last = positions.length - 1;
  if (at <= positions[0]) return valueAt(0);
  if (at >= positions[last]) return valueAt(last);
  let [before, after] = [0, last];
  while (after - before > 1) {
    const middle = (before + after) >> 1;
    if (positions[middle] < at) before = middle;
    else after = middle;
  }
  const share = (at - positions[before]) / (positions[after] - positions[before]);
  const left = valueAt(before);
  return left + share * (valueAt(after) - left);
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function mean(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i];
  return sum / values.length;
}

export function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-Math.min(Math.max(logit, -700), 700)));
}

export function logit(probability: number): number {
  return Math.log(probability) - Math.log1p(-probability);
}

/** At most `count` of the values, evenly spaced from the first to the last. */
export function spread<T>(values: readonly T[], count: number): T[] {
  if (values.length <= count) return [...values];
  return linspace(0, values.length - 1, count).map((position) => values[roundHalfEven(position)]);
}

export function unique(values: readonly number[]): number[] {
  return [...new Set(values)].sort((a, b) => a - b);
}

export function range(count: number, first = 0): number[] {
  return Array.from({ length: count }, (_, i) => first + i);
}

/** `lists.setdefault(key, []).append(value)`. */
export function append<Key, Value>(lists: Map<Key, Value[]>, key: Key, value: Value): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

/** Compare two arrays element by element, as Python compares tuples. */
export function compareTuples(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) if (a[i] !== b[i]) return a[i] - b[i];
  return a.length - b.length;
}

/** Python's `f"{value:.{digits}g}"`. */
export function general(value: number, digits: number): string {
  if (value === 0) return "0";
  const exponent = Number(value.toExponential(digits - 1).split("e")[1]);
  if (exponent < -4 || exponent >= digits) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    const sign = power[0];
    return `${trimZeros(mantissa)}e${sign}${power.slice(1).padStart(2, "0")}`;
  }
  return trimZeros(value.toFixed(digits - 1 - exponent));
}

function trimZeros(text: string): string {
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

/** Python's `f"{value:.0%}"`. */
export function percent(value: number): string {
  return `${roundHalfEven(value * 100)}%`;
}
