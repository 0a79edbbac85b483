/** Values keep their identity until they change. */

import fc from "fast-check";
import { expect, test } from "vitest";
import { shareParts } from "../src/sharing";
import { areEqual, type Json } from "../src/values";
import { Browser, until, useFakeClock } from "./harness";

useFakeClock();

const { value } = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4 },
    fc.constantFrom(null, true, 0, 1, "a"),
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b", "__proto__", "constructor"), tie("value"), { maxKeys: 3 }),
  ),
}));

test("what is shared equals the new value, and is the old object exactly if both are equal", () => {
  const before = (part: Json): string => JSON.stringify(part);
  fc.assert(
    fc.property(value, value, (previous, next) => {
      const texts = [before(previous), before(next)];
      const shared = shareParts(previous, next);
      expect(areEqual(shared, next)).toBe(true);
      expect(shared === previous).toBe(areEqual(previous, next));
      expect([before(previous), before(next)]).toEqual(texts);
    }),
    { numRuns: 300 },
  );
});

test("a part that is equal stays the same object, wherever the item of an array has moved", () => {
  const [tea, milk] = [{ sku: "tea" }, { sku: "milk" }];
  const previous = { cart: [tea, milk], user: { name: "Ann" } };
  const shared = shareParts(previous, { cart: [{ sku: "jam" }, tea, milk], user: { name: "Ann" } });
  expect([shared.cart[1] === tea, shared.cart[2] === milk, shared.user === previous.user]).toEqual([true, true, true]);
});

test("a document keeps its objects over receipts, entries, snapshots and writes of others", async () => {
  const browser = new Browser();
  const [client, other] = [await browser.tab().openConnected(), await browser.tab().openConnected()];
  await client.state.replace({ cart: { items: [{ sku: "tea" }] }, user: { name: "Ann" }, n: 0 });
  const { cart, user } = client.state.get() as Json;
  const whole = client.state.get();
  await client.state.set("/user", { name: "Ann" });
  expect(client.state.get()).toBe(whole);
  await other.state.inc("/n");
  await until(() => client.state.get("/n") === 1);
  expect([client.state.get("/cart") === cart, client.state.get("/user") === user]).toEqual([true, true]);
  void client.state.set("/cart/coupon", "A");
  const shown = client.state.get("/cart");
  await until(() => client.pending === 0);
  expect([client.state.get("/cart") === shown, client.state.get("/cart/items") === cart.items]).toEqual([true, true]);
  client.connection.disconnect();
  await other.state.inc("/n");
  await client.state.sync();
  expect(client.state.get("/n")).toBe(2);
  expect([client.state.get("/cart") === shown, client.state.get("/user") === user]).toEqual([true, true]);
});
