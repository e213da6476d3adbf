// SPDX-License-Identifier: Apache-2.0
/** The constants of the Python package, written by `.ci/make_browser_constants.py`. */

import values from "./constants.json";

export const constants = values;
