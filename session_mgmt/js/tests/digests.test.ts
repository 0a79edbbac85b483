/** Digests of what updates replace: the server decides by them where the base of an update is gone. */

import { expect, test } from "vitest";
import { Browser, pass, turns, until, useFakeClock } from "./harness";
import { digestReplaced } from "../src/replaced";

useFakeClock();

test("are those of the value that each update was made on, also over a reload", async () => {
  const browser = new Browser();
  const tab = browser.tab();
  const client = await tab.openConnected();
  await client.state.set("/a", 1);
  browser.server.drop();
  void client.state.set("/a", 2);
  void client.state.set("/a", 3);
  await turns();
  await tab.close(client);
  browser.server.refuse({ code: 243, name: "too_old", temporary: true });
  void tab.openConnected();
  await turns();
  browser.server.write([["set", "/other", 1]]);
  await pass(1);
  await until(() => browser.server.session.document("main").value.a === 3);
  const sent = browser.server.received.filter(({ type, replaced }) => type === "update" && replaced !== undefined);
  expect(sent.map(({ replaced }) => replaced).slice(-2)).toEqual([
    digestReplaced({ a: 1 }, [["set", "/a", 2]]),
    digestReplaced({ a: 2 }, [["set", "/a", 3]]),
  ]);
  expect(sent.at(-1)).toMatchObject({ ops: [["set", "/a", 3]] });
});

test("of updates that go together are those of the value before the first", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected({ sync: { mode: "delayed", delay: 100 } });
  const first = client.state.set("/a", 1);
  client.flush();
  await first;
  browser.server.refuse({ code: 243, name: "too_old", temporary: true });
  void client.state.set("/a", 2);
  void client.state.set("/b", 3);
  await pass(0.2);
  browser.server.write([["set", "/other", 1]]);
  await pass(1);
  await until(() => client.pending === 0);
  const sent = browser.server.received.filter(({ type }) => type === "update").at(-1);
  const ops = [["set", "/a", 2], ["set", "/b", 3]] as const;
  expect(sent).toMatchObject({ ops, replaced: digestReplaced({ a: 1 }, ops) });
});
