/** Exchange of tokens for new ones (PROTOCOL section 14). Callers hold the lock. */

import type { Credentials, Exchange, Kept, PairFields } from "../credentials";
import type { Rest } from "../rest";

export interface RefreshAnswer extends PairFields {
  access: string;
  refresh: string;
  expires_in: number;
  login_changed?: boolean;
}

export type AskSocket = (frame: object) => Promise<RefreshAnswer | null>;

export class Refresher {
  readonly #rest: Rest;
  readonly #credentials: Credentials;
  readonly #askSocket: AskSocket;

  /** `askSocket`: ask over the connection of this tab; null without a connection or an answer. */
  constructor(rest: Rest, credentials: Credentials, askSocket: AskSocket) {
    this.#rest = rest;
    this.#credentials = credentials;
    this.#askSocket = askSocket;
  }

  /** Exchange the kept tokens, and store the new ones; return the answer. Throws the refusal of the server. */
  async refresh(kept: Kept, token: string): Promise<RefreshAnswer> {
    const exchange = { token, nonce: this.#credentials.beginRequest() };
    const answer = (await this.#askConnection(exchange)) ?? (await this.#askServer(exchange));
    this.#credentials.store(this.#credentials.renew(kept, answer, exchange));
    return answer;
  }

  /** Give the present connection the tokens of an exchange by another tab; the same exchange has the same answer. */
  async tellConnection({ token, nonce }: Exchange): Promise<void> {
    // Without an answer the connection ends when its token expires, and the next one begins with the new tokens.
    await this.#askSocket({ type: "refresh", token, nonce }).catch(() => null);
  }

  async #askConnection({ token, nonce }: Exchange): Promise<RefreshAnswer | null> {
    if (this.#credentials.isLoginDue()) return null;
    return this.#askSocket({ type: "refresh", token, nonce });
  }

  async #askServer(body: Exchange): Promise<RefreshAnswer> {
    const answer = (await this.#rest.sendRequest("POST", "tokens/refresh/", { body })).body as RefreshAnswer;
    void this.tellConnection(body);
    return answer;
  }
}
