// SPDX-License-Identifier: Apache-2.0
/** What this browser cannot do, said before a video is chosen. */

import { model } from "../constants";
import { say } from "../report_texts";
import { texts } from "../texts";
import { html } from "./elements";

/** Codecs of common videos, with a parameter string of each. */
const CODECS: Record<string, string> = {
  "H.264": "avc1.640028",
  "H.265": "hev1.1.6.L120.B0",
  VP8: "vp8",
  VP9: "vp09.00.31.08",
  AV1: "av01.0.08M.08",
};

export async function describeLimits(): Promise<HTMLElement> {
  const { page } = texts;
  const sentences = [await describeCodecs(), page.length];
  if (!crossOriginIsolated) sentences.push(page.oneThread);
  return html(
    "details",
    { class: "limits" },
    html("summary", {}, page.limits),
    html("p", {}, `${say("demo.caution")} ${say("demo.limits")}`),
    ...sentences.map((sentence) => html("p", {}, sentence)),
    model.terms === null ? null : html("p", { class: "soft" }, model.terms),
    html(
      "p",
      { class: "soft" },
      ...(model.hasLicense ? [html("a", { href: "model/LICENSE" }, page.terms), " · "] : []),
      html("a", { href: "licenses.txt" }, page.licenses),
    ),
  );
}

async function describeCodecs(): Promise<string> {
  if (typeof VideoDecoder !== "function") return texts.page.noWebCodecs;
  const supported: string[] = [];
  const missing: string[] = [];
  for (const [name, codec] of Object.entries(CODECS)) {
    const { supported: can } = await VideoDecoder.isConfigSupported({ codec, codedWidth: 1280, codedHeight: 720 });
    (can ? supported : missing).push(name);
  }
  return texts.page.codecs(supported, missing);
}
