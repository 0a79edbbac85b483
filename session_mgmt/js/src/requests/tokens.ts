/** Requests for tokens with fewer rights than the session (PROTOCOL section 14). */

import type { Rest } from "../rest";

/** Token with fewer rights than its session. */
export interface NarrowedToken {
  token: string;
  /** Lifetime in seconds, from the answer on. */
  expiresIn: number;
  scopes: string[];
}

export async function narrowToken(
  rest: Rest,
  token: string,
  scopes: readonly string[],
  { expiresIn }: { expiresIn?: number },
): Promise<NarrowedToken> {
  const body = { scopes, ...(expiresIn !== undefined && { expires_in: expiresIn }) };
  const { body: found } = await rest.sendRequest("POST", "tokens/narrow/", { body, token });
  return { token: found.access, expiresIn: found.expires_in, scopes: found.scopes };
}
