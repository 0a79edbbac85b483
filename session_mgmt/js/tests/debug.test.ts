// @vitest-environment happy-dom
/** The panel that shows what a client does. */

import { afterEach, expect, test } from "vitest";
import { Browser, pass, turns, useFakeClock } from "./harness";
import "../src/debug";

useFakeClock();

afterEach(() => document.body.replaceChildren());

function panels(): ShadowRoot[] {
  return [...document.querySelectorAll("session-mgmt-debug")].map(({ shadowRoot }) => shadowRoot as ShadowRoot);
}

function read(title: string): string {
  return panels()[0]?.querySelector(`table[aria-label="${title}"]`)?.textContent ?? "";
}

test("it shows frames, positions, the outbox and verdicts, and no token", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  await client.debug();
  client.topics.subscribe("news", () => undefined);
  await turns();
  browser.server.publish("news", { "<b>": 1 });
  await client.state.set("/x", 1);
  browser.server.message({ token: client.auth.token });
  await turns();
  browser.server.cut();
  void client.state.set("/y", 2);
  await pass(60);
  browser.server.mend();
  await pass(60);
  expect(read("Frames")).toContain('"ops":[["set","/x",1]]');
  expect(read("Frames")).toContain('{"<b>":1}');
  expect(read("Positions")).toContain("topic:news");
  expect(read("Status and verdicts")).toContain("recovery: full");
  expect(read("Status and verdicts")).toContain("reconnecting");
  expect(read("Frames")).toContain('"token":"…"');
  expect(document.body.innerHTML + panels()[0]?.innerHTML).not.toContain(client.auth.token);
  expect(panels()[0]?.querySelector("[role=status]")?.textContent).toContain("connected, 0 waiting");
});

test("it shows what waits", async () => {
  const client = await new Browser().tab().open({ autoConnect: false });
  void client.state.set("/y", 2);
  await client.debug();
  expect(read("Outbox")).toContain("update");
  expect(panels()[0]?.querySelector("[role=status]")?.textContent).toContain("1 waiting");
});

test("it goes with its button, with Escape and by its function, and hears nothing more", async () => {
  const client = await new Browser().tab().openConnected();
  const close = await client.debug();
  close();
  await client.debug();
  panels()[0]?.querySelector("button")?.click();
  await client.debug();
  const section = panels()[0]?.querySelector("section");
  section?.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  expect(panels()).toEqual([]);
  await client.state.set("/x", 1);
  await pass(1);
});
