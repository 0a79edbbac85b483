/** How tokens are exchanged: over which way, and what a client that is closed meanwhile does about a refusal. */

import { expect, test, vi } from "vitest";
import { Refresher } from "../src/changes/refreshing";
import { Renewal } from "../src/changes/renewal";
import type { Credentials } from "../src/credentials";
import type { Clock } from "../src/environment";
import { SessionError } from "../src/errors";
import type { Rest } from "../src/rest";

test.each([false, true])("tokens go over the connection, unless the page's login must go along: %s", async (isLoginDue) => {
  const answer = { access: "a", refresh: "r" };
  const sendRequest = vi.fn(async () => ({ body: answer, etag: null }));
  const credentials = { isLoginDue: () => isLoginDue, beginRequest: () => "n", renew: () => ({}), store: () => undefined };
  const refresher = new Refresher({ sendRequest } as unknown as Rest, credentials as unknown as Credentials, async () => answer as never);
  expect(await refresher.refresh({} as never, "t")).toBe(answer);
  expect(sendRequest).toHaveBeenCalledTimes(isLoginDue ? 1 : 0);
});

test.each([false, true])("a refusal ends the session, unless the client is closed: %s", async (isClosed) => {
  const clock: Clock = { now: () => 0, setTimeout: () => 0, clearTimeout: () => undefined };
  let refuse = (_: SessionError): void => undefined;
  const end = vi.fn();
  const renew = (): Promise<void> => new Promise((_, reject) => (refuse = reject));
  const renewal = new Renewal(clock, { kept: null } as unknown as Credentials, { isConnected: () => true, renew, end });
  renewal.begin();
  renewal.renewNow();
  if (isClosed) renewal.close();
  refuse(SessionError.local("session_terminated", ""));
  await new Promise((resolve) => setImmediate(resolve));
  expect(end).toHaveBeenCalledTimes(isClosed ? 0 : 1);
});
