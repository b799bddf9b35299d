'use strict';

/*
 * A few connections to one socket for calls that may run side by side.
 *
 * A kept connection that turns out to be closed before any byte of the reply came
 * is replaced once: the daemon may have been restarted (docs/protocol.md,
 * "Stopping").  After half a reply nothing is asked again.
 */

const { Connection } = require('./connection.js');
const { DaemonUnavailable, Timeout, expired } = require('./errors.js');

/** Connections at a time: as many as a client pipelines, and few beside 2,048. */
const MOST = 4;

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

  /** One call within a limit; resolves to what Connection.ask does. */
  async ask(op, flags, size, limit) {
    await this.#slot(limit);
    let connection = null;
    try {
      const kept = this.#takeIdle();
      connection = kept ?? new Connection(this.#path);
      try {
        return await this.#on(connection, op, flags, size, limit);
      } catch (error) {
        const restarted =
          kept !== null && error instanceof DaemonUnavailable && !connection.answered;
        if (!restarted) throw error;
        connection = new Connection(this.#path);
        return await this.#on(connection, op, flags, size, limit);
      }
    } finally {
      if (connection?.usable) this.#idle.push(connection);
      this.#release();
    }
  }

  async #on(connection, op, flags, size, limit) {
    const reply = connection.ask(op, flags, size);
    try {
      return await limit.race(reply);
    } catch (error) {
      if (error instanceof Timeout) connection.destroy(error); // its late reply goes to nobody
      throw error;
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

module.exports = { Limit, Pool };
