'use strict';

/*
 * The words that the two threads share (an Int32Array over a SharedArrayBuffer,
 * read and written with Atomics), and the clock in which they count.
 *
 *   WAKE      moves with every reply of the helper; the other side waits on it
 *   READY     1 once the helper runs
 *   DEAD      1 once it has ended
 *   EPOCH     moves when every lease has to be renewed
 *   CHECKED   when the daemon was asked for what EPOCH says: milliseconds
 *   USED      1 when something was drawn since the helper last looked
 *   DEGRADED  1 when the daemon last said that it is degraded
 *
 * The helper writes EPOCH before CHECKED and the other side reads CHECKED before
 * EPOCH, so that a new CHECKED never goes with an old EPOCH; DEGRADED likewise.
 */

const { performance } = require('node:perf_hooks');

const WORDS = { WAKE: 0, READY: 1, DEAD: 2, EPOCH: 3, CHECKED: 4, USED: 5, DEGRADED: 6 };
const COUNT = 7;

/**
 * A draw is answered from the lease when the daemon was last asked at most this
 * many milliseconds before: the time in which a reseed, or failing closed, may go
 * unnoticed.  Short beside the seconds between reseeds, long beside a round trip
 * (0.2 ms), so that the helper can keep up on a busy machine.
 */
const MAX_AGE = 50;

/** While draws go on the helper asks by itself: twice in MAX_AGE, so that one may be late. */
const CHECK_EVERY = MAX_AGE / 2;

/**
 * A daemon that does not answer an INFO for this long counts as gone until it
 * does: five times MAX_AGE, a thousand times a round trip.
 */
const PATIENCE = 250;

// Taken now: test tools replace them by clocks that stand still.
const monotonic = performance.now.bind(performance);
const hrtime = process.hrtime.bigint;

/**
 * A clock in milliseconds that both threads can compute from `origin`, a value of
 * process.hrtime.bigint(), to half a millisecond.  performance.now() alone begins
 * anew in each thread.
 */
function clock(origin) {
  // The same counter, read twice: again if this thread was put aside in between.
  for (;;) {
    const base = monotonic();
    const offset = Number(hrtime() - origin) / 1e6 - base;
    if (monotonic() - base < 0.5) return () => monotonic() + offset;
  }
}

module.exports = { WORDS, COUNT, MAX_AGE, CHECK_EVERY, PATIENCE, clock, hrtime };
