// SPDX-License-Identifier: Apache-2.0
/** The constants of the Python package, written by `.ci/make_browser_constants.py`. */

import values from "./constants.json";

export const constants = values;

export interface Model {
  id: string;
  /** A sentence on the licence of the weights. */
  terms: string | null;
  hasLicense: boolean;
}

/** What `vite.config.ts` says about a checkpoint other than the packaged one. */
declare const __MODEL__: Model | null | undefined;

/** The model of the page. Tests, which are not built, use the packaged checkpoint. */
export const model: Model = (typeof __MODEL__ === "undefined" ? null : __MODEL__) ?? {
  id: values.modelId,
  terms: values.terms,
  hasLicense: true,
};
