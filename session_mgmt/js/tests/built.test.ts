/** The files that the Django app serves, as a page loads them. */

import { existsSync, readFileSync } from "node:fs";
import { IDBFactory } from "fake-indexeddb";
import "fake-indexeddb/auto";
import { expect, test } from "vitest";

const SERVED = new URL("../../static/session_mgmt/", import.meta.url);

function load(name: string): Promise<unknown> {
  return import(/* @vite-ignore */ new URL(name, SERVED).href);
}

/** Names of the files that a script loads later. */
function listParts(name: string): string[] {
  const text = readFileSync(new URL(name, SERVED), "utf8");
  return [...text.matchAll(/import\("\.\/([^"]+)"\)/g)].map(([, part]) => part as string);
}

test("the client keeps copies by a part that it loads, with its own errors", async () => {
  const { SessionClient, SessionError } = (await load("session-client.js")) as typeof import("../src/index");
  const { FakeServer, MemoryStore } = (await load("session-client.testing.js")) as typeof import("../src/testing");
  const server = new FakeServer();
  const options = {
    url: "http://shop.test/api/",
    fetch: server.fetch,
    WebSocket: server.WebSocket,
    storage: { local: new MemoryStore(), session: new MemoryStore() },
    indexedDB: new IDBFactory(),
    cache: "indexeddb",
    user: 7,
    whenOffline: "kept",
  } as const;
  const first = await SessionClient.start(options);
  await first.connection.connect();
  await first.state.set("/cart", ["tea"]);
  first.close();
  server.cut();
  const again = await SessionClient.start(options);
  expect([again.state.get("/cart"), again.state.fromCache]).toEqual([["tea"], true]);
  again.close();
  const errors: unknown[] = [];
  const without = await SessionClient.start({ ...options, indexedDB: null, onError: (error) => errors.push(error) });
  without.close();
  expect(errors.map((error) => error instanceof SessionError && error.name)).toContain("cache_unavailable");
});

test("every file that the client loads later is served, under its version", () => {
  const parts = listParts("session-client.js");
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  expect(parts.length).toBeGreaterThan(0);
  for (const part of parts) {
    expect(part).toContain(`-${version}.js`);
    expect(existsSync(new URL(part, SERVED))).toBe(true);
  }
});

test("every file that does not come is asked for at another address", () => {
  const text = readFileSync(new URL("session-client.js", SERVED), "utf8");
  const takers = [...text.matchAll(/(\w+)\(import\("\.\/[^"]+"\)\)/g)].map(([, name]) => name);
  expect(takers).toHaveLength(listParts("session-client.js").length);
  expect(new Set(takers).size).toBe(1);
  const [, importAgain] = new RegExp(`\\b${takers[0]}=(?:\\w+=>)?\\w+\\.catch\\((\\w+)\\)`).exec(text) ?? [];
  expect(text).toContain(`async function ${importAgain}(`);
});

test("the classic script loads nothing later", () => {
  expect(listParts("session-client.classic.js")).toEqual([]);
});

test("a map has the sources, and names no place of the machine that built it", () => {
  for (const name of ["session-client.js", ...listParts("session-client.js")]) {
    const text = readFileSync(new URL(`${name}.map`, SERVED), "utf8");
    const { sources, sourcesContent } = JSON.parse(text);
    expect(sourcesContent.filter((content: unknown) => typeof content === "string")).toHaveLength(sources.length);
    expect(sources.filter((source: string) => !/^(src\/[\w/]+\.tsx?|shared:.*)$/.test(source))).toEqual([]);
    expect(text).not.toContain(process.cwd());
  }
});
