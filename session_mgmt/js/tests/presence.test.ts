import { describe, expect, test } from "vitest";
import { Browser, pass, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();

describe("presence of a topic", () => {
  test("shows who comes, says something and goes, also to whoever comes later", async () => {
    const browser = new Browser();
    const [one, two] = [await browser.tab().openConnected(), await browser.tab().openConnected()];
    const seen = await one.topics.presence("hall");
    const changes: number[] = [];
    seen.on("change", () => void changes.push(seen.count));
    const guest = await two.topics.presence("hall");
    const id = await guest.enter({ name: "Ann" });
    await until(() => seen.count === 1);
    expect(seen.members).toEqual({ [id]: { data: { name: "Ann" }, since: expect.any(String) } });
    await guest.update({ name: "Bea" });
    await until(() => seen.members?.[id]?.data.name === "Bea");
    expect((await one.topics.presence("hall")).members).toEqual(seen.members);
    await guest.leave();
    await until(() => seen.count === 0);
    expect([seen.members, changes]).toEqual([{}, [1, 1, 0]]);
  });

  test("takes no entry that the members have already, and none before it knows them", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    browser.server.present.set("presence:hall", new Map([["a", { data: 1, since: "" }]]));
    browser.server.publish("presence:hall", { count: 1, joined: { a: { data: 0, since: "" } }, changed: {}, left: [] });
    const seen = await client.topics.presence("hall");
    expect([seen.count, seen.members]).toEqual([1, { a: { data: 1, since: "" } }]);
    browser.server.publish("presence:hall", { count: 900 });
    await until(() => seen.count === 900);
    expect(seen.members).toBe(null);
    browser.server.publish("presence:hall", { count: 901, joined: {}, changed: {}, left: [] });
    await until(() => seen.count === 901);
    expect(seen.members).toBe(null);
    browser.server.publish("presence:hall", { count: 1, members: { b: { data: 2, since: "" } } });
    await until(() => seen.count === 1);
    expect(seen.members).toEqual({ b: { data: 2, since: "" } });
  });

  test("enters again after a drop, and reads the members again after a gap", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = await client.topics.presence("hall");
    const id = await seen.enter("me");
    await until(() => seen.count === 1);
    browser.server.drop();
    browser.server.present.get("presence:hall")?.clear();
    browser.server.topic("presence:hall").restart();
    await pass(2);
    await until(() => browser.server.received.filter(({ type }) => type === "enter").length === 2);
    await until(() => seen.count === 1);
    expect(Object.keys(seen.members ?? {})).toEqual([id]);
    expect(browser.server.received.filter(({ type }) => type === "members").length).toBeGreaterThan(1);
    seen.close();
    await turns();
    expect(browser.server.present.get("presence:hall")?.size).toBe(0);
  });

  test("waits for a connection, and is refused where the members may not be seen", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = await client.topics.presence("hall");
    browser.server.drop();
    await turns();
    const entering = seen.enter(1);
    await pass(2);
    expect(await entering).toBe(client.clientId);
    browser.server.denied.add("presence:hall");
    const other = await browser.tab().openConnected();
    expect(await refusal(other.topics.presence("hall"))).toBe("topic_denied");
    browser.server.denied.add("hall");
    expect(await refusal(seen.enter(2))).toBe("topic_denied");
  });

  test("keeps a member whose change is refused", async () => {
    const browser = new Browser();
    const client = await browser.tab().openConnected();
    const seen = await client.topics.presence("hall");
    await seen.enter("Ann");
    browser.server.denied.add("hall");
    expect(await refusal(seen.update("Bea"))).toBe("topic_denied");
    browser.server.denied.delete("hall");
    browser.server.present.get("presence:hall")?.clear();
    browser.server.drop();
    await pass(2);
    await until(() => browser.server.present.get("presence:hall")?.size === 1);
    expect(Object.values(seen.members ?? {}).map(({ data }) => data)).toEqual(["Ann"]);
  });
});
