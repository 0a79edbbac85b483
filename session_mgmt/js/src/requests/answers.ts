/** Spelling of requests and their answers: the server's, and this client's. */

import type { Position } from "../frames";
import type { Json } from "../values";

/** Return an answer with members in camel case. Values below them stay as they are. */
export function toCamelCase<T>(told: Json): T {
  const renamed = Object.entries(told as object).map(([name, value]) => [
    name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
    value,
  ]);
  return Object.fromEntries(renamed) as T;
}

export function toCamelCases<T>(told: Json[]): T[] {
  return told.map((each) => toCamelCase<T>(each));
}

/** `?before=7&limit=20`, without what is undefined. */
export function buildQuery(fields: Record<string, number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length ? `?${given.map(([name, value]) => `${name}=${value}`).join("&")}` : "";
}

export function formatEtag(position: Position): string {
  return `"${position.join(".")}"`;
}
