/** Digests of JSON values (PROTOCOL section 6): SHA-256 of the RFC 8785 text, the first 16 hexadecimal digits. */

import { isObject, type Json } from "./values";

const ROUND_CONSTANTS = rootFractions(64, (prime) => Math.cbrt(prime));
const START = rootFractions(8, (prime) => Math.sqrt(prime));

/**
 * Return the digest of a value; null if there is no value. The browser's own crypto is asynchronous, and not available
 * on every page.
 */
export function digestOf(value: Json | undefined): string | null {
  if (value === undefined) return null;
  const [first, second] = hashMessage(new TextEncoder().encode(canonicalText(value)));
  return toHex(first as number) + toHex(second as number);
}

/** Return all 64 hexadecimal digits, like the server's checksum of a document. */
export function checksumOf(value: Json): string {
  return [...hashMessage(new TextEncoder().encode(canonicalText(value)))].map(toHex).join("");
}

/** Return the RFC 8785 text: members sorted by the UTF-16 units of their keys, numbers as JavaScript writes them. */
export function canonicalText(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(",")}]`;
  if (!isObject(value)) return JSON.stringify(value);
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonicalText(value[key])}`).join(",")}}`;
}

/** Return the eight words of the hash (FIPS 180-4 section 6.2). */
export function hashMessage(message: Uint8Array): Uint32Array {
  const blocks = new DataView(padMessage(message));
  const state = Uint32Array.from(START);
  const words = new Uint32Array(64);
  for (let at = 0; at < blocks.byteLength; at += 64) {
    for (let i = 0; i < 16; i += 1) words[i] = blocks.getUint32(at + 4 * i);
    for (let i = 16; i < 64; i += 1) words[i] = extendWords(words, i);
    mixBlock(state, words);
  }
  return state;
}

function padMessage(message: Uint8Array): ArrayBuffer {
  const bytes = new Uint8Array(Math.ceil((message.length + 9) / 64) * 64);
  bytes.set(message);
  bytes[message.length] = 0x80;
  const view = new DataView(bytes.buffer);
  view.setUint32(bytes.length - 8, Math.floor(message.length / 2 ** 29));
  view.setUint32(bytes.length - 4, (message.length << 3) >>> 0);
  return bytes.buffer;
}

function extendWords(words: Uint32Array, i: number): number {
  const [a, b] = [words[i - 15] as number, words[i - 2] as number];
  const first = rotateRight(a, 7) ^ rotateRight(a, 18) ^ (a >>> 3);
  const second = rotateRight(b, 17) ^ rotateRight(b, 19) ^ (b >>> 10);
  return (words[i - 16] as number) + first + (words[i - 7] as number) + second;
}

function mixBlock(state: Uint32Array, words: Uint32Array): void {
  let [a, b, c, d, e, f, g, h] = state as unknown as [number, number, number, number, number, number, number, number];
  for (let i = 0; i < 64; i += 1) {
    const choice = (e & f) ^ (~e & g);
    const sum = rotateRight(e, 6) ^ rotateRight(e, 11) ^ rotateRight(e, 25);
    const one = (h + sum + choice + (ROUND_CONSTANTS[i] as number) + (words[i] as number)) | 0;
    const two = ((rotateRight(a, 2) ^ rotateRight(a, 13) ^ rotateRight(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((word, i) => (state[i] = (state[i] as number) + word));
}

function rotateRight(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

/** Return the first 32 bits of the fractional parts of the roots of the first primes. */
function rootFractions(count: number, root: (prime: number) => number): Uint32Array {
  const primes: number[] = [];
  for (let n = 2; primes.length < count; n += 1) if (primes.every((prime) => n % prime !== 0)) primes.push(n);
  return Uint32Array.from(primes, (prime) => (root(prime) % 1) * 2 ** 32);
}

function toHex(word: number): string {
  return word.toString(16).padStart(8, "0");
}
