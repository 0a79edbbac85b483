/** Digests of replaced values, sent when the base of an update is older than the server's log. */

import { digestOf } from "./digest";
import type { Operation } from "./operations";
import { appendToken, getMember, getValue, parse, parseIndex } from "./pointer";
import { isObject, type Json } from "./values";

export type Replaced = Record<string, string | null>;

const MOST_PATHS = 500;

/** Return digests of the values that the operations change. An `inc` and an append replace nothing. */
export function digestReplaced(view: Json, operations: readonly Operation[]): Replaced {
  const paths = new Set(listTouched(operations).filter((path) => !path.startsWith("+") && !path.startsWith(">")));
  for (const path of listOnTheWay(view, operations)) paths.add(path);
  // Beyond the limit, a value without a digest counts as changed.
  const kept = [...paths].slice(0, MOST_PATHS);
  return Object.fromEntries(kept.map((path) => [path, digestOf(getValue(view, parse(path)))]));
}

/**
 * List the places on the way of a path that become containers: a scalar becomes an object or an array, and for `obj`
 * also an array becomes an object. In an object `-` is a key, although its touched path looks like an append.
 */
function listOnTheWay(view: Json, operations: readonly Operation[]): string[] {
  const found = operations.filter(([name]) => name !== "del").map((operation) => findOnTheWay(view, operation));
  return [...new Set(found.filter((path): path is string => path !== null))].sort();
}

function findOnTheWay(view: Json, [name, path]: Operation): string | null {
  let node: Json | undefined = view;
  let place = "";
  for (const token of parse(path)) {
    if (node === undefined || (Array.isArray(node) && parseIndex(token) === null)) return null;
    if (!Array.isArray(node) && !isObject(node)) return place;
    const isKey = !Array.isArray(node);
    node = getMember(node, token);
    place = appendToken(place, token);
    if (token === "-" && name === "ins" && isKey) return place;
  }
  return name === "obj" && node !== undefined && !isObject(node) ? place : null;
}

/** List the touched paths by the server's rule (`documents/touched.py`). */
export function listTouched(operations: readonly Operation[]): string[] {
  const objects = new Set<string>();
  const each = operations.map(([name, path]) => {
    if (name === "obj") objects.add(path);
    return touchPath(name, path, objects);
  });
  const entered = new Set(each.flatMap((path) => listAncestors(path.replace(/^[+>]/, ""))));
  // An `obj` with `-` appends an object of its own, and touches the array.
  const ensures = each.map((path, at) => operations[at]?.[0] === "obj" && operations[at]?.[1] === path);
  return limitPaths(new Set(each.filter((path, at) => !ensures[at] || !entered.has(path))));
}

function touchPath(name: Operation[0], path: string, objects: ReadonlySet<string>): string {
  const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  const last = path.slice(parent.length + 1);
  if (path !== "" && !objects.has(parent)) {
    if (last === "-" && name !== "del") return name === "ins" ? `>${parent}` : parent;
    if ((name === "ins" || name === "del") && parseIndex(last) !== null) return parent;
  }
  return name === "inc" ? `+${path}` : path;
}

function listAncestors(path: string): string[] {
  const found: string[] = [];
  for (let at = path.lastIndexOf("/"); at >= 0; at = path.lastIndexOf("/", at - 1)) {
    found.push(path.slice(0, at));
    if (at === 0) break;
  }
  return found;
}

function limitPaths(found: Set<string>): string[] {
  let deepest = Math.max(0, ...[...found].map(countTokens));
  while (found.size > MOST_PATHS) {
    deepest -= 1;
    found = new Set([...found].map((path) => cutPath(path, deepest)));
  }
  return [...found].sort();
}

function countTokens(path: string): number {
  return path.split("/").length - 1;
}

function cutPath(path: string, tokens: number): string {
  if (countTokens(path) <= tokens) return path;
  return path
    .split("/")
    .slice(1, tokens + 1)
    .map((token) => `/${token}`)
    .join("");
}
