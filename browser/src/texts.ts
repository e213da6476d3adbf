// SPDX-License-Identifier: Apache-2.0
/**
 * The sentences of the page and of its results, in English; a translation is an object of the same shape. Those that the
 * package's report has too are in `report_texts.ts`.
 */

import { general, percent } from "./numeric";

interface RateLike {
  count: number;
  number: number;
  low: number;
  high: number;
}

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;
const interval = (rate: RateLike): string =>
  `95 % interval ${(100 * rate.low).toFixed(1)} to ${(100 * rate.high).toFixed(1)} %`;
const people = (count: number): string => (count === 1 ? "1 real person" : `${count} real people`);
const were = (count: number): string => (count === 1 ? "was" : "were");
const share = (rate: RateLike): string => `${((100 * rate.count) / rate.number).toFixed(0)} %`;

/** Numbers with three digits, or with as many as tell different numbers apart. */
const tellApart = (...numbers: number[]): string[] => {
  const write = (digits: number): string[] => numbers.map((number) => general(number, digits));
  let digits = 3;
  while (digits < 17 && new Set(write(digits)).size < new Set(numbers).size) digits++;
  return write(digits);
};
const ofFaces = (count: number): string => (count > 1 ? ` for ${count} faces` : "");
const command = "the command line tool `deepfake-video predict`";

export const texts = {
  errors: {
    empty: "the file is empty; download or copy it again",
    unreadable: "the file cannot be read; choose it again",
    notAVideo: `this is neither a video nor a photo that this page can open; convert it to MP4 or JPEG, or use ${command}`,
    animated: `the picture is animated, which this page does not read; convert it to MP4, or use ${command}`,
    damagedPhoto: "the picture is damaged or incomplete; copy it again",
    tooManyBytes: "the photo is too large for this page; save a smaller copy",
    noPicture: "the file has no video track, perhaps only sound; choose a video",
    noFace: "no face found, even after checking more frames, smaller faces and rotations",
    noFrames: "no frame can be decoded; the file is damaged, copy it again",
    codec: (codec: string | null): string =>
      `this browser cannot decode its codec${codec ? ` (${codec})` : ""}; convert it to 8-bit 4:2:0 H.264, or use ${command}`,
    highDynamicRange: `the video is HDR or wide-gamut, which this page does not convert; use ${command}`,
    colorMatrix: "its colour matrix is not supported; convert it to H.264 with BT.709 colours",
    tooManyPixels: (pixels: number): string =>
      `its frames have ${(pixels / 1e6).toFixed(0)} million pixels, more than this page can hold; scale the video down`,
    tooLargeToRepair: `its timestamps go back, which this page cannot repair in so large a file; use ${command}`,
    hiddenPictures: `its timestamps go back, which this page cannot repair where pictures are hidden; use ${command}`,
    crashed: "the analysis crashed, perhaps for lack of memory; try a shorter or smaller video, or close other tabs",
    unexpected: (error: string): string => `the analysis failed (${error}); please report this`,
  },
  warnings: {
    cutOff: "the file is damaged or cut off; only the readable part is used",
    played:
      "the browser plays this codec but does not decode it for the page, so colours are less exact: the score may " +
      `differ from that of ${command}`,
    undecodable: (count: number): string => `${count} of the requested frames cannot be decoded`,
    repeatedTimes: (count: number): string => `${plural(count, "frame")} with a repeated timestamp left out`,
    invalidKind: (ahead: number): string =>
      Math.abs(ahead) < 1e-9 ? "repeated" : `${Math.abs(ahead).toFixed(1)} s ${ahead > 0 ? "ahead" : "behind"}`,
    invalidTimes: (count: number, total: number, kind: string, second: number): string => {
      const where = `${kind}, at ${second.toFixed(2)} s`;
      return count === 1
        ? `1 of ${total} timestamps is invalid (${where}) and was replaced by interpolation`
        : `${count} of ${total} timestamps are invalid (the first: ${where}) and were replaced by interpolation`;
    },
    jumps: (step: number, second: number, count: number): string =>
      `timestamps jump ${step > 0 ? "forward" : "back"} by ${Math.abs(step).toFixed(1)} s at ${second.toFixed(2)} s; ` +
      `the jump was removed${count > 1 ? `; ${count} such jumps` : ""}`,
    clockAhead: (lead: number): string =>
      `the picture's clock is ${lead.toFixed(1)} s ahead of the container's; times count from the first frame`,
    implausiblePixels: (num: number, den: number): string =>
      `the declared pixel aspect ratio ${num}:${den} is implausible: pixels were treated as square`,
    gap: (length: number, start: number, count: number, first: number): string => {
      const more = count > 1 ? `; ${count} such gaps, the first at ${first.toFixed(1)} s` : "";
      return `no new picture for ${length.toFixed(1)} s, starting at ${start.toFixed(1)} s${more}`;
    },
    fewFrames: (frames: number, wanted: number): string =>
      `the video has only ${plural(frames, "frame")}, fewer than the ${wanted} of the model; ` +
      "some were scored more than once",
    turned: (quarterTurns: number): string =>
      `the picture was rotated by ${90 * quarterTurns} degrees counterclockwise before scoring`,
    seldomSeen: (coverage: number): string => `a face was found in only ${percent(coverage)} of the sampled frames`,
    seenInFurtherFrames: (sampled: number, further: number): string =>
      `a face was found in none of the ${sampled} sampled frames; ${further} of the further frames that were searched ` +
      "show one, and the score is based on these",
    otherStreams: (count: number): string =>
      `only one video stream was scored; the file contains ${count === 1 ? "another one" : `${count} others`}`,
    noTimeline: (message: string): string => `the timeline could not be computed: ${message}`,
    ofTimeline: (warning: string): string => `timeline: ${warning}`,
    notHashed: "the file is too large to compute its SHA-256 in the browser",
  },
  reasons: {
    untrained: "the weights are random",
    otherWeights: "the error rates were measured with different weights or a different calibration",
    otherSettings: (name: string, then: unknown, now: unknown): string => {
      const setting = name === "num_frames" ? `${then} frames` : `${name.replaceAll("_", " ")} ${then}`;
      return `the error rates were measured with ${setting}, not with ${now}`;
    },
    ofScore: (probability: number, low: number | null, high: number | null, faces: number): string => {
      const [score, ...bounds] = tellApart(probability, ...[low, high].filter((bound) => bound !== null));
      const lowText = low === null ? null : bounds[0];
      const highText = high === null ? null : `${bounds[bounds.length - 1]}${ofFaces(faces)}`;
      const shown = `the fake probability ${score}`;
      if (high !== null && probability > high) return `${shown} is above ${highText}`;
      if (low !== null && probability < low) return `${shown} is below ${lowText}`;
      const below = low === null ? "likely real is never reported" : `likely real below ${lowText}`;
      const above = high === null ? "likely fake is never reported" : `likely fake above ${highText}`;
      return `${shown} is in the undecided range: ${below}, ${above}`;
    },
    suspiciousFace: (coverage: number, probability: number): string =>
      `the score of the video is low, but a face that was found in only ${percent(coverage)} of the sampled frames, ` +
      `too seldom to count for it, has a fake probability of ${general(probability, 3)}`,
    fewDifferent: (count: number, wanted: number): string =>
      `only ${count} different frame${count === 1 ? " was" : "s were"} scored; ` +
      `the error rates were measured with ${wanted} frames`,
    suspiciousPart: (highest: number): string =>
      `the video as a whole has a low fake probability, but a part of it has one of ${general(highest, 3)}`,
    seldomSeen: (coverage: number): string =>
      `the face was found in ${coverage ? `only ${percent(coverage)}` : "none"} of the sampled frames`,
    otherStreams: (count: number): string =>
      `the scores are low, but the file contains ${count === 1 ? "another video stream" : `${count} other video streams`}` +
      ", not scored",
    cutOff: "the scores are low, but the file is incomplete, and how much is missing is not known",
    undecodable: (unreadS: number, lengthS: number): string =>
      `the scores are low, but ${general(unreadS, 3)} of ${general(lengthS, 3)} seconds could not be read, because ` +
      "the file is incomplete or damaged",
    smallFace: (size: number, least: number): string =>
      `a face is only ${size.toFixed(0)} pixels wide; the error rates were measured only for faces of at least ` +
      `${least.toFixed(0)} pixels`,
    compressed: (bits: number, least: number): string =>
      `the video is compressed to ${general(bits, 2)} bits per pixel; ` +
      `the error rates were measured only for at least ${general(least, 2)}`,
  },
  rates: {
    falseAlarms: (rate: RateLike): string =>
      `Of ${people(rate.number)} not seen in training, ${rate.count} ${were(rate.count)} called likely fake ` +
      `(${interval(rate)})`,
    noFalseAlarms: (count: number): string =>
      `This checkpoint never reports likely fake, because ${count} real people are too few ` +
      "to bound the false-alarm rate",
    misses: (rate: RateLike, found: number | null): string =>
      `of ${plural(rate.number, "fake")}, ${rate.count} ${were(rate.count)} called likely real (${interval(rate)})` +
      (found === null ? "" : ` and ${found} likely fake`),
    noMisses: (count: number): string =>
      `this checkpoint never reports likely real, because ${count} fakes are too few to bound the miss rate`,
    undecidedReal: (rate: RateLike): string => `${share(rate)} of the real people`,
    undecidedFake: (rate: RateLike): string => `${share(rate)} of the fakes`,
    undecided: (shares: readonly string[]): string => `Undecided: ${shares.join(" and ")}.`,
  },
  page: {
    introduction:
      "Choose a video or photo that shows a face. This page scores it on your device: no part of it is sent anywhere.",
    choose: "Choose videos or photos, or drop them here",
    preparing: "Loading the page and its model; afterwards the page also works offline…",
    loading: (megabytes: number): string => `Loading the model: ${megabytes.toFixed(1)} MB`,
    ready: (engine: string): string => `Ready (${engine})`,
    engine: (usesGpu: boolean, threads: number): string =>
      `${usesGpu ? "WebGPU and " : ""}WASM, ${plural(threads, "thread")}`,
    unusable: (message: string): string => `This page cannot work here: ${message}.`,
    noWorker: "a part of it cannot be loaded; load the page again",
    waiting: "waiting",
    cancelled: "cancelled",
    cancel: "Cancel",
    cancelOf: (name: string): string => `Cancel ${name}`,
    stages: {
      reading: "reading",
      scoring: "looking for faces",
      timeline: "timeline",
      explaining: "drawing heat maps",
    },
    soFar: (verdict: string): string => `${verdict}; the timeline follows`,
    saveJson: "Save results as JSON",
    savePage: "Save this page's report",
    results: "Results",
    limits: "Limits",
    codecs: (yes: readonly string[], no: readonly string[]): string =>
      `This browser decodes ${yes.join(", ") || "none of the usual codecs"}` +
      (no.length ? `, but not ${no.join(", ")}: convert such a video to H.264, or use ${command}.` : "."),
    noWebCodecs: `This browser does not support WebCodecs, so the page plays videos to get their frames, which is slower and less exact.`,
    length:
      "The verdict takes the same time for any length; the timeline takes longer for a longer video. For videos of " +
      `more than ten minutes, ${command} is faster.`,
    oneThread: "This page runs with one thread, because it was served without cross-origin isolation.",
    terms: "Terms of the model",
    licenses: "Licences of the software",
    scoredHere: "Scored inside a browser.",
  },
};
