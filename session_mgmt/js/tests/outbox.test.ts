import { expect, test, vi } from "vitest";
import type { Clock } from "../src/environment";
import { readEnvironment } from "../src/environment";
import { Outbox } from "../src/outbox";
import { ClientRecord } from "../src/record";
import { MemoryStore, Shelf } from "../src/storage";
import { Browser, pass, record as recordEvents, refusal, turns, useFakeClock } from "./harness";

useFakeClock();

const clock: Clock = {
  now: Date.now,
  setTimeout: (call, ms) => setTimeout(call, ms),
  clearTimeout: (id) => clearTimeout(id as never),
};
const busy = { name: "busy", temporary: true, retry_after: 1 };
const gap = { name: "seq_gap", temporary: true };

async function outbox() {
  const env = readEnvironment({ WebSocket: class {}, locks: null, BroadcastChannel: null, page: null });
  const sent: number[] = [];
  const sendFrame = (frame: object) => Boolean(sent.push((frame as { seq: number }).seq));
  const port = { sendFrame, rebaseWrites: vi.fn(() => []), abandonConnection: vi.fn() };
  const shelf = new Shelf(new MemoryStore(), "");
  const parts = { env, shelf, scope: "", outboxes: null, ownerScope: "", tellStored: () => undefined };
  const record = await ClientRecord.open(parts);
  return { box: new Outbox(record, clock, port), record, port, sent };
}

const refuse = (seq: number, name: string) => ({ type: "receipt", seq, ok: false, error: { name, temporary: false } }) as const;

test("a late refusal of an attempt that was repeated since is no reason to repeat it again", async () => {
  const { box, port, sent } = await outbox();
  box.attach(0);
  for (const data of [1, 2, 3]) box.addWrite({ type: "send", data });
  box.takeReceipt({ type: "receipt", seq: 1, ok: false, error: busy });
  await pass(1);
  expect(sent).toEqual([1, 2, 3, 1, 2, 3]);
  // The answers to the first attempts come only now.
  for (const seq of [2, 3]) box.takeReceipt({ type: "receipt", seq, ok: false, error: gap });
  await pass(1);
  for (const seq of [1, 2, 3]) box.takeReceipt({ type: "receipt", seq, ok: true });
  await pass(10);
  expect(sent).toHaveLength(6);
  expect(box.size).toBe(0);
  expect(port.abandonConnection).not.toHaveBeenCalled();
});

test("a refusal counts although the attempts of an earlier connection were never answered", async () => {
  const { box, sent } = await outbox();
  box.attach(0);
  box.addWrite({ type: "send", data: 1 });
  box.detach();
  box.attach(0);
  box.takeReceipt({ type: "receipt", seq: 1, ok: false, error: busy });
  await pass(1);
  expect(sent).toEqual([1, 1, 1]);
});

test("a retry of a connection that ended does not disturb the next", async () => {
  const { box, sent } = await outbox();
  box.attach(0);
  box.addWrite({ type: "send", data: 1 });
  box.takeReceipt({ type: "receipt", seq: 1, ok: false, error: busy });
  box.detach();
  box.attach(0);
  await pass(10);
  expect(sent).toEqual([1, 1]);
});

test("a write that a newer connection of the client decides stays until that has answered", async () => {
  const { box, sent } = await outbox();
  box.attach(0);
  box.addWrite({ type: "send", data: 1 });
  expect([box.takeReceipt(refuse(1, "replaced")), box.size]).toEqual([null, 1]);
  box.attach(0);
  expect([box.takeReceipt({ type: "receipt", seq: 1, ok: true })?.seq, sent]).toEqual([1, [1, 1]]);
});

test("a write that an earlier page has sent is settled where its receipt is gone, and one that it never sent goes again", async () => {
  const { box, record, port } = await outbox();
  for (const data of [1, 2]) box.addWrite({ type: "send", data });
  port.sendFrame = (frame) => (frame as { seq: number }).seq === 1;
  box.attach(0);
  record.sent = 1;
  const sent: number[] = [];
  const next = new Outbox(record, clock, { ...port, sendFrame: (frame) => Boolean(sent.push((frame as { seq: number }).seq)) });
  next.attach(2);
  expect(next.takeReceipt(refuse(1, "receipt_gone"))?.seq).toBe(1);
  expect([next.takeReceipt(refuse(2, "receipt_gone")), sent]).toEqual([null, [1, 2, 3]]);
});

test("the highest number that was sent is stored before it is sent", async () => {
  const { box, record, port } = await outbox();
  const stored: number[] = [];
  port.sendFrame = () => Boolean(stored.push(record.sent));
  for (const data of [1, 2]) box.addWrite({ type: "send", data });
  box.attach(0);
  expect(stored).toEqual([1, 2]);
});

test("numbers that come to mean other writes are guarded until the store knows of them", async () => {
  const { box, record } = await outbox();
  const guard = vi.spyOn(record, "guardNumbers");
  for (const data of [1, 2, 3]) box.addWrite({ type: "send", data });
  expect(guard).toHaveBeenCalledTimes(0);
  box.withdrawWrite(box.writes[1] as never);
  expect(guard).toHaveBeenCalledTimes(1);
  box.abandonWrites();
  expect([guard.mock.calls.length, record.next]).toEqual([2, 1]);
});

test("a number that was stored is given to no other write, though full storage says less", async () => {
  const { box, record } = await outbox();
  for (const data of [1, 2]) box.addWrite({ type: "send", data });
  record.next = 2;
  const next = new Outbox(record, clock, { sendFrame: () => true, rebaseWrites: () => [], abandonConnection: () => undefined });
  expect(next.addWrite({ type: "send", data: 3 }).seq).toBe(3);
});

test("a write whose promise a failed connection has ended is told as unsent if it is refused later", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected();
  const unsent = recordEvents(client, "unsent");
  browser.server.swallowReceipts = true;
  browser.server.refuse({ name: "not_allowed", temporary: false });
  const written = refusal(client.send("hello"));
  await turns();
  browser.server.bye(4506);
  expect(await written).toBe("unsupported_version");
  browser.server.swallowReceipts = false;
  await client.connection.connect();
  await turns();
  const write = { type: "send", data: "hello" };
  expect([client.pending, unsent]).toEqual([0, [[[{ seq: 1, write }], "not_allowed"]]]);
});
