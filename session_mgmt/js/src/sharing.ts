/** Identity of values: unchanged parts stay the same objects, so that readers can compare with `===`. */

import { isObject, type Json, type JsonObject } from "./values";

/** Return a value that equals `next`, and uses the parts of `previous` that are equal. */
export function shareParts(previous: Json, next: Json): Json {
  if (previous === next) return previous;
  if (Array.isArray(next)) return Array.isArray(previous) ? shareItems(previous, next) : next;
  return isObject(next) && isObject(previous) ? shareMembers(previous, next) : next;
}

function shareItems(previous: Json[], next: Json[]): Json[] {
  // An item that has moved is the same object at another index.
  const known = new Set(previous);
  const items = next.map((item, at) => {
    const shared = shareParts(previous[at], item);
    return shared !== previous[at] && known.has(item) ? item : shared;
  });
  const isSame = items.length === previous.length && items.every((item, at) => item === previous[at]);
  return isSame ? previous : items;
}

function shareMembers(previous: JsonObject, next: JsonObject): JsonObject {
  const entries = Object.entries(next).map(([key, value]): [string, Json] => {
    return [key, Object.hasOwn(previous, key) ? shareParts(previous[key], value) : value];
  });
  const isKept = ([key, value]: [string, Json]): boolean => Object.hasOwn(previous, key) && previous[key] === value;
  if (entries.length === Object.keys(previous).length && entries.every(isKept)) return previous;
  // Unlike an assignment, this works for every name of a member.
  return Object.fromEntries(entries);
}
