import { describe, expect, test } from "vitest";
import { Browser, pass, record, refusal, until, useFakeClock } from "./harness";

useFakeClock();

/** Two browsers of one person. */
async function openTwo(tokenMode: "bearer" | "cookie" = "bearer") {
  const home = new Browser();
  home.server.login.tokenMode = tokenMode;
  const here = await home.tab().openConnected({ tokenMode, name: "here" });
  const there = await new Browser(home.server).tab().openConnected({ tokenMode, name: "there" });
  return { server: home.server, here, there };
}

describe.each(["bearer", "cookie"] as const)("a person's devices, mode %s", (tokenMode) => {
  test("are listed, this one first, and one is logged out", async () => {
    const { server, here, there } = await openTwo(tokenMode);
    const ended = record(there, "ended");
    const found = await here.sessions.list();
    expect(found.map(({ sessionId, isCurrent }) => [sessionId, isCurrent])).toEqual([
      [here.id, true],
      [there.id, false],
    ]);
    expect(found[0]).toMatchObject({ browser: "Firefox", system: "Linux", connectionState: "connected" });
    expect(JSON.stringify(found)).not.toMatch(/sm[acr]_/);
    await here.sessions.end(there.id);
    await until(() => ended.length === 1);
    expect([there.status, here.status]).toEqual(["failed", "connected"]);
    expect(server.requests.at(-1)).toBe(`DELETE /api/devices/${there.id}/`);
    expect((await here.sessions.list()).length).toBe(1);
    expect(await refusal(here.sessions.end(there.id))).toBe("session_not_found");
  });

  test("are logged out but this one", async () => {
    const { here, there } = await openTwo(tokenMode);
    expect(await here.sessions.endOthers()).toBe(1);
    await pass(1);
    expect([there.status, here.status]).toEqual(["failed", "connected"]);
  });
});

describe("a token that may do less", () => {
  test("is given for scopes and a time", async () => {
    const { server, here } = await openTwo();
    const found = await here.auth.narrow(["state:read:cart"], { expiresIn: 30 });
    expect(found).toEqual({ token: expect.stringMatching(/_/), expiresIn: 30, scopes: ["state:read:cart"] });
    expect([found.token === here.auth.token, server.requests.at(-1)]).toEqual([false, "POST /api/tokens/narrow/"]);
  });

  test("is given to no page that holds none", async () => {
    const { server, here } = await openTwo("cookie");
    expect(await refusal(here.auth.narrow(["state:read"]))).toBe("no_token");
    expect(server.requests.some((line) => line.endsWith("/narrow/"))).toBe(false);
  });
});
