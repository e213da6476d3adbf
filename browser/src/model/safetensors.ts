// SPDX-License-Identifier: Apache-2.0
/** Reads safetensors files; floating-point tensors become float32. */

export type Tensors = Map<string, Float32Array | Uint8Array>;

interface Entry {
  dtype: string;
  data_offsets: [number, number];
}

export function readSafetensors(file: Uint8Array<ArrayBuffer>): Tensors {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerLength = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerLength))) as Record<string, Entry>;
  const tensors: Tensors = new Map();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [start, stop] = entry.data_offsets.map((offset) => 8 + headerLength + offset);
    // A copy is aligned.
    tensors.set(name, toFloat32(file.slice(start, stop), entry.dtype));
  }
  return tensors;
}

function toFloat32(bytes: Uint8Array<ArrayBuffer>, dtype: string): Float32Array | Uint8Array {
  if (dtype === "F32") return new Float32Array(bytes.buffer);
  if (dtype === "F16") return Float32Array.from(new Uint16Array(bytes.buffer), halfToFloat);
  if (dtype === "BF16") {
    const bits = Uint32Array.from(new Uint16Array(bytes.buffer), (value) => value << 16);
    return new Float32Array(bits.buffer);
  }
  return bytes;
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
