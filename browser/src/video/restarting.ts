// SPDX-License-Identifier: Apache-2.0
/** Goes on behind a place that cannot be decoded: a decoder ends at its first error. */

import { isUnreadable } from "./errors";

/** Decodes some ascending frames until the first error; `null` for a frame that the decoder leaves out. */
export type Decode<Sample> = (indices: readonly number[]) => AsyncGenerator<Sample | null, unknown>;

/**
 * The samples of some ascending frames, `null` for each that cannot be decoded.
 *
 * Nothing can be decoded between an error and the next keyframe. Decoders work ahead, so an error concerns a later frame
 * than that which was waited for: the frames of its group of pictures are then decoded one by one, until one fails.
 *
 * @param groupOf The number of a frame's group of pictures.
 */
export async function* restarting<Sample>(
  decode: Decode<Sample>,
  indices: readonly number[],
  groupOf: (index: number) => number,
): AsyncGenerator<Sample | null, undefined> {
  let samples: ReturnType<Decode<Sample>> | null = null;
  let careful: number | null = null;
  let lost: number | null = null;
  try {
    for (const [i, index] of indices.entries()) {
      const group = groupOf(index);
      let sample: Sample | null = null;
      if (group !== careful && group !== lost) {
        samples ??= decode(indices.slice(i));
        try {
          sample = await next(samples);
        } catch (error) {
          if (isUnreadable(error)) throw error;
          await samples.return(undefined);
          samples = null;
          careful = group;
        }
      }
      if (group === careful) {
        const single = decode([index]);
        try {
          sample = await next(single);
        } catch (error) {
          if (isUnreadable(error)) throw error;
          [careful, lost] = [null, group];
        } finally {
          await single.return(undefined);
        }
      }
      yield sample;
    }
  } finally {
    // Closes the decoder, and the frames that nobody asked for any more.
    await samples?.return(undefined);
  }
  return undefined;
}

async function next<Sample>(samples: ReturnType<Decode<Sample>>): Promise<Sample | null> {
  const { done, value } = await samples.next();
  return done ? null : value;
}
