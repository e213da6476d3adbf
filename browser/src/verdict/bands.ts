// SPDX-License-Identifier: Apache-2.0
/** The measured bands of a checkpoint; the content of `verdict.json`, see `scanning/verdict_bands.py`. */

import { constants } from "../constants";
import { texts } from "../texts";

export interface Rate {
  count: number;
  number: number;
  low: number;
  high: number;
}

export interface VerdictBands {
  format: number;
  weights_sha256: string;
  temperature: number;
  fake_bias: number;
  settings: Record<string, unknown>;
  low: number | null;
  high: number | null;
  false_alarms: Rate | null;
  misses: Rate | null;
  undecided_real: Rate | null;
  undecided_fake: Rate | null;
  face_exponent: number;
  people: number;
  fakes: number;
  min_face_px: number | null;
  min_bits_per_pixel: number | null;
  /** What the model computed apart from its weights. */
  function: Record<"configuration" | "preprocessing", Record<string, unknown>>;
}

/** Number of fakes called likely fake; `null` if it was not measured. */
function foundFakes({ high, misses, undecided_fake }: VerdictBands): number | null {
  if (high === null || misses === null || undecided_fake === null) return null;
  return misses.number - misses.count - undecided_fake.count;
}

/** The measured rates in words, and what "likely real" does not cover. */
export function describeRates(bands: VerdictBands): string {
  const { rates } = texts;
  const parts = [
    bands.false_alarms ? rates.falseAlarms(bands.false_alarms) : rates.noFalseAlarms(bands.people),
    bands.misses ? rates.misses(bands.misses, foundFakes(bands)) : rates.noMisses(bands.fakes),
  ];
  const shares = [
    bands.undecided_real && rates.undecidedReal(bands.undecided_real),
    bands.undecided_fake && rates.undecidedFake(bands.undecided_fake),
  ].filter((share) => share !== null);
  const sentences = [`${parts.join("; ")}.`];
  if (shares.length) sentences.push(rates.undecided(shares));
  if (bands.low !== null) sentences.push(constants.verdict.notCovered);
  return sentences.join(" ");
}
