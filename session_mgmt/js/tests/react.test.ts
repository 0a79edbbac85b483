// @vitest-environment happy-dom
/** Hooks of React, with React itself. */

import { act, createElement, StrictMode, startTransition, useState, type FunctionComponent, type ReactNode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { SessionClient } from "../src/index";
import { SessionProvider, usePages, usePending, useSession, useStatus, useTopic, useValue } from "../src/react";
import { Browser, pass, turns, until, useFakeClock } from "./harness";
import { ListView } from "./listView";

useFakeClock();

const roots: Root[] = [];

beforeEach(() => void Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true }));

afterEach(async () => {
  for (const root of roots.splice(0)) await act(async () => root.unmount());
  document.body.replaceChildren();
});

function within(client: SessionClient | null, ...children: ReactNode[]): ReactNode {
  return createElement(SessionProvider, { client }, ...children);
}

async function show(node: ReactNode): Promise<{ root: Root; element: HTMLElement }> {
  const element = document.body.appendChild(document.createElement("div"));
  const root = createRoot(element);
  roots.push(root);
  await act(async () => root.render(node));
  return { root, element };
}

async function connect(browser = new Browser()) {
  return { browser, client: await browser.tab().openConnected() };
}

/** A component that shows a text, and counts how often it is rendered. */
function counted(read: () => unknown): FunctionComponent & { renders: number } {
  const component = Object.assign(
    () => {
      component.renders += 1;
      return String(JSON.stringify(read()));
    },
    { renders: 0 },
  );
  return component;
}

test("a change renders its readers once, and nobody else", async () => {
  const { browser, client } = await connect();
  await client.state.replace({ cart: { items: [1] }, user: "Ann" });
  const Cart = counted(() => useValue("/cart"));
  const User = counted(() => useValue("/user", "nobody"));
  const { element } = await show(within(client, createElement(Cart), "|", createElement(User)));
  expect([element.textContent, Cart.renders, User.renders]).toEqual(['{"items":[1]}|"Ann"', 1, 1]);
  await act(async () => void client.state.insert("/cart/items/-", 2));
  expect([element.textContent, Cart.renders]).toEqual(['{"items":[1,2]}|"Ann"', 2]);
  // Its receipt and the log's entry bring nothing new.
  await act(async () => until(() => client.pending === 0));
  const other = await browser.tab().openConnected();
  await act(async () => void (await other.state.set("/user", "Bob")));
  await act(async () => until(() => client.state.get("/user") === "Bob"));
  expect([element.textContent, Cart.renders, User.renders]).toEqual(['{"items":[1,2]}|"Bob"', 2, 2]);
});

test("a value that is not there is the first one, and null is a value", async () => {
  const { client } = await connect();
  const first = { items: [] };
  const Cart = counted(() => [useValue("/cart", first), useValue("/left", 1), useValue("/gone")]);
  const { element } = await show(within(client, createElement(Cart)));
  await act(async () => void (await client.state.set("/left", null)));
  expect(element.textContent).toBe('[{"items":[]},null,null]');
});

test("another path is read at once", async () => {
  const { client } = await connect();
  await client.state.replace({ a: 1, b: 2 });
  const Value = ({ path }: { path: string }): string => String(useValue(path));
  const { root, element } = await show(within(client, createElement(Value, { path: "/a" })));
  await act(async () => root.render(within(client, createElement(Value, { path: "/b" }))));
  expect(element.textContent).toBe("2");
  await act(async () => void (await client.state.set("/b", 3)));
  expect(element.textContent).toBe("3");
});

test("another document is read", async () => {
  const { client } = await connect();
  const drafts = client.document("drafts");
  const Text = counted(() => useValue("/text", "", drafts));
  const { element } = await show(within(client, createElement(Text)));
  await act(async () => void (await drafts.set("/text", "Dear")));
  expect(element.textContent).toBe('"Dear"');
});

/** Frames about topics that the server has received. */
function asked({ server }: Browser): string[] {
  const frames = server.received as unknown as { type: string; log?: string }[];
  return frames.filter(({ log }) => log?.startsWith("topic:")).map(({ type, log }) => `${type} ${log}`);
}

test("under StrictMode a topic is subscribed once, and left a second after its last component", async () => {
  const { browser, client } = await connect();
  const { server } = browser;
  const News = counted(() => useTopic("news", { last: 2 }));
  const strictly = (...children: ReactNode[]): ReactNode => createElement(StrictMode, null, within(client, ...children));
  const { root, element } = await show(strictly(createElement(News), createElement(News)));
  await act(async () => turns());
  for (const n of [1, 2, 3]) {
    server.publish("news", { n });
    await act(async () => turns());
  }
  expect(element.textContent).toBe('[{"n":2},{"n":3}][{"n":2},{"n":3}]');
  await act(async () => root.render(strictly()));
  await act(async () => pass(0.9));
  expect(asked(browser)).toEqual(["subscribe topic:news"]);
  await act(async () => pass(0.2));
  expect(asked(browser)).toEqual(["subscribe topic:news", "unsubscribe topic:news"]);
});

test("a component that goes while it subscribes hears nothing, and leaves nothing", async () => {
  const { browser, client } = await connect();
  const News = counted(() => useTopic("news"));
  const { root } = await show(within(client, createElement(News)));
  await act(async () => root.render(within(client)));
  browser.server.publish("news", 1);
  await act(async () => pass(2));
  expect([News.renders, asked(browser).at(-1)]).toEqual([1, "unsubscribe topic:news"]);
});

test("publications are folded by the newest function, each once", async () => {
  const { browser, client } = await connect();
  const Sum = ({ times }: { times: number }): string =>
    String(useTopic("numbers", { first: 0, reduce: (sum: number, n: number) => sum + times * n }));
  const { root, element } = await show(within(client, createElement(Sum, { times: 1 })));
  await act(async () => turns());
  await act(async () => (browser.server.publish("numbers", 2), turns()));
  await act(async () => root.render(within(client, createElement(Sum, { times: 10 }))));
  await act(async () => (browser.server.publish("numbers", 3), turns()));
  expect(element.textContent).toBe("32");
});

test("another topic begins anew", async () => {
  const { browser, client } = await connect();
  const News = ({ topic }: { topic: string }): string => JSON.stringify(useTopic(topic) ?? null);
  const { root, element } = await show(within(client, createElement(News, { topic: "a" })));
  await act(async () => turns());
  await act(async () => (browser.server.publish("a", 1), turns()));
  expect(element.textContent).toBe("1");
  await act(async () => root.render(within(client, createElement(News, { topic: "b" }))));
  expect(element.textContent).toBe("null");
});

test("the status and the number of waiting writes are shown", async () => {
  const { browser, client } = await connect();
  const Line = counted(() => [useStatus(), usePending(), useSession()?.status]);
  const { element } = await show(within(client, createElement(Line)));
  expect(element.textContent).toBe('["connected",0,"connected"]');
  await act(async () => {
    browser.server.drop();
    void client.state.set("/x", 1);
    await turns();
  });
  expect(element.textContent).toBe('["reconnecting",1,"reconnecting"]');
});

test("a server renders first values, and a browser takes them over without a difference", async () => {
  const { client } = await connect();
  await client.state.set("/user", "Ann");
  const Page = counted(() => [useValue("/user", "nobody"), useTopic("news") ?? null, useStatus(), usePending()]);
  const html = renderToString(within(null, createElement(Page)));
  expect(html.replaceAll("&quot;", '"')).toBe('["nobody",null,"connecting",0]');
  const element = document.body.appendChild(document.createElement("div"));
  element.innerHTML = html;
  const differences: unknown[] = [];
  const options = { onRecoverableError: (error: unknown) => differences.push(error) };
  await act(async () => roots.push(hydrateRoot(element, within(client, createElement(Page)), options)));
  expect([differences, element.textContent]).toEqual([[], '["Ann",null,"connected",0]']);
});

test("a rendering that is interrupted by a change shows one value everywhere", async () => {
  const { client } = await connect();
  await client.state.set("/n", 1);
  const shown: string[] = [];
  let interrupt: (() => void) | null = null;
  const Cell = ({ at }: { at: number }): string => {
    const n = useValue("/n");
    // As a timer or a frame that comes in between two components of one rendering.
    if (at === 1) interrupt?.();
    return `${n} `;
  };
  let begin: (visible: boolean) => void = () => undefined;
  const Page = (): ReactNode => {
    const [isVisible, setVisible] = useState(false);
    begin = setVisible;
    return isVisible && [0, 1, 2].map((at) => createElement(Cell, { at, key: at }));
  };
  const { element } = await show(within(client, createElement(Page)));
  new MutationObserver(() => shown.push(element.textContent)).observe(element, { childList: true, subtree: true });
  interrupt = () => {
    interrupt = null;
    void client.state.set("/n", 2);
  };
  await act(async () => startTransition(() => begin(true)));
  await act(async () => turns());
  expect(element.textContent).toBe("2 2 2 ");
  expect(shown.filter((text) => new Set(text.trim().split(" ")).size > 1)).toEqual([]);
});

test("a client that has started later is taken", async () => {
  const { client } = await connect();
  await client.state.set("/user", "Ann");
  const User = counted(() => useValue("/user", "nobody"));
  const { root, element } = await show(within(null, createElement(User)));
  expect(element.textContent).toBe('"nobody"');
  await act(async () => root.render(within(client, createElement(User))));
  expect(element.textContent).toBe('"Ann"');
});

test("under StrictMode a list is read once, shown as it changes, and left a second after its component", async () => {
  const { browser, client } = await connect();
  const view = new ListView(browser.server, { size: 2 });
  for (const id of [1, 2, 3]) view.put({ id });
  let more = (): Promise<void> => Promise.resolve();
  const Orders = counted(() => {
    const { rows, hasNext, isLoading, loadNext } = usePages("http://shop.test/orders/", { fetch: view.fetch });
    more = loadNext;
    return [rows.map(({ id }) => id), hasNext, isLoading];
  });
  expect(renderToString(within(null, createElement(Orders)))).toBe("[[],false,true]");
  const { root, element } = await show(createElement(StrictMode, null, within(client, createElement(Orders))));
  await act(async () => turns());
  expect([element.textContent, view.requests.length]).toEqual(["[[1,2],true,false]", 1]);
  await act(async () => (view.put({ id: 2, made: "now" }), view.del(1), turns()));
  await act(async () => more());
  expect(element.textContent).toBe("[[2,3],false,false]");
  const renders = Orders.renders;
  await act(async () => (view.put({ id: 4 }), turns()));
  // StrictMode renders twice.
  expect([element.textContent, Orders.renders]).toEqual(["[[2,3,4],false,false]", renders + 2]);
  await act(async () => root.render(createElement(StrictMode, null, within(client))));
  await act(async () => pass(1.1));
  expect(asked(browser)).toEqual(["subscribe topic:orders", "unsubscribe topic:orders"]);
});
