/** The ends of a session are told alike, whatever carries the client: same status, same reason, nothing left waiting. */

import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { SessionClient } from "../src/index";
import type { FakeServer } from "../src/testing";
import { pass, passUntil, record, refusal, turns, useFakeClock } from "./harness";
import { LiveBrowser } from "./liveTabs";

useFakeClock();

const NOISE = ["debug", "info", "log", "warn", "error"] as const;
const noise: unknown[] = [];
const hearRejection = (reason: unknown): void => void noise.push(reason);

beforeEach(() => {
  for (const name of NOISE) vi.spyOn(console, name).mockImplementation((...said) => void noise.push(said));
  process.on("unhandledRejection", hearRejection);
});

afterEach(async () => {
  await turns();
  process.off("unhandledRejection", hearRejection);
  vi.restoreAllMocks();
  expect(noise.splice(0)).toEqual([]);
});

async function begin(carrier: string): Promise<{ browser: LiveBrowser; client: SessionClient }> {
  const browser = new LiveBrowser();
  if (carrier !== "tab") return { browser, client: await browser.tab().openConnected({ transports: [carrier as "sse"] }) };
  await browser.tab().openShared();
  await turns();
  const follower = browser.tab();
  await follower.openShared();
  await turns();
  return { browser, client: follower.client };
}

interface Told {
  status: [string, string | null];
  ended: string[];
  unsent: string[];
  errors: string[];
  events: string[];
  /** With what the promise of a write that waits is settled. */
  write: string;
  message: string;
}

const ENDS: Record<string, [end: (server: FakeServer) => void, told: Partial<Told>]> = {
  "terminated": [
    (server) => server.terminate(),
    {
      ...{ status: ["failed", "session_terminated"], ended: ["session_terminated"], unsent: ["session_terminated"] },
      ...{ events: ["session_terminated"], write: "session_terminated", message: "session_terminated" },
    },
  ],
  "logged out elsewhere": [
    (server) => server.terminate("logged_out"),
    {
      ...{ status: ["failed", "session_terminated"], ended: ["logged_out"], unsent: ["logged_out"] },
      ...{ events: ["session_terminated"], write: "logged_out", message: "logged_out" },
    },
  ],
  "expired, with a successor": [
    (server) => server.expire(),
    { status: ["connected", null], unsent: ["session_expired"], write: "session_expired", message: "session_expired" },
  ],
  "expired, without one": [
    (server) => {
      server.session.isRecoverable = false;
      server.expire();
    },
    { status: ["connected", null], unsent: ["session_expired"], write: "session_expired", message: "session_expired" },
  ],
  "a login that has ended": [
    (server) => {
      server.login.isEnded = true;
      server.bye(4501);
    },
    {
      ...{ status: ["failed", "login_ended"], ended: ["login_ended"], unsent: ["login_ended"] },
      ...{ events: ["auth_required"], write: "login_ended", message: "login_ended" },
      // The refusal itself, in the tab that has asked.
      errors: ["login_ended"],
    },
  ],
  "erased": [
    (server) => {
      const [gone] = server.sessions.splice(0);
      gone?.tokens.expireAll();
      server.bye(4501);
    },
    { status: ["connected", null], unsent: ["invalid_token"], write: "invalid_token", message: "invalid_token" },
  ],
  "restored from a backup in which the client is not": [
    (server) => server.forgetClients(),
    { status: ["connected", null], unsent: ["client_forgotten"], write: "client_forgotten", message: "client_forgotten" },
  ],
};

const NOTHING = { ended: [], unsent: [], errors: [], events: [] };

describe.each(Object.entries(ENDS))("%s", (_, [end, told]) => {
  test.each(["websocket", "sse", "longpoll", "tab"])("is told over %s", async (carrier) => {
    const { browser, client } = await begin(carrier);
    expect(client.stats().transport).toBe(carrier);
    const [ended, unsent, errors] = [record(client, "ended"), record(client, "unsent"), record(client, "error")];
    const events: string[] = [];
    for (const name of ["session_terminated", "auth_required"] as const) client.on(name, () => void events.push(name));
    browser.server.swallowReceipts = true;
    const results = ["", ""];
    const calls = [client.state.set("/a", 1), client.send("hello")];
    calls.forEach((call, at) => void refusal(call).then((name) => (results[at] = name)));
    await pass(1);
    end(browser.server);
    browser.server.swallowReceipts = false;
    await passUntil(() => results.every((result) => result !== ""));
    await passUntil(() => client.status === (told.status ?? ["connected"])[0]);
    await pass(5);
    const found: Told = {
      status: [client.status, client.reason?.name ?? null],
      ended: ended.map(([{ reason }]) => reason),
      unsent: unsent.map(([, reason]) => reason),
      errors: errors.map(([{ name }]) => name),
      events,
      write: results[0] as string,
      message: results[1] as string,
    };
    expect(found).toEqual({ ...NOTHING, ...told, ...(carrier === "tab" && { errors: [] }) });
    expect(client.pending).toBe(0);
  });
});
