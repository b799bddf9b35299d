'use strict';

/*
 * Waiting out OVER_QUOTA: pause and ask again, within the call's time.
 *
 * Pauses double, each drawn out by chance to between half and the whole of its length,
 * so that many clients which were refused at once do not come back at once.
 */

const { setTimeout: pause } = require('node:timers/promises');

const { OverQuota, Timeout } = require('./errors.js');

/** Milliseconds of the first pause: fifty round trips. */
const FIRST = 10;

/** Of the longest: a share counts per second, a longer one would leave a part of it unused. */
const LONGEST = 1000;

/**
 * After which a call without a timeout gives up: a third of what systemd allows a service
 * for its start (DefaultTimeoutStartSec, 90 s), so that one which draws there ends with
 * this error and not with systemd's.
 */
const MOST = 30_000;

/**
 * What `attempt` gives, which is made again while it throws OverQuota.  `timeout` in
 * milliseconds from here on, null for none; then the OverQuota is thrown.
 */
async function backOff(timeout, attempt, clock = { now: () => performance.now(), pause }) {
  let ends = timeout === null ? null : clock.now() + timeout;
  let refused = null;
  for (let step = FIRST; ; step = Math.min(2 * step, LONGEST)) {
    try {
      return await attempt();
    } catch (error) {
      if (error instanceof Timeout && refused !== null) throw refused;
      if (!(error instanceof OverQuota)) throw error;
      refused = error;
    }
    const now = clock.now();
    ends ??= now + MOST;
    // What the clock shows below a millisecond is chance enough, and no secret.
    const wait = (step * (1 + (now % 1))) / 2;
    if (now + wait >= ends) throw refused;
    await clock.pause(wait);
  }
}

module.exports = { backOff };
