/** JSON values: equality, the rules of PROTOCOL section 3 for sent values, and safe access to members. */

import { SessionError } from "./errors";

// `any`, as JSON.parse returns. A recursive union would refuse the interface types of callers.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any;
export type JsonObject = { [key: string]: Json };

export interface ValueLimits {
  depth: number;
  keyBytes: number;
  stringBytes: number;
}

export const DEFAULT_VALUE_LIMITS: ValueLimits = { depth: 64, keyBytes: 1024, stringBytes: 1048576 };

// From this number on JSON.stringify writes an exponent. A smaller big number would be written as digits, which are not
// allowed.
const EXPONENT_FROM = 1e21;
const LONGEST_UTF8 = 3;
/** Objects that JSON.stringify writes as the primitive value inside. */
const BOXES: ReadonlySet<string> = new Set(["Boolean", "Number", "String"]);

export function isObject(value: Json): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return the normal form of a number; null if a document cannot contain it. */
export function normalizeNumber(value: number): number | null {
  if (!Number.isFinite(value)) return null;
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < EXPONENT_FROM) return null;
  return value === 0 ? 0 : value;
}

/** Return true if two JSON values are equal: true is not 1, and the order of keys does not matter. */
export function areEqual(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (Array.isArray(a)) {
    return Array.isArray(b) && a.length === b.length && a.every((item, at) => areEqual(item, b[at]));
  }
  if (!isObject(a) || !isObject(b)) return false;
  const keys = Object.keys(a);
  if (keys.length !== Object.keys(b).length) return false;
  return keys.every((key) => Object.hasOwn(b, key) && areEqual(a[key], b[key]));
}

export function byteLength(text: string): number {
  return new TextEncoder().encode(text).length;
}

/**
 * Return a normalised copy, which later changes of the original do not affect. Calls `toJSON` and leaves out undefined
 * members. Throws a SessionError with the name that the server would answer, and the place in its message. `tokens`:
 * place of the value in its document.
 */
export function normalizeValue(
  value: unknown,
  limits: ValueLimits = DEFAULT_VALUE_LIMITS,
  tokens: readonly string[] = [],
): Json {
  const place = [...tokens];
  try {
    return normalizeAt(value, limits, place);
  } catch (error) {
    throw error instanceof SessionError ? placed(error, place) : error;
  }
}

function normalizeAt(value: unknown, limits: ValueLimits, place: string[]): Json {
  const plain = hasToJson(value) ? value.toJSON() : value;
  if (plain === null || typeof plain === "boolean") return plain;
  if (typeof plain === "string") return checkText(plain, limits.stringBytes, "string_too_long");
  if (typeof plain === "number") return checkNumber(plain);
  if (typeof plain !== "object") throw SessionError.local("invalid_json", `${describe(plain)} is not JSON.`);
  if (place.length >= limits.depth) throw SessionError.local("too_deep", `The JSON is deeper than ${limits.depth}, or holds itself.`);
  if (Array.isArray(plain)) {
    // Not `map`, which keeps holes: JSON has none.
    return Array.from(plain, (item, at) => normalizeMember(item, limits, place, String(at)));
  }
  return normalizeObject(plain as object, limits, place);
}

/** Normalise a member or item. If that throws, `place` still ends with its token. */
function normalizeMember(value: unknown, limits: ValueLimits, place: string[], token: string): Json {
  place.push(token);
  const normal = normalizeAt(value, limits, place);
  place.pop();
  return normal;
}

/** Return a copy of an error with the place in its message. */
function placed({ name, message, temporary }: SessionError, place: readonly string[]): SessionError {
  const path = place.map((token) => `/${token.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  return SessionError.local(name, path ? `${message.slice(0, -1)}, at ${path}.` : message, temporary);
}

function describe(value: unknown): string {
  return value === undefined ? "undefined" : `A ${typeof value}`;
}

export function checkKey(key: string, limits: ValueLimits): string {
  // A member with this name would change the prototype of a copy made by assignment.
  if (key === "__proto__") throw SessionError.local("forbidden_key", "The key __proto__ is not allowed.");
  return checkText(key, limits.keyBytes, "key_too_long");
}

export function checkNumber(value: number): number {
  const number = normalizeNumber(value);
  if (number === null) throw SessionError.local("number_out_of_range", "A number is not finite or beyond 2^53-1.");
  return number;
}

function normalizeObject(value: object, limits: ValueLimits, place: string[]): Json {
  const entries = Object.entries(value);
  const kind = Object.prototype.toString.call(value).slice("[object ".length, -1);
  if (BOXES.has(kind)) return normalizeAt(value.valueOf(), limits, place);
  // A Map has no members of its own, so it would be stored as {} and its content would be lost.
  if (kind !== "Object" || (entries.length === 0 && !isPlain(value))) {
    const { name } = value.constructor ?? {};
    throw SessionError.local("invalid_json", `A value of ${name || kind} is not JSON.`);
  }
  const copy: JsonObject = {};
  for (const [key, member] of entries) {
    if (member === undefined) continue;
    place.push(key);
    checkKey(key, limits);
    place.pop();
    copy[key] = normalizeMember(member, limits, place, key);
  }
  return copy;
}

/** Return true for a plain object, from any frame. */
function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function checkText(text: string, limit: number, name: string): string {
  if (text.includes("\0")) throw SessionError.local("invalid_json", "A text holds a NUL character.");
  if (hasLoneSurrogate(text)) throw SessionError.local("invalid_json", "A text holds a lone surrogate.");
  if (text.length * LONGEST_UTF8 > limit && byteLength(text) > limit) {
    throw SessionError.local(name, `A text is longer than ${limit} bytes.`);
  }
  return text;
}

function hasLoneSurrogate(text: string): boolean {
  return /[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/.test(text);
}

function hasToJson(value: unknown): value is { toJSON(): unknown } {
  return typeof value === "object" && value !== null && typeof (value as { toJSON?: unknown }).toJSON === "function";
}
