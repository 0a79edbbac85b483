/** Answers of the fake server under `devices/` and to `tokens/narrow/`. Every login counts as recent. */

import type { Json } from "../values";
import type { FakeSession } from "./session";

interface Call {
  method: string;
  /** Session to end; empty for all but this one. */
  id: string;
  end(session: FakeSession): void;
}

export function answerDevices(session: FakeSession, all: readonly FakeSession[], call: Call): [number, Json] {
  const isMine = (other: FakeSession): boolean =>
    other === session || (other.state === "active" && session.user !== null && other.user === session.user);
  const mine = all.filter(isMine);
  if (call.method === "GET") return [200, { results: mine.map((each) => describeDevice(each, session)) }];
  const ended = mine.filter((each) => (call.id ? each.id === call.id : each !== session));
  if (call.id && ended.length === 0) return [404, { code: 210, name: "session_not_found", temporary: false, message: "" }];
  for (const each of ended) call.end(each);
  return call.id ? [204, null] : [200, { ended: ended.length }];
}

export function answerNarrow(session: FakeSession, { scopes, expires_in: life = 60 }: Json): [number, Json] {
  return [201, { access: session.tokens.giveCookie(life), expires_in: life, scopes }];
}

function describeDevice(each: FakeSession, session: FakeSession): Json {
  const { session_id, created_at: first_seen, last_active_at: last_seen } = each.fields();
  const named = { label: "", browser: "Firefox", system: "Linux", place: "" };
  const connection_state = [...each.clients.values()].some(({ wire }) => wire) ? "connected" : "disconnected";
  return { session_id, ...named, first_seen, last_seen, connection_state, is_current: each === session };
}
