/** The recipes of docs/howto/frameworks.md, run as they stand there. */

import { readFileSync } from "node:fs";
import { transformSync } from "esbuild";
import { expect, test } from "vitest";
import type { SessionClient } from "../src/index";
import { pages } from "../src/pages";
import { Browser, turns, until, useFakeClock } from "./harness";
import { ListView } from "./listView";

useFakeClock();

const PAGE = readFileSync(new URL("../../../docs/howto/frameworks.md", import.meta.url), "utf8");

/** Names that a recipe exports; what it imports is given. */
function load(name: string, imported: Record<string, unknown> = {}): Record<string, (...args: any[]) => any> {
  const [, code] = new RegExp(`\`\`\`ts\n// ${name}\n([^]*?)\`\`\``).exec(PAGE) as unknown as [string, string];
  const withoutImports = code.replace(/^import .*$/gm, "");
  const script = transformSync(withoutImports, { loader: "ts", format: "iife", globalName: "recipe" }).code;
  return new Function(...Object.keys(imported), `${script}; return recipe;`)(...Object.values(imported));
}

async function connect(): Promise<{ browser: Browser; client: SessionClient }> {
  const browser = new Browser();
  return { browser, client: await browser.tab().openConnected() };
}

test("Vue: a value, a topic and the status follow, until the scope ends", async () => {
  const ends: (() => void)[] = [];
  const shallowRef = (value: unknown): object => ({ value });
  const vue = load("vue.ts", { pages, shallowRef, onScopeDispose: (end: () => void) => ends.push(end) });
  const { browser, client } = await connect();
  const heard: unknown[] = [];
  const value = vue.useValue?.(client, "/cart/coupon", "none");
  const status = vue.useStatus?.(client);
  vue.useTopic?.(client, "news", (data: unknown) => heard.push(data));
  await turns();
  expect(value.value).toBe("none");
  await client.state.set("/cart/coupon", "A");
  browser.server.publish("news", 1);
  await until(() => heard.length === 1);
  expect([value.value, status.value, heard]).toEqual(["A", "connected", [1]]);
  for (const end of ends) end();
  await client.state.set("/cart/coupon", "B");
  expect([value.value, ends.length]).toEqual(["A", 3]);
});

/** `pages` over a view with these rows. */
function pagesOver(view: ListView): typeof pages {
  return ((session, url) => pages(session, url, { fetch: view.fetch })) as typeof pages;
}

test.each(["vue.ts", "svelte.ts"])("a list of %s follows, until it ends", async (name) => {
  const ends: (() => void)[] = [];
  const shallowRef = (value: unknown): object => ({ value });
  const { browser, client } = await connect();
  const view = new ListView(browser.server, { size: 1 });
  for (const id of [1, 2]) view.put({ id });
  const imported = { shallowRef, onScopeDispose: (end: () => void) => ends.push(end), pages: pagesOver(view) };
  const recipe = load(name, imported);
  let shown: any;
  const list = (recipe.usePages ?? recipe.pagesOf)?.(client, "http://shop.test/orders/");
  if (recipe.usePages) shown = list.shown;
  else list.subscribe((value: unknown) => void (shown = { value }));
  await until(() => shown.value.rows.length === 1);
  await list.loadNext();
  expect(shown.value.rows).toEqual([{ id: 1 }, { id: 2 }]);
  for (const end of [...ends, list.close ?? (() => undefined)]) end();
  view.put({ id: 3 });
  await turns();
  expect(shown.value.rows.length).toBe(2);
});

test("Svelte: stores keep the contract", async () => {
  const svelte = load("svelte.ts", { pages });
  const { browser, client } = await connect();
  const [values, news]: unknown[][] = [[], []] as never;
  const coupon = svelte.valueAt?.(client, "/cart/coupon", "none");
  const stops = [
    coupon.subscribe((value: unknown) => values?.push(value)),
    svelte.newest?.(client, "news", null).subscribe((data: unknown) => news?.push(data)),
  ];
  await turns();
  coupon.set("A");
  browser.server.publish("news", 1);
  await until(() => news?.length === 2);
  expect([values, news]).toEqual([["none", "A"], [null, 1]]);
  for (const stop of stops) stop();
  coupon.set("B");
  await until(() => client.pending === 0);
  expect(values).toEqual(["none", "A"]);
});
