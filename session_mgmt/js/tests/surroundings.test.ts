/** What a page may lack: each is asked for only by what needs it, and says so, or something stands in for it. */

import { afterEach, expect, test, vi } from "vitest";
import { SessionClient, type StartOptions } from "../src/index";
import { Browser, pass, record, refusal, turns, until, useFakeClock } from "./harness";

useFakeClock();
afterEach(() => vi.unstubAllGlobals());

const WITHOUT_SOCKET: [carries: string, transports: StartOptions["transports"]][] = [
  ["sse", undefined],
  ["sse", ["sse"]],
  ["longpoll", ["longpoll"]],
  ["longpoll", ["websocket", "longpoll"]],
];

test.each(WITHOUT_SOCKET)("without WebSocket, %s carries what %j allows", async (carries, transports) => {
  vi.stubGlobal("WebSocket", undefined);
  const browser = new Browser();
  const given = transports ? { transports } : { transports: undefined };
  const client = await browser.tab().openConnected({ WebSocket: undefined, ...given } as StartOptions);
  await client.state.set("/a", 1);
  expect([client.stats().transport, browser.server.session.document("main").value]).toEqual([carries, { a: 1 }]);
});

test("no try for a WebSocket is made where there is none", async () => {
  const browser = new Browser();
  const client = await browser.tab().openConnected({ WebSocket: null, transports: undefined } as unknown as StartOptions);
  await pass(1500);
  browser.server.drop();
  await until(() => client.status === "connected");
  expect(browser.server.sockets).toEqual([]);
});

test.each([
  ["WebSocket", { WebSocket: null, transports: ["websocket"] }],
  ["fetch", { fetch: undefined }],
])("without %s a start that needs it is refused before it asks the server", async (name, options) => {
  vi.stubGlobal("fetch", undefined);
  const browser = new Browser();
  const error: Error = await browser.tab().start(options as StartOptions).then(() => Error("started"), (refused) => refused);
  expect([error.name, error.message]).toEqual(["unsupported", `There is no ${name}: pass one as \`${name}\`.`]);
  expect(browser.server.requests).toEqual([]);
});

test("to forget a site needs neither", async () => {
  for (const name of ["fetch", "WebSocket"]) vi.stubGlobal(name, undefined);
  const { local, locks, databases } = new Browser();
  local.setItem("session-mgmt:http://shop.test/api/:default:tokens", "{}");
  await SessionClient.forget({ url: "http://shop.test/api/", storage: { local }, locks, indexedDB: databases });
  expect(local.length).toBe(0);
});

test.each(["locks", "BroadcastChannel", "indexedDB", "page"])("without %s a client does all, and says what it cannot", async (name) => {
  const browser = new Browser();
  const errors: string[] = [];
  const onError = ({ name: told }: Error): void => void errors.push(told);
  const client = await browser.tab().openConnected({ cache: "indexeddb", oneSocket: true, onError, [name]: null });
  const heard = record(client, "message");
  browser.server.message("hello");
  await client.state.set("/a", 1);
  await turns();
  const lacks = name === "indexedDB" ? ["cache_unavailable"] : [];
  // The harness gives no channels.
  expect([errors.sort(), heard.length, client.state.get("/a")]).toEqual([[...lacks, "one_socket_unavailable"].sort(), 1, 1]);
  client.close();
  expect(await refusal(client.connection.connect())).not.toBe("network_error");
});
