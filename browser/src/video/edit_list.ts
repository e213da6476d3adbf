// SPDX-License-Identifier: Apache-2.0
/** Which part of a track an MP4 or MOV file shows: its edit list (ISO/IEC 14496-12, 8.6.6), which trimmed files have. */

import { tagAt } from "./bytes";

/** Seconds on the clock of mediabunny, which begins at the first edit and ignores where it ends and all others. */
export interface Segment {
  startS: number;
  endS: number;
}

interface Box {
  kind: string;
  /** Where the content begins and ends. */
  start: number;
  end: number;
}

interface Edit {
  /** In units of the movie; 0 is all of the rest. */
  duration: number;
  /** In units of the track; -1 for time without a picture. */
  mediaTime: number;
  isNormalSpeed: boolean;
}

/** A box of indices; larger ones are those of recordings of days. */
const MAX_MOVIE_BYTES = 2 ** 28;
/** 1 as a number of 16 bits before and 16 behind the point. */
const NORMAL_SPEED = 0x10000;
/** Seconds by which a time may be rounded. */
const TOLERANCE_S = 1e-6;

export function isShown(segments: readonly Segment[], timestamp: number): boolean {
  return segments.some(({ startS, endS }) => timestamp >= startS - TOLERANCE_S && timestamp < endS - TOLERANCE_S);
}

/** All that is not before the beginning of a file. */
export const WHOLE: readonly Segment[] = [{ startS: 0, endS: Number.POSITIVE_INFINITY }];

/** What the edit list of a track of an MP4 or MOV file shows; all if it has none, or if the file is in fragments. */
export async function shownSegments(file: Blob, trackId: number): Promise<readonly Segment[]> {
  try {
    const movie = await readMovie(file);
    return (movie && segmentsIn(movie, trackId)) ?? WHOLE;
  } catch (error) {
    // The file is damaged; mediabunny reads what can be read.
    if (error instanceof RangeError) return WHOLE;
    throw error;
  }
}

/** The content of the box moov. */
async function readMovie(file: Blob): Promise<DataView | null> {
  for (let place = 0; place + 8 <= file.size; ) {
    const head = new DataView(await file.slice(place, place + 16).arrayBuffer());
    const [box, end] = boxAt(head, 0, file.size - place);
    if (box.kind === "moov") {
      if (end > MAX_MOVIE_BYTES) return null;
      return new DataView(await file.slice(place + box.start, place + box.end).arrayBuffer());
    }
    // Fragments follow the box that was looked for.
    if (box.kind === "moof") return null;
    place += end;
  }
  return null;
}

function segmentsIn(movie: DataView, trackId: number): Segment[] | null {
  const boxes = boxesIn(movie, 0, movie.byteLength);
  const header = find(boxes, "mvhd");
  // The edits of a file in fragments do not say how long it becomes.
  if (header === null || find(boxes, "mvex") !== null) return null;
  const movieScale = timescale(movie, header);
  for (const track of boxes.filter(({ kind }) => kind === "trak")) {
    const parts = inside(movie, track);
    const about = find(parts, "tkhd");
    if (about === null || movie.getUint32(about.start + (isLong(movie, about) ? 20 : 12)) !== trackId) continue;
    const media = find(inside(movie, find(parts, "mdia")), "mdhd");
    const list = find(inside(movie, find(parts, "edts")), "elst");
    return media && list && segmentsOf(readEdits(movie, list), movieScale, timescale(movie, media));
  }
  return null;
}

function segmentsOf(edits: readonly Edit[], movieScale: number, mediaScale: number): Segment[] | null {
  const first = edits.findIndex(({ mediaTime }) => mediaTime >= 0);
  // mediabunny ignores a list that begins with another speed.
  if (!edits[first]?.isNormalSpeed) return null;
  const emptyS = edits.slice(0, first).reduce((sum, { duration }) => sum + duration, 0) / movieScale;
  const offset = edits[first].mediaTime - Math.round(emptyS * mediaScale);
  return edits
    .filter(({ mediaTime }) => mediaTime >= 0)
    .map(({ duration, mediaTime }) => {
      const startS = (mediaTime - offset) / mediaScale;
      return { startS, endS: duration ? startS + duration / movieScale : Number.POSITIVE_INFINITY };
    });
}

function readEdits(view: DataView, list: Box): Edit[] {
  const [count, first] = [view.getUint32(list.start + 4), list.start + 8];
  const edits: Edit[] = [];
  for (let i = 0; i < count; i++) {
    const place = first + (isLong(view, list) ? 20 : 12) * i;
    const [duration, mediaTime, speed] = isLong(view, list)
      ? [Number(view.getBigUint64(place)), Number(view.getBigInt64(place + 8)), view.getUint32(place + 16)]
      : [view.getUint32(place), view.getInt32(place + 4), view.getUint32(place + 8)];
    edits.push({ duration, mediaTime, isNormalSpeed: speed === NORMAL_SPEED });
  }
  return edits;
}

/** Units of a second in the box mvhd or mdhd. */
function timescale(view: DataView, header: Box): number {
  return view.getUint32(header.start + (isLong(view, header) ? 20 : 12));
}

/** Whether a box is of version 1, whose times have 64 bits. */
function isLong(view: DataView, { start }: Box): boolean {
  return view.getUint8(start) === 1;
}

function find(boxes: readonly Box[], wanted: string): Box | null {
  return boxes.find(({ kind }) => kind === wanted) ?? null;
}

function inside(view: DataView, box: Box | null): Box[] {
  return box === null ? [] : boxesIn(view, box.start, box.end);
}

function boxesIn(view: DataView, start: number, end: number): Box[] {
  const boxes: Box[] = [];
  for (let place = start; place + 8 <= end; ) {
    const [box, next] = boxAt(view, place, end);
    boxes.push(box);
    place = next;
  }
  return boxes;
}

/** The box at a place, and where the next one begins. */
function boxAt(view: DataView, place: number, last: number): [Box, number] {
  const short = view.getUint32(place);
  const size = short === 1 ? Number(view.getBigUint64(place + 8)) : short;
  const end = size === 0 ? last : place + size;
  const start = place + (short === 1 ? 16 : 8);
  if (end < start) throw new RangeError("a box is shorter than its head");
  return [{ kind: tagAt(view, place + 4), start, end }, end];
}
