/**
 * Substitutes for Web Locks, which only secure pages have: a BroadcastChannel for a name that one tab holds, and a note
 * in the shared storage for work that one tab does at a time. Also the question that neither locks nor channels answer:
 * whether the holder of a lock is another frame of this tab.
 */

import type { ChannelLike, Clock, Environment } from "./environment";
import { listen } from "./page";
import type { StoreLike } from "./storage";

export type Release = () => void;

const ANSWER_WITHIN = 150;
/** Milliseconds to wait for another frame; a busy one answers late. */
const FRAME_ANSWERS_WITHIN = 1_000;
const NOTE_LASTS = 15_000;
const LOOK_AGAIN = 50;

/** Claim a name over a channel. The holder answers each claim; of two claims at once, the lower number wins. */
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

/** Wait for a turn, and note it where all tabs can read it; return the function that ends it. */
export async function takeNote(store: StoreLike, clock: Clock, name: string, random: () => number): Promise<Release> {
  const mine = `${random()}`;
  const readNote = (): { by?: string; until?: number } => JSON.parse(store.getItem(name) ?? "{}");
  const waitForTurn = (): Promise<void> => new Promise((resolve) => void clock.setTimeout(resolve, LOOK_AGAIN));
  try {
    while (readNote().by !== mine) {
      const [now, { until = 0 }] = [clock.now(), readNote()];
      // Otherwise the note was left by a page that ended without removing it, perhaps before the clock was set back.
      const isTaken = until >= now && until <= now + NOTE_LASTS;
      if (!isTaken) store.setItem(name, JSON.stringify({ by: mine, until: now + NOTE_LASTS }));
      // Storage has no compare-and-set: of several writers, all read the value of the last one.
      await waitForTurn();
    }
    return () => removeQuietly(store, name);
  } catch {
    // Without storage the tabs share nothing that needs a lock.
    return () => undefined;
  }
}

/** Ask the other frames of this tab, which share its storage, whether one of them holds a lock. */
export async function askFrames(env: Environment, name: string): Promise<boolean> {
  const [asked, answered] = [`${name}:question`, `${name}:answer`];
  const question = `${env.random()}`;
  const isAnswered = (): boolean => env.session.getItem(answered) === question;
  try {
    env.session.setItem(asked, question);
    await waitForStorage(env, isAnswered);
    return isAnswered();
  } catch {
    return false;
  } finally {
    for (const item of [asked, answered]) removeQuietly(env.session, item);
  }
}

/** Wait until a change of the storage makes a condition true, but not for long. */
function waitForStorage({ clock, page }: Environment, condition: () => boolean): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clock.clearTimeout(timer);
      stop();
      resolve();
    };
    const stop = listen(page?.window, ["storage"], () => condition() && end());
    const timer = clock.setTimeout(end, page ? FRAME_ANSWERS_WITHIN : 0);
  });
}

function removeQuietly(store: StoreLike, name: string): void {
  try {
    store.removeItem(name);
  } catch {
    // There was nothing to remove.
  }
}
