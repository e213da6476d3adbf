// SPDX-License-Identifier: Apache-2.0
/** How the report shows times, names and sentences; see `scanning/stretches.py` and `scanning/html_report.py`. */

import { say } from "../report_texts";

/** A time as minutes and seconds, and hours if there are any; perhaps with tenths of a second. */
export function clock(seconds: number, tenths = false): string {
  // All parts come from one whole number, because a time just below a second counts as that second.
  const inTenths = Math.trunc((seconds + 1e-6) * 10);
  const whole = Math.trunc(inTenths / 10);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const padded = String(rest).padStart(2, "0");
  const text = hours ? `${hours}:${String(minutes).padStart(2, "0")}:${padded}` : `${minutes}:${padded}`;
  return tenths ? `${text}.${inTenths % 10}` : text;
}

/** The start and end of a part of a video in tenths of a second, the start rounded down and the end up. */
export function clockRange(start: number, end: number): string {
  return `${clock(start, true)}–${clock(Math.ceil(end * 10 - 1e-5) / 10, true)}`;
}

/** The name of a face, counted from 1. */
export function faceName(trackId: number | null): string {
  return trackId === null ? say("face.whole") : say("face.numbered", { number: trackId + 1 });
}

export function capitalise(sentence: string): string {
  return sentence.charAt(0).toUpperCase() + sentence.slice(1);
}

/** Without characters that would change the direction or the lines of the text around. */
export function printable(text: string): string {
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "�");
}
