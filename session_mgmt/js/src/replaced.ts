/** Digests of replaced values, sent when an update's base is older than the server's log. */

import { digestOf } from "./digest";
import type { Operation } from "./operations";
import * as pointer from "./pointer";
import type { Json } from "./values";

export type Replaced = Record<string, string | null>;

const MOST_PATHS = 500;

/** Return digests of the values that the operations are about to change. An `inc` and an append replace nothing. */
export function digestReplaced(view: Json, operations: readonly Operation[]): Replaced {
  const digests: Replaced = {};
  for (const path of listTouched(operations)) {
    if (path.startsWith("+") || path.startsWith(">")) continue;
    digests[path] = digestOf(pointer.getValue(view, pointer.parse(path)));
  }
  return digests;
}

/** List touched paths by the server's rule (`documents/touched.py`). */
export function listTouched(operations: readonly Operation[]): string[] {
  const objects = new Set<string>();
  const each = operations.map(([name, path]) => {
    if (name === "obj") objects.add(path);
    return touchPath(name, path, objects);
  });
  const entered = new Set(each.flatMap((path) => listAncestors(path.replace(/^[+>]/, ""))));
  return limitPaths(new Set(each.filter((path) => !objects.has(path) || !entered.has(path))));
}

function touchPath(name: Operation[0], path: string, objects: ReadonlySet<string>): string {
  const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
  const last = path.slice(parent.length + 1);
  if (path !== "" && !objects.has(parent)) {
    if (last === "-" && name !== "del") return name === "ins" ? `>${parent}` : parent;
    if ((name === "ins" || name === "del") && pointer.parseIndex(last) !== null) return parent;
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
