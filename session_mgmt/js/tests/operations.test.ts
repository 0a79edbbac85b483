import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { mergePatch } from "../src/merge";
import { applyOperations, type Operation } from "../src/operations";
import type { Json } from "../src/values";

interface Vector {
  name: string;
  document: Json;
  ops: Operation[];
  merge?: Json;
  result: Json;
}

function vectors(name: string): Vector[] {
  const file = new URL(`../../../tests/documents/vectors/${name}.json`, import.meta.url);
  return JSON.parse(readFileSync(file, "utf8"));
}

describe("operations give what the server's give", () => {
  test.each(vectors("operations"))("$name", ({ document, ops, result }) => {
    const before = JSON.stringify(document);
    const after = applyOperations(document, ops);
    expect(JSON.stringify(sorted(after))).toBe(JSON.stringify(sorted(result)));
    expect(JSON.stringify(document)).toBe(before);
  });
});

describe("merge patches give what the server's give", () => {
  test.each(vectors("merge_patch"))("$name", ({ document, merge, ops, result }) => {
    expect(mergePatch(document, merge)).toEqual(result);
    if (ops) expect(applyOperations(document, ops)).toEqual(result);
  });
});

test("a __proto__ path of a foreign entry changes no prototype", () => {
  const after = applyOperations({}, [["set", "/__proto__/polluted", 1], ["set", "/constructor/prototype/polluted", 1]]);
  expect(({} as Json).polluted).toBeUndefined();
  expect(Object.getPrototypeOf(after)).toBe(Object.prototype);
  expect(JSON.stringify(after)).toBe('{"__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}}}');
});

test("what did not change is shared", () => {
  const document = { a: { b: 1 }, c: { d: [1, 2] } };
  const after = applyOperations(document, [["set", "/a/b", 2]]);
  expect(after.c).toBe(document.c);
  expect(applyOperations(document, [["obj", "/a"], ["del", "/x/y"], ["set", "/c/d/9", 1]])).toBe(document);
});

function sorted(value: Json): Json {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}
