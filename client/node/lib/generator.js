'use strict';

/*
 * This thread's random bytes: drawn from a lease, or straight from the daemon.
 *
 * A lease is a child of the daemon's DRBG in this thread.  It gives a byte only
 * while
 *
 *   - the daemon's generation was asked for at most MAX_AGE ms before the draw
 *     began, or since, and has not moved (shared.js, watch.js), and
 *   - its bytes and its seconds are not used up.
 *
 * Otherwise the draw asks first.  When no daemon answers that question, the lease
 * goes on within its own limits, and then the draw throws.
 *
 * What this does not protect against: a process whose memory is copied while it
 * runs draws the same bytes in both, since Node can neither map the generation page nor
 * have memory wiped: with CRIU for up to MAX_AGE, in a VM's copy until the daemon there
 * has a sign of it (docs/drbg.md), and MAX_AGE more.  Who can read
 * this process's memory foresees its draws until the next reseed.
 */

const nodeCrypto = require('node:crypto');
const { setImmediate: nextTurn } = require('node:timers/promises');
const v8 = require('node:v8');

const { Bridge } = require('./bridge.js');
const { Drbg } = require('./drbg.js');
const { entropyPath } = require('./endpoint.js');
const { DaemonUnavailable, HwentropyError } = require('./errors.js');
const knownAnswers = require('./known-answers.js');
const { MAX_AGE } = require('./shared.js');
const { REQUEST } = require('./wire.js');

/** A draw that waits for nobody looks at the epoch, and changes its key, after this much: 7 ms. */
const PIECE = 16 << 20;

/** One that leaves the event loop free lets others run after this much: 0.5 ms. */
const TURN = 1 << 20;

/**
 * A lease may be outdated by the time it arrives, but hardly so often in a row:
 * each took a round trip, and reseeds are seconds apart.
 */
const ATTEMPTS = 8;

/** CHECKED counts milliseconds modulo 2^32: it is not to come round within a lease. */
const MOST_SECONDS = 2 ** 30 / 1000;

const LEASE = 'lease';
const CHECK = 'check';

class Generator {
  #settings = {
    mode: 'lease',
    path: null,
    timeout: null,
    block: true,
    fallback: null,
  };
  #drbg = new Drbg('lease');
  #bridge = null;
  /** {epoch, end, budget, degraded}: end in the bridge's milliseconds, budget in bytes. */
  #lease = null;
  #renewing = null; // the request for a lease that those who do not block share
  #outage = false;
  /** What the daemon said of the last draw, in a mode without leases. */
  #said = { degraded: false, notLive: false };

  /** Draw in this way from now on; what was leased before is forgotten. */
  configure(settings) {
    this.close().catch(() => {}); // the thread ends by itself; nobody waits for it
    this.#settings = settings;
    this.#outage = false;
    this.#said = { degraded: false, notLive: false };
  }

  /** Forget the lease and end the helper thread; the next draw begins anew. */
  async close() {
    const bridge = this.#bridge;
    this.#bridge = null;
    this.#lease = null;
    this.#renewing = null;
    this.#drbg.erase();
    await bridge?.close();
  }

  /** Whether the daemon is degraded: what index.d.ts says. */
  isDegraded() {
    if (this.#settings.mode !== 'lease') return this.#said.degraded;
    if (this.#lease === null) return false;
    const bridge = this.#bridge;
    const age = ((bridge.now() | 0) - bridge.checked) >>> 0; // as in #ready
    if (age > MAX_AGE && bridge.usable) {
      try {
        bridge.callSync(this.#checkRequest());
      } catch (error) {
        // As when the helper meets it by itself: EPOCH has moved, the next draw reports it.
        if (!(error instanceof HwentropyError)) throw error;
      }
    }
    // A daemon may turn degraded under a lease, whose epoch stays.
    return this.#lease.degraded || bridge.degraded;
  }

  /** Whether prediction resistance was met by generators alone: what index.d.ts says. */
  isNotLive() {
    return this.#said.notLive;
  }

  /** `size` fresh bytes in an ArrayBuffer of their own. */
  bytesSync(size) {
    if (size <= TURN && this.#ready(size)) return this.#take(size);
    const out = Buffer.allocUnsafeSlow(size);
    this.fillSync(out);
    return out;
  }

  /** Overwrite a Buffer; after an exception it holds zeros. */
  fillSync(out) {
    if (out.length <= this.#drbg.small && this.#ready(out.length)) {
      this.#takeInto(out);
      return;
    }
    try {
      this.#fillSync(out);
    } catch (error) {
      this.#fallBack(error, out);
    }
  }

  /** `fillSync` without holding up the event loop; after an exception `out` holds zeros. */
  async fill(out) {
    try {
      await this.#fill(out);
    } catch (error) {
      this.#fallBack(error, out);
    }
  }

  /** The hot path: three comparisons and a clock. */
  #ready(size) {
    const lease = this.#lease;
    if (lease === null || lease.budget < size) return false;
    const bridge = this.#bridge;
    const now = bridge.now();
    if (now >= lease.end || ((now | 0) - bridge.checked) >>> 0 > MAX_AGE) return false;
    return bridge.epoch === lease.epoch;
  }

  #take(size) {
    this.#lease.budget -= size;
    this.#bridge.use();
    return this.#drbg.read(size);
  }

  #takeInto(out) {
    this.#lease.budget -= out.length;
    this.#bridge.use();
    this.#drbg.fill(out);
  }

  #fillSync(out) {
    const direct = this.#settings.mode !== 'lease';
    const said = { degraded: false, notLive: false };
    for (let at = 0; at < out.length; ) {
      if (direct) {
        const end = Math.min(out.length, at + PIECE);
        const read = this.#connected().callSync(this.#read(end - at));
        this.#putDirect(out, at, read.result);
        said.degraded ||= read.degraded;
        said.notLive ||= read.notLive;
        at = end;
        continue;
      }
      const steps = this.#prepare();
      for (let step = steps.next(); !step.done; step = steps.next()) {
        if (step.value === CHECK) this.#bridge.callSync(this.#checkRequest());
        else this.#install(this.#bridge.callSync(this.#leaseRequest()));
      }
      at = this.#fillPiece(out, at, PIECE);
    }
    this.#outage = false;
    if (out.length) this.#said = said;
  }

  async #fill(out) {
    const settings = this.#settings;
    const direct = settings.mode !== 'lease';
    const said = { degraded: false, notLive: false };
    for (let at = 0; at < out.length; ) {
      if (at) await nextTurn();
      if (direct) {
        const end = Math.min(out.length, at + PIECE);
        const read = await this.#connected().call(this.#read(end - at));
        this.#putDirect(out, at, read.result);
        said.degraded ||= read.degraded;
        said.notLive ||= read.notLive;
        at = end;
        continue;
      }
      const steps = this.#prepare();
      for (let step = steps.next(); !step.done; step = steps.next()) {
        if (step.value === CHECK) await this.#bridge.call(this.#checkRequest());
        else await this.#renew();
      }
      at = this.#fillPiece(out, at, TURN);
    }
    this.#outage = false;
    // Configured anew meanwhile: that was perhaps another daemon.
    if (out.length && settings === this.#settings) this.#said = said;
  }

  /** What has to be asked before the next byte; ends when the lease may give it. */
  *#prepare() {
    const began = this.#connected().now();
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const bridge = this.#connected();
      const lease = this.#lease;
      // Modulo 2^32, see `checked`: how long before this draw the daemon was asked.
      const fresh = ((began | 0) - bridge.checked | 0) <= MAX_AGE;
      const good =
        lease !== null &&
        lease.epoch === bridge.epoch &&
        lease.budget > 0 &&
        bridge.now() < lease.end;
      if (!good) yield LEASE;
      else if (!fresh) yield CHECK;
      else return;
    }
    throw new HwentropyError(
      `each of ${ATTEMPTS} leases from ${this.#path} was outdated on arrival; ` +
        'see `hwentropy status`, and whether this machine is overloaded',
    );
  }

  #fillPiece(out, at, most) {
    const end = Math.min(out.length, at + Math.min(most, this.#lease.budget));
    this.#takeInto(out.subarray(at, end));
    return end;
  }

  #putDirect(out, at, data) {
    out.set(data, at);
    data.fill(0);
  }

  #install({ seed, maxBytes, maxSeconds, degraded, asked, epoch }) {
    try {
      knownAnswers.check();
      this.#drbg.reseed([['parent', seed]]);
    } finally {
      seed.fill(0);
    }
    const end = asked + Math.min(maxSeconds, MOST_SECONDS) * 1000;
    this.#lease = { epoch, end, budget: maxBytes, degraded };
  }

  /** One lease for all who wait for one. */
  #renew() {
    if (this.#renewing === null) {
      const bridge = this.#bridge;
      const renewing = bridge
        .call(this.#leaseRequest())
        .then((granted) => {
          // Closed or configured anew between the reply and here: of no use to anybody.
          if (this.#bridge !== bridge) granted.seed.fill(0);
          else this.#install(granted);
        })
        .finally(() => {
          if (this.#renewing === renewing) this.#renewing = null;
        });
      this.#renewing = renewing;
    }
    return this.#renewing;
  }

  #connected() {
    if (v8.startupSnapshot?.isBuildingSnapshot()) {
      throw new HwentropyError(
        'a startup snapshot would repeat what was drawn; draw after it was loaded',
      );
    }
    if (this.#bridge === null || !this.#bridge.usable) {
      this.#lease = null;
      this.#renewing = null;
      this.#bridge = new Bridge(this.#path);
    }
    return this.#bridge;
  }

  get #path() {
    return this.#settings.path ?? entropyPath();
  }

  #checkRequest() {
    return { op: CHECK, timeout: this.#settings.timeout };
  }

  #leaseRequest() {
    const { block, timeout } = this.#settings;
    return { op: LEASE, flags: block ? 0 : REQUEST.DONT_BLOCK, timeout };
  }

  #read(size) {
    const { block, mode, timeout } = this.#settings;
    const fresh = mode === 'prediction_resistant' ? REQUEST.PREDICTION_RESISTANCE : 0;
    return { op: 'read', size, flags: fresh | (block ? 0 : REQUEST.DONT_BLOCK), timeout };
  }

  /** The kernel instead, where the program asked for that and nobody answers; else throws. */
  #fallBack(error, out) {
    out.fill(0);
    if (this.#settings.fallback !== 'os' || !(error instanceof DaemonUnavailable)) throw error;
    if (!this.#outage) {
      this.#outage = true;
      process.emitWarning(`${error.message}; drawing from node:crypto until it answers`, {
        type: 'HwentropyWarning',
        code: 'HWENTROPY_FALLBACK',
      });
    }
    nodeCrypto.randomFillSync(out);
  }
}

module.exports = { Generator };
