/** Locks between tabs: Web Locks on secure pages, elsewhere their substitutes, which are loaded. */

import type { Clock, Environment, LocksLike } from "./environment";
import { loadSubstitutes } from "./loading";
import { listen } from "./page";
import type { StoreLike } from "./storage";
import type { Release } from "./substitutes";

// After a reload, the old page may hold its lock for a moment, and another tab that counts waiting writes too.
const PATIENCE = 500;

/** Locks that clients of this document hold, by the storage of their tab. */
const HELD = new WeakMap<StoreLike, Set<string>>();

/** Hold the lock `name` until it is released; null if another tab or another client of this tab holds it. */
export async function claimLock(env: Environment, name: string): Promise<Release | null> {
  const release = await claimBetweenTabs(env, name);
  if (!release) return null;
  const held = HELD.get(env.session) ?? new Set();
  HELD.set(env.session, held.add(name));
  const silence = answerQuestions(env, name);
  return () => {
    held.delete(name);
    silence();
    release();
  };
}

/** Return true if a client of this tab holds `name`, in this document or in another frame. */
export async function isHeldInTab(env: Environment, name: string): Promise<boolean> {
  if (HELD.get(env.session)?.has(name)) return true;
  // Without an answer this client begins as a new one, like a copied tab; the other client loses nothing.
  return loadSubstitutes().then(({ askFrames }) => askFrames(env, name), () => false);
}

/**
 * Answer questions in the storage of this tab. Only frames of the same tab see them, because a copied tab has a storage
 * of its own.
 */
function answerQuestions({ page, session }: Environment, name: string): Release {
  return listen(page?.window, ["storage"], () => {
    try {
      const question = session.getItem(`${name}:question`);
      if (question !== null) session.setItem(`${name}:answer`, question);
    } catch {
      // Without storage there are no questions.
    }
  });
}

async function claimBetweenTabs(env: Environment, name: string): Promise<Release | null> {
  if (env.locks) return claimWebLock(env.locks, env.clock, name);
  if (env.Channel) return (await loadSubstitutes()).claimChannel(env, new env.Channel(name));
  return HELD.get(env.session)?.has(name) ? null : () => undefined;
}

/**
 * Run `work` while no other tab runs work of this name. Throws `part_unavailable` if the substitutes are not loaded.
 */
export async function runExclusively<T>(
  env: Environment,
  name: string,
  work: () => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  if (env.locks) return (await env.locks.request(name, signal ? { signal } : {}, work)) as T;
  const { takeNote } = await loadSubstitutes();
  const release = await takeNote(env.local, env.clock, name, env.random);
  try {
    return await work();
  } finally {
    release();
  }
}

function claimWebLock(locks: LocksLike, clock: Clock, name: string): Promise<Release | null> {
  const impatience = new AbortController();
  return new Promise((resolve) => {
    const holdLock = (): Promise<void> => {
      clock.clearTimeout(timer);
      return new Promise<void>(resolve);
    };
    const fail = (): void => resolve(null);
    // Time alone proves nothing, because a busy browser answers late. But it answers in the order of the questions: if
    // it has not granted the lock before this answer, another page holds it.
    const giveUp = (): void => void locks.request(name, { ifAvailable: true }, async () => impatience.abort()).catch(fail);
    const timer = clock.setTimeout(giveUp, PATIENCE);
    locks.request(name, { signal: impatience.signal }, holdLock).catch(fail);
  });
}
