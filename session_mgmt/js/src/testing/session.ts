/** Session of the fake server with its clients. */

import type { ReceiptFrame, SessionFields } from "../frames";
import { FakeDocument, FakeLog } from "./log";
import { FakeTokens } from "./tokens";
import type { FakeWire } from "./wire";

export interface FakeClient {
  id: string;
  generation: number;
  lastSeq: number;
  receipts: Map<number, ReceiptFrame>;
  /** Content of each numbered write, without its base. */
  contents: Map<number, string>;
  wire: FakeWire | null;
  follows: Set<string>;
}

export class FakeSession {
  state: SessionFields["state"] = "active";
  /** True if its token cannot be refreshed. */
  isLegacy = false;
  isRecoverable = true;
  successor: FakeSession | null = null;
  readonly tokens: FakeTokens;
  readonly log = new FakeLog("session");
  readonly documents = new Map<string, FakeDocument>();
  readonly clients = new Map<string, FakeClient>();

  constructor(
    readonly id: string,
    public user: string | null,
    makeName: (prefix: string) => string,
  ) {
    this.tokens = new FakeTokens(makeName);
  }

  /** Newest access token. */
  get token(): string {
    return this.tokens.access;
  }

  document(name: string): FakeDocument {
    const document = this.documents.get(name) ?? new FakeDocument(`state:${name}`);
    this.documents.set(name, document);
    return document;
  }

  newClient(id: string): FakeClient {
    const client: FakeClient = { id, generation: 0, lastSeq: 0, receipts: new Map(), contents: new Map(), wire: null, follows: new Set() };
    this.clients.set(id, client);
    return client;
  }

  fields(): SessionFields {
    return {
      session_id: this.id,
      user_id: this.user,
      state: this.state,
      created_at: "2026-11-23T12:00:00.000000Z",
      last_active_at: "2026-11-23T12:00:00.000000Z",
      expires_at: "2026-11-24T12:00:00.000000Z",
      connection_state: "disconnected",
      metadata: {},
    };
  }
}
