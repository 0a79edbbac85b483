/** Types of an application, both ways: what fits compiles, and what does not is refused. Compiled, and never run. */

import { SessionClient, type Operation, type StateDocument } from "../../src/index";

interface Item {
  sku: string;
  n: number;
}
interface Tree {
  label: string;
  children: Tree[];
}
interface App {
  state: {
    cart: { coupon?: string; items: Item[]; total: number };
    byName: Record<string, { seen: boolean }>;
    tree: Tree;
    "a/b": number;
    payment: { kind: "card"; digits: string } | { kind: "cash" };
    counts: [number, number];
    left: null;
  };
  documents: { drafts: { text: string } };
  topics: {
    "orders:{pk}": { status: "paid" | "sent" };
    "orders:{pk}:notes": { note: string };
    "orders:all": { count: number };
  };
  send: { in: { do: "checkout" }; out: { order: number } } | { in: { do: "clear" }; out: null };
}

type Probe<T> = <P>() => P extends T ? 1 : 2;
type Same<One, Other> = Probe<One> extends Probe<Other> ? true : false;
declare function expectSame<One, Other>(same: Same<One, Other>): void;

declare const url: string;
const session = await SessionClient.start<App>({ url });
const { state, topics } = session;

// Reading.
const coupon = state.get("/cart/coupon");
expectSame<typeof coupon, string | undefined>(true);
const items = state.get("/cart/items");
expectSame<typeof items, Item[] | undefined>(true);
const first = state.get("/cart/items/0");
expectSame<typeof first, Item | undefined>(true);
declare const at: number;
const some = state.get(`/cart/items/${at}/n`);
expectSame<typeof some, number | undefined>(true);
const seen = state.get("/byName/ann/seen");
expectSame<typeof seen, boolean | undefined>(true);
const whole = state.get();
expectSame<typeof whole, Partial<App["state"]>>(true);
const digits = state.get("/payment/digits");
expectSame<typeof digits, string | undefined>(true);
const left = state.get("/left");
expectSame<typeof left, null | undefined>(true);
// Deeper than eight, escaped, or put together at run time: JSON.
const deep: Date = state.get("/tree/children/0/children/0/children/0/children/0/label");
const fourth = state.get("/tree/children/0/children/0/children/0/label");
expectSame<typeof fourth, string | undefined>(true);
const escaped: Date = state.get("/a~1b");
declare const path: string;
const any: Date = state.get(path);
// @ts-expect-error: no such member
state.get("/cart/coupons");
// @ts-expect-error: an item has no such member
state.get("/cart/items/0/price");
// @ts-expect-error: an array has no member of this name
state.get("/cart/items/first");
// @ts-expect-error: a path begins with a slash
state.get("cart");
// @ts-expect-error: a text has no members
state.get("/cart/coupon/length");

// Listening.
state.on("/cart/total", (total) => expectSame<typeof total, number | undefined>(true));
// @ts-expect-error: a total is a number
state.on("/cart/total", (total: string) => total);
// @ts-expect-error: no such place
state.on("/card", () => undefined);

// Writing.
await state.set("/cart/coupon", "WELCOME");
await state.set("/cart/items/0", { sku: "tea", n: 1 });
await state.set(path, at);
await state.insert("/cart/items/-", { sku: "tea", n: 1 });
await state.inc("/cart/total", 2);
await state.delete("/cart/coupon");
await state.set("/left", null);
await state.inc("/counts/0");
declare const others: Pick<App["state"], "payment" | "counts" | "left">;
await state.replace({ cart: { items: [], total: 0 }, byName: {}, tree: { label: "", children: [] }, "a/b": 1, ...others });
// @ts-expect-error: a coupon is a text
await state.set("/cart/coupon", 5);
// @ts-expect-error: nothing can be set to undefined
await state.set("/cart/coupon", undefined);
// @ts-expect-error: an item has a number
await state.insert("/cart/items/-", { sku: "tea" });
// @ts-expect-error: a coupon is no number
await state.inc("/cart/coupon");
// @ts-expect-error: no kind of payment has this
state.get("/payment/amount");
// @ts-expect-error: no such place
await state.delete("/cart/coupons");
// @ts-expect-error: the document has more
await state.replace({ cart: { items: [], total: 0 } });

// Several operations.
await state.update([
  ["set", "/cart/coupon", "WELCOME"],
  ["inc", "/cart/total", 2],
  ["ins", "/cart/items/-", { sku: "tea", n: 1 }],
  ["del", "/cart/items/0"],
  ["obj", "/byName"],
]);
declare const operations: Operation[];
await state.update(operations);
// @ts-expect-error: a total is a number
await state.update([["set", "/cart/total", "2"]]);
// @ts-expect-error: no such place
await state.update([["del", "/cart/coupons"]]);
// @ts-expect-error: a coupon is no number
await state.update([["inc", "/cart/coupon", 1]]);

// Other documents.
const text = session.document("drafts").get("/text");
expectSame<typeof text, string | undefined>(true);
const total = session.document("main").get("/cart/total");
expectSame<typeof total, number | undefined>(true);
const undeclared: Date = session.document("others").get("/text");
// @ts-expect-error: drafts have no such member
session.document("drafts").get("/title");

// Topics.
topics.subscribe("orders:42", (order) => expectSame<typeof order.status, "paid" | "sent">(true));
topics.subscribe("orders:42:notes", ({ note }) => expectSame<typeof note, string>(true));
topics.subscribe("orders:all", ({ count }) => expectSame<typeof count, number>(true));
topics.subscribe(`orders:${at}`, (order) => order.status satisfies "paid" | "sent");
topics.subscribe(path, (data: Date) => data);
await topics.publish("orders:42", { status: "paid" });
// @ts-expect-error: no such status
await topics.publish("orders:42", { status: "lost" });
// @ts-expect-error: no such topic
topics.subscribe("rooms:42", () => undefined);
// @ts-expect-error: no such topic
await topics.publish("rooms:42", {});

// Messages to handlers.
const { order } = await session.send({ do: "checkout" });
expectSame<typeof order, number>(true);
const cleared = await session.send({ do: "clear" });
expectSame<typeof cleared, null>(true);
// @ts-expect-error: no handler does that
await session.send({ do: "pay" });

// Without types everything is JSON, as in JavaScript.
const plain = await SessionClient.start({ url });
const value: Date = plain.state.get("/anything");
await plain.state.set("/anything", { at: [1] });
await plain.state.update([["set", "/anything", 1]]);
plain.topics.subscribe("anything", (data: Date) => data);
const answer: Date = await plain.send({ any: "thing" });
// An application may tell some types only.
const partly = await SessionClient.start<{ state: { n: number } }>({ url });
const n = partly.state.get("/n");
expectSame<typeof n, number | undefined>(true);
partly.topics.subscribe("anything", (data: Date) => data);
// A client with types goes where one without is taken, and the other way round.
const general: SessionClient = session;
const typed: SessionClient<App> = plain;
const document: StateDocument = state;
// @ts-expect-error: other types
const other: SessionClient<{ state: { cart: number } }> = session;

export { answer, any, deep, document, escaped, general, other, typed, undeclared, value };
