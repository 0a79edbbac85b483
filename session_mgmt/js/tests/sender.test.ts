/** Frames on their way over HTTP, which a server leaves out of its answers. */

import { expect, test, vi } from "vitest";
import { Sender } from "../src/http/sender";
import { pass, turns, useFakeClock } from "./harness";
import type { ServerFrame } from "../src/frames";

useFakeClock();

const CLOCK = {
  now: () => Date.now(),
  setTimeout: (act: () => void, wait: number) => setTimeout(act, wait),
  clearTimeout: (timer: unknown) => clearTimeout(timer as never),
};

/** A sender whose server answers so many of the frames of each call, and the seconds at which the calls were sent. */
function beginSending(count = 0) {
  const begun = Date.now();
  const sent: number[] = [];
  const answers = { count };
  const sender = new Sender(CLOCK, () => 0.5, {
    send: async (texts) => {
      sent.push((Date.now() - begun) / 1000);
      const answered = texts.slice(0, answers.count).map((text) => JSON.parse(text) as { seq: number });
      return { frames: answered.map(({ seq }) => ({ type: "receipt", seq }) as never as ServerFrame), nextIn: 0, length: 0 };
    },
    takeAnswer: () => true,
    fail: vi.fn(),
  });
  for (const seq of [1, 2, 3]) sender.add({ type: "update", doc: "main", seq });
  return { sender, sent, answers };
}

test("frames that a server leaves out again and again are sent again after pauses that grow", async () => {
  const { sender, sent } = beginSending();
  await pass(64);
  expect(sent).toEqual([0, 1, 3, 7, 15, 31, 47, 63]);
  sender.stop();
  await pass(60);
  expect(sent).toHaveLength(8);
});

test("an answer to a part of them begins the pauses anew", async () => {
  const { sent, answers } = beginSending();
  await pass(14);
  answers.count = 1;
  await pass(5);
  expect(sent).toEqual([0, 1, 3, 7, 15, 16, 17]);
});

test("who changes the transport does not wait for the end of a pause", async () => {
  const { sender, sent, answers } = beginSending();
  await pass(8);
  const paused = vi.fn();
  void sender.pause().then(paused);
  await turns();
  expect(paused).toHaveBeenCalled();
  answers.count = 3;
  sender.resume();
  await turns();
  expect(sent).toEqual([0, 1, 3, 7, 8]);
});
