'use strict';

/*
 * One connection to the native socket: a call at a time, its requests pipelined.
 *
 *   READ of n bytes   requests of at most 1 MiB, WINDOW of them on the way
 *   INFO, LEASE       one request
 *
 * Each reply is checked against the oldest request.  A connection on which
 * anything was not as it should be is destroyed and never used again.
 *
 * What this does not protect against: a server that sends well-formed replies of
 * its own choosing.  Whoever owns the socket's directory is trusted.
 */

const net = require('node:net');

const { DaemonUnavailable, ProtocolError, lost, refusal, unreachable } = require('./errors.js');
const wire = require('./wire.js');

/** As the Python client's: two keep the server busy, four while either is off its CPU. */
const WINDOW = 4;

/** sun_path is 108 bytes with its NUL (unix(7)); libuv would cut a longer path off. */
const MAX_PATH = 107;

const RECEIVE = 64 * 1024;

/** One call: what to ask for, where its payload goes, who waits. */
class Call {
  constructor(op, flags, size) {
    this.op = op;
    this.flags = flags;
    this.size = size;
    /** Where the payload goes; for READ an ArrayBuffer of its own, to be moved. */
    this.target = op === wire.OP.READ ? new Uint8Array(new ArrayBuffer(size)) : null;
    this.filled = 0;
    /** Whether any of its replies was served while degraded. */
    this.degraded = false;
    /** Whether any of them was met by generators alone, prediction resistance asked for. */
    this.notLive = false;
  }

  /** Ask for what has not come yet; after OVER_QUOTA a second time, on any connection. */
  begin() {
    this.unsent = this.size - this.filled;
    this.requests = Math.max(1, Math.ceil(this.unsent / wire.MAX_READ));
    return new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }

  /** Give it up: what has come is overwritten. */
  abandon() {
    this.target?.fill(0);
  }
}

class Connection {
  #path;
  #socket = null;
  #call = null;
  #waiting = []; // {tag, length} of the requests on the way, oldest first
  #head = Buffer.alloc(wire.HEADER);
  #headFilled = 0;
  #payloadLeft = 0;
  #tag = 1; // not 0, which the reply has that refuses a connection
  #fresh = true; // no reply has come yet
  #paged = false; // the descriptor of the page is lost: Node cannot receive it
  #failure = null;
  #listening;

  /**
   * Begins to connect; the first call waits for it.  With `listen` it is not sent before
   * so many milliseconds are over, in which the daemon may refuse the connection.
   */
  constructor(path, listen = 0) {
    this.#path = path;
    this.#listening = listen > 0;
    /** Whether a byte of the present call's reply has come. */
    this.answered = false;
    /** Whether it was connected: until then nothing was asked. */
    this.connected = false;
    /** Whether the daemon had closed it by the time that something was sent. */
    this.unheard = false;
    if (Buffer.byteLength(path) > MAX_PATH) {
      this.#failure = new DaemonUnavailable(
        `the path ${path} is too long for a socket: at most ${MAX_PATH} bytes`,
      );
      return;
    }
    const buffer = Buffer.alloc(RECEIVE);
    const receive = (size) => {
      const chunk = buffer.subarray(0, size);
      try {
        this.#receive(chunk);
      } catch (error) {
        this.destroy(error);
      } finally {
        chunk.fill(0);
      }
      return true;
    };
    this.#socket = net.connect({ path, onread: { buffer, callback: receive } });
    this.#socket.on('connect', () => {
      this.connected = true;
      if (!this.#listening) return;
      setTimeout(() => {
        this.#listening = false;
        if (this.#failure === null && this.#call !== null) this.#send();
      }, listen);
    });
    this.#socket.on('error', (error) => {
      this.unheard = this.connected && error.code === 'EPIPE';
      this.destroy(this.connected ? lost(path) : unreachable(path, error));
    });
    this.#socket.on('end', () => this.destroy(lost(path)));
    this.#socket.on('close', () => this.destroy(lost(path)));
  }

  /** Whether the next call may use it. */
  get usable() {
    return this.#failure === null;
  }

  /**
   * Make a Call; resolves to `{ result, degraded, notLive }`, see wire.decodePayload.  One
   * at a time.  One that fails is for its caller to abandon, or to make again.
   */
  ask(call) {
    const done = call.begin();
    if (this.#failure !== null) {
      call.reject(this.#failure);
      return done;
    }
    this.#call = call;
    this.answered = false;
    this.#send();
    return done;
  }

  /** Close it; a call under way fails with `error`. */
  destroy(error) {
    if (this.#failure === null) {
      this.#failure = error;
      this.#socket.destroy();
    }
    if (this.#call !== null) this.#fail(error);
  }

  #send() {
    const call = this.#call;
    const count = Math.min(call.requests, WINDOW - this.#waiting.length);
    if (count <= 0 || this.#listening) return;
    const out = Buffer.alloc(count * wire.HEADER);
    for (let i = 0; i < count; i++) {
      const length = Math.min(call.unsent, wire.MAX_READ);
      wire.putRequest(out, i * wire.HEADER, call.op, call.flags, this.#tag, length);
      this.#waiting.push({ tag: this.#tag, length });
      this.#tag = (this.#tag + 1) & 0xffff;
      call.unsent -= length;
      call.requests -= 1;
    }
    this.#socket.write(out);
  }

  #receive(chunk) {
    let at = 0;
    while (at < chunk.length) {
      if (this.#waiting.length === 0 && !this.#listening) {
        throw new ProtocolError(`the daemon at ${this.#path} sent a reply nobody asked for`);
      }
      this.answered = true;
      const call = this.#call;
      if (this.#payloadLeft === 0) {
        const size = Math.min(wire.HEADER - this.#headFilled, chunk.length - at);
        chunk.copy(this.#head, this.#headFilled, at, at + size);
        this.#headFilled += size;
        at += size;
        if (this.#headFilled < wire.HEADER) return;
        this.#headFilled = 0;
        if (!this.#accept(call, chunk.length - at)) return;
      } else {
        const size = Math.min(this.#payloadLeft, chunk.length - at);
        call.target.set(chunk.subarray(at, at + size), call.filled);
        call.filled += size;
        this.#payloadLeft -= size;
        at += size;
        if (this.#payloadLeft === 0) this.#finishReply(call);
      }
    }
  }

  /** Judge the header that has come; false when it ended the call. */
  #accept(call, spare) {
    const reply = wire.decodeHeader(this.#head);
    const { tag, length } = this.#waiting[0] ?? { tag: 'none' };
    const first = this.#fresh;
    this.#fresh = false;
    if (reply.tag !== tag) {
      if (first && wire.refusesConnection(reply)) throw refusal(reply.status, this.#path);
      throw new ProtocolError(
        `reply with tag ${reply.tag} where ${tag} was due, ${this.#path}`,
      );
    }
    if (reply.status !== wire.STATUS.OK) {
      const error = refusal(reply.status, this.#path);
      // Replies still on the way reach nobody; after BAD_REQUEST the server closes.
      const inOrder = this.#waiting.length === 1 && call.requests === 0 && spare === 0;
      if (!inOrder || reply.status === wire.STATUS.BAD_REQUEST) throw error;
      this.#waiting.shift();
      this.#fail(error);
      return false;
    }
    const fresh = (call.flags & wire.REQUEST.PREDICTION_RESISTANCE) !== 0;
    if (!wire.suits(call.op, length, reply.length, reply.flags, this.#paged, fresh)) {
      throw new ProtocolError(`reply of ${reply.length} bytes, not as asked for, ${this.#path}`);
    }
    if (reply.flags & wire.REPLY.DEGRADED) call.degraded = true;
    if (reply.flags & wire.REPLY.NOT_LIVE) call.notLive = true;
    if (reply.flags & wire.REPLY.PAGE) this.#paged = true;
    this.#payloadLeft = reply.length;
    call.target ??= Buffer.from(new ArrayBuffer(reply.length));
    return true;
  }

  #finishReply(call) {
    this.#waiting.shift();
    if (call.requests > 0) {
      this.#send();
    } else if (this.#waiting.length === 0) {
      const result = wire.decodePayload(call.op, call.target);
      this.#call = null;
      call.resolve({ result, degraded: call.degraded, notLive: call.notLive });
    }
  }

  #fail(error) {
    const call = this.#call;
    this.#call = null;
    call.reject(error);
  }
}

module.exports = { Call, Connection };
