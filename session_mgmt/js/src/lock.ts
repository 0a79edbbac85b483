/**
 * Locks between tabs: the Web Locks of a secure page, else a BroadcastChannel (for a name that one tab holds) or a note
 * in the shared storage (for a piece of work that one tab does at a time).
 */

import type { ChannelLike, Clock, Environment } from "./environment";
import type { StoreLike } from "./storage";

export type Release = () => void;

// A reload's old page may hold its lock for a moment after the new page has started.
const PATIENCE = 500;
const ANSWER_WITHIN = 150;
const NOTE_LASTS = 15_000;
const LOOK_AGAIN = 50;

/** Hold `name` until released; null if another tab holds it. */
export async function claimLock(env: Environment, name: string): Promise<Release | null> {
  if (env.locks) return claimWebLock(env, name);
  return env.Channel ? claimChannel(env, new env.Channel(name)) : () => undefined;
}

/** Run `work` while no other tab runs work of this name. */
export async function runExclusively<T>(env: Environment, name: string, work: () => Promise<T>): Promise<T> {
  if (env.locks) return (await env.locks.request(name, {}, work)) as T;
  const release = await takeNote(env.local, env.clock, name, env.random);
  try {
    return await work();
  } finally {
    release();
  }
}

function claimWebLock(env: Environment, name: string): Promise<Release | null> {
  const impatience = new AbortController();
  const timer = env.clock.setTimeout(() => impatience.abort(), PATIENCE);
  return new Promise((resolve) => {
    const holdLock = (): Promise<void> => {
      env.clock.clearTimeout(timer);
      return new Promise<void>((release) => resolve(release));
    };
    env.locks?.request(name, { signal: impatience.signal }, holdLock).catch(() => resolve(null));
  });
}

/** Claim over a channel: the holder answers whoever asks; of two that ask at once, the lower number wins. */
function claimChannel(env: Environment, channel: ChannelLike): Promise<Release | null> {
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

async function takeNote(store: StoreLike, clock: Clock, name: string, random: () => number): Promise<Release> {
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
