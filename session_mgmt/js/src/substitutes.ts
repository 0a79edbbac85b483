/**
 * What takes the place of Web Locks, which only secure pages have: a BroadcastChannel for a name that one tab holds, a
 * note in the shared storage for a piece of work that one tab does at a time.
 */

import type { ChannelLike, Clock, Environment } from "./environment";
import type { Release } from "./lock";
import type { StoreLike } from "./storage";

const ANSWER_WITHIN = 150;
const NOTE_LASTS = 15_000;
const LOOK_AGAIN = 50;

/** Claim over a channel: the holder answers whoever asks; of two that ask at once, the lower number wins. */
export function claimChannel(env: Environment, channel: ChannelLike): Promise<Release | null> {
  const me = env.random();
  let holding = false;
  return new Promise((resolve) => {
    const settleClaim = (mine: boolean): void => {
      env.clock.clearTimeout(timer);
      holding = mine;
      if (!mine) channel.close();
      resolve(mine ? () => channel.close() : null);
    };
    const timer = env.clock.setTimeout(() => settleClaim(true), ANSWER_WITHIN);
    channel.onmessage = ({ data }) => {
      const said = data as { claim?: number; taken?: number };
      if (said.taken === me && !holding) settleClaim(false);
      if (said.claim !== undefined && (holding || me < said.claim)) channel.postMessage({ taken: said.claim });
    };
    channel.postMessage({ claim: me });
  });
}

/** Wait for a turn, and note it where all tabs read it; return what ends it. */
export async function takeNote(store: StoreLike, clock: Clock, name: string, random: () => number): Promise<Release> {
  const mine = `${random()}`;
  const readNote = (): { by?: string; until?: number } => JSON.parse(store.getItem(name) ?? "{}");
  const waitForTurn = (): Promise<void> => new Promise((resolve) => void clock.setTimeout(resolve, LOOK_AGAIN));
  try {
    while (readNote().by !== mine) {
      const note = { by: mine, until: clock.now() + NOTE_LASTS };
      if ((readNote().until ?? 0) < clock.now()) store.setItem(name, JSON.stringify(note));
      // Storage has no compare-and-set: the last of several writers is the one that all of them read afterwards.
      await waitForTurn();
    }
    return () => store.removeItem(name);
  } catch {
    // Without storage nothing is shared that would need a lock.
    return () => undefined;
  }
}
