/** Digests of values. Loaded once the client is connected or has an update to send; no write waits for it. */

export { checksumOf } from "./digest";
export { digestReplaced } from "./replaced";
