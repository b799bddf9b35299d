'use strict';

/*
 * Every exception of this client; the tree of the Python client's.
 *
 *   HwentropyError
 *   ├── ProtocolError       the daemon sent what the protocol does not allow
 *   ├── DaemonUnavailable   nobody answers at the socket, or no longer
 *   ├── NotPermitted        this user may not ask, or may not open the socket
 *   ├── NotSeeded           nothing credited yet, and the caller would not wait
 *   ├── OverQuota           this user has had its share for now
 *   ├── FailedClosed        too few sources can be trusted: no bytes rather than bad ones
 *   ├── RequestRefused      the daemon calls the request too long or malformed
 *   └── Timeout             the client's own timeout
 *
 * Each says in one sentence what failed, on what, and what to do.  None holds a
 * byte that was read.  Wrong arguments are Node's own errors, see arguments.js.
 */

const { fileInTheWay } = require('./endpoint.js');

class HwentropyError extends Error {}
class ProtocolError extends HwentropyError {}
class DaemonUnavailable extends HwentropyError {}
class NotPermitted extends HwentropyError {}
class NotSeeded extends HwentropyError {}
class OverQuota extends HwentropyError {}
class FailedClosed extends HwentropyError {}
class RequestRefused extends HwentropyError {}
class Timeout extends HwentropyError {}

const TREE = {
  HwentropyError,
  ProtocolError,
  DaemonUnavailable,
  NotPermitted,
  NotSeeded,
  OverQuota,
  FailedClosed,
  RequestRefused,
  Timeout,
};

for (const [name, Kind] of Object.entries(TREE)) {
  const words = name.replace(/^Hwentropy|Error$/g, '').replace(/(?<=.)(?=[A-Z])/g, '_');
  const code = words ? `ERR_HWENTROPY_${words.toUpperCase()}` : 'ERR_HWENTROPY';
  for (const [key, value] of [['name', name], ['code', code]]) {
    // As Error's own: on the prototype, not listed, and open to change.
    Object.defineProperty(Kind.prototype, key, { value, writable: true, configurable: true });
  }
}

/** The statuses of docs/protocol.md but OK, by number. */
const REFUSALS = {
  1: [
    NotSeeded,
    'the daemon at %s is not seeded yet; try again later, or wait for it (block: true)',
  ],
  2: [
    RequestRefused,
    'the daemon at %s finds the request too long; update the older of the two',
  ],
  3: [
    NotPermitted,
    'the daemon at %s does not permit this to this user; ask its administrator for [access] ' +
      'in hwentropyd.toml',
  ],
  4: [OverQuota, 'this user is over its quota at %s; ask for less, or later'],
  5: [
    FailedClosed,
    'the daemon at %s has no source to trust for this now; see `hwentropy sources`',
  ],
  6: [RequestRefused, 'the daemon at %s does not know the request; update the older of the two'],
};

/** The exception for a reply whose status is not OK. */
function refusal(status, path) {
  const [Kind, sentence] = REFUSALS[status];
  return new Kind(sentence.replace('%s', () => path));
}

/** The exception for a connect that failed with a system error. */
function unreachable(path, error) {
  if (error.code === 'ENOTDIR') {
    return new DaemonUnavailable(
      `no daemon answers at ${path}: ${fileInTheWay(path)} is not a directory; ` +
        "name the directory with the daemon's sockets",
    );
  }
  if (['ENOENT', 'ECONNREFUSED'].includes(error.code)) {
    return new DaemonUnavailable(
      `no daemon answers at ${path}; start it with \`systemctl start hwentropyd\` ` +
        'or `hwentropyd`',
    );
  }
  if (error.code === 'EACCES' || error.code === 'EPERM') {
    return new NotPermitted(`no permission on ${path}; ask its administrator`);
  }
  return new DaemonUnavailable(`cannot connect to ${path}: ${error.code ?? error.message}`);
}

/** The exception for a connection that ended before the reply was complete. */
function lost(path) {
  return new DaemonUnavailable(
    `the daemon at ${path} closed the connection before it had answered; try again, ` +
      'and see its log if that repeats',
  );
}

/** The exception for a call that took longer than `milliseconds`. */
function expired(path, milliseconds) {
  return new Timeout(
    `the daemon at ${path} did not answer within ${milliseconds} ms; allow more, or see ` +
      '`hwentropy status` for what it waits for',
  );
}

/** An exception as a value that another thread can take. */
function toPlain(error) {
  const name = error instanceof HwentropyError ? error.constructor.name : 'HwentropyError';
  return { name, message: error.message };
}

/** The exception again, with the stack of who asked. */
function fromPlain({ name, message }) {
  return new TREE[name](message);
}

module.exports = { ...TREE, refusal, unreachable, lost, expired, toPlain, fromPlain };
