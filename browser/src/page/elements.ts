// SPDX-License-Identifier: Apache-2.0
/** Makes elements; text only ever becomes text, never markup. */

type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;
export type Child = Node | string | null;

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element; functions among the attributes listen to the event of their name. */
export function html<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag: string, attributes: Attributes = {}, ...children: Child[]): SVGElement {
  return fill(document.createElementNS(SVG, tag) as SVGElement, attributes, children);
}

/** The head of a column of texts, or of numbers. */
export function columnHead(text: string, isNumber = false): HTMLElement {
  return html("th", { scope: "col", ...(isNumber && { class: "number" }) }, text);
}

/** A table of rows below the heads of their columns. */
export function table(heads: readonly HTMLElement[], rows: readonly HTMLElement[]): HTMLElement {
  return html("table", {}, html("thead", {}, html("tr", {}, ...heads)), html("tbody", {}, ...rows));
}

function fill<Kind extends Element>(element: Kind, attributes: Attributes, children: Child[]): Kind {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value !== "boolean") element.setAttribute(name, String(value));
    else if (value) element.setAttribute(name, "");
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}
