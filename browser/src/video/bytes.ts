// SPDX-License-Identifier: Apache-2.0

/** The four characters that name a part of a file. */
export function tagAt(view: DataView, place: number): string {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(place + i)));
}
