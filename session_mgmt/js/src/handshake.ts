/** Opening of a connection: what this client says of itself, and what the server says of the session. */

import type { Credentials } from "./credentials";
import type { Documents } from "./documents";
import type { Status } from "./events";
import { AGENT, type ConnectedFrame, type SessionFields } from "./frames";
import type { Identity } from "./identity";
import { toSessionInfo, type SessionInfo } from "./info";
import type { Logbook } from "./logbook";
import type { ClientRecord } from "./record";
import type { Rest } from "./rest";
import type { Writer } from "./writer";

export interface HandshakeParts {
  rest: Rest;
  credentials: Credentials;
  identity: Identity;
  record: ClientRecord;
  writer: Writer;
  documents: Documents;
  logbook: Logbook;
}

export class Handshake {
  readonly #parts: HandshakeParts;
  /** Session as the last connection told it; null before the first. */
  #fields: SessionFields | null = null;
  /** Logs that this connection's `connect` asked for. */
  #asked: ReadonlySet<string> = new Set();

  constructor(parts: HandshakeParts) {
    this.#parts = parts;
  }

  /** Return the session as far as it may be shown. */
  describeSession(status: Status): SessionInfo {
    const { credentials, identity } = this.#parts;
    const { session } = credentials;
    const unknown = { session_id: "", user_id: null, label: "", metadata: {} };
    return toSessionInfo(identity.isHidden ? { ...session, ...unknown } : (this.#fields ?? session), status);
  }

  /** Forget what the last connection told: it was of another session. */
  forgetSession(): void {
    this.#fields = null;
  }

  buildAddress(): string {
    const { credentials, rest } = this.#parts;
    const url = new URL(credentials.endpoints.websocket, rest.base);
    url.protocol = url.protocol.replace("http", "ws");
    return url.href;
  }

  buildConnect(): object {
    const { credentials, identity, record, writer, logbook } = this.#parts;
    const logs = logbook.listPositions();
    this.#asked = new Set(Object.keys(logs));
    return {
      type: "connect",
      token: identity.useToken(),
      user: credentials.session.user_id,
      client_id: record.client,
      acked: writer.outbox.acked,
      logs,
      capabilities: [],
      agent: AGENT,
    };
  }

  takeConnected(frame: ConnectedFrame): void {
    const { record, documents, writer, logbook } = this.#parts;
    this.#fields = frame.session;
    record.assignClient(frame.session, frame.client_id);
    documents.decided = frame.last_seq;
    writer.applyLimits(frame.limits ?? {});
    logbook.attach(this.#asked, frame.logs);
    writer.outbox.attach(frame.last_seq);
  }
}
