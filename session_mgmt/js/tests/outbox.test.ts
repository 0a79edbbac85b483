import { expect, test, vi } from "vitest";
import type { Clock } from "../src/environment";
import { readEnvironment } from "../src/environment";
import { Outbox } from "../src/outbox";
import { ClientRecord } from "../src/record";
import { MemoryStore, Shelf } from "../src/storage";
import { pass, useFakeClock } from "./harness";

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
  return { box: new Outbox(record, clock, port), port, sent };
}

test("a late refusal of an attempt that was repeated since is no reason to repeat it again", async () => {
  const { box, port, sent } = await outbox();
  box.attach(0);
  for (const data of [1, 2, 3]) box.addWrite({ type: "send", data });
  box.takeReceipt({ type: "receipt", seq: 1, ok: false, error: busy });
  await pass(1);
  expect(sent).toEqual([1, 2, 3, 1, 2, 3]);
  // The answers to the first attempts come only now.
  for (const seq of [2, 3]) box.takeReceipt({ type: "receipt", seq, ok: false, error: gap });
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
