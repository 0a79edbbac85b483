/** Questions over an attachment that takes no frames. */

import { expect, test } from "vitest";
import { askForReply } from "../src/asking";
import { Connection, type ConnectionPort } from "../src/connection";
import type { Environment } from "../src/environment";
import { Stats } from "../src/stats";
import type { Link, LinkPort } from "../src/transport";
import { pass, useFakeClock } from "./harness";

useFakeClock();

const clock = { now: () => Date.now(), setTimeout, clearTimeout } as unknown as Environment["clock"];
const env = { clock, random: () => 0.5, page: null } as unknown as Environment;
const connected = { type: "connected", generation: 2 } as never;

test("a question that an attachment does not take waits for the next one, and holds nobody up", async () => {
  let isOpen = false;
  const sent: { type?: string; id?: number }[] = [];
  const link = { sendFrame: (frame: object) => (isOpen ? sent.push(frame) : 0) } as unknown as Link;
  let heard: LinkPort | undefined;
  const ignore = (): void => undefined;
  const port = {
    prepare: () => null,
    openLink: (given: LinkPort) => ((heard = given), link),
    ...{ takeConnected: ignore, handleFrame: ignore, handleDetach: ignore, tellStatus: ignore },
  } as unknown as ConnectionPort;
  const connection = new Connection(env, port, new Stats());
  void connection.connect();
  await pass(0.1);
  heard?.handleFrame(connected, 1);
  const answer = askForReply(connection, clock, { type: "history" });
  heard?.beginSwitch();
  heard?.handleFrame(connected, 1);
  expect(sent).toEqual([]);
  isOpen = true;
  heard?.beginSwitch();
  heard?.handleFrame(connected, 1);
  const question = sent.find(({ type }) => type === "history");
  heard?.handleFrame({ type: "reply", id: question?.id } as never, 1);
  expect(await answer).toMatchObject({ type: "reply" });
});
