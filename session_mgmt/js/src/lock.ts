/** Locks between tabs: Web Locks on secure pages, elsewhere their substitutes, which are loaded. */

import type { Environment } from "./environment";
import { loadSubstitutes } from "./loading";
import type { StoreLike } from "./storage";
import type { Release } from "./substitutes";

// After a reload, the old page may hold its lock for a moment.
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
  const answer = (): void => {
    try {
      const question = session.getItem(`${name}:question`);
      if (question !== null) session.setItem(`${name}:answer`, question);
    } catch {
      // Without storage there are no questions.
    }
  };
  page?.window.addEventListener("storage", answer);
  return () => page?.window.removeEventListener("storage", answer);
}

async function claimBetweenTabs(env: Environment, name: string): Promise<Release | null> {
  if (env.locks) return claimWebLock(env, name);
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
