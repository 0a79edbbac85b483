import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
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
