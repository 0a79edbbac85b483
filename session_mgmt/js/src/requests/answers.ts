/** Conversion between the server's names and the client's camel case. */

import type { Position } from "../frames";
import type { Json } from "../values";

/** Return an answer with its member names in camel case. Nested values are not changed. */
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

/** Return `?before=7&limit=20`, without undefined fields. */
export function buildQuery(fields: Record<string, number | undefined>): string {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return given.length ? `?${given.map(([name, value]) => `${name}=${value}`).join("&")}` : "";
}

export function formatEtag(position: Position): string {
  return `"${position.join(".")}"`;
}
