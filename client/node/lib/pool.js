'use strict';

/*
 * A few connections to one socket for calls that may run side by side.
 *
 * A kept connection that turns out to be closed before any byte of the reply came
 * is replaced once: the daemon may have been restarted (docs/protocol.md,
 * "Stopping").  After half a reply nothing is asked again.  Nor is a connection lost that
 * the daemon refused, and closed before it was asked anything.
 */

const { Connection } = require('./connection.js');
const { DaemonUnavailable, Timeout, expired } = require('./errors.js');

/** Connections at a time: as many as a client pipelines, and few beside 2,048. */
const MOST = 4;

/** Milliseconds in which a daemon that accepts a connection has refused it, if it does. */
const LISTEN = 50;

/**
 * What `attempt` gives for a connection: for `kept`, if it is not null, and where the
 * daemon has closed that, unanswered, for a new one.  A new one that is closed before
 * anything could be sent on it was refused, perhaps with a reason: Node reads nothing on
 * a socket once a send has failed, so the next one listens first.
 */
async function reach(path, kept, attempt) {
  const ways = [() => new Connection(path), () => new Connection(path, LISTEN)];
  if (kept !== null) ways.unshift(() => kept);
  for (;;) {
    const connection = ways.shift()();
    try {
      return await attempt(connection);
    } catch (error) {
      const gone = error instanceof DaemonUnavailable && !connection.answered;
      if (!gone || !(connection === kept || connection.unheard) || !ways.length) throw error;
    }
  }
}

/** The time that a call may take, from here on; null for ever. */
class Limit {
  #timer = null;
  #expire = null;

  constructor(path, milliseconds) {
    this.over = new Promise((_, reject) => {
      this.#expire = () => reject(expired(path, milliseconds));
    });
    this.over.catch(() => {}); // whoever races against it sees it
    if (milliseconds !== null) this.#timer = setTimeout(this.#expire, milliseconds);
  }

  /** What `promise` gives, or Timeout. */
  race(promise) {
    return Promise.race([promise, this.over]);
  }

  clear() {
    clearTimeout(this.#timer);
  }
}

class Pool {
  #path;
  #idle = [];
  #open = 0;
  #queue = [];

  constructor(path) {
    this.#path = path;
  }

  /** Make one Call within a limit; resolves to what Connection.ask does. */
  async ask(call, limit) {
    await this.#slot(limit);
    let used = null;
    try {
      return await reach(this.#path, this.#takeIdle(), async (connection) => {
        used = connection;
        const done = connection.ask(call);
        try {
          return await limit.race(done);
        } catch (error) {
          if (error instanceof Timeout) connection.destroy(error); // its late reply goes to nobody
          throw error;
        }
      });
    } finally {
      if (used?.usable) this.#idle.push(used);
      this.#release();
    }
  }

  #takeIdle() {
    let found = null;
    while (found === null && this.#idle.length) {
      const candidate = this.#idle.pop();
      if (candidate.usable) found = candidate;
    }
    return found;
  }

  async #slot(limit) {
    if (this.#open < MOST) {
      this.#open += 1;
      return;
    }
    const entry = { gone: false, granted: false, go: null };
    const turn = new Promise((resolve) => {
      entry.go = resolve;
    });
    this.#queue.push(entry);
    try {
      await limit.race(turn);
    } catch (error) {
      entry.gone = true;
      if (entry.granted) this.#release();
      throw error;
    }
  }

  #release() {
    let next = this.#queue.shift();
    while (next?.gone) next = this.#queue.shift();
    if (next) {
      next.granted = true;
      next.go();
    } else {
      this.#open -= 1;
    }
  }
}

module.exports = { Limit, Pool, reach };
