// SPDX-License-Identifier: Apache-2.0
/** The headers of every answer; `deepfake-video demo --local-page` sends the same, and the page carries the policy in itself. */

import headers from "./headers.json";

export const HEADERS: Record<string, string> = headers;
