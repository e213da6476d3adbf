// SPDX-License-Identifier: Apache-2.0
/**
 * Edits graphs as `scanning/graphs.py` writes them: puts in the weights that a graph leaves to others, and lets it
 * return its last feature maps.
 */

import type { Tensors } from "./safetensors";

/** Numbers of the fields in onnx.proto. */
const MODEL_GRAPH = 7;
const GRAPH_NODE = 1;
const GRAPH_INITIALIZER = 5;
const GRAPH_OUTPUT = 12;
const NODE_INPUT = 1;
const NODE_OPERATOR = 4;
const VALUE_NAME = 1;
const TENSOR_NAME = 8;
const TENSOR_RAW_DATA = 9;
const TENSOR_EXTERNAL_DATA = 13;
const TENSOR_DATA_LOCATION = 14;
const LENGTH_DELIMITED = 2;
/** Bytes after the tag of fixed-size wire types. */
const FIXED_SIZES: Record<number, number> = { 1: 8, 5: 4 };

/** One field of a protobuf message: its number, and its bytes with and without tag and length. */
interface Field {
  number: number;
  whole: Uint8Array;
  content: Uint8Array;
}

/** The graph with each external initializer replaced by the tensor of its name. */
export function withWeights(graph: Uint8Array, tensors: Tensors): Uint8Array<ArrayBuffer> {
  return join(
    fields(graph).map((field) =>
      field.number === MODEL_GRAPH ? delimited(MODEL_GRAPH, fillGraph(field.content, tensors)) : field.whole,
    ),
  );
}

/** Operators that average feature maps over their places. */
const POOLING = ["ReduceMean", "GlobalAveragePool"];

/**
 * The graph with the input of its last pooling as a further output, and the name of that output.
 *
 * A graph without a pooling stays as it is, and the name is `null`.
 */
export function withFeatureMaps(model: Uint8Array<ArrayBuffer>): [Uint8Array<ArrayBuffer>, string | null] {
  const all = fields(model);
  const graph = all.find((field) => field.number === MODEL_GRAPH)?.content ?? new Uint8Array();
  const pooling = fields(graph)
    .filter((field) => field.number === GRAPH_NODE)
    .map((field) => fields(field.content))
    .findLast((node) => POOLING.includes(textOf(node, NODE_OPERATOR)));
  if (pooling === undefined) return [model, null];
  const name = textOf(pooling, NODE_INPUT);
  const output = delimited(GRAPH_OUTPUT, delimited(VALUE_NAME, new TextEncoder().encode(name)));
  const extended = delimited(MODEL_GRAPH, join([graph, output]));
  return [join(all.map((field) => (field.number === MODEL_GRAPH ? extended : field.whole))), name];
}

function textOf(message: readonly Field[], number: number): string {
  return new TextDecoder().decode(message.find((field) => field.number === number)?.content);
}

function fillGraph(graph: Uint8Array, tensors: Tensors): Uint8Array {
  return join(
    fields(graph).map((field) =>
      field.number === GRAPH_INITIALIZER
        ? delimited(GRAPH_INITIALIZER, fillTensor(field.content, tensors))
        : field.whole,
    ),
  );
}

function fillTensor(tensor: Uint8Array, tensors: Tensors): Uint8Array {
  const all = fields(tensor);
  if (!all.some((field) => field.number === TENSOR_EXTERNAL_DATA)) return tensor;
  const name = textOf(all, TENSOR_NAME);
  const values = tensors.get(name);
  if (values === undefined) throw new Error(`the weights lack ${name}`);
  const kept = all.filter(({ number }) => number !== TENSOR_EXTERNAL_DATA && number !== TENSOR_DATA_LOCATION);
  const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return join([...kept.map((field) => field.whole), delimited(TENSOR_RAW_DATA, bytes)]);
}

function fields(message: Uint8Array): Field[] {
  const found: Field[] = [];
  let position = 0;
  const readVarint = (): number => {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = message[position++];
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  };
  while (position < message.length) {
    const first = position;
    const tag = readVarint();
    const wireType = tag & 7;
    let start = position;
    if (wireType === LENGTH_DELIMITED) {
      const length = readVarint();
      start = position;
      position += length;
    } else if (wireType === 0) {
      readVarint();
    } else {
      const size = FIXED_SIZES[wireType];
      if (size === undefined) throw new Error("the graph is damaged");
      position += size;
    }
    if (position > message.length) throw new Error("the graph is damaged");
    const [whole, content] = [message.subarray(first, position), message.subarray(start, position)];
    found.push({ number: Math.floor(tag / 8), whole, content });
  }
  return found;
}

function delimited(number: number, content: Uint8Array): Uint8Array {
  return join([varint(number * 8 + LENGTH_DELIMITED), varint(content.length), content]);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  for (; rest > 127; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Uint8Array.from(bytes);
}

function join(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let position = 0;
  for (const part of parts) {
    whole.set(part, position);
    position += part.length;
  }
  return whole;
}
