// SPDX-License-Identifier: Apache-2.0

import { texts } from "../texts";

/** A time as minutes and seconds, and hours if there are any. */
export function clock(seconds: number): string {
  const whole = Math.trunc(seconds + 1e-6);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = String(rest).padStart(2, "0");
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
}

/** The name of a face, counted from 1. */
export function faceName(trackId: number | null): string {
  return trackId === null ? texts.page.wholeFrame : texts.page.faceName(trackId);
}

export function capitalise(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** Without characters that would change the direction or the lines of the text around. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "�");
}
