'use strict';

/*
 * Keeps watch over the daemon's generation, in the helper thread.
 *
 * It asks INFO on a connection of its own, where nothing can hold it up, puts into
 * DEGRADED whether the daemon says so, and moves EPOCH whenever the answer says that
 * leases are outdated: another generation, a service that failed closed, another
 * connection (it may lead to another daemon, whose generations count from 1 too), or
 * a machine that was suspended meanwhile.
 *
 * A check ends in one of three ways, and sets CHECKED each time:
 *
 *   answered   EPOCH is what the daemon says
 *   gone       nobody listens: a lease goes on within its own limits
 *   silent     no answer in PATIENCE ms: the same, until one comes
 *
 * What it does not notice: a machine whose memory was copied while it ran (a VM
 * snapshot), before the daemon has a sign of it (docs/drbg.md) and the next check after
 * that; nothing in a lease could.
 */

const os = require('node:os');

const { Call } = require('./connection.js');
const { DaemonUnavailable, HwentropyError, NotPermitted } = require('./errors.js');
const { reach } = require('./pool.js');
const { CHECK_EVERY, PATIENCE, WORDS } = require('./shared.js');
const { OP } = require('./wire.js');

/** os.uptime() counts while the machine sleeps and has steps of 10 ms; 1 s is no rounding. */
const SUSPENDED = 1000;

class Watch {
  #path;
  #words;
  #now;
  #connection = null;
  #asking = null; // the INFO on its way
  #silent = false;
  #said = null;
  #drift = null;
  #timer = null;

  constructor(path, words, now) {
    this.#path = path;
    this.#words = words;
    this.#now = now;
    /** What the last INFO said, or null where nobody answered. */
    this.info = null;
  }

  /** Bring CHECKED up to date.  Throws when the answer itself was an error. */
  async check() {
    this.keepChecking();
    if (this.#asking !== null && this.#silent) {
      this.#publish(this.#now());
      return;
    }
    let timer;
    const patience = new Promise((resolve) => {
      timer = setTimeout(resolve, PATIENCE, 'silent');
    });
    const outcome = await Promise.race([this.answer(), patience]);
    clearTimeout(timer);
    if (outcome === 'silent' && this.#asking !== null) {
      this.#silent = true;
      this.#publish(this.#now());
    }
  }

  /** The next answer, however long it takes. */
  answer() {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = null;
      this.#silent = false;
    });
    return this.#asking;
  }

  async #ask() {
    const sent = this.#now();
    try {
      this.info = await this.#exchange();
      // While nobody answers it stays as it was: nothing else is known.
      Atomics.store(this.#words, WORDS.DEGRADED, this.info.state === 'degraded' ? 1 : 0);
      const said = `${this.info.generation} ${this.info.state === 'failed'}`;
      if (this.#wasSuspended() || said !== this.#said) this.#outdate();
      this.#said = said;
    } catch (error) {
      this.info = null;
      // Not permitted by the socket's mode, that is, and not by a reply.
      const shut = error instanceof NotPermitted && !this.#connection.answered;
      const gone = error instanceof DaemonUnavailable || shut;
      if (!gone) {
        // It answers, but what we need to know it does not say.
        this.#connection.destroy(error);
        this.#outdate();
        throw error;
      }
      if (this.#wasSuspended()) this.#outdate();
    } finally {
      this.#publish(sent);
    }
  }

  async #exchange() {
    const kept = this.#connection?.usable ? this.#connection : null;
    const { result } = await reach(this.#path, kept, (connection) => {
      if (connection !== kept) {
        this.#said = null; // a new connection: leases of the old one are outdated
        this.#connection = connection;
      }
      return connection.ask(new Call(OP.INFO, 0, 0));
    });
    return result;
  }

  #outdate() {
    this.#said = null;
    Atomics.add(this.#words, WORDS.EPOCH, 1);
  }

  #publish(time) {
    Atomics.store(this.#words, WORDS.CHECKED, Math.floor(time) | 0);
  }

  #wasSuspended() {
    const drift = os.uptime() * 1000 - this.#now();
    const before = this.#drift ?? drift;
    this.#drift = drift;
    return drift - before > SUSPENDED;
  }

  /** Ask again by itself for as long as there are draws, and stop when there are none. */
  keepChecking() {
    this.#timer ??= setTimeout(() => {
      this.#timer = null;
      if (!Atomics.exchange(this.#words, WORDS.USED, 0)) return;
      this.check().catch((error) => {
        // EPOCH has moved: who draws next meets the same error and reports it.
        if (!(error instanceof HwentropyError)) throw error;
      });
    }, CHECK_EVERY);
  }
}

module.exports = { Watch };
