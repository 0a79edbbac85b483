/** Close codes (PROTOCOL section 10); a test compares this table with that page. */

export const CLOSE = {
  NORMAL: 1000,
  DRAINING: 4000,
  TOKEN_EXPIRED: 4001,
  HEARTBEAT_LOST: 4002,
  SLOW_CONSUMER: 4003,
  INSUFFICIENT_STATE: 4004,
  DETACHED: 4005,
  LOGIN_CHECK: 4006,
  CONNECT_TIMEOUT: 4008,
  UNAVAILABLE: 4013,
  TOO_MANY_REQUESTS: 4029,
  CONNECTION_LIMIT: 4030,
  SILENT_SERVER: 4102,
  OUT_OF_ORDER: 4104,
  INVALID_FRAME: 4500,
  INVALID_TOKEN: 4501,
  SESSION_TERMINATED: 4503,
  SESSION_EXPIRED: 4504,
  UNSUPPORTED_VERSION: 4506,
  REPLACED: 4507,
  CLIENT_FORGOTTEN: 4508,
  ORIGIN_DENIED: 4509,
} as const;

/** Name of each close code of the server, for a close without a `bye` frame. */
export const CLOSE_NAMES: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(CLOSE)
    .filter(([, code]) => isServers(code))
    .map(([name, code]) => [code, name.toLowerCase()]),
);

const STOPS: ReadonlySet<number> = new Set([1000, 1002, 1003, 1007, 1008, 1009]);

/** Return true if the client may reconnect by itself after this code. */
export function mayReconnect(code: number): boolean {
  return !STOPS.has(code) && !(code >= 4500 && code <= 4999);
}

/** Return true for a code of the protocol that only a server uses. */
export function isServers(code: number): boolean {
  return code >= 4000 && !(code >= 4100 && code < 4200);
}

export function closeName(code: number): string {
  return CLOSE_NAMES[code] ?? (code === CLOSE.NORMAL ? "closed" : "connection_lost");
}
