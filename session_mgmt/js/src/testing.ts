/** Tools for tests of pages: a server in memory that speaks the protocol, storage and locks. */

export { FakeServer, type FakeServerOptions } from "./testing/server";
export { FakeChannels } from "./testing/channels";
export { FakeLocks } from "./testing/locks";
export { MemoryStore } from "./storage";
