import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { CLOSE, CLOSE_NAMES, mayReconnect } from "../src/codes";
import { EVENT_TYPES } from "../src/events";

const protocol = readFileSync(new URL("../../../docs/PROTOCOL.md", import.meta.url), "utf8");
const matches = [...protocol.matchAll(/^\| (4\d{3}) \| (?:`(\w+)`)? *\|/gm)];
const rows = matches.map(([, code, name]) => [Number(code), name] as const);

test("every close code of the protocol page is known by its name", () => {
  expect(rows.length).toBeGreaterThan(15);
  const named = Object.fromEntries(rows.filter(([, name]) => name));
  expect(CLOSE_NAMES).toEqual(named);
  const known = Object.values(CLOSE).filter((code) => code >= 4000);
  expect(known.sort()).toEqual(rows.map(([code]) => code).sort());
});

test("codes come back or stop as the protocol page says", () => {
  expect([1001, 1006, 1011, 1012, 1013, 4000, 4102, 4499].every(mayReconnect)).toBe(true);
  expect([1000, 1002, 1003, 1007, 1008, 1009, 4500, 4507, 4999].some(mayReconnect)).toBe(false);
});

test("the twelve event types are those of the events page", () => {
  const page = readFileSync(new URL("../../../docs/reference/events.md", import.meta.url), "utf8");
  expect(new Set(EVENT_TYPES).size).toBe(12);
  expect(EVENT_TYPES.filter((type) => !page.includes(`\`${type}\``))).toEqual([]);
});

describe("errors of the client's own", () => {
  const folder = new URL("../src/", import.meta.url).pathname;
  const found = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const files = found.filter((name) => name.endsWith(".ts") && !/^testing\b/.test(name));
  const sources = new Map(files.map((name) => [name, readFileSync(folder + name, "utf8")]));
  const all = [...sources.values()].join("\n");

  test("are on the page of the client with what to do, and no others", () => {
    const page = readFileSync(new URL("../../../docs/reference/js-client.md", import.meta.url), "utf8");
    const table = /^## Errors$.*?^\| --- \| --- \|$(.*?)^$/ms.exec(page)?.[1] ?? "";
    const described = [...table.matchAll(/^\| `(\w+)` \| .*\. \|$/gm)].map(([, name]) => name as string);
    const made = [/\.local\(\s*"(\w+)"/g, /"(\w+_unavailable)"/g, /name: "(not_our_server)"/g, /"(\w+_too_long)"/g];
    made.push(/OUTDATED = "(\w+)"/g, /=== 403 \? "(\w+)"/g);
    const named = made.flatMap((pattern) => [...all.matchAll(pattern)].map(([, name]) => name as string));
    // Raised under a name of its own constant.
    expect(all).toContain('LOGGED_OUT = "logged_out"');
    expect([...new Set(described)].sort()).toEqual([...new Set([...named, "logged_out"])].sort());
    expect(described.length).toBe(new Set(described).size);
  });

  test("say what to do, or where the fault is", () => {
    const texts = [...all.matchAll(/\.local\(\s*"(\w+)",\s*(["`].*?["`])(?:, true)?\)/g)].map(([, name, text]) => [name, text]);
    expect(texts.length).toBeGreaterThan(30);
    // Said of a value or a key, whose place is added, or of what the page has just done.
    const told = ["invalid_json", "forbidden_key", "number_out_of_range", "too_deep", "unsubscribed", "cache_unavailable"];
    const silent = texts.filter(([name, text]) => !/[:;] |\bmust\b|\bwrite\b|\$\{path\}/.test(text as string) && !told.includes(name as string));
    expect(silent).toEqual([]);
  });

  test("have names; those without reach no application", () => {
    // Each is caught, and told as `storage_unavailable`, `cache_unavailable` or `one_socket_unavailable`.
    const caught = ["copies.ts", "database.ts", "mirror.ts", "tabs/index.ts"];
    const nameless = [...sources].filter(([, text]) => /new (Type|Range)?Error\(/.test(text)).map(([name]) => name);
    expect(nameless.sort()).toEqual(caught);
  });
});
