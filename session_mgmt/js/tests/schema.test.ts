/** The application's own schema: what it refuses is not written, and is told where the server has it. */

import { expect, test } from "vitest";
import { Browser, until, useFakeClock } from "./harness";

useFakeClock();

const schema = {
  parse(value: unknown): unknown {
    const { n } = value as { n?: unknown };
    if (n !== undefined && typeof n !== "number") throw new TypeError("n is no number");
    return value;
  },
};

test("a write that would break the schema is refused, with everything that would", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected({ schema });
  const refused = { name: "schema_mismatch", message: expect.stringContaining("n is no number") };
  await expect(client.state.set("/n", "2")).rejects.toMatchObject(refused);
  await expect(client.state.merge({ n: "2" })).rejects.toMatchObject(refused);
  await expect(client.state.replace({ n: "2" })).rejects.toMatchObject(refused);
  await client.state.set("/n", 2);
  await expect(client.state.insert("/n/-", 2)).rejects.toMatchObject(refused);
  expect([client.state.get(), client.pending, browser.server.session.document("main").head]).toEqual([{ n: 2 }, 0, 1]);
});

test("a value of the server's that breaks it is shown, and told", async () => {
  const browser = new Browser();
  const plain = await browser.tab().openConnected();
  const told: unknown[] = [];
  const client = await browser.tab().openConnected({
    schema,
    onError: ({ name, facts }) => told.push([name, facts["document"]]),
  });
  expect(told).toEqual([]);
  await plain.state.set("/n", "two");
  await until(() => client.state.get("/n") === "two");
  expect(told).toEqual([["schema_mismatch", "main"]]);
});

test("other documents have no schema", async () => {
  const client = await new Browser().tab().openConnected({ schema });
  await client.document("drafts").set("/n", "two");
  expect(client.document("drafts").get("/n")).toBe("two");
});
