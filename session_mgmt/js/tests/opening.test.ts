/** Databases that open, and fail afterwards. */

import { IDBFactory } from "fake-indexeddb";
import "fake-indexeddb/auto";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Copies } from "../src/copies";
import { openDatabase } from "../src/database";
import type { Environment } from "../src/environment";
import { removeRecords } from "../src/forgetting";
import { OutboxStore } from "../src/outboxStore";

const clock = { now: () => 0, setTimeout: vi.fn(() => 1), clearTimeout: vi.fn() };

function makeSurroundings(): Environment {
  return { indexedDB: new IDBFactory(), clock, page: null } as unknown as Environment;
}

beforeEach(() => void vi.clearAllMocks());
afterEach(() => void vi.restoreAllMocks());

const OPENINGS: [name: string, databases: number, open: (env: Environment) => Promise<unknown>][] = [
  ["the outboxes", 1, (env) => OutboxStore.open(env)],
  ["the copies", 1, (env) => Copies.open(env, ["", "", ""], () => undefined)],
  ["the removal of all records", 2, (env) => removeRecords(env, "")],
];

test.each(OPENINGS)("%s leave no database open if it fails when it is read", async (_, databases, open) => {
  vi.spyOn(IDBObjectStore.prototype, "getAll").mockImplementation(() => {
    throw new DOMException("closing", "InvalidStateError");
  });
  const close = vi.spyOn(IDBDatabase.prototype, "close");
  await open(makeSurroundings()).catch(() => undefined);
  expect(close).toHaveBeenCalledTimes(databases);
});

test("a database that does not open leaves no timer", async () => {
  const env = makeSurroundings();
  const newer = env.indexedDB?.open("kept", 9) as IDBOpenDBRequest;
  await new Promise((resolve) => (newer.onsuccess = resolve));
  newer.result.close();
  await expect(openDatabase(env, "kept", [])).rejects.toMatchObject({ name: "VersionError" });
  expect(clock.clearTimeout).toHaveBeenCalledWith(1);
});
