'use strict';

/*
 * This thread's end of the helper thread (helper.js): calls that wait and calls
 * that do not, over one message port.
 *
 *   callSync   sleeps in Atomics.wait until the helper has answered
 *   call       a promise; the process lives on until it is settled
 *
 * Between calls the helper does not keep the process alive.  Every thread that
 * loads this package starts its own; so does every child process: nothing here is
 * shared with either.
 *
 * What this cannot do: wait where Atomics.wait may not (Electron's renderer).
 */

const path = require('node:path');
const { MessageChannel, Worker, receiveMessageOnPort } = require('node:worker_threads');

const { HwentropyError, fromPlain } = require('./errors.js');
const { COUNT, WORDS, clock, hrtime } = require('./shared.js');

/** Milliseconds for a thread to start, which takes 20 on an idle machine. */
const START = 30_000;

/** A wait is cut up so, to notice a helper that has ended without a word. */
const SLICE = 1000;

class Bridge {
  #words = new Int32Array(new SharedArrayBuffer(COUNT * Int32Array.BYTES_PER_ELEMENT));
  #port;
  #worker;
  #pending = new Map(); // id -> what to do with its reply
  #awaited = 0;
  #id = 0;
  #failure = null;

  constructor(socketPath) {
    const origin = hrtime();
    /** Milliseconds since this bridge was made; the helper counts the same ones. */
    this.now = clock(origin);
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.on('message', (message) => this.#deliver(message));
    port1.unref();
    this.#worker = new Worker(path.join(__dirname, 'helper.js'), {
      name: 'hwentropy',
      workerData: { path: socketPath, port: port2, words: this.#words, origin },
      transferList: [port2],
      // Neither the program's --require and --import nor its environment: what they
      // load (tracers, test tools) has no business in this thread.
      execArgv: [],
      env: {},
    });
    this.#worker.unref();
    this.#worker.on('error', (error) => this.#end(error.message));
    this.#worker.on('exit', () => this.#end('it ended'));
  }

  /** Whether it can be called. */
  get usable() {
    return this.#failure === null && !this.#words[WORDS.DEAD];
  }

  /** The epoch that leases have to be of.  To be read after `checked`. */
  get epoch() {
    return Atomics.load(this.#words, WORDS.EPOCH);
  }

  /** Milliseconds (modulo 2^32) at which the daemon was last asked. */
  get checked() {
    return Atomics.load(this.#words, WORDS.CHECKED);
  }

  /** Whether the daemon last said that it is degraded.  To be read after `checked`. */
  get degraded() {
    return Atomics.load(this.#words, WORDS.DEGRADED) === 1;
  }

  /** Tell the helper that it is worth its while to go on checking. */
  use() {
    this.#words[WORDS.USED] = 1;
  }

  /** The helper's answer to a request; throws the error it answered with. */
  callSync(request) {
    let answer = null;
    const id = this.#post(request, (message) => {
      answer = message;
    });
    this.#awaitStart(id);
    for (;;) {
      const seen = Atomics.load(this.#words, WORDS.WAKE);
      // All of them: what others wait for is settled on the way.
      for (let got; (got = receiveMessageOnPort(this.#port)); ) this.#deliver(got.message);
      if (answer !== null) break;
      if (Atomics.load(this.#words, WORDS.DEAD)) this.#end('it ended');
      else Atomics.wait(this.#words, WORDS.WAKE, seen, SLICE);
    }
    if (answer.error) throw fromPlain(answer.error);
    return answer.value;
  }

  /** The same as a promise. */
  call(request) {
    return new Promise((resolve, reject) => {
      if (this.#awaited++ === 0) this.#port.ref();
      this.#post(request, ({ value, error }) => {
        if (--this.#awaited === 0) this.#port.unref();
        if (error) reject(fromPlain(error));
        else resolve(value);
      });
    });
  }

  /** End the helper; calls under way fail.  Resolves when it has ended. */
  async close() {
    this.#end('it was closed');
    await this.#worker.terminate();
  }

  #post(request, done) {
    const id = ++this.#id;
    this.#pending.set(id, done);
    if (this.#failure !== null) {
      this.#deliver({ id, error: this.#failure });
    } else {
      this.#port.postMessage({ id, ...request });
    }
    return id;
  }

  #deliver(message) {
    const done = this.#pending.get(message.id);
    this.#pending.delete(message.id);
    done?.(message);
  }

  #awaitStart() {
    if (this.#failure !== null) return;
    if (Atomics.wait(this.#words, WORDS.READY, 0, START) !== 'timed-out') return;
    this.#end(`it did not start in ${START / 1000} s`);
  }

  #end(reason) {
    if (this.#failure !== null) return;
    const message = `the thread that talks to the daemon is gone (${reason}); draw again`;
    this.#failure = { name: HwentropyError.name, message };
    const ids = [...this.#pending.keys()];
    for (const id of ids) this.#deliver({ id, error: this.#failure });
    this.#port.close();
  }
}

module.exports = { Bridge };
