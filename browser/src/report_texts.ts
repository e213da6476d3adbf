// SPDX-License-Identifier: Apache-2.0
/** The texts of the package's report, which the page shares; see `scanning/texts.py`. */

import entries from "../../scanning/texts.en.json";
import { roundHalfEven } from "./numeric";

export type Key = keyof typeof entries;

/** A text with its values. */
export function say(key: Key, values: Record<string, string | number> = {}): string {
  return sayAround(key, values).join("");
}

/** A text around values that may be elements, as a list of nodes and strings. */
export function sayAround(key: Key, values: Record<string, string | number | Node>): (string | Node)[] {
  const entry = entries[key];
  const text = typeof entry === "string" ? entry : entry[values.count === 1 ? "one" : "other"];
  return text.split(/\{(\w+)\}/).map((part, i) => {
    if (i % 2 === 0) return part;
    const value = values[part];
    if (value === undefined) throw new Error(`the text ${key} has no value for ${part}`);
    return typeof value === "number" ? String(value) : value;
  });
}

/** A share as a percentage. */
export function sayPercent(share: number): string {
  return say("percent", { number: roundHalfEven(100 * share) });
}
