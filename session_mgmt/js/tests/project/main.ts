/** Program of a project that installed the package; it is compiled and bundled, and never run. */

import { SessionClient, SessionError, type StartOptions } from "session-mgmt-client";
import { FakeServer } from "session-mgmt-client/testing";

const server = new FakeServer();
const options: StartOptions = { fetch: server.fetch, WebSocket: server.WebSocket, cache: "indexeddb" };
const session = await SessionClient.start(options);
session.on("error", (error) => console.log(error instanceof SessionError, error.name));
const { version } = await session.state.set("/cart/coupon", "WELCOME");
version.toFixed();
// @ts-expect-error: a version is a number
version.trim();
