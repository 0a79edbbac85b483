/**
 * Operations of PROTOCOL section 6. They are total: applied to any JSON value they give a value and never an error, the
 * same one as on the server (`tests/documents/vectors/operations.json`).
 */

import { SessionError } from "./errors";
import * as pointer from "./pointer";
import { normalizeNumber, normalizeValue, checkKey, checkNumber, isObject } from "./values";
import type { Json, JsonObject, ValueLimits } from "./values";

export type Operation =
  | readonly ["set", string, Json]
  | readonly ["del", string]
  | readonly ["ins", string, Json]
  | readonly ["inc", string, number]
  | readonly ["obj", string];

type Name = Operation[0];

/** Result of an operation that changes nothing, so that nothing is copied. */
const NOTHING = Symbol("nothing");
type Outcome = Json | typeof NOTHING;

const LENGTHS: Record<string, number> = { set: 3, del: 2, ins: 3, inc: 3, obj: 2 };

/** Return the document after the operations. The input is not modified; the result shares its unchanged parts. */
export function applyOperations(document: Json, operations: readonly Operation[]): Json {
  let result = document;
  for (const [name, path, argument] of operations) {
    const changed = applyAt(result, pointer.parse(path), 0, name, argument);
    if (changed !== NOTHING) result = changed;
  }
  return result;
}

/** Return a normalised copy of the operations. Throws `invalid_patch`, `invalid_path`, or the error of a value. */
export function checkOperations(operations: readonly Operation[], limits: ValueLimits): Operation[] {
  if (!Array.isArray(operations)) throw SessionError.local("invalid_patch", "An update is no array: write [[\"set\", path, value], …].");
  return operations.map((operation) => checkOperation(operation, limits));
}

function checkOperation(operation: readonly unknown[], limits: ValueLimits): Operation {
  const [name, path, argument] = Array.isArray(operation) ? operation : [];
  if (typeof name !== "string" || typeof path !== "string" || LENGTHS[name] !== operation.length) {
    throw SessionError.local("invalid_patch", `Operation ${String(name)}: write set, del, ins, inc or obj with its path and value.`);
  }
  const tokens = pointer.parse(path);
  if (tokens.length > limits.depth) throw SessionError.local("too_deep", `The path ${path} is deeper than ${limits.depth}.`);
  for (const token of tokens) checkKey(token, limits);
  if (operation.length === 2) return [name, path] as unknown as Operation;
  if (name !== "inc") return [name, path, normalizeValue(argument, limits, tokens)] as unknown as Operation;
  if (typeof argument !== "number") throw SessionError.local("invalid_patch", `The amount of inc at ${path} is no number.`);
  return ["inc", path, checkNumber(argument)];
}

function applyAt(node: Json | undefined, tokens: readonly string[], at: number, name: Name, argument: Json): Outcome {
  const token = tokens[at];
  if (token === undefined) return name === "del" ? {} : computeValue(name, node, argument);
  const last = at === tokens.length - 1;
  if (last && name === "del") return removeMember(node, token);
  if (Array.isArray(node)) return applyInArray(node, tokens, at, name, argument);
  // Appending creates the array if there is none. In an object `-` is an ordinary key.
  if (last && token === "-" && !isObject(node)) return applyInArray([], tokens, at, name, argument);
  const inner = last
    ? computeValue(name, pointer.getMember(node, token), argument)
    : applyAt(pointer.getMember(node, token), tokens, at + 1, name, argument);
  return inner === NOTHING ? NOTHING : setMember(isObject(node) ? { ...node } : {}, token, inner);
}

function applyInArray(node: Json[], tokens: readonly string[], at: number, name: Name, argument: Json): Outcome {
  const token = tokens[at] as string;
  const last = at === tokens.length - 1;
  const place = last && token === "-" ? node.length : pointer.parseIndex(token);
  if (place === null || place > node.length || (!last && place === node.length)) return NOTHING;
  const inner = last ? computeValue(name, node[place], argument) : applyAt(node[place], tokens, at + 1, name, argument);
  if (inner === NOTHING) return NOTHING;
  const items = node.slice();
  items.splice(place, last && name === "ins" ? 0 : 1, inner);
  return items;
}

function computeValue(name: Name, old: Json | undefined, argument: Json): Outcome {
  if (name === "inc") return typeof old === "number" ? (normalizeNumber(old + argument) ?? NOTHING) : argument;
  if (name === "obj") return isObject(old) ? NOTHING : {};
  return argument;
}

function removeMember(node: Json | undefined, token: string): Outcome {
  if (pointer.getMember(node, token) === undefined) return NOTHING;
  if (Array.isArray(node)) return node.filter((_, at) => at !== pointer.parseIndex(token));
  const copy = { ...node };
  delete copy[token];
  return copy;
}

/** Set a member. An assignment would not work for every name. */
export function setMember(node: JsonObject, token: string, value: Json): JsonObject {
  // An assignment to this name would set the prototype.
  if (token !== "__proto__") node[token] = value;
  else Object.defineProperty(node, token, { value, enumerable: true, configurable: true, writable: true });
  return node;
}
